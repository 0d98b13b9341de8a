"""Match a file's classifier to the classes of the data: its rows by name, or a new one."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from videonl.shares import few
from videonl.weights.report import LoadReport

SHOWN = 3  # names of a line


def align_head(
    tensors: dict[str, Tensor],
    head: str,
    of_file: Sequence[str] | None,
    wanted: Sequence[str],
    report: LoadReport,
) -> bool:
    """Reorder the rows of a classifier for other names, if the names are the same.

    The same number of classes does not mean the same classes: without this, the row of the file's
    third class would be used for the third class of the data.

    Args:
        tensors: of the network; those of the classifier are replaced.
        head: path of the classifier.
        of_file: names in the order of its rows; None if unknown.
        wanted: names in the order of the data.
        report: gets a note that says what was done.

    Returns:
        Whether the rows are kept; False if the names are not exactly the same.
    """
    if of_file is None or sorted(of_file) != sorted(wanted):
        theirs = f"are {few(of_file, SHOWN)}" if of_file else "have no names in the file"
        report.notes.append(
            f"the classifier is new, although the number of classes is the same: those of the "
            f"weights {theirs}; those of the data are {few(wanted, SHOWN)}"
        )
        return False
    if list(of_file) == list(wanted):
        report.notes.append("the classifier is kept: the classes are those of the weights")
        return True
    row = {name: index for index, name in enumerate(of_file)}
    order = torch.tensor([row[name] for name in wanted])
    for key in tensors:
        if key.rpartition(".")[0] == head:
            tensors[key] = tensors[key][order]
    report.notes.append(
        "the classifier is kept: its rows were reordered by name to the classes of the data"
    )
    return True


def without_heads(
    tensors: Mapping[str, Tensor], heads: Collection[str], reason: str, report: LoadReport
) -> dict[str, Tensor]:
    """The tensors without some classifiers, which the report lists with the reason."""
    dropped = [key for key in tensors if key.rpartition(".")[0] in heads]
    report.skipped += [f"{key} ({reason})" for key in dropped]
    return {key: tensor for key, tensor in tensors.items() if key not in dropped}
