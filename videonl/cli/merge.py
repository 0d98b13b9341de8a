"""``videonl merge``: what many processes have done as one, and whether all is in."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from videonl.claims import claimed
from videonl.cli.main import COMMANDS, make_parser
from videonl.errors import VideoNLError
from videonl.escapes import visible
from videonl.shards import shard_files

FOLDERS = ("check", "prepare", "extract")
SHOWN = 20  # failures that are listed


def main(argv: Sequence[str]) -> int:
    """Merge; exit code 1 if a file of the set is missing or failed."""
    parser = make_parser(
        "videonl merge",
        "Merge what many processes have done, and say whether all is in: the result files that "
        "videonl predict --json FILE.jsonl wrote (FILE.00000.jsonl, ...) become FILE.jsonl, every "
        "video once, sorted by path; of a folder that videonl check, prepare or extract wrote "
        "into, their reports.",
    )
    parser.add_argument(
        "place", metavar="FILE.jsonl|FOLDER", help="what was given to predict --json; or a folder"
    )
    parser.add_argument("--csv", metavar="FILE", help="of predictions: one row per video, too")
    arguments = parser.parse_args(argv)
    path = Path(arguments.place)
    if path.is_dir():
        if arguments.csv:
            raise VideoNLError(f"--csv is of predictions, and {path} is a folder")
        return merge_folder(path)
    return merge_predictions(path, arguments.csv)


def merge_folder(folder: Path) -> int:
    """Merge what check, prepare and extract have left there; the worst of their exit codes.

    Raises:
        VideoNLError: they have left nothing there.
    """
    names = [name for name in FOLDERS if shard_files(folder / f"videonl_{name}.jsonl")]
    if not names:
        raise VideoNLError(
            f"{folder} holds no journals of parts (videonl_check.00000.jsonl and the like): name "
            "the folder that they wrote into"
        )
    return max(import_module(COMMANDS[name][0]).merge(folder) for name in names)


def merge_predictions(path: Path, csv: str | None) -> int:
    """Merge the result files of ``videonl predict``."""
    from videonl.inference.shards import merge

    with claimed(path, csv):
        found = merge(path)
        if csv:
            from videonl.inference.shards import write_csv

            write_csv(path, Path(csv))
    print(f"{found.predictions} videos: {path}")
    for rank in found.ranks_missing:
        print(f"process {rank} wrote no result file", file=sys.stderr)
    for rank in found.ranks_writing:
        print(f"process {rank} still writes its result file: merge again later", file=sys.stderr)
    if found.repeated:
        print(f"{found.repeated} lines named a video again and were left out", file=sys.stderr)
    if found.missing:
        print(
            f"{found.missing} videos have no result yet"
            + ("" if found.ranks_writing else ": run predict again with --resume"),
            file=sys.stderr,
        )
    if found.failures:
        print(f"{len(found.failures)} could not be classified:", file=sys.stderr)
        for name in sorted(found.failures)[:SHOWN]:
            print(f"  {visible(name)}: {visible(found.failures[name])}", file=sys.stderr)
        if len(found.failures) > SHOWN:
            print(f"  ... and {len(found.failures) - SHOWN} more, see {path}", file=sys.stderr)
    return 1 if found.missing or found.failures or found.ranks_writing else 0
