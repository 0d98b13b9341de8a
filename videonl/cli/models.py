"""``videonl models``: the networks by name, and the published weights that can be loaded."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from videonl.cli.main import make_parser
from videonl.escapes import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from videonl.weights.published import Published


def main(argv: Sequence[str]) -> int:
    """Print two tables, or JSON; or fetch one file."""
    parser = make_parser("videonl models", "List the networks and the published weights.")
    parser.add_argument("pattern", nargs="?", default="*", help="names to show, such as 'i3d*nl5'")
    parser.add_argument("--json", action="store_true", help="print JSON, with URLs and options")
    parser.add_argument(
        "--fetch", metavar="NAME", help="download published weights and print the path"
    )
    args = parser.parse_args(argv)

    from videonl.models import list_models
    from videonl.weights.published import PUBLISHED, local_file

    if args.fetch:
        print(local_file(args.fetch))
        return 0
    networks = list_models(args.pattern)
    weights = [
        entry
        for entry in PUBLISHED
        if fnmatchcase(entry.name, args.pattern)
        or fnmatchcase(entry.name.split("/")[-1], args.pattern)
        or fnmatchcase(entry.model, args.pattern)
    ]
    if args.json:
        print(
            json_text(
                {"networks": networks, "weights": list(map(row, weights))}, indent=2, ascii=True
            )
        )
    else:
        show(networks, weights)
    return 0 if networks or weights else 1


def row(entry: "Published") -> dict[str, Any]:
    """An entry of the published weights as JSON."""
    return {
        "name": entry.name,
        "model": entry.model,
        "clip": entry.clip,
        "top1": entry.top1,
        "top5": entry.top5,
        "protocol": entry.protocol,
        "params_millions": entry.params,
        "megabytes": round(entry.megabytes),
        "licence": entry.licence,
        "family": entry.family,
        "url": entry.url,
        "sha256_starts_with": entry.digest or None,
        "options": dict(entry.options),
    }


def show(networks: Sequence[str], weights: Sequence["Published"]) -> None:
    """Print both tables."""
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"Networks ({len(networks)}), for create_model(name):")
    console.print("  " + "  ".join(networks) if networks else "  none matches", soft_wrap=False)
    console.print(table(weights))
    console.print(
        "Give a name as --checkpoint or --model.pretrained, or to create_model(model, "
        "pretrained=name); the file is downloaded once. Accuracy: as published, on the "
        "Kinetics-400 validation set (image: ImageNet); views: clips × crops per video."
    )


def table(weights: Sequence["Published"]) -> "Table":
    """The published weights."""
    from rich.table import Table

    found = Table(title=f"Published weights ({len(weights)})", title_justify="left")
    found.add_column("name", no_wrap=True)
    found.add_column("model", no_wrap=True)
    for name in ("clip", "top-1", "top-5", "views", "params", "size"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("licence", no_wrap=True)
    for entry in weights:
        accuracy = ["–" if v is None else f"{v:.2f}" for v in (entry.top1, entry.top5)]
        found.add_row(
            entry.name,
            entry.model,
            entry.clip,
            *accuracy,
            entry.protocol,
            f"{entry.params:.1f} M",
            f"≈{entry.megabytes:.0f} MB",
            entry.licence,
        )
    return found
