"""The options that limit the decoding of untrusted files: process, time and memory."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from videonl.limits import number, whole


def add_isolation(parser: argparse.ArgumentParser) -> None:
    """Add ``--isolate``, ``--time-limit`` and ``--memory-limit``."""
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode in separate processes, so that a file that crashes, hangs or fills the memory "
        "is reported and the others go on (default: on)",
    )
    parser.add_argument(
        "--time-limit",
        type=number(0),
        default=300.0,
        metavar="SECONDS",
        help="limit for decoding a file, with --isolate; 0: no limit (default: 300)",
    )
    parser.add_argument(
        "--memory-limit",
        type=whole(0, 1e9),
        default=4096,
        metavar="MB",
        help="limit for decoding a file, with --isolate, on Linux; 0: no limit (default: 4096)",
    )


@contextmanager
def decoding(arguments: argparse.Namespace, *, keep: int = 1) -> Iterator[Callable[..., Any]]:
    """The function that opens videos: ``open_video``, or with ``--isolate`` that of a pool.

    Enter it early: the processes start while the caller loads its network.

    Args:
        arguments: with the options of ``add_isolation``.
        keep: how many files are decoded at a time.
    """
    if not arguments.isolate:
        from videonl.video.video import open_video

        yield open_video
        return
    from videonl.video.sandbox import DecoderPool

    with DecoderPool(
        keep=keep, time_limit=arguments.time_limit, memory_mb=arguments.memory_limit
    ) as pool:
        pool.start(keep)
        yield pool.open
