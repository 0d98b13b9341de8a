"""``videonl merge``: the results of several processes as one, and what is missing."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from videonl.claims import claimed
from videonl.cli.main import COMMANDS, make_parser
from videonl.cli.terminal import words_apart
from videonl.errors import VideoNLError
from videonl.escapes import visible
from videonl.shards import shard_files
from videonl.shares import counted

FOLDERS = ("check", "prepare", "extract")
SHOWN = 20  # failures that are listed


def main(argv: Sequence[str]) -> int:
    """Merge; exit code 1 if a file of the set is missing or failed."""
    parser = make_parser(
        "videonl merge",
        "Merge the results of several processes, and print what is missing. The files that videonl "
        "predict --json FILE.jsonl wrote (FILE.00000.jsonl, ...) become FILE.jsonl, with every "
        "video once, sorted by path. For a folder that videonl check, prepare or extract wrote "
        "into, their report is written.",
    )
    parser.add_argument(
        "place", metavar="FILE.jsonl|FOLDER", help="what was given to predict --json, or a folder"
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="also write predictions as CSV, one row per video"
    )
    arguments = parser.parse_args(argv)
    path = Path(arguments.place)
    if path.is_dir():
        if arguments.csv:
            raise VideoNLError(f"--csv is for predictions, and {path} is a folder; leave it out")
        return merge_folder(path)
    with words_apart(arguments.csv):
        return merge_predictions(path, arguments.csv)


def merge_folder(folder: Path) -> int:
    """Merge what check, prepare and extract wrote there; the highest of their exit codes.

    Raises:
        VideoNLError: there is nothing of theirs.
    """
    names = [name for name in FOLDERS if shard_files(folder / f"videonl_{name}.jsonl")]
    if not names:
        raise VideoNLError(
            f"{folder} holds no results of several processes (videonl_check.00000.jsonl and the "
            "like): give the folder that they wrote into"
        )
    return max(import_module(COMMANDS[name][0]).merge(folder) for name in names)


def merge_predictions(path: Path, csv: str | None) -> int:
    """Merge the result files of ``videonl predict``."""
    from videonl.inference.shards import merge

    with claimed(path, csv, reads=shard_files(path).values()):
        found = merge(path)
        if csv:
            from videonl.inference.shards import write_csv

            write_csv(path, Path(csv))
    print(f"{counted(found.predictions, 'video')}: {path}")
    for rank in found.ranks_missing:
        print(f"process {rank} wrote no result file", file=sys.stderr)
    for rank in found.ranks_writing:
        print(f"process {rank} is still running: merge again when it has ended", file=sys.stderr)
    if found.repeated:
        print(f"left out: {counted(found.repeated, 'repeated line')}", file=sys.stderr)
    if found.missing:
        print(
            f"no result yet: {counted(found.missing, 'video')}"
            + ("" if found.ranks_writing else ": run predict again with --resume"),
            file=sys.stderr,
        )
    if found.failures:
        print(f"{counted(len(found.failures), 'video')} could not be classified:", file=sys.stderr)
        for name in sorted(found.failures)[:SHOWN]:
            print(f"  {visible(name)}: {visible(found.failures[name])}", file=sys.stderr)
        if len(found.failures) > SHOWN:
            print(f"  ... and {len(found.failures) - SHOWN} more, see {path}", file=sys.stderr)
    return 1 if found.missing or found.failures or found.ranks_writing else 0
