"""Inference by torch and by OpenVINO in turns, in one process: the ratio of their times.

    python benchmarks/engines.py --models i3d_r50 i3d_r50_nl5 c2d_r50 --out results/engines.json

Both run on the CPU with torch's threads, in float32 or bf16; the first run of each, which converts
and warms up, is not counted. Times are medians; on a busy machine only ratios mean anything.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from videonl import Predictor, create_model


def measure(name: str, *, precision: str, turns: int, clip: tuple[int, int]) -> dict[str, Any]:
    torch.manual_seed(0)
    frames, size = clip
    shown = {"frames": frames, "stride": 1, "short_side": size, "crop": size, "views": [1, 1]}
    shown |= {"mean": [0.45] * 3, "std": [0.225] * 3}
    names = [str(k) for k in range(400)]
    predictor = Predictor(
        create_model(name, num_classes=400), class_names=names, preprocessing=shown, device="cpu"
    )
    said: list[str] = []
    predictor.say = said.append
    engines = {}
    for engine, kind in (("torch", "32"), ("openvino", precision)):
        predictor.compute_with(engine, precision=kind)
        engines[engine] = predictor.engine
    clips = torch.randint(0, 256, (1, frames, size, size, 3), dtype=torch.uint8)
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    answers = {}
    for turn in range(turns + 1):
        for engine, chosen in engines.items():
            predictor.engine = chosen
            begin = time.perf_counter()
            answers[engine] = predictor.view_probabilities(clips)
            if turn:
                times[engine].append(time.perf_counter() - begin)
    seconds = {engine: statistics.median(each) for engine, each in times.items()}
    ratios = [a / b for a, b in zip(times["torch"], times["openvino"], strict=True)]
    return {
        "model": name,
        "clip": f"{frames}x{size}x{size}",
        "seconds": {engine: round(value, 4) for engine, value in seconds.items()},
        "torch_over_openvino": round(statistics.median(ratios), 3),
        "of_each_turn": [round(ratio, 3) for ratio in ratios],
        "difference": float((answers["torch"] - answers["openvino"]).abs().max()),
        "computed_by": predictor.made_by().get("engine", "torch"),
        "said": said,
    }


def machine() -> dict[str, Any]:
    import openvino

    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if os.name == "posix" else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    return {
        "cpu": model or platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "versions": {"torch": torch.__version__, "openvino": openvino.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["i3d_r50", "i3d_r50_nl5", "c2d_r50"])
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--clip", type=int, nargs=2, default=(8, 224), metavar=("FRAMES", "SIZE"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    options = {"precision": given.precision, "turns": given.turns, "clip": tuple(given.clip)}
    rows = [measure(name, **options) for name in given.models]
    text = json.dumps({"machine": machine(), "precision": given.precision, "rows": rows}, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
