"""``videonl live``: classify a camera, an HTTP stream, or a file in real time."""

import argparse
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import (
    add_engine_flags,
    add_isolation,
    add_network_flags,
    network_options,
    note,
    positive,
    say_protocol,
    use_engine,
)
from videonl.errors import ENDING, VideoError, VideoNLError
from videonl.escapes import json_text, visible
from videonl.files import GrowingFile, is_stdout, whole_file
from videonl.shares import counted, percent
from videonl.weights.run_folder import files_of

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.inference.live import Answer, Reader
    from videonl.inference.predictor import Predictor

LONG = 5.0  # seconds from which the wait for the first label is announced

EPILOG = """\
Every answer is that of the newest frames: when the network is slow, frames are left out, never
queued. So a label is late by the length of a clip and one pass of the network at most. The times
are seconds from the first frame.
Examples:
  videonl live 0 --checkpoint best.ckpt --json seen.jsonl
  videonl live http://camera.local/stream.ts --allow-stream --checkpoint best.ckpt
  videonl live match.mp4 --checkpoint best.ckpt --overlay seen.mp4
Exit code: 0 it ended or was stopped (Ctrl-C), 1 it stalled, changed or could not be decoded, 2
wrong usage.
"""


def parser_of_live() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "videonl live", "Classify a running video; print a line whenever the label changes."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="0 or /dev/video0: a camera; an address: a stream over HTTP; or a video file",
    )
    add("--checkpoint", metavar="CKPT", required=True, help="as for videonl predict")
    add("--allow-stream", action="store_true", help="allow SOURCE to be an address")
    add(
        "--json",
        metavar="FILE.jsonl",
        help="write every answer as a line of JSON, with its times; - for standard output",
    )
    add("--overlay", metavar="FILE.mp4", help="write the video with the newest label drawn on it")
    add("--top-k", type=positive, default=5, metavar="K", help="classes in a line (default: 5)")
    add("--labels", metavar="FILE", help="class names, one per line, if the checkpoint has none")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add_engine_flags(parser)
    add_network_flags(parser, videos=True)
    add_isolation(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Classify until the source ends or Ctrl-C is pressed."""
    arguments = parser_of_live().parse_args(argv)
    if arguments.overlay and Path(arguments.overlay).suffix.lower() != ".mp4":
        raise VideoNLError(
            f"--overlay {arguments.overlay}: the file is an MP4, so its name must end in .mp4"
        )
    reads = (arguments.source, *files_of(arguments.checkpoint), arguments.labels)
    with claimed(arguments.json, arguments.overlay, reads=reads):
        from videonl.class_names import read_class_names
        from videonl.inference.predictor import Predictor

        predictor = Predictor.from_checkpoint(
            arguments.checkpoint,
            device=arguments.device,
            class_names=read_class_names(arguments.labels) if arguments.labels else None,
            options=network_options(arguments),
            network=arguments.network,
        )
        say_protocol(arguments.protocol, predictor.preprocessing)
        use_engine(arguments, predictor, predictor.preprocessing, predictor.view_probabilities)
        shown = predictor.preprocessing
        covered = shown.seconds(shown.fps or shown.rate or 25.0)
        if LONG <= covered < math.inf:
            note(f"a clip covers {covered:.0f} s, so the first label takes as long")
        with whole_file(arguments.overlay) if arguments.overlay else nullcontext() as part:
            return live(arguments, predictor, part)


def live(arguments: argparse.Namespace, predictor: "Predictor", part: Path | None) -> int:
    """Read, classify, print and write; the exit code."""
    from videonl.inference.live import open_reader, watch
    from videonl.video.live import shown_name

    name = visible(shown_name(arguments.source))
    limits = (arguments.time_limit, arguments.memory_limit) if arguments.isolate else None
    reader = open_reader(
        arguments.source,
        predictor.preprocessing,
        allow_stream=arguments.allow_stream,
        overlay=part,
        limits=limits,
    )
    with closing(reader), closing(Output(arguments, predictor)) as out, stopping() as stopped:
        end = watch(predictor, reader, top_k=arguments.top_k, on_answer=out.add, stopped=stopped)
    if not reader.counts()["seen"]:
        raise VideoError(f"{name}: {end}; no frame came")
    print(f"{name}: {end}", file=sys.stderr)
    print(out.tally(reader), file=sys.stderr)
    return int(end.failed)


@contextmanager
def stopping() -> "Iterator[Callable[[], bool]]":
    """Whether Ctrl-C, SIGTERM or SIGHUP came: what is written is brought to its end first."""
    event = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        for number in (signal.SIGINT, *heard):
            before[number] = signal.signal(number, lambda *_: event.set())
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Output:
    """Where answers go: a line per change, and lines of JSON."""

    def __init__(self, arguments: argparse.Namespace, predictor: "Predictor") -> None:
        self._file: GrowingFile | None = None
        self._as_json = bool(arguments.json) and is_stdout(arguments.json)
        if arguments.json and not self._as_json:
            self._file = GrowingFile(arguments.json, start=())
        self._about = {"model": predictor.made_by(), "protocol": predictor.protocol((1, 1))}
        self._label: str | None = None
        self._count = 0
        self._latest = 0.0
        self._begin = time.monotonic()

    def add(self, answer: "Answer") -> None:
        """Take an answer."""
        line = {**answer.as_dict(), "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if not self._count:
            line |= self._about
        self._count += 1
        self._latest = max(self._latest, answer.late)
        text = json_text(line, ascii=True) + "\n"
        if self._as_json:
            sys.stdout.write(text)
            sys.stdout.flush()
        elif self._file is not None:
            self._file.write(text)
        if answer.label != self._label and not self._as_json:
            share = dict(answer.classes).get(answer.label)
            shown = "" if share is None else percent(share)
            print(f"{answer.end:9.2f} s  {visible(answer.label) or '-'}{shown:>9}", flush=True)
        self._label = answer.label

    def tally(self, reader: "Reader") -> str:
        """How many came, how many were left out, how fast it went."""
        seconds = max(time.monotonic() - self._begin, 1e-6)
        seen, missed = (reader.counts()[key] for key in ("seen", "missed"))
        return (
            f"{counted(seen, 'frame')}, {seen / seconds:.1f} a second; "
            f"{counted(self._count, 'answer')}, "
            f"{self._count / seconds:.1f} a second, at most {self._latest:.2f} s after their last "
            f"frame; {percent(missed / max(seen, 1))} of the frames dropped (not in any clip)"
        )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
