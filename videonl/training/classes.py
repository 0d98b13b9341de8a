"""The classes of a data set in the order of a checkpoint, and their weights."""

from collections.abc import Sequence
from dataclasses import replace

from videonl.class_names import ClassNumbers
from videonl.data import VideoDataModule
from videonl.errors import DatasetError
from videonl.shares import counted, few


def align_classes(
    data: VideoDataModule, class_names: Sequence[str] | None, *, num_classes: int
) -> None:
    """Renumber the labels of a data set as a checkpoint numbers its classes.

    A folder with two of the 400 Kinetics classes is tested with their Kinetics numbers. Names are
    compared without case and signs.

    Args:
        data: set up already; changed in place.
        class_names: of the checkpoint; None where it has none: then the numbers must agree.
        num_classes: of the checkpoint.

    Raises:
        DatasetError: a class that the checkpoint does not know.
    """
    if class_names is None:
        if data.num_classes != num_classes:
            raise DatasetError(
                f"the checkpoint has {counted(num_classes, 'class')} without names, {data.root} "
                f"has {data.num_classes}, so they cannot be matched; add the names with videonl "
                "convert --labels"
            )
        return
    number = ClassNumbers(class_names)
    strange = [name for name in data.class_names if name not in number]
    if strange:
        raise DatasetError(
            f"{data.root} has classes that the checkpoint does not know: "
            f"{few(strange)} (it knows {', '.join(class_names[:4])}, ...); "
            "to train on new classes, start from it with --model.pretrained"
        )
    new = [number[name] for name in data.class_names]
    for split, records in data.records.items():
        data.records[split] = [
            replace(record, labels=tuple(new[n] for n in record.labels)) for record in records
        ]
    sides = frozenset(new[number] for number in data.augmentation.flip_exceptions)
    data.augmentation = replace(data.augmentation, flip_exceptions=sides)
    data.class_names = list(class_names)


def labelled_split(data: VideoDataModule, wanted: str | None) -> str | None:
    """The split to measure: the wanted one, else val where the test list has no labels.

    Raises:
        DatasetError: the wanted one has none.
    """
    records = data.records
    split = wanted or ("test" if "test" in records else "val")
    found = records.get(split, [])
    if data.multi_label or not found or any(r.label is not None for r in found):
        return wanted
    if wanted is None and records.get("val"):
        print("note      the test list has no labels: the accuracy is measured on val")
        return "val"
    raise DatasetError(
        f"the {split} list has no labels, so no accuracy can be measured; use predict instead"
    )


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights that make all classes count the same in the loss, with a mean of 1 over the videos.

    Args:
        counts: videos per class; an empty class gets weight 0.

    Example:
        >>> balanced_weights([10, 30])
        [2.0, 0.6666666666666666]
    """
    present = sum(count > 0 for count in counts)
    total = sum(counts)
    return [total / (present * count) if count else 0.0 for count in counts]
