"""The files that ``videonl predict`` reads and writes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.errors import VideoNLError
from videonl.files import is_stdout
from videonl.shards import shard_path
from videonl.weights.run_folder import files_of

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.inference.prediction import Failure


def standard_input() -> bytes:
    """Everything on standard input.

    Raises:
        VideoNLError: it is closed.
    """
    if sys.stdin is None:
        raise VideoNLError("standard input is closed, so there is no list to read")
    stream = getattr(sys.stdin, "buffer", None)
    data = sys.stdin.read() if stream is None else stream.read()
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)


def gather(arguments: argparse.Namespace) -> tuple[list[str], list["Failure"]]:
    """The files to classify, and the inputs that led to none."""
    from videonl.data.walk import VIDEO_EXTENSIONS
    from videonl.files import text_of
    from videonl.inference.inputs import find_videos, read_list

    inputs = list(arguments.videos)
    if arguments.from_list:
        source = arguments.from_list
        try:
            data = standard_input() if source == "-" else Path(source).read_bytes()
        except OSError as error:
            raise VideoNLError(f"--from-list {source}: {error.strerror}") from error
        inputs += read_list(text_of(data), source=f"--from-list {source}")
    return find_videos(inputs, extensions=VIDEO_EXTENSIONS)


def inputs_of(arguments: argparse.Namespace, videos: Sequence[str]) -> list[str | Path | None]:
    """The files that this process reads."""
    from videonl.video.decoding.container import split_span

    named = (*map(str, files_of(arguments.checkpoint)), arguments.labels, arguments.from_list)
    return [*named, *(split_span(video)[0] for video in videos)]


def outputs_of(arguments: argparse.Namespace) -> list[str | Path | None]:
    """The files that this process writes."""
    lines: str | Path | None = arguments.json
    if arguments.shard and lines not in (None, "-"):
        lines = shard_path(Path(arguments.json), arguments.shard.rank)
    single = None if folder_of(arguments) else arguments.overlay
    named = (arguments.csv, arguments.windows_csv, arguments.plot, arguments.report, single)
    return [lines, *named]


def prints_result(arguments: argparse.Namespace) -> bool:
    """Whether standard output (``-``) is one of the outputs, so that nothing else is printed."""
    return any(output is not None and is_stdout(output) for output in outputs_of(arguments))


def folder_of(arguments: argparse.Namespace) -> str | None:
    """The folder of the overlays, where there is one."""
    if not arguments.overlay or [Path(arguments.overlay)] == list(arguments.overlays.values()):
        return None
    return str(arguments.overlay)
