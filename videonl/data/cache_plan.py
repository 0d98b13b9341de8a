"""Decide whether a training decodes its videos once: the space their frames need, and the limit.

The cache may take a quarter of the free space on its disk, and at most half of the machine's
memory, since reading from a disk in every epoch is hardly faster than decoding.
"""

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from videonl.claims import LOCK, claimed
from videonl.data.facts import Facts
from videonl.data.frame_cache import AS_IT_IS, FrameCache, folders_of
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.files import cache_folder
from videonl.limits import total_memory
from videonl.shares import counted
from videonl.video.decoding.pictures import MADE_BY, Scaling, size_of
from videonl.video.preprocessing import Preprocessing
from videonl.video.video import Decoder

FEWEST_EPOCHS = 3  # storing decodes whole videos, which costs about two epochs of clips
_OLD_SECONDS = 60 * 86_400.0  # folders that nobody has used for so long are removed
_held: dict[Path, ExitStack] = {}  # folders that trainings of this process use


@dataclass(frozen=True)
class Need:
    """The frames of one part of a data set.

    Attributes:
        videos: their number.
        frame_bytes: mean size of a stored frame.
        frames: mean number of frames stored of a video.
        scaling: arguments of ``Video.read``: the stored size.
        which: what else decides which frames are stored; primitives.
    """

    videos: int
    frame_bytes: float
    frames: float
    scaling: Scaling
    which: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return round(self.videos * self.frames * (self.frame_bytes + 24) + 200 * self.videos)


def training_scaling(shown: Preprocessing, jitter: tuple[int, int]) -> Scaling:
    """The size to store for a training: the largest of its jitter, or the video's own."""
    return {**AS_IT_IS, **shown.scaled_for_training(jitter[1]), "enlarge": False}


def test_scaling(shown: Preprocessing) -> Scaling:
    """The size to store for an evaluation: that of its views."""
    return {**AS_IT_IS, **shown.scaling}


def need_of(
    facts: Sequence[Facts],
    videos: int,
    *,
    scaling: Scaling,
    shown: Preprocessing | None = None,
) -> Need:
    """Estimate the space for a number of videos from some of them.

    Args:
        facts: of some of them, at least one with a known length.
        videos: how many there are.
        scaling: the stored size.
        shown: store the frames of these views; None: store all frames.
    """
    sizes = [size_of(max(1, f.height), max(1, f.width), **scaling) for f in facts]
    sides = [3 * height * width for height, width in sizes]
    counts = [known.seconds * known.rate for known in facts if known.seconds and known.rate]
    frames, which = sum(counts) / len(counts), {}
    if shown is not None:
        frames, which = min(frames, shown.views[0] * shown.frames), shown.to_dict()
    return Need(videos, sum(sides) / len(sides), frames, scaling, which)


def plan_caches(
    root: str, needs: Mapping[str, Need], *, decoder: Decoder
) -> tuple[dict[str, FrameCache], str]:
    """The caches of a data set's parts, if all of them fit.

    Args:
        root: of the data set.
        needs: by name of the part.
        decoder: the decoder of its frames.

    Returns:
        The caches by name (none if they do not fit), and a sentence for the user.
    """
    number, size = sum(n.videos for n in needs.values()), sum(n.size for n in needs.values())
    every = f"{counted(number, 'video')}, decoded in every epoch"
    base = cache_folder()
    if base is None:
        return {}, f"{every}: there is no folder for a cache (set VIDEONL_CACHE)"
    place, folders = base / "frames", dict[str, Path]()
    try:
        private(place)
        folders = {name: place / key_of(root, need, decoder) for name, need in needs.items()}
        most = budget_of(place)
        if size > most:
            return {}, (f"{every}: their frames need {gb(size)}, and {place} may take {gb(most)}")
        for folder in folders.values():
            hold(folder)
        left = make_room(place, most - size, keep=set(folders.values()))
        if left:
            release(folders.values())
            return {}, (
                f"{every}: other trainings use {gb(left)} of the {gb(most)} that {place} may take"
            )
    except (VideoNLError, OSError) as error:
        release(folders.values())
        return {}, f"{every}: no cache in {place} ({error})"
    caches = {
        name: FrameCache(folder, scaling=needs[name].scaling, decoder=decoder, budget=most)
        for name, folder in folders.items()
    }
    return caches, f"{counted(number, 'video')}, decoded once: {gb(size)} in {place}"


def key_of(root: str, need: Need, decoder: Decoder) -> str:
    """The name of a folder: a hash of all that determines the stored frames, except the videos."""
    about = [1, os.path.abspath(root), need.scaling, need.which, decoder, MADE_BY]
    return sha256(json_text(about, ascii=True).encode()).hexdigest()[:16]


def private(place: Path) -> None:
    """Make the folder of the cache, for this user alone.

    Raises:
        OSError: it cannot be made or written into.
        VideoNLError: other users may write there, and could put any frames into it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.stat()
    if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise VideoNLError("other users may write there; set VIDEONL_CACHE to another folder")
    probe = place / f".{os.getpid()}.probe"
    probe.touch()
    probe.unlink()


def budget_of(place: Path) -> int:
    """Bytes that all cached frames may take."""
    used = sum(size for _, size in folders_of(place))
    return min((shutil.disk_usage(place).free + used) // 4, total_memory() // 2)


def hold(folder: Path) -> None:
    """Lock a folder of the cache until ``release``, so that no other process removes it.

    Raises:
        VideoNLError: another process is just removing it.
        OSError: it cannot be made.
    """
    if folder in _held:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    stack = ExitStack()
    stack.enter_context(claimed(folder=folder, shared=True))
    os.utime(folder)
    _held[folder] = stack


def release(folders: Iterable[Path]) -> None:
    """Undo ``hold``."""
    for folder in folders:
        if folder in _held:
            _held.pop(folder).close()


def make_room(place: Path, most: int, *, keep: set[Path]) -> int:
    """Remove unused folders, the oldest first, until the others fit; very old ones always.

    Args:
        place: of the cache.
        most: bytes that they may take, without those to keep.
        keep: folders that stay.

    Returns:
        0, or the bytes of the others if that is still too much.
    """
    others = [(f.stat().st_mtime, f, n) for f, n in folders_of(place) if f not in keep]
    used = sum(size for _, _, size in others)
    for last_used, folder, size in sorted(others):
        if folder in _held or (used <= most and time.time() - last_used < _OLD_SECONDS):
            continue
        with suppress(VideoNLError, OSError), claimed(folder=folder):
            for file in folder.iterdir():
                if file.name != LOCK:
                    file.unlink()
            used -= size
        with suppress(OSError):
            folder.rmdir()
    return used if used > most else 0


def gb(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{max(size, 1e5) / 1e6:.1f} MB"
