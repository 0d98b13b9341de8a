"""Which file is meant by ``--checkpoint``: a file, or the folder of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videonl.errors import CheckpointError
from videonl.models.checkpoint import sha256

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


def origin_of(path: str | Path, provenance: Mapping[str, Any]) -> dict[str, object]:
    """Where weights come from: a file here, or published ones by their name.

    What they were fine-tuned from, and the licence of that, travel along where they are known.
    """
    known = {
        name: provenance[key]
        for key, name in (("provenance", "trained_from"), ("licence", "licence"))
        if provenance.get(key)
    }
    if Path(path).is_file():
        return {"checkpoint": Path(path).name, "sha256": sha256(path), **known}
    return {"checkpoint": str(path), "sha256": provenance.get("sha256"), **known}
