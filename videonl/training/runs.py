"""Where a run lies: ``runs/NAME/DATE_TIME/`` with config, checkpoints, metrics and summary."""

import itertools
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from videonl.data.layouts import check_split
from videonl.errors import CheckpointError, OutputError, VideoNLError
from videonl.escapes import as_word
from videonl.home import expanded
from videonl.training.accumulation import batches_per_epoch
from videonl.training.checkpoints import read_checkpoint
from videonl.training.recipe import set_rates
from videonl.weights.hub import resumed_from
from videonl.weights.loading import WEIGHTS
from videonl.weights.run_folder import LAST, newest


def run_name(model: str, root: str) -> str:
    """The default name of a run: of its data folder and its network."""
    folder = expanded(root).resolve().name or "data"
    return f"{folder}_{model.rpartition(':')[2]}"


def check_name(name: str) -> str:
    """The name of a run, which is one folder below that of all runs.

    Raises:
        VideoNLError: it is no name of a folder, or of several.
    """
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise VideoNLError(
            f"--name {name!r}: it must be the name of one folder, such as i3d_lr3; "
            "--out says where it lies"
        )
    return name


def new_run(out: Path, name: str, *, now: datetime | None = None, make: bool = True) -> Path:
    """A folder of its own, which no other training that starts in the same second has.

    Args:
        out: folder of all runs.
        name: of this experiment.
        now: for the folder's name.
        make: make it; else only name one that is not there.

    Raises:
        OutputError: it cannot be made.
    """
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
        except FileExistsError:
            if not folder.exists():  # then a file stands where its parent should be
                raise OutputError(folder, "what should be its folder is a file") from None
        except OSError as error:
            raise OutputError(folder, error.strerror or str(error)) from error
    return folder


def latest_checkpoint(out: Path, name: str, *, kind: str = LAST) -> Path | None:
    """The newest ``last.ckpt`` of the runs of a name; None where there is none."""
    found = newest(out / name, kind)
    return found[0] if found else None


def resume_path(resume: str, *, out: Path, name: str) -> Path | None:
    """What ``--resume`` means.

    Args:
        resume: "auto": the newest run of that name, if there is one; else a checkpoint, the
            folder of a run, or that of the runs of a name.
        out: folder of all runs.
        name: of this experiment.

    Raises:
        CheckpointError: a path that does not exist.
    """
    if resume == "auto":
        return latest_checkpoint(out, name)
    path = resumed_from(resume)
    if not path.is_file():
        raise CheckpointError(f"--resume {resume}: {path} does not exist")
    return path


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
    """Tells data module and optimiser where a training goes on, and at which rates.

    Where batch, processes or accumulation are others than at the checkpoint, the place in the
    epoch and in the schedule is counted anew in the batches and steps of now, and the rates are
    those that the recipe gives now.
    """

    def __init__(self) -> None:
        self._resumed = False
        self._place: tuple[int, int] | None = None  # epochs and batches done, if counted anew

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note what the position counts."""
        checkpoint[DATA] = shape_of(trainer)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read the position out of the progress that Lightning saves."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._resumed = True
        now = shape_of(trainer)
        then = {**now, **checkpoint.get(DATA, {})}
        for name in now:
            if then[name] != now[name]:
                pl_module.print(
                    f"warning: {name} {then[name]} at the checkpoint, {now[name]} now: the "
                    "training goes on, but not bit for bit"
                )
        if any(then[name] != now[name] for name in now):
            count_anew(checkpoint, then=then, now=now, batches=batches_per_epoch(trainer, data))
            self._place = epochs_done(checkpoint), batches_done(checkpoint)
        data.first_epoch = epochs_done(checkpoint)
        data.skip_batches = batches_done(checkpoint)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the rates, once the optimiser is restored."""
        if not self._resumed:
            return
        rates: Any = pl_module.rates
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
    """Put the place inside an epoch into the batches of now: between two steps, none left out.

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
    """What the place inside an epoch is counted in."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return {
        "training videos:": len(data.records["train"]),
        CLIPS: int(data.batch_size),
        PROCESSES: trainer.world_size,
        ACCUMULATED: trainer.accumulate_grad_batches,
    }


def epochs_done(checkpoint: dict[str, Any]) -> int:
    """Whole epochs that the checkpoint has behind it."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def batches_done(checkpoint: dict[str, Any]) -> int:
    """Batches of the unfinished epoch that the checkpoint has behind it; 0 after a whole epoch."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return 0 if progress["is_last_batch"] else int(progress["current"]["processed"])


def check_resumable(
    path: Path, hyper_parameters: dict[str, Any], *, network: nn.Module | None = None
) -> dict[str, Any]:
    """Refuse to go on with another network or with other classes.

    Args:
        path: the checkpoint.
        hyper_parameters: of the classifier that is to go on.
        network: of the user's, where it is not ours.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: says what differs.
    """
    checkpoint = read_checkpoint(path, network=network or hyper_parameters.get("name"))
    if "optimizer_states" not in checkpoint:
        raise CheckpointError(
            f"{path} holds no state of a training, so nothing can go on from it; start from its "
            f"weights with --model.pretrained {as_word(path)}"
        )
    check_place(path, checkpoint)
    saved = checkpoint["hyper_parameters"]
    for key in ("name", "options", "num_classes", "class_names"):
        if saved.get(key) != hyper_parameters.get(key):
            raise CheckpointError(
                f"{path} was trained with {key} {shown(saved.get(key))}, this training has "
                f"{shown(hyper_parameters.get(key))}; start from its weights instead with "
                f"--model.pretrained {as_word(path)}"
            )
    check_recipe(path, table_of(saved, "recipe"), hyper_parameters["recipe"])
    check_split(hyper_parameters.get("data_split"), saved.get("data_split"), source=str(path))
    several = bool(saved.get("multi_label"))
    if several != bool(hyper_parameters.get("multi_label")):
        raise CheckpointError(
            f"{path} was trained for {'several labels' if several else 'one label'} per video, "
            f"this training is not; say --model.multi_label {str(several).lower()}"
        )
    return checkpoint


def check_place(path: Path, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint that does not say where in its training it was written.

    Raises:
        CheckpointError: names the way out.
    """
    try:
        place = [epochs_done(checkpoint), batches_done(checkpoint), int(checkpoint["global_step"])]
    except (LookupError, TypeError, ValueError, AttributeError):
        place = []
    if not place or min(place) < 0:
        raise CheckpointError(
            f"{path} does not say where in its training it was written, so nothing can go on from "
            f"it; start from its weights with --model.pretrained {as_word(path)}"
        )


def check_recipe(path: Path, saved: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Refuse a continuation with another optimiser, whose rates would silently stay the old ones.

    Raises:
        CheckpointError: says what differs.
    """
    for key in ("optimizer", *KEPT_BY_OPTIMIZER, *KEPT_BY_GROUPS):
        if key in saved and saved[key] != recipe[key]:
            raise CheckpointError(
                f"{path} was trained with recipe.{key} {saved[key]}, this training has "
                f"{recipe[key]}; a training that goes on keeps its optimiser: leave the option "
                f"out, or start from its weights with --model.pretrained {as_word(path)}"
            )


def network_settings(path: Path, model: dict[str, Any], *, chosen: bool) -> dict[str, Any]:
    """What makes the network of a training that goes on: what its checkpoint says.

    Args:
        path: the checkpoint.
        model: the settings of the network that were given, or their defaults.
        chosen: whether the name was given; another one is kept, for ``check_resumable`` to refuse.

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


def table_of(values: dict[str, Any], key: str) -> dict[str, Any]:
    """A table inside a table; empty where there is none."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def shown(value: Any, longest: int = 120) -> str:
    """A value, not too long."""
    text = repr(value)
    return text if len(text) <= longest else text[:longest] + " ..."
