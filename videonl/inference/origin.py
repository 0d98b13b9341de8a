"""Where the weights behind an answer come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videonl.models.checkpoint import sha256


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
