"""``--overlay``: write a video again, with the answers of the network drawn into it."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from videonl.errors import VideoNLError
from videonl.escapes import font_for
from videonl.files import whole_file
from videonl.inference.prediction import Prediction
from videonl.inference.timeline import Timeline
from videonl.video.burn import Burner
from videonl.video.captions import Caption, Row
from videonl.video.decoding.container import regular_file, split_span
from videonl.video.sandbox import Helper

ROWS = 5  # classes that are shown at most
AT_ONCE = 32  # frames written between two checks of the time limit


def row_of(name: str, probability: float) -> Row:
    """A row of a caption."""
    text, font = font_for(name)
    return text, probability, font


def captions_of(answer: Prediction | Timeline) -> list[Caption]:
    """Captions with their times: one answer all the time, or that of the nearest window."""
    if isinstance(answer, Prediction):
        start, end = split_span(answer.path)[1] or (0.0, None)
        top = list(zip(answer.classes, answer.probabilities, strict=True))[:ROWS]
        rows = tuple(row_of(*each) for each in top)
        return [Caption(start, 1e9 if end is None else end, rows)]
    return [
        Caption(start, end, tuple(row_of(*each) for each in answer.top(number, ROWS)))
        for number, (start, end) in enumerate(answer.claims.tolist())
    ]


def overlay_paths(target: str, videos: Sequence[str]) -> dict[str, Path]:
    """Video -> its overlay: ``target`` itself if it is named .mp4, else a file in that folder.

    A folder keeps the tree of the videos; of two names that differ only in their endings, the
    second one keeps its own: ``a.avi.mp4``.

    Raises:
        VideoNLError: one file for several videos, another format, or one of the videos itself.
    """
    ending = Path(target).suffix.lower()
    single = ending == ".mp4" and not os.path.isdir(target)
    if single and len(videos) > 1:
        raise VideoNLError(
            f"--overlay {target} is one file for {len(videos)} videos; give a folder"
        )
    if ending in (".avi", ".mkv", ".mov", ".webm", ".gif", ".m4v") and not os.path.isdir(target):
        raise VideoNLError(f"--overlay {target}: overlays are MP4 files; name it FILE.mp4")
    files = {video: split_span(video)[0] for video in videos}
    folders = {os.path.dirname(os.path.abspath(file)) for file in files.values()}
    common = os.path.commonpath(folders) if folders else ""
    originals = {os.path.realpath(file): video for video, file in files.items()}
    paths: dict[str, Path] = {}
    taken: set[Path] = set()
    for video, file in files.items():
        path = Path(target)
        if not single:
            inside = Path(os.path.relpath(os.path.abspath(file), common))
            path = path / inside.with_suffix(".mp4")
            number = 0
            while path in taken:  # a.avi beside a.mp4, or parts of one file
                number += 1
                more = f".{number}" if number > 1 else ""
                path = path.with_name(f"{inside.name}{more}.mp4")
        if (other := originals.get(os.path.realpath(path))) is not None:
            raise VideoNLError(f"--overlay would replace the video {other}; give another folder")
        paths[video] = path
        taken.add(path)
    return paths


def write_overlay(
    path: str,
    target: Path,
    captions: Sequence[Caption],
    *,
    limits: tuple[float, int] | None = None,
    on_frames: Callable[[int, int], None] | None = None,
) -> None:
    """Write a video again with captions; all frames, their times and the sound are kept.

    Args:
        path: the video.
        target: the MP4 file; it gets its name when it is complete.
        captions: see :func:`captions_of`.
        limits: (seconds for every ``AT_ONCE`` frames, MB of memory; 0: no limit) of the process
            that decodes and encodes; None: this process.
        on_frames: called with (frames done, frames in all), for a progress bar.

    Raises:
        VideoError: the file cannot be read.
        OutputError: the target cannot be written.
    """
    file = regular_file(path)
    with (
        whole_file(target) as part,
        closing(
            _Apart(file, part, captions, limits) if limits else Burner(file, part, captions)
        ) as burner,
    ):
        finished = False
        while not finished:
            finished = burner.step(AT_ONCE)
            if on_frames:
                on_frames(burner.done, max(burner.total, burner.done))


class _Apart:
    """A burner in a process that can be killed (video/sandbox)."""

    def __init__(
        self, file: Path, part: Path, captions: Sequence[Caption], limits: tuple[float, int]
    ) -> None:
        self.done = self.total = 0
        texts = [caption.as_list() for caption in captions]
        place = {"path": os.path.abspath(file), "target": os.path.abspath(part)}
        job = {"do": "burn", **place, "captions": texts}
        self._helper = Helper(str(file), limits, job, may_write=True)

    def step(self, frames: int) -> bool:
        answer, _ = self._helper.ask({"do": "burn on", "frames": frames})
        self.done, self.total = int(answer["done"]), int(answer["total"])
        return bool(answer["finished"])

    def close(self) -> None:
        self._helper.close()
