"""Default settings of a training, as a pure function of its data and of the settings given.

A large network learns little from few videos, and a clip of half a second or a square of a wide
picture often misses the people. So up to a few thousand videos get a small network, clips that span
the whole video and show the whole picture, an optimiser that trains small networks from scratch,
and a length in steps instead of passes over the data.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from videonl.data import look_at
from videonl.shares import counted

FEW = 5000  # training videos up to which a network from scratch must be small
NETWORK, SMALL = "tiny_i3d_nl2", "tiny_"
SIDE = 64  # pixels of a small network's clips: as many as in a square of that side
FRAMES, MOST_FRAMES = 16, 32
APART = 0.5  # seconds between two frames of a clip, as far as so many frames allow
# Of a small network: a quarter of the places in every later layer, at a quarter of the time.
POOLED = {"pool1_kernel": [1, 3, 3], "pool1_stride": [1, 2, 2], "pool1_padding": [0, 1, 1]}
DROPOUT = 0.2
LOOKED_AT = 60  # videos whose lengths are read
BATCH = 8  # of the data module
CROP_SHARE = 224 / 256  # of the short side, in every published protocol
ZOOM = 1.5  # how much larger than their rectangle pictures are shown in training, at most
ZOOMED = f"in training, random crops of pictures that are up to {ZOOM:g} times as large"
STEPS, PASSES = 1200, 12  # after which the loss has settled, from scratch
FINE_STEPS, FINE_PASSES = 500, 12  # from published weights
VALIDATIONS = 40
# Published weights: the recipe of configs/finetune.yaml. Batch statistics of few videos are noisy,
# and new layers need a higher rate.
FINE_TUNING = {
    "recipe.learning_rate": 0.005,
    "recipe.fresh_factor": 10.0,
    "recipe.batch_norm": "frozen",
    "recipe.warmup": 0.1,
    "recipe.label_smoothing": 0.1,
    "trainer.gradient_clip_val": 5.0,
}
# Options that set how clips are sampled, which part of a picture they show, or how long to train:
# if one of a group is given, no default of this group is set.
DENSE = {f"data.{name}" for name in ("sampling", "stride", "fps", "short_video")}
SQUARE = {f"data.{name}" for name in ("picture", "short_side", "jitter", "resized_crop")}
SQUARE |= {"data.test_crop"}
SIZE = {f"data.{name}" for name in ("crop", "short_side", "rectangle")}
BUDGET = {f"trainer.{name}" for name in ("max_epochs", "max_steps", "max_time", "min_epochs")}
BUDGET |= {f"trainer.{name}" for name in ("min_steps", "limit_train_batches", "overfit_batches")}
BUDGET |= {"trainer.fast_dev_run", "trainer.barebones"}


@dataclass(frozen=True)
class DataFacts:
    """The properties of a data set that the defaults depend on.

    Attributes:
        videos: to train on.
        seconds: their median length; None if it is not known.
        processes: that train on them, each with a share and batches of its own.
    """

    videos: int
    seconds: float | None = None
    processes: int = 1


@dataclass(frozen=True)
class Choice:
    """Settings that belong together, and the reason for them."""

    settings: Mapping[str, Any]
    reason: str

    def line(self) -> str:
        """The options that would set the same, and the reason."""
        flags = " ".join(f"--{key} {shown(value)}" for key, value in flags_of(self.settings))
        return f"{flags}: {self.reason}"


@dataclass(frozen=True)
class Choices:
    """All that was chosen.

    Attributes:
        parts: in the order in which they are told.
    """

    parts: tuple[Choice, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Dotted key -> value."""
        return {key: value for part in self.parts for key, value in part.settings.items()}

    def lines(self) -> list[str]:
        """One line per choice, with the flags that change it."""
        return [part.line() for part in self.parts]


def data_facts(data: Any, *, processes: int = 1) -> DataFacts:
    """The facts of a ``VideoDataModule`` that was set up; the same in every process.

    Args:
        data: the module.
        processes: that will train.
    """
    paths = [record.path for record in data.records["train"]]
    found = look_at(paths, most=LOOKED_AT, limit=math.inf).facts.values()
    seconds = [known.seconds for known in found if known.seconds]
    return DataFacts(len(paths), median(seconds) if seconds else None, processes)


def choose(facts: DataFacts, given: Mapping[str, Any]) -> Choices:
    """Default settings for those that are not given.

    Args:
        facts: of the data.
        given: dotted key -> value of the settings given; these are not changed.

    Returns:
        Choices whose keys are not in ``given``; for a table of options, the missing ones.
    """
    parts = []
    given = {key: value for key, value in given.items() if value is not None}
    for settings, reason in proposals(facts, given):
        left = {key: value for key, value in settings.items() if key not in given}
        own = given.get("model.options")
        if "model.options" in settings and isinstance(own, Mapping):
            more = {key: v for key, v in settings["model.options"].items() if key not in own}
            left |= {"model.options": more} if more else {}
        if left:
            parts.append(Choice(left, reason))
    return Choices(tuple(parts))


def proposals(facts: DataFacts, given: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """All defaults for these data with their reasons, also for settings that are given."""
    if "model.pretrained" in given:
        yield FINE_TUNING, "the recipe of configs/finetune.yaml, for published weights"
        yield from budget(facts, given, steps=FINE_STEPS, passes=FINE_PASSES)
        return
    if facts.videos > FEW:
        return
    name = str(given.get("model.name") or NETWORK)
    small = name.startswith(SMALL)
    if small:
        why = f"too few videos ({facts.videos}) to train a large network from scratch"
        yield (
            {"model.name": NETWORK},
            f"{why} (or start from published weights: --model.pretrained FILE)",
        )
        yield from size_of_small(given)
    yield from clips(facts, given, small=small)
    yield from optimiser(given, small=small)
    yield from budget(facts, given, steps=STEPS, passes=PASSES)


def size_of_small(given: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The options of a small network and the size of its pictures."""
    options = given.get("model.options") or {}
    pooled = any(name.startswith("pool1_") for name in options)
    more: dict[str, Any] = {"dropout": DROPOUT} if pooled else {**POOLED, "dropout": DROPOUT}
    yield (
        {"model.options": more},
        "pooling after the first layer makes the network four times cheaper",
    )
    if not SIZE & given.keys():
        yield (
            {"data.crop": SIDE},
            "pictures have the pixels of a square of this side: minutes on a CPU",
        )


def clips(
    facts: DataFacts, given: Mapping[str, Any], *, small: bool
) -> Iterator[tuple[dict[str, Any], str]]:
    """Clips that span a video and show its whole picture."""
    long = "" if facts.seconds is None else f" (median length {facts.seconds:.2g} s)"
    spread: dict[str, Any] = {}
    if small:
        wanted = 8 * round((facts.seconds or 0.0) / APART / 8)
        spread["data.frames"] = min(max(wanted, FRAMES), MOST_FRAMES)
    if not DENSE & given.keys():
        spread = {"data.sampling": "segments", **spread}
    if spread:
        yield spread, f"a clip spans the whole video{long}"
    if SQUARE & given.keys():
        return
    yield {"data.picture": "whole"}, "a square crop of a wide picture may miss the people"
    if small and "data.rectangle" not in given:
        side = round(int(given.get("data.crop") or SIDE) / CROP_SHARE)
        yield {"data.jitter": [side, round(ZOOM * side)]}, ZOOMED


def optimiser(given: Mapping[str, Any], *, small: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """AdamW, unless another is given; the rate is set together with its reference batch."""
    if given.get("recipe.optimizer") not in (None, "adamw"):
        return
    found: dict[str, Any] = {"recipe.optimizer": "adamw"}
    if not {"recipe.learning_rate", "recipe.reference_batch"} & given.keys():
        rate = 0.003 if small else 0.001
        found |= {"recipe.learning_rate": rate, "recipe.reference_batch": BATCH}
    found |= {"recipe.weight_decay": 0.05, "recipe.label_smoothing": 0.05}
    yield found, "trains small networks from scratch in fewer steps than SGD"


def budget(
    facts: DataFacts, given: Mapping[str, Any], *, steps: int, passes: int
) -> Iterator[tuple[dict[str, Any], str]]:
    """Epochs for at least so many steps and passes, with about forty validations."""
    if BUDGET & given.keys():
        return
    videos = max(1, facts.videos // facts.processes)
    batch = min(int(given.get("data.batch_size") or BATCH), videos)
    batches = videos // batch
    window = min(int(given.get("trainer.accumulate_grad_batches") or 1), batches)
    per_epoch = math.ceil(batches / window)
    epochs = max(passes, math.ceil(steps / per_epoch))
    found: dict[str, Any] = {}
    if not {"trainer.check_val_every_n_epoch", "trainer.val_check_interval"} & given.keys():
        every = math.ceil(epochs / VALIDATIONS)
        epochs = every * math.ceil(epochs / every)  # the last one is validated
        found = {"trainer.check_val_every_n_epoch": every} if every > 1 else {}
    steps_text = counted(epochs * per_epoch, "step")
    clips = counted(batch * window * facts.processes, "clip")
    words = f"{steps_text} of {clips}, so that the loss settles"
    yield {"trainer.max_epochs": epochs, **found}, words


def flags_of(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings as flags; a table of options is one flag for each."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", item) for name, item in value.items())
        else:
            yield key, value


def shown(value: Any) -> str:
    """A value as it is written on a command line."""
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)
