"""Work of a training step of one block, counted from the formulas, and the issue's targets."""

from __future__ import annotations

from typing import Any

# At 512 channels, 16 x 28 x 28: how many times as fast as the fastest peer.
TARGETS = {"embedded_gaussian": 1.4, "dot_product": 5.0}
TARGET_SIZE = "res3-32"
LESS_MEMORY = {"embedded_gaussian": 3.6, "dot_product": 2.8}


def step_gflop(contender: str, affinity: str, shape: tuple[int, int, int, int]) -> float:
    """Gflop of the matrix products of forward and backward; what is linear in N·C is left out.

    Args:
        contender: "videonl" counts its fast form; the others the N x M matrix.
        affinity: the pairwise function.
        shape: channels, frames, height and width; inner width is half, keys are pooled 1 x 2 x 2.
    """
    channels, frames, height, width = shape
    inner = channels // 2
    queries = frames * height * width
    keys = frames * (height // 2) * (width // 2)
    one = channels * inner
    source = queries if contender == "mmcv" else keys  # it pools after φ and g
    linear = 0 if affinity == "gaussian" else queries * one + source * one
    linear += source * one + queries * one
    logit_width = channels if affinity == "gaussian" else inner
    pairs = queries * keys * (logit_width + inner)
    if affinity == "concatenation":
        pairs = queries * keys * inner
    if contender not in ("videonl", "fast"):
        return 6e-9 * (linear + pairs)
    if affinity == "dot_product":
        cheaper = min(2 * queries * one, queries * channels**2)
        return 6e-9 * (2 * keys * one + keys * inner**2 + cheaper + inner * one)
    if affinity == "concatenation":
        return 6e-9 * (2 * keys * one)
    # The logits are computed again in the backward pass, but where the matrix is kept.
    again = 0 if keys <= 4 * logit_width else queries * keys * logit_width
    return 6e-9 * (linear + pairs) + 2e-9 * again


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target with what was measured, and the best that the matrix products alone allow."""
    found = []
    for affinity, faster in TARGETS.items():
        wanted = {"size": TARGET_SIZE, "affinity": affinity, "device": "cpu", "dtype": "float32"}
        wanted["layout"] = "last"
        cases = {
            c["contender"]: c
            for c in results["cases"]
            if "step_ms" in c and all(c[name] == value for name, value in wanted.items())
        }
        peers = [cases[p] for p in ("mmcv", "pytorchvideo") if p in cases]
        # No peer's concatenation fits into memory there: the paper's literal form stands in.
        others = peers or [cases[p] for p in ("reference",) if p in cases]
        if "videonl" not in cases or not others:
            continue
        ours, fastest = cases["videonl"], min(c["step_ms"] for c in others)
        memory = min(c["extra_peak_mib"] for c in others)
        entry = {
            "affinity": affinity,
            "against": "fastest peer" if peers else "reference",
            "target": faster,
            "measured": round(fastest / ours["step_ms"], 2),
            "memory_target": LESS_MEMORY[affinity],
            "memory_measured": round(memory / ours["extra_peak_mib"], 2),
        }
        if "least_ms" in ours:
            entry["bound"] = round(fastest / ours["least_ms"], 2)
        found.append(entry)
    return found


def choices(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every sum of which all forms were measured: the one that ``auto`` takes, the fastest."""
    common = ("size", "affinity", "device", "dtype", "threads", "layout")
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for case in results["cases"]:
        if "step_ms" in case and case["contender"] not in ("mmcv", "pytorchvideo"):
            groups.setdefault(tuple(case[n] for n in common), {})[case["contender"]] = case
    found = []
    for key, ours in groups.items():
        if "videonl" not in ours:
            continue
        times = {
            case.get("form") or name.removeprefix("form: "): case["step_ms"]
            for name, case in sorted(ours.items())  # "videonl" last: over "fast" of one form
        }
        auto, fastest = ours["videonl"]["form"], min(times, key=times.__getitem__)
        taken = ours["videonl"]["step_ms"]
        slower = round(100 * (taken / times[fastest] - 1), 1)
        one = {"auto": auto, "auto_ms": taken, "fastest": fastest, "fastest_ms": times[fastest]}
        found.append(dict(zip(common, key, strict=True)) | one | {"slower_percent": slower})
    return found
