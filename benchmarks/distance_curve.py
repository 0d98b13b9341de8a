"""Accuracy against the distance between the two bodies: what the non-local block is for.

videonl sample
videonl compare --sweep configs/sweeps/distance.yaml --out runs/distance
videonl sample --root data/near/videos --size 128 --scale 1 --distance 32 64
videonl compare --sweep configs/sweeps/distance.yaml --scale near --out runs/near
python benchmarks/distance_curve.py runs/near runs/distance

One panel per comparison. Sorts its answers by the distance that the sample data's manifest tells,
computes every network's receptive field, and writes benchmarks/results/distance_curve.json and
docs/distance_curve.png.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from videonl.escapes import json_text
from videonl.evaluation import read_sweep, receptive_field
from videonl.files import write_text
from videonl.models import create_model
from videonl.reports.chart import NON_LOCAL, PLAIN
from videonl.sample.files import read_sample

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/distance_curve.json"
SWEEP = ROOT / "configs" / "sweeps" / "distance.yaml"
BINS = 6
LOOKS = ((PLAIN, "o", "-"), ("#999933", "s", "--"), ("#aa3377", "^", "-"), (NON_LOCAL, "D", "-"))


def distances_of(root: Path) -> tuple[dict[str, float], Any]:
    """Distance in pixels of the video per path below the root, and the parameters."""
    parameters, clips = read_sample(root)
    return {clip.path: clip.scene.distance for clip in clips}, parameters


def right_by_bin(
    answers: list[list[str]], distances: dict[str, float], root: Path, edges: np.ndarray
) -> list[tuple[int, int]]:
    """(right, all) of every bin."""
    place = [distances[Path(path).relative_to(root).as_posix()] for path, _, _ in answers]
    right = np.array([truth == answer for _, truth, answer in answers])
    number = np.clip(np.digitize(place, edges) - 1, 0, len(edges) - 2)
    return [(int(right[number == i].sum()), int((number == i).sum())) for i in range(BINS)]


def curve_of(folder: Path) -> dict[str, Any]:
    """Everything the picture and the table need, as primitives."""
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    root = Path(found["protocol"]["data"]["root"])
    distances, parameters = distances_of(root)
    low, high = parameters.distance
    edges = np.linspace(low, high, BINS + 1)
    sweep = read_sweep(SWEEP)
    clip = found["protocol"]["training"]["clip"]
    pixel = parameters.size / clip["short_side"]  # of the video, per pixel of the network's input
    shape = (clip["frames"], clip["crop"], clip["crop"])
    networks = []
    for entry in sweep.entries:
        rows = [row for row in found["rows"] if row["group"] == entry.name and not row["error"]]
        counts = [
            right_by_bin(found["answers"][row["name"]], distances, root, edges) for row in rows
        ]
        model = create_model(entry.target, num_classes=len(parameters.classes), **entry.options)
        frames, height, _ = receptive_field(model, clip_shape=shape)
        shares = [[100 * right / number for right, number in one] for one in counts]
        networks.append(
            {
                "name": entry.name,
                "non_local": bool(entry.options.get("non_local")),
                "params": rows[0]["params"],
                "macs_per_view": rows[0]["macs_per_view"],
                "receptive_field_frames": frames,
                "receptive_field_input_px": height,
                "receptive_field_video_px": height * pixel,
                "seeds": [row["seed"] for row in rows],
                "top1_percent": [100 * row["top1"]["value"] for row in rows],
                "videos_per_bin": [number for _, number in counts[0]],
                "percent_per_seed": shares,
                "mean_percent": [mean(values) for values in zip(*shares, strict=True)],
                "stdev_percent": [
                    stdev(values) if len(values) > 1 else 0.0
                    for values in zip(*shares, strict=True)
                ],
            }
        )
    return {
        "edges_video_px": edges.tolist(),
        "video_px": parameters.size,
        "input_px": clip["short_side"],
        "body_radius_video_px": [
            0.09 * parameters.scale * parameters.size,
            0.11 * parameters.scale * parameters.size,
        ],
        "chance_percent": 100 / len(parameters.classes),
        "networks": networks,
        "protocol": {
            **{key: value for key, value in found["protocol"].items() if key != "classes"},
            "data": {**found["protocol"]["data"], "root": root.name},
        },
        "differences": found["differences"],
    }


def draw(curves: list[dict[str, Any]], path: Path) -> None:
    """Every seed and their mean per distance; the receptive fields as vertical lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2 + 5.2 * len(curves), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, curve in zip(panels, curves, strict=True):
        draw_panel(axes, curve)
    panels[0].set_ylabel("right answers (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.savefig(path, dpi=150)


def draw_panel(axes: Any, curve: dict[str, Any]) -> None:
    """One data set: distances on the x axis."""
    edges = np.array(curve["edges_video_px"])
    centres = (edges[:-1] + edges[1:]) / 2
    for network, (colour, marker, line) in zip(curve["networks"], LOOKS, strict=True):
        axes.plot(
            centres, network["mean_percent"], color=colour, marker=marker, linestyle=line,
            label=network["name"],
        )  # fmt: skip
        for one in network["percent_per_seed"]:
            axes.plot(centres, one, ".", color=colour, alpha=0.5)
    for field, names in fields_of(curve).items():
        if field <= edges[-1]:
            axes.axvline(field, color="0.45", linewidth=1, linestyle=":")
            text = f"← inside the receptive field of {names} ({field:.0f} px)  |  beyond →"
            axes.text(field, 103, text, fontsize=7, color="0.3", ha="center", va="bottom")
    inside = [field for field in fields_of(curve) if field > edges[-1]]
    if len(inside) == len(fields_of(curve)):
        text = f"all inside every receptive field ({min(inside):.0f} px and more)"
        axes.text(centres.mean(), 103, text, fontsize=7, color="0.3", ha="center", va="bottom")
    axes.axhline(curve["chance_percent"], color="0.7", linewidth=1)
    axes.text(edges[0] + 0.3, curve["chance_percent"] + 1, "chance", fontsize=7, color="0.5")
    axes.set(
        xlabel=f"distance between the bodies (pixels of {curve['video_px']})",
        ylim=(20, 108), xlim=(edges[0], edges[-1]),
    )  # fmt: skip
    radius = sum(curve["body_radius_video_px"]) / 2
    seeds = len(curve["networks"][0]["seeds"])
    axes.set_title(f"bodies of radius {radius:.0f} px; {seeds} seeds and their mean", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def fields_of(curve: dict[str, Any]) -> dict[float, str]:
    """Receptive field in pixels of the video -> the networks that have it, without their blocks."""
    found: dict[float, list[str]] = {}
    for network in curve["networks"]:
        name = "the blocks' trunk" if network["non_local"] else network["name"]
        names = found.setdefault(network["receptive_field_video_px"], [])
        names += [name] if name not in names else []
    return {field: ", ".join(names) for field, names in found.items()}


def markdown(curve: dict[str, Any]) -> str:
    """The table of docs/results.md."""
    edges = curve["edges_video_px"]
    bins = [f"{low:.0f}–{high:.0f}" for low, high in pairwise(edges)]
    lines = [
        f"| network | GMACs | receptive field (px) | {' | '.join(bins)} | all |",
        f"|---|---|---|{'---|' * (len(bins) + 1)}",
    ]
    for network in curve["networks"]:
        cells = [
            f"{value:.0f} ± {spread:.0f}"
            for value, spread in zip(network["mean_percent"], network["stdev_percent"], strict=True)
        ]
        top1 = network["top1_percent"]
        spread = stdev(top1) if len(top1) > 1 else 0.0
        field = f"{network['receptive_field_video_px']:.0f}"
        field = f"the whole clip (trunk {field})" if network["non_local"] else field
        lines.append(
            f"| {network['name']} | {network['macs_per_view'] / 1e9:.3f} | {field} | "
            f"{' | '.join(cells)} | {mean(top1):.1f} ± {spread:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read comparisons, write the JSON and the picture, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="what videonl compare wrote")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--plot", type=Path, default=ROOT / "docs/distance_curve.png")
    given = parser.parse_args()
    curves = [curve_of(folder) for folder in given.folders]
    write_text(given.result, json_text({"panels": curves}, indent=1) + "\n")
    draw(curves, given.plot)
    print("\n\n".join(markdown(curve) for curve in curves))


if __name__ == "__main__":
    main()
