"""Split a set of files over several processes, each of which writes its own result file.

Process ``rank`` of ``size`` takes every ``size``-th file and appends to its own JSON Lines file, so
no process waits for another, and any of them may be killed and started again, also with another
number of processes: what one of the files holds is not computed again. ``videonl merge`` joins
them.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videonl.errors import VideoNLError


@dataclass(frozen=True)
class Shard:
    """Part ``rank`` (from 0) of ``size`` parts."""

    rank: int
    size: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise VideoNLError(
                f"shard {self.rank}/{self.size}: write RANK/SIZE with RANK from 0 to SIZE - 1"
            )

    def of(self, items: Sequence[str]) -> list[str]:
        """The items of this part: every ``size``-th, so that a folder of long videos is spread."""
        return list(items[self.rank :: self.size])


def shard_here(environment: Mapping[str, str] = os.environ) -> Shard | None:
    """This process's part under ``torchrun`` or in a SLURM array; None for a process on its own.

    Tasks of an array that run ``torchrun`` each share their part among their processes.

    Raises:
        VideoNLError: the array has gaps, so that the number of this task is not known.
    """
    words = [environment.get(key, "") for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    rank, size = 0, 1
    if all(word.isdecimal() for word in words):
        rank, size = int(words[0]), max(1, int(words[1]))
    task = [environment.get(f"SLURM_ARRAY_TASK_{key}", "") for key in ("ID", "MIN", "MAX", "COUNT")]
    if all(word.isdecimal() for word in task):
        number, first, last, count = map(int, task)
        step = (last - first) // max(1, count - 1) or 1
        if (last - first) != step * (count - 1) or (number - first) % step:
            raise VideoNLError(
                f"the SLURM array of task {number} has gaps, so its part is unknown: give "
                "--shard RANK/SIZE"
            )
        rank, size = rank + (number - first) // step * size, size * count
    return Shard(rank, size) if size > 1 else None


def shard_path(path: Path, rank: int) -> Path:
    """``out.jsonl`` -> ``out.00003.jsonl``."""
    return path.with_name(f"{path.stem}.{rank:05d}{path.suffix}")


def shard_files(path: Path) -> dict[int, Path]:
    """Rank -> result file, of those that are there."""
    pattern = re.compile(re.escape(path.stem) + r"\.(\d{5})" + re.escape(path.suffix))
    names = os.listdir(path.parent) if path.parent.is_dir() else []
    found = {int(m[1]): path.parent / name for name in names if (m := pattern.fullmatch(name))}
    return dict(sorted(found.items()))


def about_set(shard: Shard, files: Sequence[str], *, failed_inputs: int) -> dict[str, object]:
    """What the first line of a result file holds about the whole set."""
    digest = hashlib.sha256()
    for name in files:
        digest.update(os.fsencode(name) + b"\0")
    total = len(files) + failed_inputs
    set_of = {"files": total, "sha256": digest.hexdigest()}
    return {"shard": {"rank": shard.rank, "size": shard.size}, "set": set_of}
