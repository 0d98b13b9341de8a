"""``videonl convert SRC DST.safetensors``: a published checkpoint as safetensors and JSON."""

from collections.abc import Sequence
from pathlib import Path

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import add_network_flags
from videonl.limits import whole
from videonl.weights.run_folder import files_of


def main(argv: Sequence[str]) -> int:
    """Read, write, read back, compare, and print what became of every tensor."""
    parser = make_parser(
        "videonl convert",
        "Convert a checkpoint to safetensors with a JSON sidecar (network, classes, preprocessing, "
        "provenance). No code in it is executed.",
    )
    parser.add_argument(
        "source", help="a checkpoint file, a name that videonl models lists, or hf:USER/NAME"
    )
    parser.add_argument("target", help="the file to write, with the ending .safetensors")
    add_network_flags(parser)
    parser.add_argument("--labels", help="class names: one per line, or JSON")
    parser.add_argument(
        "--num-classes", type=whole(1, 10_000_000), help="start a new classifier of this size"
    )
    args = parser.parse_args(argv)

    made = Path(args.target).parent.is_dir()  # else it is refused, and a claim would make it
    stem, ending, _ = args.target.rpartition(".safetensors")
    outputs = (args.target, f"{stem}.json" if ending else None) if made else ()
    with claimed(*outputs, reads=(*files_of(args.source), args.labels)):
        from videonl.weights.checkpoint import convert

        report, sidecar, licence = convert(
            args.source,
            args.target,
            options=dict(args.option),
            labels=args.labels,
            num_classes=args.num_classes,
            network=args.network,
        )
    print(report)
    print(f"licence of the weights: {licence}")
    print(f"wrote {args.target} and {sidecar}")
    return 0
