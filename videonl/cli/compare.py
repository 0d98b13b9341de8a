"""``videonl compare``: networks side by side, in one table."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.cli.main import make_parser
from videonl.cli.predict import parse_views, positive
from videonl.errors import VideoNLError

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.evaluation.compare_training import Budget

EPILOG = """\
Examples:
  videonl compare i3d_r50 i3d_r50_nl5 --clip 32x224
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


def parser_of_compare() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("videonl compare", "Compare networks: cost, speed and accuracy.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("entries", nargs="+", metavar="MODEL|CKPT", help="network, checkpoint, or NAME=either")
    add("--data", metavar="ROOT", help="data set to test the checkpoints on")
    add("--split", default="test", help="its part to test on (default: test)")
    add(
        "--clip",
        type=parse_clip,
        metavar="FRAMESxSIZE",
        help="clip of networks by name (default: 8x224; with --train what the first network was "
        "made for); checkpoints have their own",
    )
    add(
        "--views",
        type=parse_views,
        default=(10, 3),
        metavar="CLIPSxCROPS",
        help="views per video (default: 10x3)",
    )
    add("--num-classes", type=positive, metavar="K", help="of networks by name (default: 400)")
    add("--out", metavar="DIR", help="write compare.json, .csv, .md, .html, .png there")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add("--rounds", type=positive, default=5, metavar="N", help="speed measurements (default: 5)")
    add("--batch-size", type=positive, default=1, metavar="N", help="clips per pass when timing")
    add("--no-speed", action="store_true", help="do not measure speed and memory")
    add("--train", action="store_true", help="train the networks by name first, on --data")
    add("--epochs", type=positive, default=10, metavar="N", help="of every training (default: 10)")
    add("--seeds", type=positive, default=3, metavar="N", help="trainings of each (default: 3)")
    add(
        "--train-batch", type=positive, default=16, metavar="N", help="clips per step (default: 16)"
    )
    add("--learning-rate", type=float, metavar="RATE", help="of every training")
    add("--training-speed", action="store_true", help="measure forward and backward too")
    return parser


def budget_of(arguments: argparse.Namespace) -> "Budget | None":
    """What every training gets, or None where nothing is trained."""
    if not arguments.train:
        return None
    from videonl.evaluation.compare_training import Budget

    frames, size = arguments.clip or (None, None)
    rate = arguments.learning_rate
    return Budget(
        epochs=arguments.epochs,
        seeds=tuple(range(arguments.seeds)),
        batch_size=arguments.train_batch,
        frames=frames,
        size=size,
        recipe={} if rate is None else {"learning_rate": rate},
    )


def main(argv: Sequence[str]) -> int:
    """Compare; exit code 1 if an entry failed."""
    arguments = parser_of_compare().parse_args(argv)
    if arguments.out and Path(arguments.out).is_file():
        raise VideoNLError(f"--out {arguments.out} is a file; give a folder")
    from videonl.evaluation.compare import compare_models
    from videonl.evaluation.compare_files import write_comparison
    from videonl.inference.show import StepBar

    with StepBar() as bar:
        table = compare_models(
            arguments.entries,
            clip=arguments.clip or (8, 224),
            views=arguments.views,
            data=arguments.data,
            split=arguments.split,
            num_classes=arguments.num_classes,
            device=arguments.device,
            rounds=0 if arguments.no_speed else arguments.rounds,
            batch_size=arguments.batch_size,
            training_speed=arguments.training_speed,
            train=budget_of(arguments),
            folder=arguments.out,
            on_progress=bar.report,
        )
    print(table)
    if arguments.out:
        files = write_comparison(table, Path(arguments.out))
        print(f"\nwritten: {', '.join(map(str, files))}", file=sys.stderr)
    return 1 if table.failed else 0
