"""``videonl attend``: what a non-local block looks at, as pictures or in numbers."""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import (
    add_isolation,
    add_network_flags,
    decoding,
    network_options,
    note,
    parse_views,
    positive,
    say_protocol,
)
from videonl.errors import VideoNLError
from videonl.escapes import json_text, visible
from videonl.files import is_stdout, write_text
from videonl.limits import SEED, number, whole
from videonl.weights.run_folder import files_of

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.attention.map import AttentionMap
    from videonl.inference.predictor import Predictor

EPILOG = """\
Examples:
  videonl attend clip.mp4 --checkpoint model.ckpt
  videonl attend clip.mp4 --checkpoint model.ckpt --block res4.5 --at 3,120,200 --out pictures
  videonl attend --data ROOT --split val --checkpoint model.ckpt --json attention.json
Exit code: 0 success, 1 some files of the data set could not be read, 2 wrong usage.
"""

OF_VIDEO = ("at", "clip", "start", "strongest", "gif", "out")
OF_DATA = ("split", "videos", "queries", "seed")


def parse_at(text: str) -> tuple[float, float, float]:
    """``"3,120,200"`` -> (3.0, 120.0, 200.0).

    Raises:
        ArgumentTypeError: anything else.
    """
    try:
        t, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not T,Y,X, such as 3,120,200: frame of the clip, row and column"
        ) from None
    return t, y, x


def parser_of_attend() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "videonl attend", "Draw what a non-local block looks at in a video, from one position."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("video", nargs="?", metavar="VIDEO", help="video file")
    add(
        "--checkpoint",
        metavar="CKPT",
        required=True,
        help="as for videonl predict",
    )
    add("--block", metavar="NAME", help="such as res4.5 (default: the last; with --data: all)")
    add(
        "--at",
        type=parse_at,
        metavar="T,Y,X",
        help="the query position: frame of the clip from 0, row and column in pixels of the video "
        "as displayed (default: the position that changes the predicted class's score most)",
    )
    add(
        "--clip",
        type=whole(0, 9),
        metavar="K",
        help="which clip: 0 to 9, spread over the video (default: the middle one)",
    )
    add("--start", type=number(0), metavar="SECONDS", help="start of the clip, in place of --clip")
    add(
        "--crop",
        default="centre",
        choices=("centre", "first", "middle", "last"),
        help="centre as in training (default), or one of a test's three along the longer side",
    )
    add("--strongest", type=positive, default=20, metavar="K", help="arrows to draw (default: 20)")
    add("--out", default="attention", metavar="DIR", help="folder to write to (default: attention)")
    add("--gif", action="store_true", help="write the overlay as GIF too")
    add("--data", metavar="ROOT", help="in place of a video: a data set, for statistics per block")
    add(
        "--split",
        default="val",
        choices=("train", "val", "test"),
        help="split of --data (default: val)",
    )
    add(
        "--videos",
        type=positive,
        default=100,
        metavar="N",
        help="videos of --data to use, at most (default: 100)",
    )
    add(
        "--queries",
        type=positive,
        default=32,
        metavar="N",
        help="query positions per video of --data (default: 32)",
    )
    add(
        "--seed",
        type=SEED,
        default=0,
        help="random seed for videos, queries and weights (default: 0)",
    )
    add(
        "--views",
        type=parse_views,
        metavar="CLIPSxCROPS",
        help="views per video of --data, for the accuracy with and without a block (default: as "
        "the network was validated or published)",
    )
    add(
        "--json", metavar="FILE", help="write the statistics of --data there; - for standard output"
    )
    add_network_flags(parser, videos=True)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add_isolation(parser)
    return parser


def check_usage(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        VideoNLError: names the option.
    """
    if bool(arguments.video) == bool(arguments.data):
        raise VideoNLError("give either a video file or --data ROOT")
    usual = parser_of_attend().get_default
    idle = [n for n in OF_VIDEO if arguments.data and getattr(arguments, n) != usual(n)]
    if idle:
        raise VideoNLError(f"--{idle[0]} is for a single video and not for --data; leave it out")
    if arguments.json and not arguments.data:
        raise VideoNLError("--json needs --data; for a single video --out DIR gets the JSON")
    if arguments.views and not arguments.data:
        raise VideoNLError("--views needs --data; for a single video use --clip and --crop")
    idle = [n for n in OF_DATA if arguments.video and getattr(arguments, n) != usual(n)]
    if idle:
        raise VideoNLError(f"--{idle[0]} is for --data and not for a single video; leave it out")
    if Path(arguments.out).is_file():
        raise VideoNLError(f"--out {arguments.out} is a file; give a folder")


def main(argv: Sequence[str]) -> int:
    """Draw or summarise."""
    arguments = parser_of_attend().parse_args(argv)
    check_usage(arguments)
    reads: list[str | Path] = [*files_of(arguments.checkpoint)]
    if arguments.video:
        output = file_of(arguments.video, arguments.block or "default", "json", arguments.out)
    else:
        from videonl.data.catalogue import lists_of

        output = arguments.json
        reads += chain.from_iterable(lists_of(Path(arguments.data)).values())
    with claimed(output, reads=reads), decoding(arguments) as open_video:
        from videonl.inference.predictor import Predictor

        predictor = Predictor.from_checkpoint(
            arguments.checkpoint,
            device=arguments.device,
            options=network_options(arguments),
            network=arguments.network,
        )
        predictor.open_video, predictor.say = open_video, note
        say_protocol(arguments.protocol, predictor.preprocessing)
        return (show if arguments.video else summarise)(arguments, predictor)


def show(arguments: argparse.Namespace, predictor: "Predictor") -> int:
    """One video: write pictures and JSON, and print the main values."""
    from videonl.attention import KINDS, attend
    from videonl.shares import percent

    found = attend(
        predictor,
        arguments.video,
        block=arguments.block,
        at=arguments.at,
        clip=arguments.clip,
        start=arguments.start,
        crop=arguments.crop,
        strongest=arguments.strongest,
    )
    written = write(found, Path(arguments.out), gif=arguments.gif)
    query, spread = found.query, found.spread
    print(f"{found.block} ({found.affinity}): {found.shown_as}")
    answer, share = found.classes[0]
    truth = "" if found.truth is None else f"; true class: {visible(found.truth)}"
    print(f"this clip: {visible(answer)}, {percent(share)}{truth}")
    print(f"query: {query.seconds:.2f} s, y {query.y:.1f}, x {query.x:.1f}: {found.chosen}")
    print(
        f"entropy {spread.entropy:.3f} nats, {percent(spread.relative)} of that of equal "
        f"weights; mean reach {spread.pixels:.1f} pixels, {spread.seconds:.2f} s"
    )
    if spread.kind:
        print(f"this row is {KINDS[spread.kind]}")
    for place in found.strongest[:5]:
        print(
            f"  {place.weight:10.4g}  frame {place.frame}, {place.seconds:.2f} s, "
            f"y {place.y:.1f}, x {place.x:.1f}"
        )
    for path in written:
        print(path)
    return 0


def file_of(video: str, block: str, kind: str, folder: str | Path) -> Path:
    """Where a picture of a video, or of a part of one, goes."""
    from videonl.inference.features import file_name
    from videonl.video.decoding.container import split_span, with_span

    file, span = split_span(video)
    return Path(folder) / file_name(with_span(Path(file).stem, span), f".{block}.{kind}")


def write(found: "AttentionMap", folder: Path, *, gif: bool) -> list[Path]:
    """Write PNG, MP4 and JSON, and GIF where asked.

    Raises:
        OutputError: the folder cannot be written to.
    """
    from videonl.attention import save_figure, write_gif, write_mp4

    kinds = ("png", "mp4", "gif", "json")
    files = {kind: file_of(found.path, found.block, kind, folder) for kind in kinds}
    save_figure(found, files["png"])
    write_mp4(found, files["mp4"])
    if gif:
        write_gif(found, files["gif"])
    write_json(found.as_dict(), files["json"])
    return [path for kind, path in files.items() if kind != "gif" or gif]


def write_json(content: object, path: Path) -> None:
    """Write JSON; the file appears when it is whole."""
    write_text(path, json_text(content, indent=1, ascii=True) + "\n")


def summarise(arguments: argparse.Namespace, predictor: "Predictor") -> int:
    """A data set: a table per block, and JSON."""
    from videonl.attention.summary import summarise_attention, table
    from videonl.inference.show import StepBar

    with StepBar() as bar:
        summary = summarise_attention(
            predictor,
            arguments.data,
            split=arguments.split,
            block=arguments.block,
            videos=arguments.videos,
            queries=arguments.queries,
            seed=arguments.seed,
            crop=arguments.crop,
            views=arguments.views,
            on_video=lambda done, total: bar.report("videos", done, total),
        )
    if arguments.json and is_stdout(arguments.json):
        print(json_text(summary.as_dict(), indent=1, ascii=True))
    else:
        print(table(summary))
        if arguments.json:
            write_json(summary.as_dict(), Path(arguments.json))
    for path, reason in summary.failures:
        print(f"{visible(path)}: {visible(reason)}", file=sys.stderr)
    return 1 if summary.failures else 0
