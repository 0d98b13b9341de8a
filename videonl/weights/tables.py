"""Which table of a file holds the weights, and which wrapper prefixes its keys have."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.shares import few

# Tables of tensors by name; the first that exists is used. Averaged weights come before the
# current ones, as in timm (use_ema) and in torchvision's own evaluation of "model_ema". MMEngine
# does the opposite: it writes the average into "state_dict" and the current weights into
# "ema_state_dict".
TABLES = (
    *("blobs", "model_state", "state_dict_ema", "model_ema", "model_ema_state_dict"),
    *("model_state_dict_ema", "ema_model", "ema", "state_dict", "model_state_dict", "model"),
    *("module", "net", "network", "weights", "params", "ema_state_dict"),
)
OF_TORCH = ("_orig_mod.", "module.", "_forward_module.")  # compile, DistributedDataParallel, Fabric
PREFIXES = (*OF_TORCH, "model.", "net.", "network.", "ema_model.", "_model.", "student.")
COUNTERS = ("n_averaged",)  # of torch.optim.swa_utils.AveragedModel
DEEPEST = 10  # wrappers around each other
SHOWN = 4  # names of a message
SHARED, SPARE = 4, 1024 * 1024  # tied layers may claim several times what the file has


def find_table(
    data: Mapping[Any, Any], *, wanted: str | None, path: Path
) -> tuple[Mapping[Any, Any], str | None, list[str]]:
    """The table of weights of a file.

    Args:
        data: the content of the file.
        wanted: the name of a table that the user asks for.
        path: the file, for the message.

    Returns:
        (the table, its name or None if the file is the table, the names of the others).

    Raises:
        CheckpointError: there is no table of the wanted name.
    """
    found = [key for key in TABLES if holds_tensors(data.get(key))]
    if not found and not any(isinstance(value, Tensor) for value in data.values()):
        found = [key for key, value in data.items() if isinstance(key, str) and is_table(value)]
        if len(found) > 1 and wanted is None:
            raise CheckpointError(
                f"{path} has several tables of tensors, {few(found, SHOWN)}; choose one with "
                "--option weights=NAME (fit: --model.options.weights NAME)"
            )
    if wanted is not None and wanted not in found:
        has = f"it has {', '.join(found)}" if found else "it has no tables by name"
        raise CheckpointError(f"{path} has no table of weights named {wanted!r}; {has}")
    if not found:
        return data, None, []
    name = wanted or found[0]
    table = data[name]
    while not is_table(table):
        table = next(table[key] for key in TABLES if holds_tensors(table.get(key)))
    return table, name, [other for other in found if other != name]


def is_table(value: Any) -> bool:
    """Whether a value is a table of tensors."""
    return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())


def holds_tensors(value: Any, depth: int = 2) -> bool:
    """Whether a value is a table of tensors, or a table of such tables."""
    if not isinstance(value, Mapping) or is_table(value):
        return isinstance(value, Mapping)
    return depth > 1 and any(holds_tensors(value.get(key), depth - 1) for key in TABLES)


def strip_wrappers(
    tensors: Mapping[str, Tensor],
    known: Callable[[Mapping[str, Tensor]], bool],
    *,
    any_name: bool = False,
) -> tuple[dict[str, Tensor], tuple[str, ...], list[str]]:
    """The keys of the network itself, without prefixes of wrappers around it.

    Prefixes are removed one by one, in any nesting, until a reader knows the keys. Tensors that do
    not share the prefix of most tensors (the buffers of a loss or a metric beside the network) are
    left out.

    Args:
        tensors: by their keys in the file.
        known: whether a reader knows such keys.
        any_name: see ``common_prefix``.

    Returns:
        (tensors, the removed prefixes, descriptions of what was left out); the tensors unchanged if
        no reader knows them.
    """
    here, prefixes, skipped = dict(tensors), list[str](), list[str]()
    for _ in range(DEEPEST):
        if known(here):
            return here, tuple(prefixes), skipped
        for counter in COUNTERS:
            if here.pop(counter, None) is not None:
                skipped.append(f"{counter} (of the average)")
        prefix = common_prefix(list(here), any_name=any_name)
        if prefix is None:
            break
        skipped += [f"{key} (beside {prefix}*)" for key in here if not key.startswith(prefix)]
        here = {k.removeprefix(prefix): v for k, v in here.items() if k.startswith(prefix)}
        prefixes.append(prefix)
    return dict(tensors), (), []


def common_prefix(keys: Sequence[str], *, any_name: bool = False) -> str | None:
    """The prefix of a wrapper that at least half of the keys have, or None.

    Args:
        keys: of the tensors.
        any_name: take a wrapper of any name (``encoder.``), not only the usual ones.
    """
    counts = Counter(f"{key.partition('.')[0]}." for key in keys if "." in key)
    best = max(counts if any_name else PREFIXES, key=counts.__getitem__, default="")
    return best if counts[best] and 2 * counts[best] >= len(keys) else None


def check_claims(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that claim far more memory than their file has, by sharing it.

    Raises:
        CheckpointError: names both sizes.
    """
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    size = path.stat().st_size
    if claimed > SHARED * size + SPARE:
        raise CheckpointError(
            f"{path} is damaged or hostile: its tensors claim {claimed} bytes, the file has {size}"
        )
