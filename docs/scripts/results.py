"""The tables and pictures of the results, from the JSON in ``benchmarks/results``, and the house.

python docs/scripts/results.py            writes what is not current
python docs/scripts/results.py --check    says what is not current, and exits with 1

A page holds a table between two comments, ``table: NAME`` and ``end``; NAME is the JSON's. A
picture keeps the hash of the JSON it was drawn from.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from textwrap import fill
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(Path(__file__).parent)]

import cross_validated  # noqa: E402 - scripts of the folder above
import decode_plot  # noqa: E402
import distance_curve  # noqa: E402
import house  # noqa: E402
import plot_non_local  # noqa: E402
import special_cases_plot  # noqa: E402
import sweeps  # noqa: E402

from videonl.weights import PUBLISHED  # noqa: E402

MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SWEEPS = (  # that are measured
    *("affinity", "conv3d", "depth", "stage", "space_time", "non_local_3d", "length"),
    *("appearance", "cue"),
)
# picture -> (the JSON files it is drawn from, how)
PICTURES: dict[str, tuple[Sequence[str], Callable[..., None]]] = {
    "decode.png": (["decode"], lambda path, found: decode_plot.plot(found["rows"], path)),
    "distance_curve.png": (
        ["distance_curve"],
        lambda path, found: distance_curve.draw(found["panels"], path),
    ),
    "non_local_benchmark.png": (
        ["non_local"],
        lambda path, found: plot_non_local.draw(found, path),
    ),
    "special_cases.png": (
        ["special_cases"],
        lambda path, found: special_cases_plot.draw(found, path),
    ),
    "sweeps.png": (
        [f"sweep_{name}" for name in SWEEPS],
        lambda path, *found: sweeps.draw(dict(zip(SWEEPS, found, strict=True)), path),
    ),
    "ut_interaction.png": (
        ["ut_interaction"],
        lambda path, found: cross_validated.save_picture(found, path),
    ),
}


def read(name: str) -> Any:
    """A committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def measured(name: str) -> bool:
    """Whether there is a result."""
    return (RESULTS / f"{name}.json").is_file()


def rows_of(head: str, rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown, its head as ``a | b``."""
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def demo() -> str:
    """What `make demo` prints, over its seeds."""
    runs = read("demo")["runs"]
    rows = []
    for key, name in (("non_local", "small I3D with a block"), ("plain", "plain 3-D convolution")):
        found = [run["networks"][key] for run in runs]
        values = [100 * one["top1"]["value"] for one in found]
        macs = found[0]["macs_per_view"] / 1e9
        seeds = ", ".join(f"{value:.1f}" for value in values)
        mean = sum(values) / len(values)
        cost = f"{macs:.3f} ({2 * macs:.3f})"
        rows.append([name, f"{found[0]['params'] / 1e6:.3f}", cost, f"{mean:.1f}", seeds])
    minutes = [run["total_seconds"] / 60 for run in runs]
    head = "network | parameters (M) | GMACs (GFLOPs) of 4×48×48 | top-1 (%), mean | by seed"
    spent = ", ".join(f"{value:.1f}" for value in minutes)
    return f"{rows_of(head, rows)}\n\nMinutes by seed: {spent}."


def decode() -> str:
    """Warm files: ours beside the fastest peer."""
    rows = [
        [
            *(one["file"], one["clip"], one["kind"], one["ms"], one["fastest_peer"]),
            *(one["times_fastest_peer"], one["times_fastest_peer_on_original"]),
            one["of_lower_bound"],
        ]
        for one in read("decode")["ratios"]
        if not one["cold"]
    ]
    head = "file | clip | kind | videonl, ms of a core | fastest peer | times as fast | times the "
    return rows_of(head + "peer on the original | of the lower bound", rows)


def end_to_end() -> str:
    """Whether a network gets its clips in time."""
    keys = ("files", "network", "workers", "data_clips_per_second", "model_clips_per_second")
    rows = [[row[key] for key in (*keys, "share")] for row in read("end_to_end")["rows"]]
    return rows_of(
        "files | network | decoding processes | clips/s read | clips/s trained | share", rows
    )


def throughput() -> str:
    """Files to labels, beside the network alone."""
    found = read("throughput")
    keys = ("views", "model_only", "end_to_end", "share")
    table = rows_of(
        "views | videos/s of the network alone | videos/s from disk | share",
        [[one[key] for key in keys] for one in found["rates"]],
    )
    seconds = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in found["start"].items())
    return f"{table}\n\nSeconds: {seconds}."


def engines() -> str:
    """Inference on a CPU by torch and OpenVINO."""
    if not measured("engines"):
        return "Not measured yet: `python benchmarks/engines.py`, on an idle machine."

    def away(one: Any) -> str:
        return f"{100 * one['away_of_spread']:.1g} %" if one["away_of_spread"] else "–"

    rows = [
        [f"`{row['model']}`", key, one["seconds"], one["times_as_fast"], away(one)]
        for row in read("engines")["rows"]
        for key, one in row["contenders"].items()
    ]
    head = "network | computed by | seconds | times as fast | logits away, of their spread"
    return rows_of(head, rows)


def gpu() -> str:
    """Networks and whole roads on a CUDA device."""
    if not measured("gpu"):
        return "Not measured yet: `python benchmarks/gpu.py`, on a machine with a GPU."
    rows = []
    for name, case in read("gpu")["cases"].items():
        if "share" in case:
            rows.append(
                [name, f"share of the slower part (wanted: {case['target']})", "", case["share"]]
            )
        for contender, one in case.get("contenders", {}).items():
            if name.startswith("network/") and "ms" in one:
                rows.append([f"{name} ({case['batch']})", contender, one["ms"], one["to_first"]])
    return rows_of("case (batch) | what | ms | ratio to the first", rows)


def summary(name: str) -> str:
    """The ratios of `benchmarks/train_step.py`."""
    return rows_of("ratio | measured", list(read(name)["summary"].items()))


def first_comparison() -> str:
    """Two networks on a folder of real videos, as `videonl compare --train` answers."""
    found = read("sweep_ut_compare")
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found["trainings"]:
        groups.setdefault(row["group"], []).append(row)
    rows = []
    for name, trained in groups.items():
        values = [100 * row["top1"]["value"] for row in trained]
        macs = trained[0]["macs_per_view"] / 1e9
        rows.append(
            [
                f"`{name}`",
                f"{trained[0]['params'] / 1e6:.3f}",
                f"{macs:.3f} ({2 * macs:.3f})",
                f"{mean(values):.0f} ± {stdev(values):.0f}",
                ", ".join(f"{value:.0f}" for value in values),
            ]
        )
    table = rows_of("network | parameters (M) | GMACs (GFLOPs) | top-1 (%) | by seed", rows)
    shortcut = found["protocol"]["data"]["shortcut"]
    alone, constant = 100 * shortcut["value"], 100 * shortcut["constant"]
    return "\n\n".join(
        [
            table,
            f"The constant answer is right for {constant:.0f} %, facts about the files alone tell "
            f"{alone:.0f} %.\nThe verdict, as it was printed:",
            *(fill(f"> {sentence}", 100, subsequent_indent="> ") for sentence in found["verdict"]),
        ]
    )


def retimed() -> str:
    """How much an answer depends on the frame rate of the file."""
    found = read("retimed")
    rows = [
        [
            " and ".join(map(str, pair["rates"])),
            f"{pair['mean_of_largest']:.3f}",
            f"{pair['largest_difference']:.3f}",
            f"{pair['changed_labels']} of {found['videos']}",
        ]
        for pair in found["pairs"]
    ]
    head = "frames per second | difference of a probability, mean | largest | other label"
    return rows_of(head, rows)


def distances() -> str:
    """Accuracy by distance, one table per panel."""
    return "\n\n".join(distance_curve.markdown(curve) for curve in read("distance_curve")["panels"])


QUOTED = [
    *("official/c2d_8x8", "official/c2d_nl_8x8", "official/i3d_32x2", "official/i3d_nl_32x2"),
    *("official/i3d_128x1", "official/i3d_nl_128x1", "mmaction2/i3d", "mmaction2/i3d_nl_dot"),
    *("mmaction2/slowonly_nl", "pytorchvideo/i3d_r50"),
]


def models() -> str:
    """Some published weights, with and without blocks."""
    known = {one.name: one for one in PUBLISHED}
    rows = []
    for name in QUOTED:
        one = known[name]
        accuracy = f"{one.top1:.1f} / {one.top5:.1f}" if one.top5 else f"{one.top1:.1f}"
        cells = (one.clip, one.protocol, f"{one.params:.1f}", accuracy, one.licence)
        rows.append([f"`{name}`", f"`{one.model}`", *cells])
    head = "name | network | clip | views | parameters (M) | top-1 / top-5 (%) | licence"
    return rows_of(head, rows)


def here() -> str:
    """What is measured beside others."""
    cases = [one for one in read("non_local")["cases"] if one.get("layout", "last") == "last"]

    def block(affinity: str, contender: str) -> str:
        wanted = {"size": "res3-32", "affinity": affinity, "contender": contender}
        (case,) = (one for one in cases if wanted.items() <= one.items() and one["backward"])
        if "error" in case:
            return case["error"].replace("for the pairwise tensors", f"({contender})")
        return f"{case['step_ms']:.0f} ms, {case['extra_peak_mib']:.0f} MiB"

    step = read("train_step")["summary"]["training: i3d_r50, times as fast as pytorchvideo"]
    reads = [one for one in read("decode")["ratios"] if not one["cold"] and one["clip"] == "8x8"]
    originals = [one["times_fastest_peer"] for one in reads if one["kind"] == "original"]
    prepared = [one["times_fastest_peer_on_original"] for one in reads if one["kind"] == "prepared"]
    families = read("faithful")["families"]
    indices = sum(one["indices"] for one in families.values())
    ours = read("demo")["runs"]
    top1 = {
        key: sum(100 * run["networks"][key]["top1"]["value"] for run in ours) / len(ours)
        for key in ("non_local", "plain")
    }
    at = "training step of one block at res3, 32 frames"
    rows = [
        [f"dot product, {at}", block("dot_product", "videonl"),
         f"{block('dot_product', 'pytorchvideo')} (PyTorchVideo)", "non_local"],
        [f"concatenation, {at}", block("concatenation", "videonl"),
         block("concatenation", "mmcv"), "non_local"],
        ["training step of `i3d_r50`, 8×224²", f"{step:.2f} times as fast", "PyTorchVideo",
         "train_step"],
        ["an exact 8x8 clip out of an ordinary file",
         f"{min(originals):.1f} to {max(originals):.1f} times as fast", "torchcodec, decord",
         "decode"],
        ["the same after `videonl prepare`",
         f"{min(prepared):.1f} to {max(prepared):.1f} times as fast", "they, on the original",
         "decode"],
        [f"frames that differ from a second statement of {len(families)} publishers' tests",
         f"{indices:.0f} of 1,200 lengths and clips each", "–", "faithful"],
        [f"a relation of two far bodies, one cost, {len(ours)} seeds",
         f"{top1['non_local']:.1f} % with the block", f"{top1['plain']:.1f} % without", "demo"],
    ]  # fmt: skip
    linked = [[*row[:3], f"[{row[3]}](benchmarks/results/{row[3]}.json)"] for row in rows]
    return rows_of("measured | here | elsewhere | source", linked)


TABLES: dict[str, Callable[[], str]] = {
    "house": house.drawing,  # of CONTRIBUTING.md: from the imports, not from a JSON
    "models": models,  # of README.md
    "here": here,
    "demo": demo,
    "decode": decode,
    "end_to_end": end_to_end,
    "throughput": throughput,
    "engines": engines,
    "gpu": gpu,
    "distance_curve": distances,
    "non_local": lambda: plot_non_local.table(read("non_local")),
    **{
        f"sweep_{name}": lambda name=name: sweeps.markdown(name, read(f"sweep_{name}"))
        for name in SWEEPS
    },
    "retimed": retimed,
    "special_cases": lambda: special_cases_plot.table(read("special_cases")),
    "sweep_ut_compare": first_comparison,
    "ut_interaction": lambda: cross_validated.markdown(read("ut_interaction")),
    "train_step": lambda: summary("train_step"),
    "train_step_inference_again": lambda: summary("train_step_inference_again"),
}


def filled(text: str) -> str:
    """A page's text with every marked table as the JSON has it."""
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def told(name: str, text: str) -> bool:
    """Whether pages hold a result's table, or link to its JSON."""
    return f"<!-- table: {name} -->" in text or f"results/{name}.json" in text


def stamp(names: Sequence[str]) -> str:
    """What a picture says of its sources."""
    content = b"".join((RESULTS / f"{name}.json").read_bytes() for name in names)
    return f"{', '.join(f'{name}.json' for name in names)} {hashlib.sha256(content).hexdigest()}"


def drawn_from(picture: Path) -> str | None:
    """What a picture says of its source; None: nothing, or there is none yet."""
    if not picture.is_file():
        return None
    with Image.open(picture) as image:
        return image.info.get("Source")


def draw(file: str) -> None:
    """Draw a picture and write its sources into it."""
    names, how = PICTURES[file]
    path = ROOT / "docs" / file
    how(path, *map(read, names))
    words = PngInfo()
    words.add_text("Source", stamp(names))
    with Image.open(path) as image:
        image.load()
        image.save(path, pnginfo=words, optimize=True)


def bring_up_to_date(*, check: bool) -> list[str]:
    """Write what is not current (``check``: nothing); what it was."""
    folders = ("docs", "checkpoints")
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    pages += [page for name in folders for page in sorted((ROOT / name).glob("*.md"))]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    unseen = [p.name for p in sorted(RESULTS.glob("*.json")) if not told(p.stem, shown)]
    stale = [f"no page tells of {name}" for name in unseen]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if (current := filled(text)) != text:
            stale.append(page.name)
            if not check:
                page.write_text(current, encoding="utf-8")
    shown = "".join(map(filled, (page.read_text(encoding="utf-8") for page in pages)))
    for file, (names, _) in PICTURES.items():
        if f"({file})" in shown and drawn_from(ROOT / "docs" / file) != stamp(names):
            stale.append(file)
            if not check:
                draw(file)
    return stale


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = bring_up_to_date(check=check)
    print("\n".join(stale) or "all is current")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
