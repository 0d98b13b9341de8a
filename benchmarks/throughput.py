"""Videos per second from file to class, against what the network alone could do; start-up times.

    python benchmarks/throughput.py                          # i3d_r50, 8 prepared videos of 10 s
    python benchmarks/throughput.py --videos DIR --checkpoint model.ckpt --views 10x3
    python benchmarks/throughput.py --name tiny_i3d --count 3 --rounds 1     # a quick try

"Model only" classifies views that were decoded before; "end to end" is ``predict_many`` on the
files, with its own choice of decoding threads. Both run in turn, round after round, in one
process; the share is the median of the rounds' ratios. Start-up is measured in fresh processes.
Without --videos the files are made and then prepared as ``videonl prepare`` does it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from videonl.cli.values import parse_views, positive
from videonl.escapes import json_text
from videonl.files import write_text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "throughput.json"


def write_videos(folder: Path, count: int) -> list[str]:
    """Prepared videos of 10 seconds, short side 256, like clips of Kinetics."""
    from decode_videos import write_original

    from videonl.video.encoding import encode_file

    paths = []
    for number in range(count):
        original = write_original(folder / f"original/{number}.mp4", 340, 256, seed=number)
        prepared = folder / f"prepared/{number}.mp4"
        prepared.parent.mkdir(exist_ok=True)
        outcome = encode_file(original, prepared)
        if outcome.error:
            raise RuntimeError(outcome.error)
        paths.append(str(prepared))
    return paths


def write_network(folder: Path, name: str) -> Path:
    """A checkpoint with random weights: the speed does not depend on them."""
    from videonl import create_model
    from videonl.weights.checkpoint import LoadedModel, save_checkpoint

    model = create_model(name)
    path = folder / f"{name}.safetensors"
    names = [f"class {number}" for number in range(400)]
    save_checkpoint(LoadedModel(model, names, dict(model.preprocessing)), path)
    return path


def measure_rates(
    checkpoint: str, videos: list[str], views: tuple[int, int], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Videos per second, model only and end to end, of every round."""
    import torch

    from videonl import Predictor

    torch.set_num_threads(arguments.threads)
    predictor = Predictor.from_checkpoint(
        checkpoint, device=arguments.device, decoder=arguments.decoder
    )
    predictor.compute_with(precision=arguments.precision)
    predictor.predict(videos[0], views=views)  # warms up
    rounds: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        frames = [predictor.read(video, views=views).frames for video in videos]
        start = time.perf_counter()
        for each in frames:
            predictor.view_probabilities(each)
        model = len(videos) / (time.perf_counter() - start)
        del frames
        start = time.perf_counter()
        outcomes = list(predictor.predict_many(videos, views=views, workers=arguments.workers))
        whole = len(videos) / (time.perf_counter() - start)
        if any(hasattr(outcome, "error") for outcome in outcomes):
            raise RuntimeError("a video could not be classified")
        rounds.append({"model_only": model, "end_to_end": whole, "share": whole / model})
    medians = {key: round(statistics.median(each[key] for each in rounds), 4) for key in rounds[0]}
    return {"views": f"{views[0]}x{views[1]}", **medians, "rounds": rounds}


START = """
import time; start = time.perf_counter()
from videonl import Predictor
imported = time.perf_counter()
predictor = Predictor.from_checkpoint({checkpoint!r}, device={device!r})
ready = time.perf_counter()
predictor.predict({video!r}, views={views!r})
first = time.perf_counter()
predictor.predict({video!r}, views={views!r})
print(imported - start, ready - imported, first - ready, time.perf_counter() - first)
"""


def measure_start(checkpoint: str, video: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds in fresh processes: the parts of a start, and infer.py from call to first label."""
    code = START.format(checkpoint=checkpoint, device=arguments.device, video=video, views=(1, 1))
    infer = [sys.executable, str(ROOT / "infer.py"), video, "--checkpoint", checkpoint, "--quiet"]
    infer += ["--views", "1x1", "--device", arguments.device]
    parts, calls, helps = [], [], []
    for _ in range(arguments.rounds):
        parts.append([float(word) for word in run([sys.executable, "-c", code]).split()])
        calls.append(timed(infer))
        helps.append(timed([sys.executable, str(ROOT / "infer.py"), "--help"]))
    names = ("import", "load_checkpoint", "first_prediction", "next_prediction")
    medians = (statistics.median(part) for part in zip(*parts, strict=True))
    found = {name: round(value, 3) for name, value in zip(names, medians, strict=True)}
    return {
        **found,
        "infer_to_first_label": round(statistics.median(calls), 3),
        "help": round(statistics.median(helps), 3),
    }


def run(words: list[str]) -> str:
    """Standard output of a command in the repository."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def timed(words: list[str]) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    run(words)
    return time.perf_counter() - start


def markdown(content: dict[str, Any]) -> str:
    """The rates and the start-up times."""
    lines = [
        "| views | model only, videos/s | end to end, videos/s | share |",
        "|---|---:|---:|---:|",
    ]
    for rate in content["rates"]:
        model, whole, share = rate["model_only"], rate["end_to_end"], rate["share"]
        lines.append(f"| {rate['views']} | {model:.3f} | {whole:.3f} | {share:.2f} |")
    parts = ", ".join(f"{name} {value:.2f} s" for name, value in content["start"].items())
    return "\n".join([*lines, "", f"- start: {parts}"])


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--videos", metavar="DIR", help="a folder of videos; default: made for the purpose")
    add("--checkpoint", metavar="CKPT", help="default: --name with random weights")
    add("--name", default="i3d_r50", help="network (default: i3d_r50)")
    add("--count", type=positive, default=8, help="videos (default: 8)")
    add("--views", type=parse_views, nargs="+", default=[(1, 1), (10, 1)], help="1x1 10x1")
    add("--rounds", type=positive, default=3)
    add("--threads", type=positive, default=2)
    add("--workers", type=int, help="decoding threads (default: the predictor's)")
    add("--device", default="cpu")
    add("--precision", default="32", choices=("32", "bf16"))
    add("--decoder", default="pyav", choices=("pyav", "decord", "auto"))
    add("--json", type=Path, default=RESULTS)
    return parser


def main() -> None:
    """Measure, write the JSON, print the table."""
    arguments = make_parser().parse_args()
    import torch

    from videonl.data.walk import walk_data
    from videonl.evaluation.speed import describe_environment

    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = arguments.checkpoint or str(write_network(folder, arguments.name))
        if arguments.videos:
            videos = walk_data(arguments.videos).videos[: arguments.count]
        else:
            videos = write_videos(folder, arguments.count)
        content = {
            "setting": {
                "network": arguments.checkpoint or arguments.name,
                "videos": arguments.videos or "made: 10 s, 340x256, prepared",
                "count": len(videos),
                "rounds": arguments.rounds,
                "workers": arguments.workers,
                "precision": arguments.precision,
                "decoder": arguments.decoder,
            },
            "environment": describe_environment(torch.device(arguments.device)),
            "rates": [measure_rates(checkpoint, videos, v, arguments) for v in arguments.views],
            "start": measure_start(checkpoint, videos[0], arguments),
        }
    write_text(arguments.json, json_text(content, indent=1) + "\n")
    print(markdown(content))


if __name__ == "__main__":
    main()
