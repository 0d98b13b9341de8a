"""``videonl predict`` in many processes: which files are ours, and where their results go."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.inference.output import Writer
    from videonl.inference.prediction import Failure
    from videonl.inference.shards import Shard


def take_shard(arguments: argparse.Namespace) -> None:
    """Fill in what torchrun says: the part of this process and its own GPU."""
    if arguments.shard is None:
        from videonl.inference.shards import shard_of_torchrun

        arguments.shard = shard_of_torchrun()
        if arguments.shard is not None and arguments.device == "auto":
            import torch

            if torch.cuda.is_available():
                arguments.device = f"cuda:{os.environ['LOCAL_RANK']}"


def part_of(
    videos: list[str], failures: list["Failure"], shard: "Shard | None"
) -> tuple[list[str], list["Failure"], dict[str, object]]:
    """The files and failures of this process, and what its result file says of all."""
    if shard is None:
        return videos, failures, {}
    from videonl.inference.shards import about_set

    about = about_set(shard, videos, failed_inputs=len(failures))
    return shard.of(videos), failures if shard.rank == 0 else [], about


def open_shard(
    arguments: argparse.Namespace, run: dict[str, object], about: dict[str, object]
) -> "Writer":
    """The result file of this process, which knows what the others have done already."""
    from videonl.inference.output_lines import JsonLinesWriter
    from videonl.inference.shards import done_by_others, remove_old, shard_path

    path, shard = Path(arguments.json), arguments.shard
    own = shard_path(path, shard.rank)
    if not arguments.resume:
        remove_old(path, shard)
    writer = JsonLinesWriter(own, run=run, resume=arguments.resume, about=about)
    if arguments.resume:
        writer.done |= done_by_others(path, shard.rank, run=run)
    return writer
