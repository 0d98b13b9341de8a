"""The table and the picture of benchmarks/special_cases.py: average precision, seed by seed."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from videonl.evaluation.statistics import t_quantile

NETWORKS = {"masks": "small Mask R-CNN", "keypoints": "small Keypoint R-CNN"}
COLOURS = {"convolutions": "#9aa5b1", "non-local blocks": "#2f6fb0"}
Found = dict[str, Any]


def values_of(found: Found, task: str, row: str, kind: str) -> list[float]:
    """The average precision of every seed, in per cent."""
    return [
        100 * one["precision"][kind]
        for one in found["trainings"]
        if (one["task"], one["row"]) == (task, row)
    ]


def kinds_of(found: Found) -> list[tuple[str, str]]:
    """(task, kind) of what is measured, in the order of the trainings."""
    pairs = [(one["task"], kind) for one in found["trainings"] for kind in one["precision"]]
    return list(dict.fromkeys(pairs))


def gain(found: Found, task: str, kind: str) -> str:
    """What blocks add over the convolutions in their place, seed by seed, with its interval."""
    before, after = (values_of(found, task, row, kind) for row in COLOURS)
    differences = [b - a for a, b in zip(before, after, strict=False)]
    if len(differences) < 2:
        return f"{differences[0]:+.1f}" if differences else "–"
    half = t_quantile(0.975, len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
    centre = mean(differences)
    return f"{centre:+.1f} [{centre - half:+.1f}, {centre + half:+.1f}]"


def table(found: Found) -> str:
    """A row for each network and measure."""
    lines = [
        "| network | with | parameters (M) | GMACs (GFLOPs) of a picture | AP of | "
        "AP (%), mean | by seed | the blocks add [95 %] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, kind in kinds_of(found):
        for row in COLOURS:
            values, cost = values_of(found, task, row, kind), found["networks"][task].get(row)
            if not values or not cost:
                continue
            macs = cost["macs"] / 1e9
            last = gain(found, task, kind) if row == list(COLOURS)[-1] else ""
            what = "blocks" if last else "convolutions of their cost"
            lines.append(
                f"| {NETWORKS[task]} | {what} | {cost['params'] / 1e6:.2f} | "
                f"{macs:.3f} ({2 * macs:.3f}) | {kind} | {mean(values):.1f} | "
                f"{', '.join(f'{value:.1f}' for value in values)} | {last} |"
            )
    return "\n".join(lines)


def draw(found: Found, path: Path) -> None:
    """A point for each seed, a line at the mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    pairs = kinds_of(found)
    figure, axis = plt.subplots(figsize=(7, 3.6))
    for place, (task, kind) in enumerate(pairs):
        for shift, (row, colour) in zip((-0.14, 0.14), COLOURS.items(), strict=True):
            values = values_of(found, task, row, kind)
            label = {"label": row} if place == 0 else {}
            axis.plot([place + shift] * len(values), values, "o", color=colour, **label)
            axis.hlines(mean(values), place + shift - 0.1, place + shift + 0.1, color=colour)
    names = [f"{NETWORKS[task]}\nAP of {kind}" for task, kind in pairs]
    axis.set_xticks(range(len(pairs)), names, fontsize=9)
    axis.set_ylabel("average precision (%)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
