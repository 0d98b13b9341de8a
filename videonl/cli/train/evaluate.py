"""``train.py validate``, ``test`` and ``predict``."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed, is_first_process
from videonl.cli.terminal import words_apart
from videonl.cli.train.errors import clear_errors
from videonl.cli.train.settings import LISTS, asked_protocol, read_settings, take_lists
from videonl.cli.values import say_protocol
from videonl.errors import DatasetError, VideoNLError
from videonl.weights.run_folder import files_of

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from videonl.data.datamodule import VideoDataModule
    from videonl.training.classifier import VideoClassifier
    from videonl.training.evaluation import Evaluation
    from videonl.video.preprocessing import Preprocessing


def test_command(command: str, argv: Sequence[str]) -> int:
    """Measure the accuracy, by the network's own protocol or by the one that is asked for."""
    settings, given = read_settings(command, argv)
    if settings["csv"]:
        raise VideoNLError(f"--csv is an option of predict; {command} writes its result to --json")
    with words_apart(settings["json"]):
        return test(command, settings, given)


def test(command: str, settings: dict[str, Any], given: dict[str, Any]) -> int:
    """Measure, print and write."""
    from videonl.cli.train.parser import trainer_options
    from videonl.data.census import census_of
    from videonl.training.evaluation import describe

    checkpoint, quick = checkpoint_of(settings), command == "validate"
    if quick:
        settings["split"] = settings["split"] or "val"
    views = "val_views" if quick else "views"
    data, classifier, own = prepare(settings, given, checkpoint, views=views)
    census = census_of(data.catalogue)
    split = settings["split"] or ("test" if "test" in data.records else "val")
    shape = classifier.preprocessing.protocol()["views"]
    default = results_of(settings, checkpoint, f"_{split}_{shape}.json")
    path = Path(settings["json"] or default) if settings["json"] or not quick else None
    if text := data.rates_differ(split):
        print(f"note      {text}")
    how = {"split": split, "trainer_options": trainer_options(settings["trainer"])}
    with claimed(path if is_first_process() else None, reads=inputs_of(settings, checkpoint)):
        with clear_errors(settings):
            evaluation, *others = evaluations(classifier, data, own, **how)
        print(describe(evaluation))
        for other in others:
            print(f"by the network's own protocol, {own.shown_views}:\n{describe(other)}")
        if classifier.preprocessing != own and not others:
            said = "protocol" if given.get("protocol") else f"data.{views}"
            print(f"  leave out --{said} for the network's own protocol, {own.shown_views}")
        if path is not None and is_first_process():
            about = {"data": data.root, "data_census": census, "seed": settings["seed"]}
            write_result(path, classifier, evaluation, others, checkpoint=checkpoint, about=about)
    return 0


def write_result(
    path: Path,
    classifier: "VideoClassifier",
    evaluation: "Evaluation",
    others: Sequence["Evaluation"],
    *,
    checkpoint: Path,
    about: Mapping[str, Any],
) -> None:
    """Write the result file and the confusion picture beside it, and print their paths."""
    from videonl.evaluation.speed import describe_environment
    from videonl.training.evaluation import draw_confusion, measured, result, write_json
    from videonl.weights.hub import pinned_name

    if (cost := cost_of(classifier)) is not None:
        print(f"  cost {cost['gmacs_per_view']:.4g} GMACs per view, {cost['gmacs']:.4g} per video")
    more = {
        "own_protocol": [measured(other, classifier) for other in others],
        "cost": cost,
        "checkpoint": pinned_name(checkpoint) or checkpoint.name,
        **about,
        "environment": describe_environment(classifier.device),
    }
    write_json(result(evaluation, classifier, **more), path)
    print(f"result    {path}")
    picture = path.with_name(f"{path.stem}_confusion.png")
    if path.is_file() and draw_confusion(evaluation, classifier, picture):
        print(f"picture   {picture}")


def evaluations(
    classifier: "VideoClassifier", data: "VideoDataModule", own: "Preprocessing", **how: Any
) -> list["Evaluation"]:
    """Evaluate by the protocol that is asked for, then by the network's own if that differs.

    The second is left out if it has more views, which would take longer than what was asked for.
    """
    from videonl.training.evaluation import evaluate

    asked = classifier.preprocessing
    found = [evaluate(classifier, data, views=asked.views, **how)]
    if asked != own and own.num_views <= asked.num_views:
        data.preprocessing = own
        classifier.set_preprocessing(own)
        found.append(evaluate(classifier, data, views=own.views, **how))
        classifier.set_preprocessing(asked)
    return found


def cost_of(classifier: "VideoClassifier") -> dict[str, Any] | None:
    """Cost of a video: per view and over all views; None where it cannot be counted."""
    from videonl.evaluation.cost import count_cost

    shown = classifier.preprocessing
    clip = (3, *shown.view_shape)
    try:
        cost = count_cost(classifier.net, clip_shape=clip)
    except (RuntimeError, NotImplementedError, ValueError):  # a network that meta cannot run
        return None
    return {
        "clip_shape": list(clip),
        "views": shown.num_views,
        "gmacs_per_view": cost.macs / 1e9,
        "gmacs": cost.macs * shown.num_views / 1e9,
        "gflops_per_view": cost.flops / 1e9,
        "parameters": cost.params,
    }


def inputs_of(settings: Mapping[str, Any], checkpoint: Path) -> list[str | Path | None]:
    """The files that a test reads, but for its videos."""
    from videonl.data.catalogue import lists_of

    own = chain.from_iterable(lists_of(Path(settings["data"]["root"])).values())
    said = (settings["data"][name] for name in LISTS)
    return [*files_of(checkpoint), settings["config"], *said, *own]


def checkpoint_of(settings: dict[str, Any]) -> Path:
    """The file of the checkpoint.

    Raises:
        VideoNLError: none was given, or it does not exist.
    """
    from videonl.weights.published import local_file

    said = said_checkpoint(settings)
    if not said:
        raise VideoNLError(
            "give the network with --checkpoint PATH: a checkpoint or a run's folder"
        )
    return local_file(said)


def said_checkpoint(settings: dict[str, Any]) -> str | None:
    """The checkpoint as it was given: a path or a name."""
    return settings["checkpoint"] or settings["ckpt_path"] or settings["model"]["pretrained"]


def results_of(settings: dict[str, Any], checkpoint: Path, ending: str) -> Path:
    """The default file of a result: beside the checkpoint, or here if that is on the hub."""
    from videonl.weights.hub import is_hub, stem_of

    said = str(said_checkpoint(settings))
    if is_hub(said):  # its file lies in a cache
        return Path(f"{stem_of(said)}{ending}")
    return checkpoint.with_name(f"{checkpoint.stem}{ending}")


def prepare(
    settings: dict[str, Any],
    given: dict[str, Any],
    checkpoint: Path,
    *,
    views: str = "views",
    labelled: bool = True,
) -> tuple["VideoDataModule", "VideoClassifier", "Preprocessing"]:
    """The videos as they are to be looked at, the classifier of a checkpoint, its own protocol.

    Args:
        settings: of the command.
        given: those that were given.
        checkpoint: the file.
        views: the option that says (clips, crops).
        labelled: whether the classes must be those of the checkpoint.

    Raises:
        DatasetError: the split is missing, or has classes that the checkpoint does not know.
    """
    from videonl.data.datamodule import VideoDataModule
    from videonl.data.layouts import check_split, split_of
    from videonl.data.splits import unseen
    from videonl.training.classes import align_classes, labelled_split
    from videonl.training.classifier import VideoClassifier
    from videonl.weights.run_folder import run_of

    classifier = VideoClassifier.from_checkpoint(
        checkpoint,
        views_per_forward=settings["model"]["views_per_forward"],
        network=given.get("model.name"),
    )
    own = classifier.preprocessing
    asked = asked_protocol(given, own, views=views)
    say_protocol(given.get("protocol"), asked)
    classifier.set_preprocessing(asked)
    if text := asked.asks_crops(given.get(f"data.{views}")):
        print(f"note      {text}")

    def read() -> VideoDataModule:
        data = VideoDataModule(**settings["data"], preprocessing=asked, seed=settings["seed"])
        data.setup("predict")
        return data

    data = read()
    if data.catalogue.unsplit and take_lists(settings, run_of(checkpoint)):
        data = read()
    trained = split_of(classifier.hparams["data_split"], data.catalogue.official)
    if trained is not None and settings["data"]["official_split"] is None:
        settings["data"]["official_split"] = trained
        data = read()
    split = settings["split"]
    if split is not None and split not in data.records:
        has = ", ".join(data.records)
        raise DatasetError(f"{data.root} has no {split} split; choose one with --split ({has})")
    check_split(data.catalogue.official, classifier.hparams["data_split"], source=str(checkpoint))
    tested = split or ("test" if "test" in data.records else "val")
    if tested in data.records and tested != "train":
        left, said = unseen(
            data.records[tested],
            data.root,
            classifier.hparams["trained_videos"],
            source=str(checkpoint),
        )
        if said:
            data.take(tested, left)
            data.catalogue.notes.append(said)
    for note in data.catalogue.notes:
        print(f"note      {note}")
    if labelled:
        settings["split"] = labelled_split(data, split)
        align_classes(data, classifier.class_names, num_classes=classifier.num_classes)
        if data.multi_label and not classifier.multi_label:
            print(
                "note      videos have several labels, but the network answers with one: only the "
                "first label of a video counts"
            )
    return data, classifier, own
