"""The options of commands that decode files of strangers: where, and for how long."""

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def add_isolation(parser: argparse.ArgumentParser) -> None:
    """Add ``--isolate``, ``--time-limit`` and ``--memory-limit``."""
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode in processes that can be killed, so that a file that crashes, hangs or fills "
        "the memory costs one line of error (default: on)",
    )
    parser.add_argument(
        "--time-limit",
        type=_seconds,
        default=300.0,
        metavar="SECONDS",
        help="of decoding per file, with --isolate; 0: no limit (default: 300)",
    )
    parser.add_argument(
        "--memory-limit",
        type=_megabytes,
        default=4096,
        metavar="MB",
        help="for decoding a file, with --isolate, on Linux; 0: no limit (default: 4096)",
    )


@contextmanager
def decoding(arguments: argparse.Namespace, *, keep: int = 1) -> Iterator[Callable[..., Any]]:
    """The function that opens videos, ``open_video`` or that of a pool, as the options say.

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


def _seconds(text: str) -> float:
    return _number(text, float, "seconds")


def _megabytes(text: str) -> int:
    return int(_number(text, int, "MB"))


def _number(text: str, kind: type, unit: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit}, 0 or more")
    return value
