"""Keep what a sweep found, without the answer to every video, and print it beside the paper.

videonl compare --sweep configs/sweeps/affinity.yaml --out runs/affinity
python benchmarks/sweeps.py runs/affinity        writes benchmarks/results/sweep_affinity.json
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from videonl.escapes import json_text
from videonl.files import write_text

RESULTS = Path(__file__).parent / "results"
# Kinetics-400 validation top-1, ResNet-50 unless told (Table 2 of the paper; its views: 10 clips x
# 3 crops, fully convolutional).
PAPER = {
    "affinity": {
        "baseline": "71.8", "gaussian": "72.5", "embedded_gaussian": "72.7", "dot_product": "72.9",
        "concatenation": "72.8",
    },
    "depth": {"0 blocks": "71.8", "1 block": "72.7", "2 blocks": "5 blocks: 73.8"},
    "conv3d": {
        "C2D": "73.1 (R101)", "I3D 3x1x1": "74.4 (R101)", "I3D 3x3x3": "74.1 (R101)",
        "NL C2D": "75.1 (R101)", "NL I3D 3x3x3": "NL I3D 3x1x1: 76.0 (R101)",
    },
    "stage": {"baseline": "71.8", "res2": "72.7", "res3": "72.9", "res4": "72.7", "res5": "72.3"},
    "space_time": {"baseline": "71.8", "space": "72.9", "time": "73.1", "spacetime": "73.8"},
    "non_local_3d": {"C2D": "71.8", "I3D 3x1x1": "73.3", "NL I3D 3x1x1": "74.9"},
    "length": {"C2D": "73.8", "I3D 3x1x1": "74.9", "NL I3D 3x1x1": "76.5"},
}  # fmt: skip
PAPER["appearance"] = PAPER["conv3d"]


def condensed(folder: Path) -> dict[str, Any]:
    """The comparison without answers and paths of this machine, with the verdict as it was told."""
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    page = (folder / "compare.md").read_text(encoding="utf-8").partition("## Verdict")[2]
    data = found["protocol"]["data"]
    data["root"] = Path(data["root"]).name
    keep = ("name", "model", "input", "views", "params", "macs_per_view", "flops_per_view",
            "non_local_macs_per_view", "group", "seed", "top1", "error")  # fmt: skip
    return {
        "protocol": {k: v for k, v in found["protocol"].items() if k != "classes"},
        "trainings": [{key: row[key] for key in keep} for row in found["rows"]],
        "differences": found["differences"],
        "verdict": [
            line[2:] for line in page.partition("\n## ")[0].splitlines() if line[:2] == "- "
        ],
    }


def markdown(name: str, found: dict[str, Any]) -> str:
    """One row per network: cost, every seed, mean and spread, and the paper's figure."""
    lines = [
        "| network | parameters (M) | GMACs (GFLOPs) | top-1 (%) | seeds | paper, Kinetics (%) |",
        "|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found["trainings"]:
        groups.setdefault(row["group"], []).append(row)
    for group, rows in groups.items():
        values = [100 * row["top1"]["value"] for row in rows if row["top1"]]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        macs = rows[0]["macs_per_view"] / 1e9
        lines.append(
            f"| {group} | {rows[0]['params'] / 1e6:.3f} | {macs:.3f} ({2 * macs:.3f}) | "
            f"{mean(values):.1f}{spread} | {', '.join(f'{v:.0f}' for v in values)} | "
            f"{PAPER.get(name, {}).get(group, '')} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Condense each folder; its name is the sweep's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="what videonl compare wrote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    given = parser.parse_args()
    for folder in given.folders:
        found = condensed(folder)
        target = given.results / f"sweep_{folder.name}.json"
        write_text(target, json_text(found, indent=1) + "\n")
        print(f"\n{folder.name}\n\n{markdown(folder.name, found)}")


if __name__ == "__main__":
    main()
