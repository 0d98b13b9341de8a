"""The folder of a run, ``runs/NAME/DATE_TIME/``, and resuming a run."""

import itertools
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.data.layouts import check_split
from videonl.errors import CheckpointError, OutputError, VideoNLError
from videonl.escapes import as_word
from videonl.files import expanded
from videonl.training.callbacks.checkpoints import read_checkpoint
from videonl.training.recipe import batches_per_epoch, set_rates
from videonl.weights.hub import resumed_from
from videonl.weights.loading import WEIGHTS
from videonl.weights.run_folder import LAST, newest


def run_name(model: str, root: str) -> str:
    """The default name of a run: ``DATA_NETWORK``, from the data folder and the network."""
    folder = expanded(root).resolve().name or "data"
    return f"{folder}_{model.rpartition(':')[2]}"


def check_name(name: str) -> str:
    """The name of a run, checked to be the name of one folder.

    Raises:
        VideoNLError: it is not.
    """
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise VideoNLError(
            f"--name {name!r}: it must be the name of one folder, such as i3d_lr3; choose with "
            "--out where it is made"
        )
    return name


def new_run(out: Path, name: str, *, now: datetime | None = None, make: bool = True) -> Path:
    """A new folder for a run, different from those of trainings that start in the same second.

    Args:
        out: folder of all runs.
        name: of this experiment.
        now: for the folder's name.
        make: make it; otherwise only its path is chosen.

    Raises:
        OutputError: it cannot be made.
    """
    stands = next(place for place in (out / name, *(out / name).parents) if os.path.exists(place))
    if not stands.is_dir():
        raise OutputError(out / name, f"{stands} is a file")
    stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    for count in itertools.count(1):
        folder = out / name / (stamp if count == 1 else f"{stamp}-{count}")
        if folder.exists():
            continue
        if not make:
            break
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            break
        except OSError as error:
            if not (isinstance(error, FileExistsError) and folder.exists()):
                raise OutputError(folder, error.strerror or str(error)) from error
    return folder


def resume_path(resume: str, *, out: Path, name: str) -> Path | None:
    """The checkpoint that ``--resume`` means.

    Args:
        resume: "auto" for the newest run of that name, if there is one; or a checkpoint, the
            folder of a run, or the folder of all runs of a name.
        out: folder of all runs.
        name: of this experiment.

    Raises:
        CheckpointError: a path that does not exist.
    """
    if resume == "auto":
        found = newest(out / name, LAST)
        return found[0] if found else None
    return resumed_from(resume)


# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)


DATA = "training_data"  # in a checkpoint: what an exact continuation needs to be the same
KEPT_BY_OPTIMIZER = (
    "learning_rate",
    "momentum",
    "nesterov",
    "beta2",
    "weight_decay",
    "norm_weight_decay",
)
# What says which parameters learn, and in which groups of the optimiser.
KEPT_BY_GROUPS = ("fresh_factor", "batch_norm", "bias_weight_decay")


class ResumePosition(Callback):
    """Sets the position of a resumed training in data and schedule, and its learning rates.

    If batch size, processes or accumulation have changed since the checkpoint, the position in the
    epoch and in the schedule is converted to the new batches and steps, and the rates are those of
    the recipe for the new global batch.
    """

    def __init__(self) -> None:
        self._resumed = False
        self._place: tuple[int, int] | None = None  # epochs and batches done, if counted anew

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the units in which the position is counted."""
        checkpoint[DATA] = shape_of(trainer)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read the position from the progress that Lightning saves."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._resumed = True
        now = shape_of(trainer)
        then = {**now, **checkpoint.get(DATA, {})}
        for name in now:
            if then[name] != now[name]:
                pl_module.print(
                    f"warning: {name} {then[name]} at the checkpoint, {now[name]} now: the "
                    "training continues, but not bit for bit as it would have"
                )
        if any(then[name] != now[name] for name in now):
            count_anew(checkpoint, then=then, now=now, batches=batches_per_epoch(trainer, data))
            self._place = epochs_done(checkpoint), batches_done(checkpoint)
        data.first_epoch = epochs_done(checkpoint)
        data.skip_batches = batches_done(checkpoint)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the rates after the optimiser is restored."""
        rates: Any = pl_module.rates
        if not self._resumed or not rates:  # none: the user's own optimiser and schedule
            return
        position, total = None, trainer.estimated_stepping_batches
        if self._place is not None and total != trainer.max_steps:  # else steps are the measure
            epochs, batches = self._place
            window = trainer.accumulate_grad_batches
            per_epoch = -(-int(trainer.num_training_batches) // window)
            position = epochs * per_epoch + batches // window
        set_rates(trainer, rates, position=position)


def count_anew(
    checkpoint: dict[str, Any], *, then: dict[str, int], now: dict[str, int], batches: int
) -> None:
    """Convert the position in an epoch to the new batches: between two steps, no video left out.

    Args:
        checkpoint: of a training; changed in place.
        then: of ``shape_of``, when it was written.
        now: likewise.
        batches: that an epoch has now.
    """
    done, window = batches_done(checkpoint), now[ACCUMULATED]
    if not done:
        return
    videos = done * then[CLIPS] * then[PROCESSES]
    place = min(videos // (now[CLIPS] * now[PROCESSES]), batches - 1) // window * window
    current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    for stage in current:  # some count the batch only when the hooks that save have returned
        current[stage] = max(0, current[stage] + place - done)


CLIPS, PROCESSES, ACCUMULATED = "clips per batch:", "processes:", "accumulated batches:"


def shape_of(trainer: Trainer) -> dict[str, int]:
    """The units in which the position in an epoch is counted."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return {
        "training videos:": len(data.records["train"]),
        CLIPS: int(data.batch_size),
        PROCESSES: trainer.world_size,
        ACCUMULATED: trainer.accumulate_grad_batches,
    }


def epochs_done(checkpoint: dict[str, Any]) -> int:
    """Finished epochs of a checkpoint."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def batches_done(checkpoint: dict[str, Any]) -> int:
    """Finished batches of a checkpoint's unfinished epoch; 0 after a whole epoch."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return 0 if progress["is_last_batch"] else int(progress["current"]["processed"])


def check_resumable(path: Path, classifier: Any) -> dict[str, Any]:
    """Refuse to resume with another network, recipe or other classes.

    Args:
        path: the checkpoint.
        classifier: that is to be trained on.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: says what differs.
    """
    wanted = dict(classifier.hparams)
    network = classifier.net if classifier.is_own else wanted["name"]
    checkpoint = read_checkpoint(path, network=network)
    if "optimizer_states" not in checkpoint:
        raise CheckpointError(
            f"{path} holds no state of a training, so it cannot be resumed; start from its "
            f"weights with --model.pretrained {as_word(path)}"
        )
    check_place(path, checkpoint)
    saved = checkpoint["hyper_parameters"]
    for key in ("name", "options", "num_classes", "class_names"):
        if saved.get(key) != wanted.get(key):
            raise CheckpointError(
                f"{path} was trained with {key} {shown(saved.get(key))}, this training has "
                f"{shown(wanted.get(key))}; start from its weights instead with "
                f"--model.pretrained {as_word(path)}"
            )
    recipe = saved.get("recipe")
    check_recipe(path, recipe if isinstance(recipe, dict) else {}, wanted["recipe"])
    check_split(wanted.get("data_split"), saved.get("data_split"), source=str(path))
    several = bool(saved.get("multi_label"))
    if several != bool(wanted.get("multi_label")):
        raise CheckpointError(
            f"{path} was trained for {'several labels' if several else 'one label'} per video, "
            f"this training is not; set --model.multi_label {str(several).lower()}"
        )
    return checkpoint


def check_place(path: Path, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint without the position in its training.

    Raises:
        CheckpointError: says what to do instead.
    """
    try:
        place = [epochs_done(checkpoint), batches_done(checkpoint), int(checkpoint["global_step"])]
    except (LookupError, TypeError, ValueError, AttributeError):
        place = []
    if not place or min(place) < 0:
        raise CheckpointError(
            f"{path} does not say where in its training it was written, so it cannot be resumed; "
            f"start from its weights with --model.pretrained {as_word(path)}"
        )


def check_recipe(path: Path, saved: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Refuse to resume with other settings of the optimiser, which would have no effect.

    Nor without the average of the weights: the network of the checkpoint is that average, not what
    the optimiser had worked on.

    Raises:
        CheckpointError: says what differs.
    """
    ended = ("ema",) if saved.get("ema") and not recipe["ema"] else ()
    for key in ("optimizer", *KEPT_BY_OPTIMIZER, *KEPT_BY_GROUPS, *ended):
        if key in saved and saved[key] != recipe[key]:
            raise CheckpointError(
                f"{path} was trained with recipe.{key} {saved[key]}, this training has "
                f"{recipe[key]}; a resumed training keeps its optimiser: leave the option "
                f"out, or start from its weights with --model.pretrained {as_word(path)}"
            )


def network_settings(path: Path, model: dict[str, Any], *, chosen: bool) -> dict[str, Any]:
    """The settings of the network of a resumed training, from its checkpoint.

    Args:
        path: the checkpoint.
        model: the settings of the network that were given, or their defaults.
        chosen: whether the name was given; a wrong one is kept, for ``check_resumable`` to refuse.

    Raises:
        CheckpointError: it asks for a network that imports code, and that name was not given.
    """
    said = model["name"] if chosen else None
    saved = read_checkpoint(path, network=said)["hyper_parameters"]
    if chosen and model["name"] != saved["name"]:
        return model
    # Which table of the published file was taken: the checkpoint has the weights.
    given = {key: value for key, value in (model["options"] or {}).items() if key != WEIGHTS}
    return {
        **model,
        "name": saved["name"],
        "options": {**saved["options"], **given},
        "pretrained": None,
        "preprocessing": saved["preprocessing"],
        "fresh": saved.get("fresh", ()),
        "provenance": saved["provenance"],
        "licence": saved.get("licence"),
    }


def shown(value: Any) -> str:
    """A value as text, cut off if it is long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + " ..."
