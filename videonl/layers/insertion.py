"""Insert non-local blocks into any network by submodule name, and remove them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from videonl.layers.non_local import NonLocalBlock
from videonl.layers.positions import BATCH_NORMS, CONVOLUTIONS

CHILD = "non_local"
_DIMS = tuple(enumerate(zip(CONVOLUTIONS, BATCH_NORMS, strict=True), start=1))


def insert_non_local(
    model: nn.Module, blocks: Mapping[str, Mapping[str, Any] | NonLocalBlock]
) -> nn.Module:
    """Put a non-local block after each named submodule: it acts on that submodule's output.

    The block becomes the child ``non_local`` of the submodule, so no existing state-dict key
    changes; a zero-initialised block leaves every output bit-identical.

    Args:
        model: any network; changed in place.
        blocks: submodule name -> options of :class:`~videonl.layers.NonLocalBlock` (also
            ``in_channels`` and ``dim``, where they cannot be found), or a ready block.

    Returns:
        The same model.

    Raises:
        ValueError: an unknown name, a place that is taken, or channels that cannot be found.
    """
    if not isinstance(blocks, Mapping):
        raise ValueError(
            f"blocks={blocks!r}: it must be a table of submodule names and options, such as "
            '{"layer3": {}}'
        )
    made = {name: _make(model, name, options) for name, options in blocks.items()}
    for name, block in made.items():
        target = model.get_submodule(name)
        target.add_module(CHILD, block)
        if not isinstance(target, nn.Sequential):  # a Sequential runs its last child by itself
            target.register_forward_hook(_apply_non_local)
    return model


def remove_non_local(model: nn.Module) -> nn.Module:
    """Take out every block that :func:`insert_non_local` put in; the model is changed in place."""
    for target in list(model.modules()):
        hooks = [key for key, hook in target._forward_hooks.items() if hook is _apply_non_local]
        chained = isinstance(target, nn.Sequential) and CHILD in target._modules
        for key in hooks:
            del target._forward_hooks[key]
        if hooks or chained:
            del target._modules[CHILD]
    return model


def _apply_non_local(module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
    """The forward hook: stateless, so that deepcopy and pickling keep it."""
    return module.get_submodule(CHILD)(output)


def _make(model: nn.Module, name: str, options: Mapping[str, Any] | NonLocalBlock) -> NonLocalBlock:
    try:
        target = model.get_submodule(name)
    except AttributeError:
        known = [n for n, _ in model.named_modules() if n]
        raise ValueError(
            f"no submodule {name!r} in {type(model).__name__}; it has {', '.join(known[:20])}, ..."
        ) from None
    if CHILD in target._modules:
        raise ValueError(f"{name!r} has a child {CHILD!r} already; remove_non_local takes it out.")
    if isinstance(target, (nn.ModuleList, nn.ModuleDict)) or (
        isinstance(target, nn.Sequential) and type(target).forward is not nn.Sequential.forward
    ):
        raise ValueError(f"{name!r} is a {type(target).__name__} that runs its children itself.")
    block = options if isinstance(options, NonLocalBlock) else _build(model, name, options)
    example = next(target.parameters(), next(model.parameters(), None))
    if example is not None:
        block.to(device=example.device, dtype=example.dtype)
    return block.train(target.training)


def _build(model: nn.Module, name: str, options: Mapping[str, Any]) -> NonLocalBlock:
    given = dict(options)
    channels, dim = given.pop("in_channels", None), given.pop("dim", None)
    for module in _nearest(model, name):
        if dim is None:
            dim = next((d for d, kinds in _DIMS if isinstance(module, kinds)), None)
        if channels is None:
            channels = getattr(module, "out_channels", getattr(module, "num_features", None))
    if channels is None:
        raise ValueError(f"the channels of {name!r} cannot be found; pass in_channels=...")
    if dim is None:
        raise ValueError(f"the dimensions of {name!r} cannot be found; pass dim=1, 2 or 3.")
    return NonLocalBlock(channels, dim=dim, **given)


def _nearest(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """Modules that determine the output of ``name``: its own, last first, then earlier siblings."""
    yield from reversed(list(model.get_submodule(name).modules()))
    parent_name, _, own = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    if isinstance(parent, nn.Sequential):
        before = list(parent._modules)[: list(parent._modules).index(own)]
        for sibling in reversed(before):
            yield from reversed(list(parent.get_submodule(sibling).modules()))
