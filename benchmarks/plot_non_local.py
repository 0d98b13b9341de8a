"""The plot and the table of benchmarks/non_local.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from non_local import AFFINITIES, CONTENDERS, SIZES

LOOKS = {
    "videonl": ("#d62728", "o", 2.2),
    "fast": ("#ff7f0e", ".", 1.0),
    "reference": ("#7f7f7f", "s", 1.4),
    "mmcv": ("#1f77b4", "^", 1.4),
    "pytorchvideo": ("#2ca02c", "v", 1.4),
}
LABELS = {"fast": "never the matrix", "reference": "the paper's literal form"}


def _positions(size: str) -> int:
    _, frames, height, width = SIZES[size]
    return frames * height * width


def _cases(results: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    """The cases with these values."""
    return [c for c in results["cases"] if all(c.get(k) == v for k, v in wanted.items())]


def draw(results: dict[str, Any], path: Path) -> None:
    """Step time and extra peak memory over the length of the clip at res3, one column per form."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    device = "cuda" if results["machine"].get("cuda") else "cpu"
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.4), sharex=True, sharey="row")
    sizes: set[str] = set()
    for column, affinity in zip(axes.T, AFFINITIES, strict=True):
        for contender in CONTENDERS:
            wanted = {"affinity": affinity, "contender": contender, "device": device}
            wanted["layout"] = "last"  # as the networks use it
            found = [c for c in _cases(results, **wanted, dtype="float32") if "step_ms" in c]
            found = [c for c in found if c["size"].startswith("res3") and c["backward"]]
            found.sort(key=lambda c: _positions(c["size"]))
            sizes |= {c["size"] for c in found}
            _curves(column, contender, found)
            _say_what_did_not_run(column[0], _cases(results, **wanted, dtype="float32"))
        column[0].set_title(affinity.replace("_", " "), fontsize=11)
    _finish(figure, axes, sorted(sizes, key=_positions), results["machine"])
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def _curves(column: Any, contender: str, found: list[dict[str, Any]]) -> None:
    """Time above, memory below."""
    color, marker, width = LOOKS[contender]
    for axis, value in zip(column, ("step_ms", "extra_peak_mib"), strict=True):
        axis.plot(
            [_positions(c["size"]) for c in found],
            [max(c[value], 0.1) for c in found],
            color=color,
            marker=marker,
            markersize=5,
            linewidth=width,
            label=LABELS.get(contender, contender),
            zorder=3 if contender == "videonl" else 2,
        )


def _say_what_did_not_run(axis: Any, cases: list[dict[str, Any]]) -> None:
    missing = [c for c in cases if "error" in c and c["size"].startswith("res3")]
    if missing:
        least = min(missing, key=lambda c: _positions(c["size"]))
        frames = least["size"].split("-")[1]
        reason = least["error"].replace(" for the pairwise tensors", "")
        axis.text(
            0.04,
            0.93,
            f"{least['contender']} at {frames} frames:\n{reason}",
            transform=axis.transAxes,
            fontsize=8,
            color=LOOKS[least["contender"]][0],
            va="top",
        )


def _finish(figure: Any, axes: Any, sizes: list[str], machine: dict[str, Any]) -> None:
    """Scales, ticks at the measured sizes only, legend and title."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    ticks = [_positions(size) for size in sizes]
    names = [size.split("-")[1] for size in sizes]
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.xaxis.set_major_locator(FixedLocator(ticks))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(
            FuncFormatter(lambda _, i: names[i] if i is not None else "")
        )
        axis.set_xlim(0.7 * min(ticks), 1.45 * max(ticks))
        axis.yaxis.set_major_locator(LogLocator(base=10))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1]:
        axis.set_xlabel("frames of the clip", fontsize=9)
    axes[0, 0].set_ylabel("training step, ms", fontsize=10)
    axes[1, 0].set_ylabel("extra peak memory, MiB", fontsize=10)
    # One legend: the form that all contenders have names them all.
    handles, labels = max((a.get_legend_handles_labels() for a in axes[0]), key=lambda h: len(h[0]))
    figure.legend(handles, labels, ncol=4, loc="lower center", fontsize=10, frameon=False)
    where = machine.get("cuda") or f"{machine['threads']} threads"
    figure.suptitle(
        f"One non-local block at res3 (512 channels, T × 28 × 28), float32, {where}; lower is "
        "better",
        fontsize=11,
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))


def table(results: dict[str, Any]) -> str:
    """Markdown: milliseconds and MiB of every case, and the ratio to the fastest peer."""
    lines = [
        f"| size | affinity | dtype | layout | {' | '.join(CONTENDERS)} | vs fastest peer |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    names = ("size", "affinity", "device", "dtype", "layout")
    keys = sorted({tuple(c[name] for name in names) for c in _cases(results)})
    for key in sorted(keys, key=lambda k: (k[0][:4], _positions(k[0]))):
        wanted = dict(zip(names, key, strict=True))
        row = {c["contender"]: c for c in _cases(results, **wanted)}
        cells = [_cell(row.get(contender)) for contender in CONTENDERS]
        lines.append(
            f"| {key[0]} | {key[1]} | {key[3]} | {key[4]} | {' | '.join(cells)} | {_ratio(row)} |"
        )
    lines += [
        "",
        "| target | against | speed | measured | products alone | memory | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {t['affinity']} | {t['against']} | {t['target']}× | {t['measured']}× "
        f"| {t.get('bound', '–')}× | {t['memory_target']}× less | {t['memory_measured']}× less |"
        for t in results.get("targets", [])
    ]
    return "\n".join(lines)


def _cell(case: dict[str, Any] | None) -> str:
    if case is None:
        return "–"
    if "step_ms" not in case:
        return case["error"].replace(" for the pairwise tensors", "")
    forward = "" if case["backward"] else " (forward)"
    return f"{case['step_ms']:.0f} ms, {case['extra_peak_mib']:.0f} MiB{forward}"


def _ratio(row: dict[str, dict[str, Any]]) -> str:
    ours = row.get("videonl", {})
    peers = [row[p] for p in ("mmcv", "pytorchvideo") if "step_ms" in row.get(p, {})]
    if "step_ms" not in ours or not peers:
        return "–"
    faster = min(p["step_ms"] for p in peers) / ours["step_ms"]
    smaller = min(p["extra_peak_mib"] for p in peers) / max(ours["extra_peak_mib"], 0.1)
    return f"{faster:.2f}× faster, {smaller:.1f}× less memory"
