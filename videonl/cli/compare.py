"""``videonl compare``: networks side by side, in one table."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import add_protocol, note, parse_views, positive
from videonl.errors import Stopped, VideoNLError
from videonl.limits import above

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.evaluation.sweep import Sweep

EPILOG = """\
Examples:
  videonl compare i3d_r50 i3d_r50_nl5 --clip 32x224
  videonl compare tiny_i3d tiny_i3d_nl1 --train --data DIR --seeds 3 --out DIR
  videonl compare plain=runs/a/best.ckpt non-local=runs/b/best.ckpt --data DIR
Exit code: 0 all is well, 1 an entry failed (the others are in the table), 2 bad usage.
"""


def parse_clip(text: str) -> tuple[int, int]:
    """``"8x224"`` -> (8, 224): frames and size.

    Raises:
        ArgumentTypeError: anything else.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})[x×]([1-9]\d{0,3})", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not FRAMESxSIZE, such as 8x224")
    return int(match[1]), int(match[2])


DEFAULTS: dict[str, Any] = {
    "data": None,
    "split": "test",
    "group": None,
    "clip": None,
    "views": None,
    "num_classes": None,
    "device": "auto",
    "rounds": 5,
    "batch_size": 1,
    "equal_cost": False,
}


def parser_of_compare() -> argparse.ArgumentParser:
    """The options of the command; what is not given stays None, so that a sweep file may say it."""
    parser = make_parser("videonl compare", "Compare networks: cost, speed and accuracy.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("entries", nargs="*", metavar="MODEL|CKPT", help="network, checkpoint, or NAME=either")
    add("--data", metavar="ROOT", help="data set to test the checkpoints on")
    add("--split", help="its part to test on (default: test)")
    add(
        "--group",
        metavar="REGEX",
        help="finds the group (camera, subject, sequence) of a test video in its path below ROOT; "
        "videos of one group are alike, so intervals draw groups",
    )
    add(
        "--clip",
        metavar="FRAMESxSIZE",
        type=parse_clip,
        help="clip of networks by name (default: the views that each was made for; with --train "
        "what the first network was made for); checkpoints have their own",
    )
    add(
        "--views",
        metavar="CLIPSxCROPS",
        type=parse_views,
        help="views per video (default: as each network was validated or published)",
    )
    add_protocol(parser)
    add("--num-classes", type=positive, metavar="K", help="of networks by name (default: 400)")
    add("--out", metavar="DIR", help="write compare.json, .csv, .md, .html, .png there")
    add(
        "--model.name",
        dest="network",
        metavar="NAME",
        help="the checkpoints' network where it is outside of videonl, package.module:function: "
        "that code is imported only if you say it",
    )
    add("--device", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add("--rounds", type=positive, metavar="N", help="speed measurements (default: 5)")
    add("--batch-size", type=positive, metavar="N", help="clips per pass when timing (default: 1)")
    add("--no-speed", action="store_true", help="do not measure speed and memory")
    add("--training-speed", action="store_true", help="measure forward and backward too")
    add("--train", action="store_true", help="train the networks by name first, on --data")
    add("--epochs", type=positive, metavar="N", help="of every training (default: 10)")
    add("--seeds", type=positive, metavar="N", help="trainings of each network (default: 3)")
    add("--train-batch", type=positive, metavar="N", help="clips per step (default: 16)")
    add("--learning-rate", type=above(0), metavar="RATE", help="of every training")
    add(
        "--equal-cost",
        action="store_const",
        const=True,
        help="widen the networks without non-local blocks until they cost what those with them do",
    )
    add("--sweep", metavar="FILE", help="a YAML file with entries and settings; flags win over it")
    add("--scale", metavar="NAME", help="one of the scales of the sweep file")
    return parser


def check_usage(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        VideoNLError: names the option.
    """
    if arguments.out and Path(arguments.out).is_file():
        raise VideoNLError(f"--out {arguments.out} is a file; give a folder")
    if not arguments.entries and not arguments.sweep:
        raise VideoNLError("nothing to compare: give network names, checkpoints or --sweep FILE")
    if arguments.scale and not arguments.sweep:
        raise VideoNLError("--scale belongs to a sweep file; give --sweep FILE too")


def read_given(arguments: argparse.Namespace) -> "Sweep":
    """What the sweep file and the flags say together; flags win."""
    from videonl.evaluation.entry import parse_entry
    from videonl.evaluation.sweep import Sweep, read_sweep

    sweep = Sweep([])
    if arguments.sweep:
        sweep = read_sweep(arguments.sweep, scale=arguments.scale)
    given = {key: getattr(arguments, key) for key in DEFAULTS}
    settings = DEFAULTS | {k: v for k, v in sweep.settings.items() if v is not None}
    settings |= {key: value for key, value in given.items() if value is not None}
    for key, parse in (("clip", parse_clip), ("views", parse_views)):
        try:
            settings[key] = (
                parse(settings[key]) if isinstance(settings[key], str) else settings[key]
            )
        except argparse.ArgumentTypeError as error:
            raise VideoNLError(f"{arguments.sweep}: {key}: {error}") from error
    train = dict(sweep.train or {}) if sweep.train is not None or arguments.train else None
    if train is not None:
        frames, size = settings["clip"] or (train.get("frames"), train.get("size"))
        train |= {"frames": frames, "size": size}
        if arguments.epochs:
            train["epochs"] = arguments.epochs
        if arguments.seeds:
            train["seeds"] = tuple(range(arguments.seeds))
        if arguments.train_batch:
            train["batch_size"] = arguments.train_batch
        if arguments.learning_rate is not None:
            recipe = train.get("recipe") or {}
            train["recipe"] = {**recipe, "learning_rate": arguments.learning_rate}
    more = [parse_entry(text, network=arguments.network) for text in arguments.entries]
    entries = [replace(entry, protocol=arguments.protocol) for entry in (*sweep.entries, *more)]
    return Sweep(entries, settings, train)


def main(argv: Sequence[str]) -> int:
    """Compare; exit code 1 if an entry failed."""
    arguments = parser_of_compare().parse_args(argv)
    check_usage(arguments)
    given = read_given(arguments)
    if arguments.protocol:
        note(f"every network is tested as {arguments.protocol} tests, with its own clips")
    from videonl.evaluation.compare import compare_models
    from videonl.evaluation.trained_rows import Budget
    from videonl.inference.show import StepBar
    from videonl.reports import write_comparison

    settings = given.settings
    if arguments.no_speed:
        settings["rounds"] = 0
    try:
        with claimed(folder=arguments.out), StepBar() as bar:
            table = compare_models(
                given.entries,
                **settings,
                training_speed=arguments.training_speed,
                train=None if given.train is None else Budget(**given.train),
                folder=arguments.out,
                on_progress=bar.report,
            )
    except Stopped as stop:  # what it says of --resume is no option of this command
        raise Stopped("stopped; the same command goes on", signum=stop.signum) from None
    print(table)
    for row in table.failed:
        print(f"videonl compare: {row.name} failed: {row.error}", file=sys.stderr)
    if arguments.out:
        files = write_comparison(table, Path(arguments.out))
        print(f"\nwritten: {', '.join(map(str, files))}", file=sys.stderr)
    return 1 if table.failed else 0
