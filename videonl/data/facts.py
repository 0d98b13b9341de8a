"""Facts about videos without their pictures: size, rate, length, codec, bytes; per class.

And of a whole data set: its most common frame rate and others, its usual shape and duration.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Any, TypeVar

import numpy as np

from videonl.errors import VideoError, VideoNLError
from videonl.escapes import visible
from videonl.shares import counted, percent
from videonl.video.clock import MOST_SECONDS
from videonl.video.decoding.container import Span, open_source, split_span
from videonl.video.preprocessing import SENSIBLE_RATES, Preprocessing, rates_differ
from videonl.video.video import Video, open_video

MOST, SECONDS = 1000, 3.0  # videos whose headers are read before a training, and for how long
CLASSES_SHOWN = 12
LOOKED_AT = 60  # videos that are opened, spread over the list: some ten milliseconds each
FEW = 4  # rates that are listed
MICROSECONDS = 1e6  # in which FFmpeg gives the length of a container


@dataclass(frozen=True)
class Facts:
    """One video, or a part of one.

    Attributes:
        width: of its pictures, in pixels.
        height: likewise.
        rate: frames per second; 0 if the file does not state it.
        seconds: length; 0 if the file does not state it.
        codec: FFmpeg's name.
        size: of the file, in bytes.
    """

    width: int
    height: int
    rate: float
    seconds: float
    codec: str
    size: int

    @property
    def pixels(self) -> int:
        """Pixels of a picture."""
        return self.width * self.height


@dataclass(frozen=True)
class Look:
    """Videos that were looked at.

    Attributes:
        facts: path -> facts, of those that can be read.
        asked: number of videos there are.
        how: in words, how many were read and how.
    """

    facts: dict[str, Facts]
    asked: int
    how: str


def header_facts(path: str) -> Facts | None:
    """Facts from the header of a file; None if it cannot be opened."""
    file, span = split_span(path)
    found = None
    for quick in (True, False):  # some containers state little until frames are decoded
        try:
            source = open_source(file, quick=quick)
        except VideoError:
            continue
        stream = source.stream
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        seconds = seconds or (source.container.duration or 0) / MICROSECONDS
        found = Facts(
            stream.width, stream.height, rate, seconds, source.codec, os.path.getsize(file)
        )
        source.close()
        if found.pixels and rate and seconds:
            break
    return found and replace(found, seconds=part_seconds(found.seconds, span))


def found_facts(
    findings: Mapping[str, Mapping[str, Any]], paths: Iterable[str]
) -> dict[str, Facts]:
    """Facts from findings of ``videonl check`` (``videonl.video.Finding``), per video or part.

    Args:
        findings: file -> finding.
        paths: of videos or parts.

    Returns:
        path -> facts, of those that decode.
    """
    known = {}
    for path in paths:
        file, span = split_span(path)
        found = findings.get(file, {})
        if not found.get("frames") or not os.path.exists(file):
            continue
        rate, shown = found.get("rate") or 0.0, found["seconds"]
        if not rate and shown:
            rate = (found["frames"] - 1) / shown
        seconds = part_seconds(shown + (1 / rate if rate else 0.0), span)  # with the last frame
        size = os.path.getsize(file)
        known[path] = Facts(found["width"], found["height"], rate, seconds, found["codec"], size)
    return known


def part_seconds(seconds: float, span: Span | None) -> float:
    """The duration of a part of a video that lasts so many seconds."""
    start, end = span or (0.0, None)
    return max(0.0, (seconds if end is None else min(end, seconds or end)) - start)


def look_at(paths: Sequence[str], *, most: int = MOST, limit: float = SECONDS) -> Look:
    """Read the headers of some of these videos: an even sample, always the same.

    Args:
        paths: of the videos.
        most: videos that are read.
        limit: seconds after which no other video is started.
    """
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(paths))[:most]
    facts, done, end = {}, 0, time.monotonic() + limit
    for number in order:
        if time.monotonic() > end and done:
            break
        known = header_facts(os.fspath(paths[number]))
        done += 1
        if known is not None:
            facts[os.fspath(paths[number])] = known
    which = "all" if done == len(paths) else f"{done} of"
    lost = f", {done - len(facts)} of them cannot be read" if done > len(facts) else ""
    return Look(facts, len(paths), f"headers of {which} {counted(len(paths), 'video')}{lost}")


def class_lines(facts: Mapping[str, Facts], classes: Mapping[str, str]) -> list[str]:
    """Lengths, rates and sizes of every class, as quartiles.

    Args:
        facts: path -> facts.
        classes: path -> name of its class.

    Returns:
        A header, one line for each of the first classes, and the number of those left out.
    """
    of_class: dict[str, list[Facts]] = {}
    for path, known in facts.items():
        if path in classes:
            of_class.setdefault(classes[path], []).append(known)
    names = sorted(of_class)
    rows = [("class (quartiles)", "videos", "seconds", "frames/s", "width x height")]
    for name in names[:CLASSES_SHOWN]:
        videos = of_class[name]
        seconds = " ".join(f"{v:.1f}" for v in quarters(sorted(v.seconds for v in videos)))
        rates = " ".join(f"{v:.4g}" for v in quarters(sorted(v.rate for v in videos)))
        boxes = sorted(videos, key=lambda v: (v.pixels, v.width))
        sizes = " ".join(f"{v.width}x{v.height}" for v in quarters(boxes))
        rows.append((visible(name), str(len(videos)), seconds, rates, sizes))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    left = len(names) - CLASSES_SHOWN
    return [*lines, f"and {counted(left, 'more class')}"] if left > 0 else lines


T = TypeVar("T")


def quarters(ordered: Sequence[T]) -> tuple[T, T, T]:
    """The values at the quartiles of sorted values; they occur, none is a mean of two."""
    last = len(ordered) - 1
    first, second, third = (ordered[round(last * part)] for part in (0.25, 0.5, 0.75))
    return first, second, third


def cover_line(facts: Mapping[str, Facts], shown: Preprocessing) -> str:
    """How much of a video a clip covers, and how many videos are shorter; one sentence."""
    timed = [known for known in facts.values() if known.rate and known.seconds]
    if not timed:
        return "no video states how long it is"
    if shown.sampling == "segments":
        few = sum(round(v.rate * v.seconds) < shown.frames for v in timed)
        verb = "is" if shown.frames == 1 else "are"
        return (
            f"the {counted(shown.frames, 'frame')} of a clip {verb} spread over the whole "
            f"video; {few} of {len(timed)} have fewer{' and repeat some' if few else ''}"
        )
    spans = [shown.seconds(known.rate) for known in timed]
    shares = [min(1.0, span / v.seconds) for span, v in zip(spans, timed, strict=True)]
    # A header may count the last frame or not: half a frame is no difference.
    short = sum(span > v.seconds + 0.5 / v.rate for span, v in zip(spans, timed, strict=True))
    low, middle, high = (percent(share) for share in quarters(sorted(shares)))
    _, usual, _ = quarters(sorted(spans))
    loops = "loop" if shown.short_video == "loop" else "repeat their last frame"
    return (
        f"a clip of {counted(shown.frames, 'frame')}, {shown.stride} apart ({usual:.2g} s), "
        f"covers {middle} of a video (quartiles {low} to {high}); {short} of {len(timed)} are "
        f"shorter{f' and {loops}' if short else ''}"
    )


def picture_line(facts: Mapping[str, Facts], shown: Preprocessing) -> str:
    """How much of a picture a clip sees in validation; one sentence."""
    if not facts:
        return "no video states how large it is"
    if shown.rectangle is not None:
        height, width = shown.rectangle
        return f"a clip sees {percent(1)} of a picture, inside of {width}x{height}"
    # Square views of pictures whose short side is scaled.
    area = (shown.view_side / shown.short_side) ** 2 * min(shown.views[1], 3)
    parts = [min(1.0, area * min(v.width, v.height) ** 2 / v.pixels) for v in facts.values()]
    low, middle, high = (percent(part) for part in quarters(sorted(parts)))
    return f"a clip sees {middle} of a picture (quartiles {low} to {high})"


@dataclass(frozen=True)
class Rates:
    """Frames per second of some videos.

    Attributes:
        counts: rate -> number of videos.
    """

    counts: Counter[float]

    @property
    def usual(self) -> float | None:
        """The most common rate, similar rates counted together; None without videos."""
        if not self.counts:
            return None
        return max(self.counts, key=lambda rate: (len(self) - self.others(rate).total(),
                                                  self.counts[rate], -rate))  # fmt: skip

    def __len__(self) -> int:
        return self.counts.total()

    def others(self, rate: float) -> Counter[float]:
        """Rates that noticeably differ from a given one."""
        return Counter({own: n for own, n in self.counts.items() if rates_differ(own, rate)})

    def text(self, rate: float | None) -> str:
        """One sentence about them, for a network that is trained at a rate."""
        if rate is None:
            return "none of the videos that were looked at states its frame rate"
        others = self.others(rate)
        if not others:
            return f"{rate:g} frames per second"
        listed = ", ".join(f"{n} at {own:g}" for own, n in others.most_common(FEW))
        more = ", ..." if len(others) > FEW else ""
        return (
            f"{rate:g} frames per second in training; of {counted(len(self), 'video')} looked at "
            f"{listed}{more}: clips of those are sampled by time (--data.fps keep counts frames)"
        )


def rates_of(facts: Iterable[Facts]) -> Rates:
    """The rates of videos whose headers were read, without impossible ones."""
    low, high = SENSIBLE_RATES
    rates = (round(known.rate, 3) for known in facts)
    return Rates(Counter(rate for rate in rates if low <= rate <= high))


def usual_aspect(paths: Sequence[str]) -> float:
    """Width / height of a median one of some of these videos, as shown; 1 without videos."""
    return _middle(_answers(paths, lambda video: video.width / video.height)) or 1.0


def usual_seconds(paths: Sequence[str]) -> float | None:
    """Median duration of some of these videos; None if no header states it."""
    lengths = _answers(paths, lambda video: round(float(video.end - video.times([0])[0]), 3))
    return _middle([length for length in lengths if 0 < length < MOST_SECONDS])


def _middle(values: Sequence[float]) -> float | None:
    """The lower median: a value that occurs."""
    return median_low(values) if values else None


def _answers(paths: Sequence[str], ask: Callable[[Video], T]) -> list[T]:
    """The answers of some of these videos, spread over the list."""
    step = max(1, -(-len(paths) // LOOKED_AT))
    found = []
    for path in paths[::step]:
        with suppress(VideoNLError, OSError), open_video(path) as video:
            found.append(ask(video))
    return found
