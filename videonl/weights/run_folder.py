"""Which checkpoint a folder stands for: a run, or all runs of a name; the same in every command."""

import warnings
from contextlib import suppress
from pathlib import Path

from videonl.errors import CheckpointError, VideoNLError
from videonl.files import expanded
from videonl.shares import few

BEST, LAST, CONFIG = "best.ckpt", "last.ckpt", "config.yaml"
MODEL = "model.safetensors"  # as `videonl push` calls it
SUFFIXES = (".ckpt", ".safetensors", ".pth", ".pyth", ".pt", ".pkl")
SHOWN = 3


def checkpoint_in(path: str | Path, *, wanted: tuple[str, ...] = (BEST, LAST, MODEL)) -> Path:
    """The checkpoint of a path: a file itself, or the one that a folder stands for.

    The folder of a run holds ``best.ckpt`` and ``last.ckpt``, a clone from the hub
    ``model.safetensors``. The folder of a name (``runs/NAME``) holds runs by date: the newest one
    with the wanted checkpoint is used, and if there are several, a warning says which.

    Args:
        path: of a file or a folder; a leading ``~`` is the home.
        wanted: names of the checkpoint; the first that exists is used.

    Raises:
        CheckpointError: a folder without a checkpoint, or a link to nothing; lists what the folder
            contains instead.
    """
    given = expanded(path)
    if not given.is_dir():
        return _followed(given)
    for name in wanted:
        if (given / name).is_file() or (given / name).is_symlink():
            return _followed(given / name)
        found = newest(given, name)
        if found:
            if len(found) > 1:
                warnings.warn(
                    f"{path} contains {len(found)} runs with a {name}; the newest is used: "
                    f"{found[0].parent.name}",
                    stacklevel=1,
                )
            return found[0]
    inside = sorted(entry.name for entry in given.iterdir() if entry.suffix in SUFFIXES)
    deeper = [run.parent for name in wanted for run in given.glob(f"*/*/{name}")]
    hint = "; a training makes one"
    if inside:
        hint = f"; it contains {few(inside, SHOWN)}: give one of these files"
    elif deeper:
        names = sorted({str(run.parent) for run in deeper})
        hint = f"; runs lie below {few(names, SHOWN)}: give one of these folders"
    raise CheckpointError(f"the folder {path} contains no {' and no '.join(wanted)}{hint}")


def _followed(path: Path) -> Path:
    """The path; a link whose file is not there is no missing file, and no other is taken for it.

    Raises:
        CheckpointError: such a link.
    """
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path} is a link to {path.readlink()}, which is not there; is its disk mounted?"
        )
    return path


def sidecar_path(path: Path) -> Path:
    """``model.safetensors`` -> ``model.json``."""
    return path.with_suffix(".json")


def files_of(source: str | Path) -> list[Path]:
    """The files here from which a checkpoint is loaded; none of a name that is downloaded."""
    with warnings.catch_warnings(), suppress(VideoNLError):  # whoever loads it warns and refuses
        warnings.simplefilter("ignore")
        path = checkpoint_in(source)
        return [path, sidecar_path(path)] if path.suffix == ".safetensors" else [path]
    return []


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint, or a link to it, belongs to.

    Lightning's own ModelCheckpoint writes into a folder inside of it.
    """
    for file in (checkpoint, checkpoint.absolute(), checkpoint.resolve()):
        for folder in (file.parent, file.parent.parent):
            if (folder / CONFIG).is_file():
                return folder
    return checkpoint.parent


def newest(folder: Path, name: str) -> list[Path]:
    """The checkpoints of a name in the folders directly inside, the newest first."""
    found = [path for path in folder.glob(f"*/{name}") if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime, str(path)), reverse=True)
