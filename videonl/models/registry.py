"""The registry of networks: a decorator to add one, and functions to make one by name.

A network is a plain function ``def mynet_18(num_classes=400, *, option=...) -> nn.Module``. The
module that it returns has ``forward_features``, ``forward_head``, ``reset_classifier`` and
``preprocessing``; ``tests/models/test_contract.py`` holds every registered network to it.
"""

import copy
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videonl.errors import VideoNLError
from videonl.limits import Limit, check_limits, number, total_memory, whole

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])
DEFAULT_CLASSES = 400  # Kinetics-400
# The meaning of options that several networks share.
LIMITS: dict[str, Limit] = {
    "num_classes": whole(1, 1e9),
    "width": whole(1, 1e6),
    "dropout": number(0, 1),
}
# Whether they are lists; a user's network may have a number of layers instead.
SIZES = ("stem_kernel", "stem_stride", "strides", "pool1_kernel", "pool1_stride", "pool2_kernel")
LIMITS_OF_LISTS = {
    "layers": Limit(0, 128, integral=True, length=-1),
    **dict.fromkeys(SIZES, Limit(1, 64, integral=True, length=-1)),
}
LARGE = 1024  # options from this value on (classes: a hundred times it) trigger a check of memory
FILLS = frozenset({"normal_", "uniform_", "trunc_normal_", "zero_", "fill_", "ones_"})
METHODS = ("forward_features", "forward_head", "reset_classifier")


@dataclass(frozen=True)
class Entry:
    """One registered network.

    Attributes:
        factory: makes it.
        options: names of its options; None if they are unknown.
        hints: allowed types of their values, from annotations.
    """

    factory: Callable[..., nn.Module]
    options: tuple[str, ...] | None
    hints: Mapping[str, Any]


_REGISTER: dict[str, Entry] = {}


def is_import_path(name: str) -> bool:
    """Whether a name is ``package.module:function``."""
    return ":" in name


def register_model(
    factory: Factory | None = None, *, options_of: Callable[..., Any] | None = None
) -> Any:
    """Register a factory under its own name: ``@register_model def mynet_18(num_classes=400)``.

    Args:
        factory: the decorated function.
        options_of: the callable to which the factory passes its ``**options``, so that a wrong
            option is refused with the list of right ones.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Factory) -> Factory:
        register_name(function.__name__, function, options_of=options_of)
        return function

    return register if factory is None else register(factory)


def register_name(
    name: str,
    factory: Callable[..., nn.Module],
    *,
    options_of: Callable[..., Any] | None = None,
) -> None:
    """Register a factory under any name, see ``register_model``."""
    if name in _REGISTER:
        raise ValueError(f"a network named {name!r} is registered already")
    hints = {**option_hints(options_of), **option_hints(factory)}
    _REGISTER[name] = Entry(factory, option_names(factory, options_of), hints)


def option_names(
    factory: Callable[..., Any], options_of: Callable[..., Any] | None = None
) -> tuple[str, ...] | None:
    """The options that a factory takes; None if it takes anything and ``options_of`` is missing."""
    parameters = signature(factory).parameters.values()
    names = [
        p.name
        for p in parameters
        if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    ]
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        if options_of is None:
            return None
        names += option_names(options_of) or ()
    return tuple(dict.fromkeys(name for name in names if name != "num_classes"))


def option_hints(factory: Callable[..., Any] | None) -> dict[str, Any]:
    """The annotated types of the arguments of a factory, which may be a class, by name."""
    function: Any = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # a type of the user's that is only there for a checker
        return {}


def list_models(pattern: str = "*") -> list[str]:
    """The names of the registered networks that match a shell pattern, sorted: ``"i3d_*_nl5"``."""
    return sorted(name for name in _REGISTER if fnmatchcase(name, pattern))


def model_options(name: str) -> tuple[str, ...] | None:
    """The names of a network's options; None where it takes anything.

    Raises:
        VideoNLError: an unknown network.
    """
    return find_entry(name).options


def find_entry(name: str) -> Entry:
    """The entry of a name, or of ``package.module:function``.

    Raises:
        VideoNLError: an unknown name, with similar ones; or a path that cannot be imported.
    """
    if is_import_path(name):
        return import_entry(name)
    if name not in _REGISTER:
        near = get_close_matches(name, _REGISTER, n=4, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "videonl models lists them"
        raise VideoNLError(f"there is no network {name!r}; {hint}")
    return _REGISTER[name]


def import_entry(path: str) -> Entry:
    """Import ``package.module:function``.

    Raises:
        VideoNLError: names the part that is missing.
    """
    module_name, _, function_name = path.partition(":")
    here = os.getcwd()  # a console command does not look into the current folder by itself
    sys.path.append(here)
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise VideoNLError(
            f"network {path!r}: {module_name!r} cannot be imported ({error})"
        ) from error
    finally:
        sys.path.remove(here)
    factory = getattr(module, function_name, None)
    if not callable(factory):
        raise VideoNLError(f"network {path!r}: {module_name} has no function {function_name!r}")
    return Entry(factory, option_names(factory), option_hints(factory))


def create_model(
    name: str, *, num_classes: int | None = None, pretrained: str | None = None, **options: Any
) -> nn.Module:
    """Make a network by name.

    Args:
        name: one of ``list_models()``, or ``package.module:function``, which is imported: the
            caller has to give it, never a file (``videonl.weights.declared``).
        num_classes: K, the classes of its classifier; by default 400, or those of ``pretrained``.
        pretrained: published weights, a file or ``hf:user/name``, see ``videonl.weights``; the
            classifier is new if the classes differ.
        options: options of the network; ``model_options(name)`` lists them.

    Returns:
        The network, with ``preprocessing`` (the clips that it was made for) and ``config``:
        ``{"name", "num_classes", "options"}``, from which this function can make it again;
        ``reset_classifier`` keeps it up to date.

    Raises:
        VideoNLError: an unknown name or option, or a value that does not fit.
    """
    entry = find_entry(name)
    if pretrained is not None:  # calls this function again with what the file determines
        from videonl.weights.loading import load_pretrained

        return load_pretrained(name, pretrained, num_classes=num_classes, **options)
    check_limits(LIMITS, {key: value for key, value in options.items() if value is not None})
    lists = {key: value for key, value in options.items() if isinstance(value, list | tuple)}
    check_limits(LIMITS_OF_LISTS, lists)
    check_options(name, options, entry.options)
    check_kinds(name, options, entry.hints)
    num_classes = DEFAULT_CLASSES if num_classes is None else num_classes
    check_limits(LIMITS, {"num_classes": num_classes})
    check_memory(name, entry, num_classes, options)
    try:
        model = entry.factory(num_classes=num_classes, **options)
    except (ValueError, TypeError) as error:  # an option of the wrong type, from a file
        raise VideoNLError(f"{name}: {error}") from error
    missing = [method for method in METHODS if not hasattr(model, method)]
    if missing:
        raise VideoNLError(
            f"network {name!r} has no {missing[0]}; every network needs {', '.join(METHODS)}"
        )
    model.config = {"name": name, "num_classes": num_classes, "options": plain(options)}  # type: ignore[assignment]
    return model


class NoValues(TorchFunctionMode):
    """Skips initial values: drawing them on the meta device would import torch's compiler."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function, unless it only writes initial values."""
        named = kwargs or {}
        target = args[0] if args else named.get("tensor")  # torch.nn.init names its argument
        if getattr(function, "__name__", "") in FILLS and getattr(target, "is_meta", False):
            return target
        return function(*args, **named)


def skeleton(name: str, **options: Any) -> nn.Module:
    """The network of ``create_model`` without memory and values: shapes and ``preprocessing``."""
    with torch.device("meta"), NoValues():
        return create_model(name, **options)


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy of a network without memory and values, in evaluation mode."""
    tensors: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        tensors[id(parameter)] = nn.Parameter(empty, requires_grad=False)
    for buffer in model.buffers():
        tensors[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, tensors).eval()


def check_memory(name: str, entry: Entry, num_classes: int, options: Mapping[str, Any]) -> None:
    """Refuse a network that is too large for this machine, before memory runs out.

    Raises:
        VideoNLError: states how large it would be.
    """
    large = {key: value for key, value in options.items() if is_large(value)}
    if num_classes > 100 * LARGE:
        large["num_classes"] = num_classes
    if not large or is_import_path(name) or torch.empty(0).is_meta:
        return
    try:
        with torch.device("meta"), NoValues():
            state = entry.factory(num_classes=num_classes, **options).state_dict()
    except (ValueError, TypeError, RuntimeError):
        return  # making the network reports the error
    size = sum(value.nbytes for value in state.values())
    memory = total_memory()
    if size > memory:
        said = ", ".join(f"{key} {str(value)[:80]}" for key, value in large.items())
        raise VideoNLError(
            f"{name} with {said} takes {size / 2**30:.0f} GB, but this machine has "
            f"{memory / 2**30:.0f} GB; make it smaller"
        )


def is_large(value: Any) -> bool:
    """Whether an option contains a number beyond ``LARGE``."""
    if isinstance(value, Mapping):
        return any(map(is_large, value.values()))
    if isinstance(value, list | tuple):
        return any(map(is_large, value))
    return isinstance(value, int) and value > LARGE


def check_options(name: str, options: Mapping[str, Any], allowed: tuple[str, ...] | None) -> None:
    """Refuse options that a network does not have.

    Raises:
        VideoNLError: names the option, the nearest one and all.
    """
    if allowed is None:
        return
    for option in options:
        if option not in allowed:
            near = get_close_matches(option, allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
            raise VideoNLError(f"network {name} has no option {option!r}; {hint}{known}")


KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
KINDS |= {Mapping: "a table"}


def check_kinds(name: str, options: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Refuse a value of another type than the option's annotation, such as a text for a table.

    Raises:
        VideoNLError: names the option, what came and what it may be.
    """
    for option, value in options.items():
        hint = hints.get(option, Any)
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        kinds = [get_origin(part) or part for part in parts]
        if not all(kind in KINDS or kind is NoneType for kind in kinds):
            continue  # a list, or a class of the user's: the network checks it
        if not isinstance(value, (*kinds, int) if float in kinds else tuple(kinds)):
            wanted = " or ".join(KINDS[kind] for kind in kinds if kind is not NoneType)
            shown = repr(value)
            shown = shown if len(shown) <= 80 else shown[:80] + "..."
            raise VideoNLError(f"{name}: {option}={shown}: it must be {wanted}")


def plain(value: Any) -> Any:
    """Convert to lists, dicts and primitives, so that a checkpoint loads with weights_only.

    Raises:
        VideoNLError: for anything else, such as a tensor.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(item) for item in value]
    if isinstance(value, type):  # a class, such as an Affinity: named, not rebuilt from a file
        return f"{value.__module__}:{value.__qualname__}"
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise VideoNLError(f"option value {value!r} is not a number, text, list, dict or class")
