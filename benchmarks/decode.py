"""How fast clips come out of video files: videonl beside its peers, in one run, on the same files.

    python benchmarks/decode.py                # writes benchmarks/results/decode.json
    python benchmarks/decode.py VIDEO ...      # these files

Every road delivers the same random clips in one process bound to one core, as a data loader worker
has it. Rows: videonl; decord at the target size; torchcodec where it loads; pytorchvideo's data set
with its decord and pyav decoders; and the lower bound, which decodes what the frames need and
converts nothing. Columns: 10-second files of three sizes (decode_videos.py), or those named, as
they are and after ``videonl prepare``; 8 frames at stride 8 and 32 at stride 2; with the file in
the page cache (warm) and dropped from it (cold). The roads take turns clip by clip, so that a busy
machine hurts all alike. Two times are kept: on the clock, and of the processor (all threads); the
ratios use the second, which other programs on the machine disturb least.

torchcodec needs the shared libraries of FFmpeg; where the system has none, a folder of links
(libavcodec.so.62 and so on) to those in PyAV's wheel serves, named in LD_LIBRARY_PATH.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode_plot import plot
from decode_roads import BOUND, OURS, known, roads
from decode_videos import SIZES, write_original

from videonl.escapes import json_text
from videonl.evaluation.speed import describe_environment
from videonl.files import write_text
from videonl.video.encoding import Recipe, encode_file

RESULTS = Path(__file__).resolve().parent / "results" / "decode.json"
PLOT = RESULTS.parents[2] / "docs" / "decode.png"
SHAPES = ("8x8", "32x2")  # frames x stride
TARGETS = {"original": 2.0, "prepared": 5.0}  # times the fastest peer on the original file
BOUND_TARGET = 1.3  # times the lower bound, on prepared files
NOTES = (
    "processor_ms: time of one core, all threads; clock_ms suffers from other programs, see "
    "load_average. The lower bound opens the file as libav does (which decodes some frames) and "
    "decodes every frame of the needed groups; videonl can be below it: it opens ordinary MP4 "
    "files by their header alone, and does not decode B-frames that nothing leans on and nobody "
    "asked for. pytorchvideo is not made to scale. No road that decodes exactly can be much faster "
    "on an original than libav decodes from the key frame before."
)


def forget(path: str) -> None:
    """Drop a file from the page cache."""
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(path: str, clip: str, *, clips: int, cold: bool) -> dict[str, Any]:
    """Milliseconds per clip of every road, on the same random clips in turns."""
    frames, stride = (int(number) for number in clip.split("x"))
    free = len(known(path).times) - frames * stride
    if free < 1:
        raise SystemExit(f"{path}: too short for clips of {clip}")
    starts = np.random.default_rng(1).integers(0, free, clips + (not cold)).tolist()
    clock: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    for number, start in enumerate(starts):
        for name, road in roads().items():
            if name in errors:
                continue
            if cold:
                forget(path)
            begin, begin_cpu = time.perf_counter(), time.process_time()
            try:
                road(path, start, frames, stride)
            except Exception as error:  # a peer that fails is a result, too
                errors[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            seconds, seconds_cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
            if number or cold:  # the first round warms up
                clock.setdefault(name, []).append(1000 * seconds)
                processor.setdefault(name, []).append(1000 * seconds_cpu)
    result: dict[str, Any] = dict(errors)
    for name in clock:
        result[name] = {
            "clock_ms": round(statistics.median(clock[name]), 2),
            "processor_ms": round(statistics.median(processor[name]), 2),
            "processor_ms_all": [round(value, 2) for value in processor[name]],
        }
    return result


def find(rows: list[dict[str, Any]], **keys: Any) -> dict[str, Any] | None:
    """The roads of the row with these values."""
    for row in rows:
        if all(row[key] == value for key, value in keys.items()):
            return {name: r for name, r in row["roads"].items() if isinstance(r, dict)}
    return None


def ratios(rows: list[dict[str, Any]], time_key: str = "processor_ms") -> list[dict[str, Any]]:
    """Every row against the fastest peer on the same and on the original file, and the bound."""
    result = []
    for row in rows:
        here = {name: r for name, r in row["roads"].items() if isinstance(r, dict)}
        same = {key: row[key] for key in ("file", "clip", "cold")}
        original = find(rows, kind="original", **same) or {}
        ours = here[OURS][time_key]
        peers = {n: r[time_key] for n, r in here.items() if n not in (OURS, BOUND)}
        first = {n: r[time_key] for n, r in original.items() if n not in (OURS, BOUND)}
        entry: dict[str, Any] = {**same, "kind": row["kind"], "ms": ours}
        if peers:
            fastest = min(peers, key=lambda name: peers[name])
            entry["fastest_peer"] = fastest
            entry["times_fastest_peer"] = round(peers[fastest] / ours, 2)
            entry["times_fastest_peer_on_original"] = round(min(first.values()) / ours, 2)
            entry["target"] = TARGETS[row["kind"]]
        entry["of_lower_bound"] = round(ours / here[BOUND][time_key], 2)
        result.append(entry)
    return result


def show(row: dict[str, Any]) -> None:
    """One line per row while it runs."""
    cells = [
        f"{name} {value['processor_ms']:.1f}" if isinstance(value, dict) else f"{name} failed"
        for name, value in row["roads"].items()
    ]
    heat = "cold" if row["cold"] else "warm"
    print(f"{row['file']} {row['kind']} {row['clip']} {heat}: {', '.join(cells)} ms", flush=True)


def make_videos(named: list[str], work: Path) -> list[tuple[Path, Path]]:
    """(original, prepared) files; what lies in ``work`` already is used again."""
    originals = [Path(video) for video in named]
    for number, (name, (width, height)) in enumerate(SIZES.items() if not named else ()):
        original = work / f"{name}.mp4"
        if not original.is_file():
            write_original(original, width, height, seed=number)
        originals.append(original)
    pairs = []
    for original in originals:
        prepared = work / f"{original.stem}_prepared.mp4"
        outcome = None if prepared.is_file() else encode_file(original, prepared)
        if outcome and outcome.error:
            raise SystemExit(f"{original}: {outcome.error}")
        pairs.append((original, prepared))
    return pairs


def environment() -> dict[str, Any]:
    """The machine and the versions."""
    found = describe_environment(torch.device("cpu"))
    try:
        torchcodec = version("torchcodec")
    except PackageNotFoundError:
        torchcodec = "not installed"
    return {**found, "torchcodec": torchcodec, "load_average": os.getloadavg(), "bound_to_cores": 1}


def run(pairs: list[tuple[Path, Path]], clips: int, shapes: Sequence[str]) -> list[dict[str, Any]]:
    """All rows."""
    rows = []
    for original, prepared in pairs:
        for clip in shapes:
            for kind, path in (("original", original), ("prepared", prepared)):
                for cold in (False, True):
                    found = measure(
                        str(path), clip, clips=clips if not cold else max(3, clips // 3), cold=cold
                    )
                    row = {"file": original.stem, "kind": kind, "clip": clip, "cold": cold}
                    rows.append({**row, "bytes": path.stat().st_size, "roads": found})
                    show(rows[-1])
    return rows


def main() -> int:
    """Measure, print, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", nargs="*", help="default: made by the script, three sizes")
    parser.add_argument("--clips", type=int, default=7, help="warm clips per measurement")
    parser.add_argument(
        "--shapes",
        nargs="+",
        default=SHAPES,
        help="frames x stride; 8x37 are eight frames spread over ten seconds",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--work", help="folder that keeps the videos made (default: none kept)")
    parser.add_argument("--make-only", action="store_true", help="make the videos, measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(options.work or folder)
        work.mkdir(parents=True, exist_ok=True)
        pairs = make_videos(options.videos, work)
        if options.make_only:
            return 0
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        rows = run(pairs, options.clips, options.shapes)
    against = ratios(rows)
    for entry in against:
        print(entry)
    facts = {
        "notes": NOTES,
        "machine": environment(),
        "recipe_of_prepare": Recipe().__dict__,
        "targets": {**TARGETS, "of_lower_bound_on_prepared": BOUND_TARGET},
        "ratios": against,
        "ratios_by_clock": ratios(rows, "clock_ms"),
        "rows": rows,
    }
    write_text(options.out, json_text(facts, indent=1) + "\n")
    plot(rows, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
