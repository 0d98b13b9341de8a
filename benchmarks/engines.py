"""Inference on a CPU by torch and by OpenVINO, in float32 and bf16: in turns, in one process.

    python benchmarks/engines.py                            # two threads, some three minutes
    python benchmarks/engines.py --models tiny_i3d --turns 1 --clip 4 32 --out engines.json

bf16 is left out where the CPU has no AMX: there it is emulated, tens of times slower.
All compute one clip of random colours with torch's threads; the first answer of each, which
converts, compares with torch and warms up, is not counted. Ratios are medians of the ratios within
the turns: on a busy machine nothing else means anything. Needs the extra ``openvino``
(``make test-extras`` makes an environment that has it).
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from videonl import Predictor, create_model
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.evaluation.speed import describe_environment
from videonl.files import write_text
from videonl.kernels import cpu_multiplies_bf16

RESULTS = Path(__file__).resolve().parent / "results" / "engines.json"
CONTENDERS = (("torch", "32"), ("openvino", "32"), ("torch", "bf16"), ("openvino", "bf16"))


def title(engine: str, precision: str) -> str:
    """How the table calls a contender."""
    return f"{engine} {'bf16' if precision == 'bf16' else 'float32'}"


def measure(name: str, *, turns: int, clip: tuple[int, int]) -> dict[str, Any]:
    """One network by all contenders: seconds, ratios, how far the logits lie from torch's."""
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
    for engine, precision in CONTENDERS[: None if cpu_multiplies_bf16() else 2]:
        predictor.compute_with(engine, precision=precision)
        engines[title(engine, precision)] = predictor.engine
    clips = torch.randn(1, 3, frames, size, size).contiguous(memory_format=torch.channels_last_3d)
    seconds: dict[str, list[float]] = {key: [] for key in engines}
    logits: dict[str, torch.Tensor] = {}
    for turn in range(turns + 1):
        for key, compute in engines.items():
            begin = time.perf_counter()
            with torch.inference_mode():
                logits[key] = compute(predictor.model, clips)
            if turn:
                seconds[key].append(time.perf_counter() - begin)
    first = next(iter(engines))
    spread = float(logits[first].std())
    rows = {}
    for key, values in seconds.items():
        ratios = [a / b for a, b in zip(seconds[first], values, strict=True)]
        rows[key] = {
            "seconds": round(statistics.median(values), 4),
            "times_as_fast": round(statistics.median(ratios), 3),
            "of_each_turn": [round(ratio, 3) for ratio in ratios],
            "away_of_spread": float((logits[key] - logits[first]).abs().max()) / spread,
            "computed_by": engines[key].about,
        }
    return {"model": name, "clip": f"{frames}x{size}x{size}", "contenders": rows, "said": said}


def main() -> None:
    """Measure, write the JSON, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["i3d_r50", "i3d_r50_nl5", "c2d_r50"])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--clip", type=int, nargs=2, default=(8, 224), metavar=("FRAMES", "SIZE"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        rows = [measure(name, turns=given.turns, clip=tuple(given.clip)) for name in given.models]
    except VideoNLError as error:
        raise SystemExit(str(error)) from error
    import openvino

    machine = describe_environment(torch.device("cpu"))
    machine |= {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "multiplies_bf16": cpu_multiplies_bf16(),
        "openvino": openvino.__version__,
    }
    write_text(given.out, json_text({"machine": machine, "rows": rows}, indent=1) + "\n")
    for row in rows:
        told = (f"{key} {one['times_as_fast']}" for key, one in row["contenders"].items())
        print(f"{row['model']}: {'; '.join(told)}")


if __name__ == "__main__":
    main()
