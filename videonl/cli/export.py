"""``videonl export``: a trained network as an ONNX file or an exported PyTorch program."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.terminal import words_apart
from videonl.cli.values import add_network_flags, parse_clip
from videonl.errors import VideoNLError
from videonl.shares import counted
from videonl.weights.hub import stem_of
from videonl.weights.run_folder import files_of


def main(argv: Sequence[str]) -> int:
    """Export, check, and print what was written."""
    parser = make_parser(
        "videonl export",
        "Write a network as a file that runs without videonl. The file is compared with the "
        "network before it is kept; class names and preprocessing are in it.",
    )
    add = parser.add_argument
    add("--checkpoint", metavar="CKPT", required=True, help="as for videonl predict")
    add(
        "--format",
        choices=("onnx", "torch-export"),
        help="default: by the ending of --out, else onnx",
    )
    add("--out", metavar="FILE", help="default: the checkpoint's name with .onnx or .pt2, here")
    add(
        "--clip",
        metavar="FRAMESxSIZE",
        type=parse_clip,
        help="clip, also FRAMESxHEIGHTxWIDTH; default: as trained",
    )
    add("--labels", metavar="FILE", help="class names, one per line, if the checkpoint has none")
    add_network_flags(parser)
    arguments = parser.parse_args(argv)
    from videonl.inference.export import FORMATS, format_of

    arguments.format = format_of(arguments.out or "", arguments.format)
    out = Path(arguments.out or f"{stem_of(arguments.checkpoint)}{FORMATS[arguments.format]}")
    if out.is_dir():
        raise VideoNLError(f"--out {out} is a folder; give a file name")
    reads = (*files_of(arguments.checkpoint), arguments.labels)
    place = out if out.parent.is_dir() else None  # a claim would make it
    with claimed(place, reads=reads), words_apart(arguments.out):
        return export(arguments, out)


def export(arguments: argparse.Namespace, out: Path) -> int:
    """Write the file."""
    from videonl.class_names import read_class_names
    from videonl.inference.export import export_model
    from videonl.inference.predictor import Predictor

    predictor = Predictor.from_checkpoint(
        arguments.checkpoint,
        device="cpu",
        class_names=read_class_names(arguments.labels) if arguments.labels else None,
        options=dict(arguments.option),
        network=arguments.network,
    )
    clip = arguments.clip and arguments.clip[1:]
    made = export_model(predictor, out, format=arguments.format, clip=clip)
    frames, height, width = made.clip
    free = "batch and clip length" if "frames" in made.dynamic else "batch"
    size = f"{made.path.stat().st_size / 1e6:.1f} MB, " if made.path.is_file() else ""  # no pipe
    print(f"{made.path}: {size}{frames}x{height}x{width} clips")
    print(f"variable sizes: {free}")
    if made.fixed_because:
        print(f"the clip length is fixed: {made.fixed_because}")
    for block, form in made.forms.items():
        print(f"{block}: written in its {form} form")
    print(
        f"agrees with the network: in {counted(len(made.compared), 'test batch')} the logits "
        f"differ by at most {made.difference:.1e} of the largest"
    )
    return 0
