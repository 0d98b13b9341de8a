"""``videonl predict --timeline`` and ``--report``: the classes over time, and a page to look at."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.cli.predict.files import prints_result
from videonl.errors import VideoError, VideoNLError
from videonl.escapes import visible
from videonl.files import write_text
from videonl.limits import number
from videonl.shares import counted, percent

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.inference.prediction import Failure
    from videonl.inference.predictor import Predictor
    from videonl.inference.timeline_output import Result

_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|min|h)?")
SHORTEST = 0.001  # seconds; containers know no finer times
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """``2s``, ``500ms``, ``1.5m`` or a bare number of seconds.

    Raises:
        ArgumentTypeError: anything else.
    """
    found = _SECONDS.fullmatch(text.strip().lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write 2s, 500ms or 1.5m")
    return float(found[1]) * _UNITS[found[2] or "s"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("long videos").add_argument
    add(
        "--timeline",
        action="store_true",
        help="classify window by window, to get the classes over time",
    )
    add(
        "--window",
        type=parse_seconds,
        metavar="TIME",
        help="length of a window (default: of a clip)",
    )
    add(
        "--hop",
        type=parse_seconds,
        metavar="TIME",
        help="time from window to window (default: half a window, at most 1s)",
    )
    add(
        "--threshold",
        type=number(0, 1),
        metavar="P",
        help="ignore windows whose class is less probable (default: 0; with several labels: 0.5)",
    )
    add("--min-length", type=parse_seconds, metavar="TIME", help="leave out shorter segments")
    add("--windows-csv", metavar="FILE", help="one row per window (--csv: one per segment)")
    add("--plot", metavar="FILE.png", help="draw the timeline; for one video")
    add(
        "--report",
        metavar="FILE.html",
        help="write a page about one video, with or without --timeline",
    )


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether ``--timeline`` or ``--report`` is given; refuses options that need ``--timeline``.

    Raises:
        VideoNLError: names the option.
    """
    if not arguments.timeline:
        for name in ("window", "hop", "threshold", "min_length", "windows_csv", "plot"):
            if getattr(arguments, name) is not None:
                raise VideoNLError(f"--{name.replace('_', '-')} belongs to --timeline; give both")
    return bool(arguments.timeline or arguments.report)


def check(arguments: argparse.Namespace, videos: int) -> None:
    """Refuse options that exclude each other.

    Raises:
        VideoNLError: names the option.
    """
    for name in ("window", "hop"):
        if (seconds := getattr(arguments, name)) is not None and seconds < SHORTEST:
            raise VideoNLError(f"--{name} must be at least {SHORTEST} s")
    if arguments.timeline and not arguments.report and arguments.views is not None:
        raise VideoNLError(
            "--views is for whole videos, and a window is one clip with one crop; leave it out"
        )
    if arguments.resume:
        raise VideoNLError("--resume does not work with --timeline or --report; leave it out")
    if arguments.workers is not None:
        raise VideoNLError(
            "--workers is for predictions of whole videos: with --timeline or --report one video "
            "is decoded at a time; leave it out"
        )
    if videos > 1 and (arguments.plot or arguments.report):
        option = "--plot" if arguments.plot else "--report"
        raise VideoNLError(f"{option} is for one video, and {videos} were given")
    if arguments.report and not arguments.timeline and (arguments.json or arguments.csv):
        raise VideoNLError("--report without --timeline writes the page alone: leave out --json "
                           "and --csv, or add --timeline")  # fmt: skip
    for name in ("plot", "report", "windows_csv"):
        file = getattr(arguments, name)
        if file and Path(file).is_dir():
            raise VideoNLError(f"--{name.replace('_', '-')} {file} is a folder; give a file name")


def run(
    arguments: argparse.Namespace,
    predictor: "Predictor",
    videos: list[str],
    failures: list["Failure"],
) -> None:
    """Classify the windows of the files, write and print; ``failures`` grows."""
    from videonl.inference.prediction import Failure
    from videonl.inference.predictor import short_reason
    from videonl.inference.show import StepBar

    results: list[Result] = []
    try:
        with StepBar() as bar:
            for video in videos:
                try:
                    one(arguments, predictor, video, results, failures, bar)
                except (VideoError, OSError) as error:
                    failures.append(Failure(video, short_reason(error, video)))
    finally:  # keep what is done, also after Ctrl-C
        if arguments.timeline:
            write(arguments, predictor, results, failures)


def one(
    arguments: argparse.Namespace,
    predictor: "Predictor",
    video: str,
    results: list["Result"],
    failures: list["Failure"],
    bar: object,
) -> None:
    """One file: its timeline to ``results``, its plot, overlay and page."""
    from videonl.inference.show import StepBar
    from videonl.inference.timeline import timeline_of

    assert isinstance(bar, StepBar)
    found = None
    if arguments.timeline:
        name = Path(video).name
        timeline = timeline_of(
            predictor,
            video,
            window=arguments.window,
            hop=arguments.hop,
            on_windows=lambda done, total: bar.report(name, done, total),
        )
        found = (timeline, timeline.segments(**rule(arguments, predictor)))
        results.append(found)
        show(arguments, found)
    if arguments.plot and found:
        from videonl.inference.timeline_output import draw_timeline

        draw_timeline(found[0], found[1], Path(arguments.plot))
    prediction = None
    if not found:
        prediction = predictor.predict(video, top_k=arguments.top_k, views=arguments.views)
    if arguments.overlay:
        from videonl.cli.predict import burn

        answer = found[0] if found else prediction
        assert answer is not None
        name = f"writing {Path(video).name}"
        burn(arguments, answer, failures, lambda done, total: bar.report(name, done, total))
    if arguments.report:
        from videonl.reports import attention_section, video_page

        prediction = prediction or predictor.predict(
            video, top_k=arguments.top_k, views=arguments.views
        )
        page = video_page(
            prediction,
            found,
            opened_by=predictor.open_video,
            attention=attention_section(predictor, video),
        )
        write_text(arguments.report, page)
        if not (arguments.quiet or prints_result(arguments)):
            print(arguments.report)


def rule(arguments: argparse.Namespace, predictor: "Predictor") -> dict[str, float]:
    """The threshold and the shortest length with which windows are joined into segments."""
    default = 0.5 if predictor.multi_label else 0.0
    threshold = arguments.threshold if arguments.threshold is not None else default
    return {"threshold": threshold, "min_length": arguments.min_length or 0.0}


def show(arguments: argparse.Namespace, found: "Result") -> None:
    """Print the segments: a table, or tabs between path, start, end and class with --quiet."""
    if prints_result(arguments):
        return
    timeline, segments = found
    path = visible(timeline.path)
    if arguments.quiet:
        for s in segments:
            print(f"{path}\t{s.start:.3f}\t{s.end:.3f}\t{visible(s.name)}", flush=True)
        return
    print(f"{path}  ({timeline.duration:.1f} s, {counted(len(timeline.windows), 'window')})")
    for s in segments:
        name = visible(s.name)
        print(
            f"  {s.start:9.2f} s to {s.end:9.2f} s  {percent(s.confidence):>7}  {name}", flush=True
        )
    if not segments:
        print("  no segments (lower --threshold or --min-length)")


def write(
    arguments: argparse.Namespace,
    predictor: "Predictor",
    results: list["Result"],
    failures: list["Failure"],
) -> None:
    """Write the files that were asked for."""
    from videonl.inference import timeline_output as output

    top_k = min(arguments.top_k, len(predictor.class_names))
    if arguments.json:
        lines = arguments.json.endswith(".jsonl")
        segments = rule(arguments, predictor)
        text = output.as_json(results, failures, segments, top_k=top_k, lines=lines)
        if arguments.json == "-":
            sys.stdout.write(text)
        else:
            write_text(arguments.json, text)
    if arguments.csv:
        write_text(arguments.csv, output.segments_csv(results, failures))
    if arguments.windows_csv:
        write_text(arguments.windows_csv, output.windows_csv(results, top_k=top_k))
