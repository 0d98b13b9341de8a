"""Values and options that several commands share: clips, views, networks, isolation; no torch."""

import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from videonl.errors import VideoNLError
from videonl.escapes import as_word, parse_json
from videonl.files import parse_yaml
from videonl.limits import MOST_CLIPS, above, number, whole
from videonl.shards import Shard, shard_here

if TYPE_CHECKING:
    from torch import Tensor

    from videonl.inference.predictor import Predictor
    from videonl.video.preprocessing import Preprocessing

positive = whole(1, 1e9)  # the type of an option
RATE = above(0, 1000)  # frames per second
MOST_PIXELS = 16_384  # of a side; as many frames
VIEWS = re.compile(r"(\d+)[x×](\d+)")


def parse_value(text: str) -> Any:
    """A value of ``train.py``: number, true, false, null, a list, a table, or text.

    Example:
        >>> parse_value("1e-4"), parse_value("[1, 2]"), parse_value("10x3")
        (0.0001, [1, 2], [10, 3])
    """
    match = VIEWS.fullmatch(text)
    if match:
        return [int(match[1]), int(match[2])]
    try:
        value = parse_yaml(text, source=repr(text))
    except VideoNLError as error:
        if "is given twice" in str(error) and text.lstrip().startswith("{"):
            raise
        return text
    # Text such as "a: b" is a table in YAML; on a command line only {...} is meant as one.
    return text if isinstance(value, dict) and not text.lstrip().startswith("{") else value


def parse_clip(text: str) -> tuple[int, int, int, int]:
    """``32x224`` or ``8x256x320`` -> (3, T, H, W).

    Raises:
        ArgumentTypeError: anything else.
    """
    sizes = numbers(text)
    if sizes is None or len(sizes) not in (2, 3) or max(sizes) > MOST_PIXELS:
        raise ArgumentTypeError(f"{text!r} is not a clip: write FRAMESxSIDE, such as 32x224")
    return (3, sizes[0], sizes[1], sizes[-1])


def parse_views(text: str) -> tuple[int, int]:
    """``10x3`` (or ``10×3``) -> (10 clips, 3 crops); ``10`` is ten clips of one crop.

    Raises:
        ArgumentTypeError: anything else, or other crops than 1 or 3.
    """
    sizes = numbers(text.strip().replace("×", "x"))
    if not sizes or len(sizes) > 2 or sizes[0] > MOST_CLIPS or sizes[1:] not in ([], [1], [3]):
        raise ArgumentTypeError(
            f"{text!r} are not views: write CLIPSxCROPS, such as 10x3 or 1x1 (crops are 1 or 3, "
            f"clips at most {MOST_CLIPS})"
        )
    return (sizes[0], sizes[1] if len(sizes) == 2 else 1)


def parse_shard(text: str) -> Shard:
    """``3/64`` -> part 3 (of 0 to 63) of 64.

    Raises:
        ArgumentTypeError: anything else.
    """
    rank, slash, size = text.partition("/")
    if not (slash and rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise ArgumentTypeError(
            f"{text!r} is not RANK/SIZE, such as 0/4, with RANK from 0 to SIZE - 1"
        )
    return Shard(int(rank), int(size))


def parse_option(text: str) -> tuple[str, Any]:
    """``name=value``, the value as JSON, a list or table in YAML, ``10x3``, or else as text.

    Raises:
        ArgumentTypeError: no ``=``; an argument of ours that is no option of a network.

    Example:
        >>> parse_option("views=3x3"), parse_option("preset=official_32x2")
        (('views', [3, 3]), ('preset', 'official_32x2'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"{text!r} is not an option: write NAME=VALUE, such as width=32")
    if name in ("name", "num_classes", "pretrained"):
        raise ArgumentTypeError(f"{name} is not an option of a network; leave it out")
    try:
        return name, parse_json(value)
    except ValueError:
        structured = value.lstrip().startswith(("{", "[")) or VIEWS.fullmatch(value)
        return name, parse_value(value) if structured else value


def add_network_flags(parser: ArgumentParser, *, videos: bool = False) -> None:
    """``--option`` and ``--model.name`` of the commands that read a checkpoint.

    Args:
        parser: of the command.
        videos: also ``--fps``, for commands that show videos to its network.
    """
    if videos:
        parser.add_argument(
            "--fps",
            type=parse_rate,
            metavar="training|keep|RATE",
            help="training (default): files of another frame rate than the training videos are "
            "sampled by time; keep: take frames by their number; RATE: sample by time at that rate",
        )
        add_protocol(parser)
    parser.add_argument(
        "--model.name",
        dest="network",
        metavar="NAME",
        help="network of the checkpoint if it is not one of videonl, as package.module:function; "
        "its code is imported only if you give this option",
    )
    parser.add_argument(
        "--option",
        type=parse_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the network that a published file does not state, such as "
        "preset=official_32x2, or other clips and views, such as test_crop=256; may be repeated",
    )


def add_engine_flags(parser: ArgumentParser) -> None:
    """``--engine`` and ``--precision`` of the commands that classify with one network."""
    add = parser.add_argument
    add(
        "--engine",
        choices=("torch", "openvino"),
        default="torch",
        help="openvino computes faster on a CPU (pip install 'videonl[openvino]'); it is compared "
        "with torch before its first use",
    )
    add(
        "--precision",
        choices=("32", "bf16"),
        default="32",
        help="bf16 is faster on a GPU and on a CPU with AMX, and rounds to about 1 %%",
    )


def use_engine(
    arguments: Namespace,
    predictor: "Predictor",
    shown: "Preprocessing",
    answer: "Callable[[Tensor], object]",
) -> None:
    """Let a predictor print its notes, and compute with ``--engine`` and ``--precision``.

    Args:
        arguments: of the command.
        predictor: of the command.
        shown: of the clips that it will see.
        answer: computes uint8 clips (1, T, H, W, 3). OpenVINO is tried before anything is written
            that says what computed it.
    """
    predictor.say = note
    predictor.compute_with(arguments.engine, precision=arguments.precision)
    if arguments.engine == "openvino":
        import torch

        noise = torch.Generator().manual_seed(0)
        shape = (1, *shown.view_shape, 3)
        answer(torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise))


def add_conceal(parser: ArgumentParser) -> None:
    """``--conceal`` of the commands that leave out damaged frames."""
    parser.add_argument(
        "--conceal",
        action="store_true",
        help="use damaged frames as the decoder repairs them, and print how many (default: leave "
        "out clips and windows that hold one, and print how many)",
    )


def add_protocol(parser: ArgumentParser) -> None:
    """``--protocol`` of the commands that show videos to a network."""
    parser.add_argument(
        "--protocol",
        type=parse_protocol,
        metavar="NAME",
        help="sample videos as a publisher's own test does, with the clips of this network: "
        "pyslowfast, pytorchvideo, caffe2 (the paper's code), mmaction2, gluoncv, torchvision "
        "(default: as the network was validated or published)",
    )


def parse_protocol(text: str) -> str:
    """The name of a publisher's test.

    Raises:
        ArgumentTypeError: there is no test of that name; the message has the nearest one.
    """
    from videonl.video.protocols import checked_protocol

    try:
        return checked_protocol(text)
    except VideoNLError as error:
        raise ArgumentTypeError(str(error)) from None


def say_protocol(name: str | None, shown: "Preprocessing") -> None:
    """Print how ``--protocol`` changes the sampling of videos."""
    if name is not None:
        from videonl.video.protocols import USUAL

        entries = shown.to_dict()
        how = [f"{key} {entries[key]}" for key in USUAL if key in entries and key != "views"]
        note(f"protocol of {name}: {', '.join([shown.shown_views, *how])}")


def parse_rate(text: str) -> dict[str, Any]:
    """``keep``, ``training`` or a number: the entries of a preprocessing that ``--fps`` changes.

    Raises:
        ArgumentTypeError: anything else.
    """
    if text == "training":
        return {}
    if text == "keep":
        return {"fps": None, "rate": None}
    try:
        return {"fps": RATE(text)}
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is not keep, training or {RATE}") from None


def network_options(arguments: Namespace) -> dict[str, Any]:
    """The values of ``--option``, ``--fps`` and ``--protocol``, as for ``load_checkpoint``."""
    protocol = {"protocol": arguments.protocol} if getattr(arguments, "protocol", None) else {}
    return {**protocol, **dict(arguments.option), **(getattr(arguments, "fps", None) or {})}


def note(text: str) -> None:
    """Print a note on standard error."""
    print(f"note      {text}", file=sys.stderr)


def take_shard(arguments: Namespace) -> None:
    """Without ``--shard``, take the part of this process and its GPU from torchrun or SLURM."""
    if arguments.shard is not None:
        return
    arguments.shard = shard_here()
    if arguments.shard is not None and getattr(arguments, "device", "") == "auto":
        import torch

        if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
            arguments.device = f"cuda:{os.environ['LOCAL_RANK']}"


def add_shard(parser: ArgumentParser) -> None:
    """``--shard`` of the commands whose processes are merged by the folder that they write into."""
    parser.add_argument(
        "--shard",
        type=parse_shard,
        metavar="RANK/SIZE",
        help="process part RANK (from 0) of SIZE; set automatically under torchrun and in SLURM "
        "arrays; afterwards run videonl merge FOLDER",
    )


def say_part(shard: Shard, folder: object) -> None:
    """Print which part this is, and the command that merges the parts."""
    merge = f"videonl merge {as_word(folder)}"
    print(f"part {shard.rank} of {shard.size}; when all have ended: {merge}")


def numbers(text: str) -> list[int] | None:
    """Positive integers with x between them; None for any other text."""
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        return None
    return [int(part) for part in parts]


def add_isolation(parser: ArgumentParser) -> None:
    """Add ``--isolate``, ``--time-limit`` and ``--memory-limit``."""
    parser.add_argument(
        "--isolate",
        action=BooleanOptionalAction,
        default=True,
        help="decode in separate processes, so that a file that crashes, hangs or fills the memory "
        "is reported and the others go on (default: on)",
    )
    parser.add_argument(
        "--time-limit",
        type=number(0, 1e9),
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
def decoding(arguments: Namespace, *, keep: int = 1) -> Iterator[Callable[..., Any]]:
    """The function that opens videos: ``open_video``, or with ``--isolate`` that of a pool.

    Enter it early: a process starts while the caller loads its network; others start when needed.

    Args:
        arguments: with the options of ``add_isolation``.
        keep: how many files are decoded at a time, at most.
    """
    if not arguments.isolate:
        from videonl.video.video import open_video

        yield open_video
        return
    from videonl.video.sandbox import DecoderPool

    with DecoderPool(
        keep=keep, time_limit=arguments.time_limit, memory_mb=arguments.memory_limit
    ) as pool:
        pool.start()
        yield pool.open
