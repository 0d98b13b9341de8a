"""Which table of a file holds the weights, and which wrapper prefixes its keys have."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError

# Tables of tensors by name; the first that exists is used. Averaged weights come before the
# current ones, as in timm (use_ema) and in torchvision's own evaluation of "model_ema". MMEngine
# does the opposite: it writes the average into "state_dict" and the current weights into
# "ema_state_dict".
TABLES = (
    *("blobs", "model_state", "state_dict_ema", "model_ema", "model_ema_state_dict"),
    *("model_state_dict_ema", "ema_model", "ema", "state_dict", "model_state_dict", "model"),
    *("module", "net", "network", "weights", "params", "ema_state_dict"),
)
PREFIXES = (  # torch.compile, DistributedDataParallel, Fabric, Lightning modules, AveragedModel
    *("_orig_mod.", "module.", "_forward_module.", "model.", "net.", "network."),
    *("ema_model.", "_model.", "student."),
)
COUNTERS = ("n_averaged",)  # of torch.optim.swa_utils.AveragedModel
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
    if wanted is not None and wanted not in found:
        has = f"it has {', '.join(found)}" if found else "it has no tables by name"
        raise CheckpointError(f"{path} has no table of weights named {wanted!r}; {has}")
    if not found:
        return data, None, []
    name = wanted or found[0]
    table = data[name]
    while not any(isinstance(value, Tensor) for value in table.values()):
        table = next(table[key] for key in TABLES if holds_tensors(table.get(key)))
    return table, name, [other for other in found if other != name]


def holds_tensors(value: Any, depth: int = 2) -> bool:
    """Whether a value is a table of tensors, or a table of such tables."""
    if not isinstance(value, Mapping):
        return False
    if any(isinstance(each, Tensor) for each in value.values()):
        return True
    return depth > 1 and any(holds_tensors(value.get(key), depth - 1) for key in TABLES)


def strip_wrappers(
    tensors: Mapping[str, Tensor], known: Callable[[Mapping[str, Tensor]], bool]
) -> tuple[dict[str, Tensor], tuple[str, ...], list[str]]:
    """The keys of the network itself, without prefixes of wrappers around it.

    Prefixes are removed one by one, in any nesting, until a reader knows the keys. Tensors that do
    not share the prefix of most tensors (the buffers of a loss or a metric beside the network) are
    left out.

    Args:
        tensors: by their keys in the file.
        known: whether a reader knows such keys.

    Returns:
        (tensors, the removed prefixes, descriptions of what was left out); the tensors unchanged if
        no reader knows them.
    """
    here, prefixes, skipped = dict(tensors), [], []
    while not known(here):
        for counter in COUNTERS:
            if here.pop(counter, None) is not None:
                skipped.append(f"{counter} (of the average)")
        prefix = common_prefix(list(here))
        if prefix is None:
            return dict(tensors), (), []
        outside = [key for key in here if not key.startswith(prefix)]
        skipped += [f"{key} (beside {prefix}*)" for key in outside]
        here = {
            key.removeprefix(prefix): value for key, value in here.items() if key not in outside
        }
        prefixes.append(prefix)
    return here, tuple(prefixes), skipped


def common_prefix(keys: Sequence[str]) -> str | None:
    """The prefix of a wrapper that at least half of the keys have, or None."""
    counts = {prefix: sum(key.startswith(prefix) for key in keys) for prefix in PREFIXES}
    best = max(counts, key=lambda prefix: counts[prefix])
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
