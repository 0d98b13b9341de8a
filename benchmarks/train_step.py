"""Time and peak memory of a training step and of inference: our networks and the peers'.

    python benchmarks/train_step.py                    # 8 x 224 x 224, batch 1, two threads
    python benchmarks/train_step.py --rounds 3 --no-memory --only i3d_r50
    python benchmarks/train_step.py --device cuda --precision bf16 --compile --batch 8

Times come from one process that runs the networks in turn, round after round, so that whatever
else the machine does meets all of them; a ratio is the median of the ratios within the rounds. The
peers run in both memory layouts, and the faster one counts. Peak memory is measured in a fresh
process each. Numerics: PyTorchVideo's weights in both networks, the losses and logits of one step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from videonl.escapes import json_text
from videonl.files import write_text

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "train_step.json"
MODES = ("inference", "training")
OURS = ("i3d_r50", "c2d_r50", "i3d_r50_nl5")
PEERS = {
    "pytorchvideo": ("i3d_r50", "c2d_r50"),
    "torchvision": ("r3d_18", "mc3_18", "r2plus1d_18"),
}


def entries_of(only: list[str] | None) -> list[Any]:
    """The networks to measure, ours first."""
    from importlib.util import find_spec

    from train_step_networks import Entry

    entries = [Entry("videonl", name) for name in OURS]
    for library, names in PEERS.items():
        if find_spec(library) is not None:
            layouts = ("contiguous", "channels_last")
            entries += [Entry(library, name, layout) for name in names for layout in layouts]
    return [entry for entry in entries if not only or entry.name in only]


def step_of(entry: Any, mode: str, setting: dict[str, Any]) -> Any:
    """A callable that runs one step of a network."""
    from train_step_networks import inference_step, make_network, training_step

    net = make_network(entry)
    if mode == "training":
        return training_step(net, entry.layout, setting, rate=0.0)
    return inference_step(net, entry.layout, setting, ours=entry.library == "videonl")


def wait_for(setting: dict[str, Any]) -> None:
    """Let a CUDA device finish."""
    import torch

    if setting["device"].startswith("cuda"):
        torch.cuda.synchronize()


def measure_times(
    entries: list[Any], mode: str, setting: dict[str, Any], rounds: int
) -> dict[str, list[float]]:
    """Seconds of every round per network; the first round only warms up."""
    steps = {entry.title: step_of(entry, mode, setting) for entry in entries}
    seconds: dict[str, list[float]] = {title: [] for title in steps}
    for number in range(rounds + 1):
        for title, step in steps.items():
            wait_for(setting)
            start = time.perf_counter()
            step()
            wait_for(setting)
            if number:
                seconds[title].append(time.perf_counter() - start)
    return seconds


def measure_memory(entry: Any, mode: str, setting: dict[str, Any]) -> float | None:
    """MiB that a step takes on top of what is there before, in a fresh process."""
    case = json.dumps({"entry": vars(entry), "mode": mode, "setting": setting})
    done = subprocess.run(
        [sys.executable, __file__, "--memory-case", case],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": str(setting["threads"])},
        text=True,
        check=False,
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def memory_case(text: str) -> None:
    """The fresh process of ``measure_memory``: prints MiB."""
    import torch
    from non_local import extra_peak
    from train_step_networks import Entry

    case = json.loads(text)
    torch.set_num_threads(case["setting"]["threads"])
    step = step_of(Entry(**case["entry"]), case["mode"], case["setting"])
    small = {**case["setting"], "frames": 8}
    step_of(Entry(**case["entry"]), case["mode"], small)()  # loads the kernels
    print(round(extra_peak(step, torch.device(case["setting"]["device"]).type), 1))


def measure_numerics(name: str, setting: dict[str, Any]) -> dict[str, float]:
    """The same weights in PyTorchVideo's network and in ours: logits, and losses of two steps."""
    from train_step_networks import Entry, inference_step, make_network, our_keys, training_step

    peer = make_network(Entry("pytorchvideo", name))
    ours = make_network(Entry("videonl", name))
    ours.load_state_dict(our_keys(peer.state_dict()))
    expected = inference_step(peer, "contiguous", setting, ours=False)().float()
    found = inference_step(ours, "channels_last", setting, ours=True)().float()
    theirs = training_step(peer, "contiguous", setting, rate=1e-3)
    own = training_step(ours, "channels_last", setting, rate=1e-3)
    losses = [(float(own()), float(theirs())) for _ in range(2)]
    return {
        "logits_largest": float(expected.abs().max()),
        "logits_difference": float((found - expected).abs().max()),
        "loss": losses[0][1],
        "loss_difference": abs(losses[0][0] - losses[0][1]),
        "loss_difference_after_a_step": abs(losses[1][0] - losses[1][1]),
    }


def paired_ratio(others: list[float], ours: list[float]) -> float:
    """Median over the rounds of others / ours."""
    return statistics.median(a / b for a, b in zip(others, ours, strict=True))


def summary(times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Ours against the faster layout of PyTorchVideo, and the non-local against the plain one."""
    found: dict[str, Any] = {}
    for mode, seconds in times.items():
        for name in ("i3d_r50", "c2d_r50"):
            ours = seconds.get(f"videonl {name}")
            peers = [s for t, s in seconds.items() if t.startswith(f"pytorchvideo {name} ")]
            if ours and peers:
                faster = min(peers, key=statistics.median)
                found[f"{mode}: {name}, times as fast as pytorchvideo"] = paired_ratio(faster, ours)
        plain, blocks = seconds.get("videonl i3d_r50"), seconds.get("videonl i3d_r50_nl5")
        if plain and blocks:
            found[f"{mode}: i3d_r50_nl5 / i3d_r50, time"] = paired_ratio(blocks, plain)
    return {key: round(value, 3) for key, value in found.items()}


def reference_memory(setting: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of a training step of ``i3d_r50_nl5`` at 32 frames, in both forms."""
    from train_step_networks import Entry

    longer = {**setting, "frames": 32}
    return {
        form: measure_memory(Entry("videonl", "i3d_r50_nl5", implementation=form), MODES[1], longer)
        for form in ("auto", "reference")
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the JSON holds it."""
    import torch

    from videonl.evaluation.speed import describe_environment

    setting = {key: getattr(arguments, key) for key in SETTING}
    torch.set_num_threads(setting["threads"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
        setting["precision"] != "fp32"
    )
    entries = entries_of(arguments.only)
    modes, rounds = arguments.modes, arguments.rounds
    times = {mode: measure_times(entries, mode, setting, rounds) for mode in modes}
    rows = []
    for entry in entries:
        for mode in modes:
            seconds = times[mode][entry.title]
            rows.append(
                {
                    "network": entry.title,
                    "mode": mode,
                    "clips_per_second": round(setting["batch"] / statistics.median(seconds), 3),
                    "seconds": [round(value, 4) for value in seconds],
                    "peak_mib": measure_memory(entry, mode, setting) if arguments.memory else None,
                }
            )
    shared = [e.name for e in entries if e.library == "pytorchvideo" and e.layout == "contiguous"]
    return {
        "setting": {**setting, "rounds": arguments.rounds},
        "environment": describe_environment(torch.device(setting["device"])),
        "summary": summary(times),
        "numerics": {name: measure_numerics(name, setting) for name in shared},
        "memory_32_frames_mib": reference_memory(setting) if arguments.memory else None,
        "rows": rows,
    }


def markdown(content: dict[str, Any]) -> str:
    """Every network, the ratios, and how far the same weights differ."""
    lines = ["| network | mode | clips/s | peak memory |", "|---|---|---:|---:|"]
    for row in content["rows"]:
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f} MiB"
        lines.append(
            f"| {row['network']} | {row['mode']} | {row['clips_per_second']:.2f} | {peak} |"
        )
    lines += ["", *(f"- {key}: {value:.2f}" for key, value in content["summary"].items())]
    for name, values in content["numerics"].items():
        lines.append(
            f"- {name}, same weights: the loss of a step differs by "
            f"{values['loss_difference']:.1e} of {values['loss']:.3f}, the logits by "
            f"{values['logits_difference']:.1e} of {values['logits_largest']:.2f}"
        )
    forms = content["memory_32_frames_mib"]
    if forms:
        sizes = ", ".join(f"{form} {size} MiB" for form, size in forms.items())
        lines.append(f"- training step of i3d_r50_nl5, 32 frames: {sizes}")
    return "\n".join(lines)


SETTING = ("frames", "side", "batch", "threads", "device", "precision", "compile")


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("frames", 8), ("side", 224), ("batch", 1), ("threads", 2), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--compile", action="store_true", help="torch.compile every network")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="networks of these names")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--memory-case", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure, write the JSON, print the table."""
    arguments = make_parser().parse_args()
    if arguments.memory_case:
        memory_case(arguments.memory_case)
        return
    content = measure(arguments)
    write_text(arguments.json, json_text(content, indent=1) + "\n")
    print(markdown(content))


if __name__ == "__main__":
    main()
