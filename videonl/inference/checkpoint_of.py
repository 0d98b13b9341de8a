"""Which file is meant by ``--checkpoint``: a file, or the folder of a run."""

from pathlib import Path

from videonl.errors import CheckpointError

OF_A_RUN = ("best.ckpt", "last.ckpt")  # the best is preferred


def checkpoint_of(path: str | Path) -> str | Path:
    """The checkpoint inside a run's folder; anything else as it is.

    Raises:
        CheckpointError: a folder without a checkpoint.
    """
    if not Path(path).is_dir():
        return path
    for name in OF_A_RUN:
        if (Path(path) / name).is_file():
            return Path(path) / name
    raise CheckpointError(f"the folder {path} holds neither {' nor '.join(OF_A_RUN)}")
