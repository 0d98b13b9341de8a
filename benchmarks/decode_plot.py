"""The picture of benchmarks/decode.py: milliseconds per clip, one panel per file and clip."""

from pathlib import Path
from typing import Any

COLOURS = {"original": "#9aa5b1", "prepared": "#2f6fb0"}


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Bars of processor time for warm files, original beside prepared; ours in bold."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    warm = [row for row in rows if not row["cold"]]
    files = list(dict.fromkeys(row["file"] for row in warm))
    clips = list(dict.fromkeys(row["clip"] for row in warm))
    names = list(dict.fromkeys(name for row in warm for name in row["roads"]))
    figure, panels = plt.subplots(
        len(clips), len(files), figsize=(4.2 * len(files) + 1, 3.1 * len(clips)), squeeze=False
    )
    for line, clip in zip(panels, clips, strict=True):
        for axis, name in zip(line, files, strict=True):
            for offset, kind in ((-0.2, "original"), (0.2, "prepared")):
                row = next(
                    r for r in warm if (r["file"], r["clip"], r["kind"]) == (name, clip, kind)
                )
                values = [_milliseconds(row["roads"].get(road)) for road in names]
                places = [place + offset for place in range(len(names))]
                axis.barh(places, values, 0.38, color=COLOURS[kind], label=kind)
                for place, value in zip(places, values, strict=True):
                    text = f" {value:.0f}" if value else " fails"
                    axis.text(value, place, text, va="center", fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=8)
            axis.get_yticklabels()[0].set_fontweight("bold")
            if axis is not line[0]:
                axis.set_yticklabels([])
            axis.invert_yaxis()
            axis.margins(x=0.14)
            axis.set_title(f"{name}, clips of {clip}", fontsize=9)
            axis.tick_params(axis="x", labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    for axis in panels[-1]:
        axis.set_xlabel("ms of one core per clip", fontsize=8)
    panels[0][-1].legend(fontsize=8, loc="lower right", frameon=False)
    figure.suptitle(
        "Opening a file and reading one clip: original (key frames up to 250 apart) "
        "and after videonl prepare",
        fontsize=10,
    )
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _milliseconds(road: Any) -> float:
    return float(road["processor_ms"]) if isinstance(road, dict) else 0.0
