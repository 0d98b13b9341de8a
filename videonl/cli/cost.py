"""``videonl cost NAME ...``: parameters, MACs and FLOPs, without making weights."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videonl.cli.main import make_parser
from videonl.cli.values import parse_clip, parse_option, parse_views
from videonl.escapes import json_text
from videonl.limits import whole

if TYPE_CHECKING:  # torch is imported only once there is something to count
    from videonl.evaluation.cost import Cost

GIGA, MILLION = 1e9, 1e6


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    made = make_parser("videonl cost", "Count the parameters, MACs and FLOPs of networks.")
    made.add_argument(
        "names", nargs="+", metavar="NAME", help="network, as listed by videonl models"
    )
    made.add_argument(
        "--clip",
        type=parse_clip,
        metavar="FRAMESxSIZE",
        help="also FRAMESxHEIGHTxWIDTH (default: the views that the network is tested on)",
    )
    made.add_argument(
        "--views", type=parse_views, default="1x1", metavar="CLIPSxCROPS", help="views per video"
    )
    made.add_argument(
        "--num-classes", type=whole(1, 10_000_000), default=400, help="classes of the classifier"
    )
    made.add_argument(
        "--option",
        type=parse_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help='option of the networks, such as preset=official_32x2 or non_local={"res2":[1]}',
    )
    made.add_argument("--blocks", action="store_true", help="list every non-local block too")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def main(argv: Sequence[str]) -> int:
    """Count the networks and print them; returns the exit code."""
    arguments = parser().parse_args(argv)
    from videonl.evaluation.cost import count_cost, designed_clip

    options = dict(arguments.option)
    costs = []
    for name in arguments.names:
        shape = arguments.clip or designed_clip(name, options=options, views=arguments.views)
        costs.append(
            count_cost(
                name,
                shape,
                views=arguments.views,
                num_classes=arguments.num_classes,
                options=options,
            )
        )
    if arguments.json:
        figures: Any = [cost.as_dict() for cost in costs]
        print(json_text(figures if len(figures) > 1 else figures[0], indent=2, ascii=True))
        return 0
    for cost in costs:
        print("\n".join(describe(cost, blocks=arguments.blocks)))
    return 0


def describe(cost: "Cost", *, blocks: bool = False) -> list[str]:
    """The lines that are printed for one network.

    Args:
        cost: what was counted.
        blocks: whether to list the non-local blocks.
    """
    _, frames, height, width = cost.clip_shape
    rows = [
        ("parameters", f"{cost.params / MILLION:.2f} M"),
        ("per view", giga(cost.macs)),
        ("  convolutions", giga(cost.convolution_macs)),
        ("  pairwise products", giga(cost.pairwise_macs)),
        ("  classifier", giga(cost.linear_macs)),
        ("  of these, non-local", giga(cost.non_local_macs)),
    ]
    if cost.paper_macs != cost.macs:
        rows.append(("per view, N × M form", giga(cost.paper_macs)))
    rows.append(
        ("with batch norm", f"{cost.macs_with_norm('eval') / GIGA:.3f} G as fvcore totals it")
    )
    if cost.views > 1:
        rows.append((f"{cost.views} views", giga(cost.total_macs)))
    lines = [f"{cost.name}, one view of {frames} × {height} × {width} (1 MAC = 2 FLOPs)"]
    lines += [f"  {label:<24} {value}" for label, value in rows]
    for block in cost.blocks if blocks else ():
        pairs = f"{block.positions} × {block.keys}"
        lines.append(f"  {block.name:<24} {block.affinity}, N × M = {pairs}, {giga(block.macs)}")
    return lines


def giga(macs: int) -> str:
    """``1.234 GMACs, 2.468 GFLOPs``."""
    return f"{macs / GIGA:.3f} GMACs, {2 * macs / GIGA:.3f} GFLOPs"
