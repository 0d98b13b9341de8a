"""The fast form against the reference form on small and middling maps: what "auto" is based on.

    python benchmarks/non_local_choice.py

Takes less than five minutes. Both forms take turns in one process and one thread, and the clock
is that of the processor, so that a busy machine hurts both alike. Writes
results/non_local_choice.json, against which tests/layers/test_choice.py holds the rule in
videonl/layers/choice.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from videonl.layers import AFFINITIES, NonLocalBlock

RESULTS = Path(__file__).resolve().parent / "results" / "non_local_choice.json"
CHANNELS = (64, 256, 512, 1024)
SPATIAL = ((1, 4, 4), (1, 7, 7), (1, 14, 14), (4, 7, 7), (4, 14, 14), (16, 14, 14))
# Each case runs until it took this long, in turns, at least MIN_ROUNDS times.
SECONDS = 1.0
MIN_ROUNDS, MAX_ROUNDS = 4, 60


def step_seconds(block: NonLocalBlock, x: torch.Tensor, implementation: str) -> float:
    """Processor time of one forward and backward pass."""
    block.implementation = implementation
    block.zero_grad()
    x.grad = None
    start = time.process_time()
    block(x).sum().backward()
    return time.process_time() - start


def compare(affinity: str, channels: int, spatial: tuple[int, ...]) -> dict[str, Any]:
    """The best time of each form."""
    torch.manual_seed(0)
    block = NonLocalBlock(channels, affinity=affinity, zero_init=False)
    x = (0.2 * torch.randn(1, channels, *spatial)).requires_grad_()
    best = {"fast": float("inf"), "reference": float("inf")}
    for form in best:
        step_seconds(block, x, form)
    rounds, spent = 0, 0.0
    while rounds < MIN_ROUNDS or (spent < SECONDS and rounds < MAX_ROUNDS):
        rounds += 1
        for form in best:
            seconds = step_seconds(block, x, form)
            best[form], spent = min(best[form], seconds), spent + seconds
    frames, height, width = spatial
    return {
        "affinity": affinity,
        "positions": frames * height * width,
        "keys": frames * (height // 2) * (width // 2),
        "channels": channels // 2,
        "fast_ms": round(1e3 * best["fast"], 3),
        "reference_ms": round(1e3 * best["reference"], 3),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    cases = []
    for affinity in AFFINITIES:
        for channels in CHANNELS:
            for spatial in SPATIAL:
                cases.append(compare(affinity, channels, spatial))
                print(*cases[-1].values(), flush=True)
    args.output.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"threads": args.threads, "torch": torch.__version__})[:-1]
    args.output.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
