"""The classifier of a file for the classes of the data: rows by name, or none of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from videonl.weights.report import LoadReport, shorten

SHOWN = 3  # names of a line


def align_head(
    tensors: dict[str, Tensor],
    head: str,
    of_file: Sequence[str] | None,
    wanted: Sequence[str],
    report: LoadReport,
) -> bool:
    """Put the rows of a classifier into the order of other names, where the names are the same.

    As many classes are not the same classes: without this, what was trained as the third class
    would start as whatever comes third in the data.

    Args:
        tensors: of the network; those of the classifier are replaced.
        head: path of the classifier.
        of_file: names in the order of its rows; None where nobody knows them.
        wanted: names in the order of the data.
        report: gets a note that says what was done.

    Returns:
        Whether the rows are kept; False where the names are not exactly the same.
    """
    if of_file is None or sorted(of_file) != sorted(wanted):
        theirs = f"are {shorten(of_file, SHOWN)}" if of_file else "have no names in the file"
        report.notes.append(
            f"the classifier starts afresh, although the number of classes is the same: those of "
            f"the weights {theirs}; those of the data are {shorten(wanted, SHOWN)}"
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
        "the classifier is kept: its rows were put into the order of the data's classes, by name"
    )
    return True


def without_head(
    tensors: dict[str, Tensor], head: str, reason: str, report: LoadReport
) -> dict[str, Tensor]:
    """The tensors without the classifier, which the report names with the reason."""
    dropped = [key for key in tensors if key.rpartition(".")[0] == head]
    report.skipped += [f"{key} ({reason})" for key in dropped]
    return {key: tensor for key, tensor in tensors.items() if key not in dropped}
