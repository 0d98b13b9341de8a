"""``train.py validate``, ``test`` and ``predict``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed, is_first_process
from videonl.cli.train_errors import clear_errors
from videonl.cli.train_settings import fitting_data, read_settings, take_lists
from videonl.errors import DatasetError, VideoNLError

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from videonl.data.datamodule import VideoDataModule
    from videonl.training.classifier import VideoClassifier


def test_command(command: str, argv: Sequence[str]) -> int:
    """Measure the accuracy: validate with one view, test by the published protocol."""
    settings, given = read_settings(command, argv)
    from videonl.cli.train_parser import trainer_options
    from videonl.data.catalogue import census_of
    from videonl.evaluation.environment import describe_environment
    from videonl.training.evaluation import describe, evaluate, result, write_json

    checkpoint = checkpoint_of(settings)
    if command == "validate":
        settings["split"] = settings["split"] or "val"
    data, classifier = prepare(settings, given, checkpoint)
    census = census_of(data.catalogue)
    quick = command == "validate"
    split = settings["split"] or ("val" if quick or "test" not in data.records else "test")
    clips, crops = data.val_views if quick else data.views
    default = checkpoint.with_name(f"{checkpoint.stem}_{split}_{clips}x{crops}.json")
    path = Path(settings["json"] or default) if settings["json"] or not quick else None
    with claimed(path if is_first_process() else None), clear_errors(settings):
        evaluation = evaluate(
            classifier,
            data,
            split=split,
            one_view=quick,
            trainer_options=trainer_options(settings["trainer"]),
        )
    print(describe(evaluation))
    if path is not None and is_first_process():
        cost = cost_of(classifier, evaluation.views)
        about = {
            "cost": cost,
            "checkpoint": checkpoint.name,
            "data": data.root,
            "data_census": census,
            "seed": settings["seed"],
            "environment": describe_environment(classifier.device),
        }
        if cost is not None:
            print(f"  cost {cost['gmacs_per_view']:.4g} GMACs per view, {cost['gmacs']:.4g} in all")
        write_json(result(evaluation, classifier, **about), path)
        print(f"result    {path}")
    return 0


def cost_of(classifier: "VideoClassifier", views: tuple[int, int]) -> dict[str, Any] | None:
    """Cost of a video: per view and over all views; None where it can not be counted."""
    from videonl.evaluation.cost import count_cost

    shape, (clips, crops) = classifier.preprocessing, views
    # Three crops are squares of the whole short side, one is the training size.
    side = int(shape["short_side"] if crops == 3 else shape["crop"])
    clip = (3, int(shape["frames"]), side, side)
    try:
        cost = count_cost(classifier.net, clip_shape=clip)
    except (RuntimeError, NotImplementedError, ValueError):  # a network that meta can not run
        return None
    return {
        "clip_shape": list(clip),
        "views": clips * crops,
        "gmacs_per_view": cost.macs / 1e9,
        "gmacs": cost.macs * clips * crops / 1e9,
        "gflops_per_view": cost.flops / 1e9,
        "parameters": cost.params,
    }


def checkpoint_of(settings: dict[str, Any]) -> Path:
    """The checkpoint that is meant.

    Raises:
        VideoNLError: none was said, or it does not exist.
    """
    from videonl.weights.published import local_file

    said = settings["checkpoint"] or settings["ckpt_path"] or settings["model"]["pretrained"]
    if not said:
        raise VideoNLError("which network? Say --checkpoint PATH, a checkpoint or a run folder")
    return local_file(said)


def prepare(
    settings: dict[str, Any], given: dict[str, Any], checkpoint: Path, *, labelled: bool = True
) -> tuple["VideoDataModule", "VideoClassifier"]:
    """The classifier of a checkpoint, and the videos as it wants them.

    Raises:
        DatasetError: the split is missing, or has classes that the checkpoint does not know.
    """
    from videonl.data.layouts import check_split, split_of
    from videonl.training.classes import align_classes, labelled_split
    from videonl.training.classifier import VideoClassifier

    classifier = VideoClassifier.from_checkpoint(
        checkpoint,
        views_per_forward=settings["model"]["views_per_forward"],
        network=given.get("model.name"),
    )
    data = fitting_data(settings, given, classifier.preprocessing, stage="predict")
    if data.catalogue.unsplit and take_lists(settings, checkpoint.parent):
        data = fitting_data(settings, given, classifier.preprocessing, stage="predict")
    trained = split_of(classifier.hparams["data_split"], data.catalogue.official)
    if trained is not None and settings["data"]["official_split"] is None:
        settings["data"]["official_split"] = trained
        data = fitting_data(settings, given, classifier.preprocessing, stage="predict")
    classifier.set_preprocessing(data.preprocessing)
    split = settings["split"]
    if split is not None and split not in data.records:
        raise DatasetError(f"{data.root} has no {split} folder (it has: {', '.join(data.records)})")
    check_split(data.catalogue.official, classifier.hparams["data_split"], source=str(checkpoint))
    for note in data.catalogue.notes:
        print(f"note      {note}")
    if labelled:
        settings["split"] = labelled_split(data, split)
        align_classes(data, classifier.class_names, num_classes=classifier.num_classes)
        if data.multi_label and not classifier.multi_label:
            print(
                "note      videos have several labels, the checkpoint knows one: the first counts"
            )
    return data, classifier
