"""``videonl sample``: write the synthetic sample data set (also ``data/sample/prepare.py``)."""

from collections.abc import Sequence
from pathlib import Path

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.limits import SEED, usable_cores, whole
from videonl.sample.task import RELATED, RELATIONS, SampleParameters
from videonl.shares import counted


def write_with_progress(root: Path, parameters: SampleParameters, workers: int) -> None:
    """Write the data set with a progress bar, and print how many clips were written."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from videonl.sample.files import write_sample

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("clips"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console()) as bar:
        task = bar.add_task("writing", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        made = write_sample(root, parameters=parameters, workers=workers, progress=show)
    print(f"{counted(made.written, 'clip')} written, {made.skipped} already there: {made.root}")


def main(argv: Sequence[str]) -> int:
    """Parse the arguments and write the data set."""
    default = SampleParameters()
    parser = make_parser(
        "videonl sample",
        "Write the synthetic sample data set: two moving bodies, the class is the relation between "
        f"their directions ({', '.join(RELATIONS)}).",
    )
    parser.add_argument(
        "--root", type=Path, default=Path("data/sample/videos"), help="folder to write"
    )
    parser.add_argument(
        "--classes",
        default=",".join(default.classes),
        type=lambda text: tuple(text.split(",")),
        help="class names, separated by commas",
    )
    for split in ("train", "val", "test"):
        help_text = f"clips in the {split} split"
        parser.add_argument(
            f"--{split}", type=whole(0), default=default.count(split), help=help_text
        )
    parser.add_argument("--size", type=int, default=default.size, help="frame size in pixels")
    parser.add_argument("--frames", type=int, default=default.frames, help="frames per clip")
    parser.add_argument(
        "--distance",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=default.distance,
        help="distance of the bodies in the middle of a clip, in pixels",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=default.scale,
        help="factor of size and path of the bodies, 0.2 to 1",
    )
    parser.add_argument(
        "--gap",
        type=whole(0),
        metavar="FRAMES",
        help="show the second body only so many frames after the first has gone: a cue at the "
        "beginning decides what the end means (default: both are there all the time)",
    )
    parser.add_argument(
        "--of",
        choices=RELATED,
        default=default.of,
        help="what stands in the relation: the directions, or the hues, which a single frame shows",
    )
    parser.add_argument("--seed", type=SEED, default=default.seed, help="random seed")
    parser.add_argument(
        "--workers",
        type=whole(0, 1024),
        default=usable_cores(),
        help="processes; 0: only this one",
    )
    given = vars(parser.parse_args(argv))
    root, workers = given.pop("root"), given.pop("workers")
    given["distance"] = tuple(given["distance"])
    parameters = SampleParameters(**given)
    with claimed(folder=root):
        write_with_progress(root, parameters, workers)
    return 0
