"""``videonl merge``: the result files of many processes as one."""

import sys
from collections.abc import Sequence
from pathlib import Path

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.escapes import visible

SHOWN = 20  # failures that are listed


def main(argv: Sequence[str]) -> int:
    """Merge; exit code 1 if a file of the set is missing or failed."""
    parser = make_parser(
        "videonl merge",
        "Merge the result files that videonl predict --json FILE.jsonl wrote in many processes "
        "(FILE.00000.jsonl, ...) into FILE.jsonl: every video once, sorted by path.",
    )
    parser.add_argument("json", metavar="FILE.jsonl", help="what was given to predict --json")
    parser.add_argument("--csv", metavar="FILE", help="write one row per video too")
    arguments = parser.parse_args(argv)
    from videonl.inference.shards import merge

    path = Path(arguments.json)
    with claimed(path, arguments.csv):
        found = merge(path)
        if arguments.csv:
            from videonl.inference.shards import write_csv

            write_csv(path, Path(arguments.csv))
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
