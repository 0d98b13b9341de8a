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
TITLES = {
    "affinity": "Which affinity (2a)",
    "depth": "How many blocks (2c)",
    "conv3d": "Against 3-D convolution (2e)",
    "stage": "In which stage (2b)",
    "space_time": "Space, time or spacetime (2d)",
    "non_local_3d": "In a 3-D network (2f)",
    "length": "Longer clips (2g)",
    "appearance": "Against 3-D convolution, where appearance decides (2e)",
    "cue": "A relation far apart in time",
}
COLOURS = ("#4477aa", "#cc3311")  # without blocks, with blocks


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


def groups_of(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Network -> its trainings."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found["trainings"]:
        groups.setdefault(row["group"], []).append(row)
    return groups


def height_of(found: dict[str, Any]) -> float:
    """Inches of a panel."""
    return 0.55 + 0.22 * len(groups_of(found))


def markdown(name: str, found: dict[str, Any]) -> str:
    """One row per network: cost, every seed, mean and spread, and the paper's figure if any."""
    paper = PAPER.get(name)
    head = "| network | parameters (M) | GMACs (GFLOPs) | top-1 (%) | seeds |"
    head += " paper, Kinetics (%) |" if paper else ""
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for group, rows in groups_of(found).items():
        values = [100 * row["top1"]["value"] for row in rows if row["top1"]]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        macs = rows[0]["macs_per_view"] / 1e9
        lines.append(
            f"| {group} | {rows[0]['params'] / 1e6:.3f} | {macs:.3f} ({2 * macs:.3f}) | "
            f"{mean(values):.1f}{spread} | {', '.join(f'{v:.0f}' for v in values)} |"
            + (f" {paper.get(group, '')} |" if paper else "")
        )
    return "\n".join(lines)


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """A panel for each sweep: a point for each seed, a line at the mean of each network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        len(results), 1, figsize=(7, 0.9 + sum(map(height_of, results.values()))), sharex=True,
        gridspec_kw={"height_ratios": [height_of(found) for found in results.values()]},
    )  # fmt: skip
    for axis, (name, found) in zip(panels, results.items(), strict=True):
        groups = groups_of(found)
        for place, rows in enumerate(groups.values()):
            values = [100 * row["top1"]["value"] for row in rows if row["top1"]]
            colour = COLOURS[bool(rows[0]["non_local_macs_per_view"])]
            axis.plot(values, [place] * len(values), "o", color=colour, alpha=0.6, markersize=5)
            axis.vlines(mean(values), place - 0.3, place + 0.3, color=colour)
        axis.axvline(100 / 3, color="#777777", linestyle=":", linewidth=1)
        axis.set_yticks(range(len(groups)), list(groups), fontsize=8)
        axis.set_ylim(len(groups) - 0.4, -0.6)
        axis.set_title(TITLES[name], fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("top-1 (%) of 600 videos, by seed; dotted: chance")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


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
