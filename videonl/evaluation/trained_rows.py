"""Train networks with the same budget, data order and seeds, so that they can be compared."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from videonl.errors import VideoNLError, first_line
from videonl.escapes import json_text, parse_json
from videonl.evaluation.entry import Entry, distinct, equally_dear, row_names
from videonl.evaluation.result import Row
from videonl.files import write_text
from videonl.limits import SEED, Limit, check_limits, whole
from videonl.models.registry import skeleton
from videonl.shares import counted
from videonl.weights.checkpoint import load_checkpoint
from videonl.weights.hub import is_hub
from videonl.weights.published import find_published, local_file

if TYPE_CHECKING:
    from videonl.data import VideoDataModule
    from videonl.training import FitResult, VideoClassifier

BUDGET = "budget.json"
# Values of a budget that have names of their own -> the setting of train.py that they are.
SETTINGS = {
    "epochs": "trainer.max_epochs",
    "batch_size": "data.batch_size",
    "frames": "data.frames",
    "size": "data.crop",
    "short_side": "data.short_side",
    "stride": "data.stride",
    "num_workers": "data.num_workers",
    "pretrained": "model.pretrained",
}
OF_READING = ("class_names_file", "skip_list", "official_split")
SECTIONS = ("recipe", "data", "model", "trainer")

LIMITS = {
    **dict.fromkeys(("epochs", "batch_size", "frames", "size", "short_side", "stride"), whole(1)),
    "num_workers": whole(0),
    "seeds": Limit(SEED.low, SEED.high, integral=True, length=-1),
}


@dataclass(frozen=True)
class Budget:
    """The settings of the trainings, the same for all networks.

    Attributes:
        epochs: passes over the training set.
        seeds: one training of each network per seed, which sets the initial weights, the order of
            the videos, the clips and the crops.
        batch_size: clips per step.
        frames: frames of a clip; None: as the first network was made for.
        size: side of the crop, likewise.
        short_side: of the frames; None: in the first network's proportion to the crop.
        stride: step between frames, likewise.
        num_workers: processes that decode; None: one per core.
        pretrained: weights that every network starts from, such as torchvision's ResNet-50 of
            ImageNet, which is inflated; parameters not in them are initialised. None: from
            scratch. An entry may have its own.
        recipe: values of ``videonl.training.recipe.Recipe`` by name.
        data: more arguments of ``VideoDataModule``, such as ``jitter``.
        options: of every network; those of an entry win.
        model: more arguments of ``VideoClassifier``, such as ``compile``.
        trainer: more arguments of Lightning's ``Trainer``, as primitives.
        instantiate: makes new callbacks and other objects of named classes for every training.
    """

    epochs: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 16
    frames: int | None = None
    size: int | None = None
    short_side: int | None = None
    stride: int | None = None
    num_workers: int | None = None
    pretrained: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    instantiate: Callable[[dict[str, Any]], dict[str, Any]] = field(default=dict, compare=False)

    def as_primitives(self) -> dict[str, Any]:
        """The values as JSON holds them."""
        return {name: v for name, v in asdict(self).items() if name != "instantiate"}

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            VideoNLError: names the value.
        """
        given = {name: value for name, value in vars(self).items() if value is not None}
        check_limits(LIMITS, {**given, "seeds": list(self.seeds)})
        for name in ("recipe", "data", "options", "model", "trainer"):
            if not isinstance(given.get(name), Mapping):
                raise VideoNLError(f"{name} must be a table, got {str(given.get(name))[:80]!r}")
        if not isinstance(given.get("pretrained", ""), str):
            raise VideoNLError(f"pretrained must be text, got {str(self.pretrained)[:80]!r}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise VideoNLError(f"seeds must be different numbers, got {list(self.seeds)}")


def budget_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``train.py fit`` as values of a ``Budget``.

    Args:
        given: dotted key -> value; the network's name and the folder are not among a budget's.
    """
    left = {key: value for key, value in given.items() if key not in ("model.name", "data.root")}
    found: dict[str, Any] = {
        name: left.pop(key) for name, key in SETTINGS.items() if left.get(key) not in (None, -1)
    }
    if "model.options" in left:
        found["options"] = left.pop("model.options") or {}
    for section in SECTIONS:
        prefix = f"{section}."
        table = {key[len(prefix) :]: v for key, v in left.items() if key.startswith(prefix)}
        if table:
            found[section] = table
    return found


def reading_options(budget: Budget | None) -> dict[str, Any]:
    """The settings of a budget that say where the test videos and labels are."""
    data = budget.data if budget else {}
    lists = {split: data.get(f"{split}_list") for split in ("train", "val", "test")}
    more = {name: data[name] for name in OF_READING if data.get(name) is not None}
    if "class_names_file" in more:
        more["class_names"] = more.pop("class_names_file")
    return {**more, "lists": lists} if any(lists.values()) else more


def train_entries(
    entries: Sequence[Entry],
    *,
    data: str,
    budget: Budget,
    folder: Path,
    device: torch.device,
    split: str,
    on_training: Callable[[int, int], None] | None = None,
) -> tuple[list[Entry], list[Row], dict[str, Any]]:
    """Train every network by name once per seed; checkpoints among the entries are kept.

    A training that was interrupted is resumed.

    Args:
        entries: networks by name, and checkpoints.
        data: the data set's folder.
        budget: the same for all.
        folder: gets ``<entry>/seed-<n>/`` with everything of a training.
        device: where to train.
        split: that is tested.
        on_training: called with (trainings done, trainings in all).

    Returns:
        (checkpoints to test, their rows without results, where a failed training has its reason,
        the entry of the protocol about the trainings).

    Raises:
        VideoNLError: nothing to train, or an entry that cannot be made or read.
    """
    names = row_names(entries)
    folders = _folder_names(names)
    networks = [
        (entry, name) for entry, name in zip(entries, names, strict=True) if not entry.is_checkpoint
    ]
    clip = shared_clip(entries, budget)
    check_entries_exist(entries, budget)
    trained, rows = [], []
    for entry, name in zip(entries, names, strict=True):
        if entry.is_checkpoint:
            trained.append(replace(entry, name=name))
            rows.append(Row(name))
    total = len(networks) * len(budget.seeds)
    for done, (seed, (entry, name)) in enumerate(
        (seed, network) for seed in budget.seeds for network in networks
    ):
        row = Row(f"{name}, seed {seed}", model=entry.target, group=name, seed=seed)
        run_dir = folder / folders[name] / f"seed-{seed}"
        checkpoint = ""
        try:
            with redirect_stdout(sys.stderr):  # keep standard output for the table
                result, tests = _train(entry, seed, data, budget, clip, run_dir, device)
            best = result.best if tests and split != "val" else None
            checkpoint, row.learning = str(best or result.last), result.signs
        except (ValueError, TypeError, RuntimeError) as error:
            row.error = f"training: {first_line(error)}"
        trained.append(Entry(checkpoint, row.name, network=entry.target, protocol=entry.protocol))
        rows.append(row)
        if on_training:
            on_training(done + 1, total)
    return trained, rows, {**budget.as_primitives(), "clip": clip, "checkpoint": CHOICE}


def check_entries_exist(entries: Sequence[Entry], budget: Budget) -> None:
    """Refuse a misspelled network, option or file before the first training; downloads nothing.

    Raises:
        VideoNLError: an unknown network or option, a file that is missing or no checkpoint.
    """
    for entry in entries:
        if entry.is_checkpoint:
            if not is_published(entry.target):
                load_checkpoint(entry.target, network=entry.network)
            continue
        skeleton(entry.target, **{**budget.options, **entry.options})
        weights = entry.pretrained or budget.pretrained
        if weights is not None and not is_published(weights):
            local_file(weights)


def is_published(weights: str) -> bool:
    """Whether weights are those of a known name or on the hub, to be downloaded when needed."""
    return is_hub(weights) or find_published(weights) is not None


CHOICE = (
    "the best epoch on val where the data set has one and another split is tested, else the last"
)


def shared_clip(entries: Sequence[Entry], budget: Budget) -> dict[str, Any]:
    """The clip that all networks see: that of the budget, else of the first network by name.

    Raises:
        VideoNLError: there is none, or it cannot be made.
    """
    first = next((entry for entry in entries if not entry.is_checkpoint), None)
    if first is None:
        raise VideoNLError("--train has nothing to train: every entry is a checkpoint already")
    own: Any = skeleton(first.target, **{**budget.options, **first.options}).preprocessing
    size = budget.size or int(own["crop"])
    found = {
        "frames": budget.frames or int(own["frames"]),
        "stride": budget.stride or int(own["stride"]),
        "crop": size,
        "short_side": budget.short_side or round(size * own["short_side"] / own["crop"]),
    }
    if budget.stride is None and budget.data.get("sampling") == "segments":
        del found["stride"]  # they have none
    return found


def widened(
    entries: Sequence[Entry], budget: Budget, *, num_classes: int
) -> tuple[list[Entry], dict[str, int]]:
    """``equally_dear`` with the options and the clip by which all networks will be trained.

    A rectangle that is still to be found from the data has the pixels of the crop.
    """
    clip = shared_clip(entries, budget)
    sides = budget.data.get("rectangle") or (clip["crop"],)
    shape = (clip["frames"], *sides)
    return equally_dear(entries, clip=shape, num_classes=num_classes, options=budget.options)


def plan_of(
    entries: Sequence[Entry],
    *,
    data: str,
    budget: Budget,
    device: torch.device,
    equal_cost: bool = False,
    chosen: Sequence[str] = (),
) -> list[str]:
    """The plan of the trainings and their time; every network is tried on two batches.

    The arguments are those of ``train_entries`` and ``compare_models``, and ``chosen``: a line for
    each setting that was chosen because it was not given.

    Raises:
        VideoNLError: nothing to train, no videos, or an entry that cannot be trained or read.
    """
    from videonl.training import duration, make_plan, make_trainer
    from videonl.training.trainer import NOTHING_KEPT

    clip = shared_clip(entries, budget)
    videos = _videos(budget.seeds[0], data, budget, clip)
    check_entries_exist(entries, budget)
    if equal_cost:
        entries, _ = widened(entries, budget, num_classes=videos.num_classes)
    networks = [e for e in entries if not e.is_checkpoint]
    lines: list[str] = []
    seconds: list[float | None] = []
    for entry in networks:
        try:
            classifier, videos, options = _parts(entry, budget.seeds[0], data, budget, clip, device)
        except (TypeError, RuntimeError) as error:  # of a network of the user's
            raise VideoNLError(f"{entry.target} cannot be trained: {first_line(error)}") from error
        trainer = make_trainer({**options, **NOTHING_KEPT})
        made = make_plan(classifier, videos, trainer, chosen=chosen)
        videos.teardown("fit")
        networks_line = [line for line in made.facts if line.startswith("network ")]
        # All lines for the first network; for the others only those that differ.
        lines += [*networks_line, *made.course] if seconds else made.lines
        seconds.append(made.seconds)
    known = [each for each in seconds if each is not None]
    if known and len(known) == len(seconds):
        many = len(known) * len(budget.seeds)
        lines.append(
            f"in all    {counted(many, 'training')} ({counted(len(known), 'network')} x "
            f"{counted(len(budget.seeds), 'seed')}): "
            f"about {duration(sum(known) * len(budget.seeds))}"
        )
    return lines


def _videos(seed: int, data: str, budget: Budget, clip: dict[str, Any]) -> "VideoDataModule":
    """The data module of one training, set up.

    Raises:
        DatasetError: there are no videos to train on.
    """
    from videonl.data import VideoDataModule

    more = {**clip, "batch_size": budget.batch_size, **budget.data, "seed": seed}
    more["split_seed"] = budget.seeds[0]  # all are tested on the same videos
    if budget.num_workers is not None:
        more["num_workers"] = budget.num_workers
    videos = VideoDataModule(data, **more)
    videos.setup("fit")
    return videos


def _parts(
    entry: Entry,
    seed: int,
    data: str,
    budget: Budget,
    clip: dict[str, Any],
    device: torch.device,
) -> tuple["VideoClassifier", "VideoDataModule", dict[str, Any]]:
    """The classifier, the data module and the Trainer's options of one training."""
    from videonl.training import VideoClassifier

    videos = _videos(seed, data, budget, clip)
    torch.manual_seed(seed)
    classifier = VideoClassifier(
        entry.target,
        num_classes=videos.num_classes,
        class_names=videos.class_names,
        options={**budget.options, **entry.options},
        pretrained=entry.pretrained or budget.pretrained,
        preprocessing=videos.preprocessing,
        recipe=dict(budget.recipe),
        **budget.model,
    )
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    options = {
        "max_epochs": budget.epochs,
        "accelerator": accelerator,
        "devices": [device.index or 0] if accelerator == "gpu" else 1,
        "enable_progress_bar": False,
        **budget.instantiate(dict(budget.trainer)),
    }
    return classifier, videos, options


def _train(
    entry: Entry,
    seed: int,
    data: str,
    budget: Budget,
    clip: dict[str, Any],
    run_dir: Path,
    device: torch.device,
) -> tuple["FitResult", bool]:
    """Run one training; returns its result, and whether the data set has test videos."""
    from videonl.training import fit

    classifier, videos, options = _parts(entry, seed, data, budget, clip, device)
    split = {"split_seed": videos.split_seed} if videos.made_split else {}
    resume = _resumable(run_dir, entry, budget, {**clip, **split})
    name = classifier.hparams["name"]
    result = fit(
        classifier,
        videos,
        run_dir=run_dir,
        seed=seed,
        resume=resume,
        trainer_options=options,
        announce=lambda *_, run_dir: [f"training  {name}, seed {seed}: {run_dir}"],
    )
    return result, "test" in videos.records


def _resumable(run_dir: Path, entry: Entry, budget: Budget, more: dict[str, Any]) -> Path | None:
    """The checkpoint to resume from, if the folder holds a training with these settings.

    Args:
        run_dir: the folder.
        entry: that is trained.
        budget: of it.
        more: settings that are not the budget's.

    Raises:
        VideoNLError: the folder holds a training with other settings.
    """
    about = {"entry": entry.target, **budget.as_primitives(), **more}
    about["options"] = {**budget.options, **entry.options}
    about["pretrained"] = entry.pretrained or budget.pretrained
    text = json_text(
        {key: about[key] for key in about if key not in ("seeds", "num_workers")}, ascii=True
    )
    note, last = run_dir / BUDGET, run_dir / "last.ckpt"
    if last.is_file() and note.exists() and not _same(note.read_text(encoding="utf-8"), text):
        raise VideoNLError(f"{run_dir} holds a training with other settings; give another --out")
    write_text(note, text)
    return last if last.is_file() else None


def _same(note: str, text: str) -> bool:
    """Whether two JSON texts hold the same values, in whatever order they were written."""
    try:
        return bool(parse_json(note) == parse_json(text))
    except ValueError:  # cut off or edited by hand
        return False


def _folder_names(names: Sequence[str]) -> dict[str, str]:
    """The names of rows as those of folders, each of its own."""
    kept = ("".join(c if c.isalnum() or c in "-_." else "_" for c in name) for name in names)
    plain = (name if name.strip(".") else f"_{name}" for name in kept)
    return dict(zip(names, distinct(plain, "{}-{}"), strict=True))
