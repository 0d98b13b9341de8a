"""Keep what a sweep found, without paths of this machine, and print it beside the paper.

videonl compare --sweep configs/sweeps/affinity.yaml --out runs/affinity
python benchmarks/sweeps.py runs/affinity        writes benchmarks/results/sweep_affinity.json

Trainings of other seeds that the JSON holds of the same question stay in it: seeds may be added
elsewhere, by a sweep file with ``train: {seeds: [3, 4]}``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from os.path import relpath
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from videonl.cli.main import run
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.evaluation import Comparison, Row, differences, verdict_words
from videonl.files import write_text

Found = dict[str, Any]

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
OF_NETWORK = ("model", "input", "views", "params", "macs_per_view", "non_local_macs_per_view")
OF_TRAINING = (
    *("name", *OF_NETWORK, "flops_per_view", "group", "seed", "top1", "learning", "error"),
)
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


def condensed(folder: Path) -> Found:
    """What a comparison trained, asked and found, and of every video whether it was right.

    Raises:
        VideoNLError: a training of it failed.
    """
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    for row in found["rows"]:
        if row["error"]:
            raise VideoNLError(
                f"{folder}: {row['name']} has no result ({row['error']}); run the comparison "
                "again: it goes on with what it has"
            )
    data = found["protocol"].pop("data")
    videos: list[str] = []
    trainings = []
    for row in found["rows"]:
        answers = sorted(
            (Path(relpath(path, data["root"])).as_posix(), truth, answer)
            for path, truth, answer in found["answers"].get(row["name"], [])
        )
        videos = [f"{path} {truth}" for path, truth, _ in answers] or videos
        right = "".join(mark_of(truth, answer) for _, truth, answer in answers)
        trainings.append({**{key: row[key] for key in OF_TRAINING}, "right": right})
    data["root"] = Path(data["root"]).name
    data["digest"] = sha256("\n".join(videos).encode()).hexdigest()[:16]
    machine = found["protocol"].pop("environment")
    return {
        "protocol": {**found["protocol"], "data": data},
        "environments": [machine],
        "trainings": trainings,
    }


def mark_of(truth: str, answer: str) -> str:
    """One answer as a letter: right, wrong, or that the video could not be read."""
    return "-" if not answer else "1" if answer == truth else "0"


def question_of(found: Found) -> dict[str, Any]:
    """What must be the same of two runs whose trainings may stand in one table."""
    protocol = found["protocol"]
    data = {key: protocol["data"].get(key) for key in ("root", "split", "videos", "digest")}
    training = {k: v for k, v in protocol["training"].items() if k != "seeds"}
    return {**training, "views": protocol["views"], "data": data}


def with_earlier(found: Found, before: Found, source: Path) -> Found:
    """Add the trainings of other seeds that a file holds.

    Raises:
        VideoNLError: they answer another question, or not video by video.
    """
    new = {(row["group"], row["seed"]) for row in found["trainings"]}
    kept = [row for row in before["trainings"] if (row["group"], row["seed"]) not in new]
    if not kept:
        return found
    was, now = question_of(before), question_of(found)
    networks = {row["group"]: network_of(row) for row in found["trainings"]}
    differing = [
        *(f"of {key} {was.get(key)}, not {now.get(key)}" for key in was | now
          if was.get(key) != now.get(key)),
        *(f"of another network {row['group']!r}" for row in kept
          if networks.get(row["group"]) != network_of(row)),
    ]  # fmt: skip
    if not all(row.get("right") for row in kept):
        differing.insert(0, "without their answers")
    if differing:
        raise VideoNLError(
            f"{source} has trainings {differing[0]}: remove it to keep only those of the folder, "
            "or give another --results"
        )
    places = list(networks)
    rows = sorted((*kept, *found["trainings"]), key=lambda r: (r["seed"], places.index(r["group"])))
    seeds = sorted({row["seed"] for row in rows})
    training = {**found["protocol"]["training"], "seeds": seeds}
    machines = [one for one in before["environments"] if one not in found["environments"]]
    return {
        "protocol": {**found["protocol"], "training": training},
        "environments": [*machines, *found["environments"]],
        "trainings": rows,
    }


def network_of(training: Found) -> tuple[Any, ...]:
    """What tells a training's network and its cost from another."""
    return tuple(training[key] for key in OF_NETWORK)


def comparison_of(found: Found) -> Comparison:
    """The trainings as rows of a comparison; a video is known by its place."""
    rows = []
    for training in found["trainings"]:
        answers = [
            (str(place), "1", "" if mark == "-" else mark)
            for place, mark in enumerate(training["right"])
        ]
        same = ("name", "model", "params", "top1", "group", "seed", "learning", "error")
        rows.append(
            Row(
                **{key: training[key] for key in same},
                macs=training["macs_per_view"],
                non_local_macs=training["non_local_macs_per_view"],
                answers=answers,
            )
        )
    return Comparison(rows, differences=differences(rows), protocol=found["protocol"])


def with_verdict(found: Found) -> Found:
    """The trainings with the differences between their networks, and the verdicts."""
    comparison = comparison_of(found)
    return {
        **found,
        "differences": [item.as_dict() for item in comparison.differences],
        "verdict": [verdict_words(item, comparison) for item in comparison.differences],
    }


def groups_of(found: Found) -> dict[str, list[dict[str, Any]]]:
    """Network -> its trainings."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found["trainings"]:
        groups.setdefault(row["group"], []).append(row)
    return groups


def height_of(found: Found) -> float:
    """Inches of a panel."""
    return 0.55 + 0.22 * len(groups_of(found))


def markdown(name: str, found: Found) -> str:
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


def draw(results: dict[str, Found], path: Path) -> None:
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


def main(argv: Sequence[str]) -> int:
    """Condense each folder; its name is the sweep's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="what videonl compare wrote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    given = parser.parse_args(argv)
    for folder in given.folders:
        found = condensed(folder)
        target = given.results / f"sweep_{folder.name}.json"
        if target.is_file():
            found = with_earlier(found, json.loads(target.read_text(encoding="utf-8")), target)
        write_text(target, json_text(with_verdict(found), indent=1) + "\n")
        print(f"\n{folder.name}\n\n{markdown(folder.name, found)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], "sweeps.py"))
