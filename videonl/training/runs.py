"""Where a run lies: ``runs/NAME/DATE_TIME/`` with config, checkpoints, metrics and summary."""

from datetime import datetime
from pathlib import Path

from videonl.errors import CheckpointError
from videonl.home import expanded
from videonl.models.pretrained.run_folder import LAST, checkpoint_in, newest

CONFIG = "config.yaml"


def run_name(model: str, root: str) -> str:
    """The default name of a run: of its data folder and its network."""
    folder = expanded(root).resolve().name or "data"
    return f"{folder}_{model.rpartition(':')[2]}"


def new_run(out: Path, name: str, *, now: datetime | None = None) -> Path:
    """A folder that does not exist yet; not made here.

    Args:
        out: folder of all runs.
        name: of this experiment.
        now: for the folder's name.
    """
    stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    folder, count = out / name / stamp, 1
    while folder.exists():
        count += 1
        folder = out / name / f"{stamp}-{count}"
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
    path = checkpoint_in(resume, wanted=(LAST,))
    if not path.is_file():
        raise CheckpointError(f"--resume {resume}: {path} does not exist")
    return path
