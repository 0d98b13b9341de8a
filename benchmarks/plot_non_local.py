"""The plot and the table of benchmarks/non_local.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from non_local import AFFINITIES, CONTENDERS, SIZES

LOOKS = {
    "videonl": ("#d62728", "o", 2.2),
    "reference": ("#7f7f7f", "s", 1.4),
    "mmcv": ("#1f77b4", "^", 1.4),
    "pytorchvideo": ("#2ca02c", "v", 1.4),
}
LABELS = {"reference": "the paper's literal form"}


def _positions(size: str) -> int:
    _, frames, height, width = SIZES[size]
    return frames * height * width


def _cases(results: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    return [c for c in results["cases"] if all(c[k] == v for k, v in wanted.items())]


def draw(results: dict[str, Any], path: Path) -> None:
    """Step time and extra peak memory over the number of positions at res3, one column per form."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    device = "cuda" if results["machine"].get("cuda") else "cpu"
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), sharex=True, sharey="row")
    for column, affinity in zip(axes.T, AFFINITIES, strict=True):
        for contender in CONTENDERS:
            found = _cases(results, affinity=affinity, contender=contender, device=device)
            found = [c for c in found if c["dtype"] == "float32" and "step_ms" in c]
            found = sorted(
                (c for c in found if c["size"].startswith("res3")),
                key=lambda c: _positions(c["size"]),
            )
            color, marker, width = LOOKS[contender]
            for axis, value in zip(column, ("step_ms", "extra_peak_mib"), strict=True):
                axis.loglog(
                    [_positions(c["size"]) for c in found],
                    [c[value] for c in found],
                    color=color,
                    marker=marker,
                    markersize=4,
                    linewidth=width,
                    label=LABELS.get(contender, contender),
                )
        column[0].set_title(affinity.replace("_", " "), fontsize=10)
        column[1].set_xlabel("positions N", fontsize=9)
    axes[0, 0].set_ylabel("training step (ms)", fontsize=9)
    axes[1, 0].set_ylabel("extra peak memory (MiB)", fontsize=9)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, ncol=4, loc="lower center", fontsize=9, frameon=False)
    figure.suptitle("One non-local block, 512 channels, float32, lower is better", fontsize=11)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)


def table(results: dict[str, Any]) -> str:
    """Markdown: milliseconds and MiB of every case, and the ratio to the fastest peer."""
    lines = [
        "| size | affinity | dtype | videonl | reference | mmcv | pytorchvideo | vs fastest peer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(c["size"], c["affinity"], c["device"], c["dtype"]) for c in results["cases"]})
    for size, affinity, device, dtype in sorted(keys, key=lambda k: (k[0][:4], _positions(k[0]))):
        row = {
            c["contender"]: c
            for c in _cases(results, size=size, affinity=affinity, device=device, dtype=dtype)
        }
        cells = [_cell(row.get(contender)) for contender in CONTENDERS]
        lines.append(f"| {size} | {affinity} | {dtype} | {' | '.join(cells)} | {_ratio(row)} |")
    return "\n".join(lines)


def _cell(case: dict[str, Any] | None) -> str:
    if case is None:
        return "–"
    if "step_ms" not in case:
        return case["error"]
    forward = "" if case["backward"] else " (forward)"
    return f"{case['step_ms']:.0f} ms, {case['extra_peak_mib']:.0f} MiB{forward}"


def _ratio(row: dict[str, dict[str, Any]]) -> str:
    ours = row.get("videonl", {})
    peers = [row[p] for p in ("mmcv", "pytorchvideo") if "step_ms" in row.get(p, {})]
    if "step_ms" not in ours or not peers:
        return "–"
    faster = min(p["step_ms"] for p in peers) / ours["step_ms"]
    smaller = min(p["extra_peak_mib"] for p in peers) / ours["extra_peak_mib"]
    return f"{faster:.2f}× faster, {smaller:.1f}× less memory"
