"""Time and peak memory of a training step of one non-local block: ours, the reference form, peers.

Every case runs in a fresh process on the same input, with the same number of threads:

    python benchmarks/non_local.py                       # the sizes of DEFAULT (ten minutes)
    python benchmarks/non_local.py --sizes res3-32       # some sizes; results merge into the JSON
    python benchmarks/non_local.py --plot                # the plot and the table from the JSON

Both memory layouts are measured: "last" is channels_last_3d, which the networks use. What the JSON
holds already of the same code is not measured again, so an interrupted run goes on.

The peers need ``pip install -e ".[bench]"``; without them their cases are left out. Peak memory is
counted on top of what is there before the step (input, weights, libraries). On a CUDA device the
same cases run in float32 and bfloat16 and the memory is torch's own peak.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from non_local_flops import step_gflop, targets

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "non_local.json"
PLOT = HERE.parent / "docs" / "non_local_benchmark.png"

# Stage -> channels and (T, H, W) of one clip of that many frames (temporal stride 2 from res3 on).
SIZES: dict[str, tuple[int, int, int, int]] = {
    "res3-2": (512, 1, 28, 28),
    "res3-8": (512, 4, 28, 28),
    "res3-16": (512, 8, 28, 28),
    "res3-32": (512, 16, 28, 28),
    "res3-64": (512, 32, 28, 28),
    "res3-128": (512, 64, 28, 28),
    "res4-8": (1024, 4, 14, 14),
    "res4-32": (1024, 16, 14, 14),
    "res4-128": (1024, 64, 14, 14),
    "res2-128": (256, 128, 56, 56),
}
DEFAULT = ("res3-32", "res4-8", "res3-8", "res4-32", "res3-128")
# There one step of the literal forms takes tens of seconds: in the networks' layout only.
LONG = ("res3-128", "res4-128", "res2-128")
LAYOUTS = ("last", "contiguous")
AFFINITIES = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
CONTENDERS = ("videonl", "fast", "reference", "mmcv", "pytorchvideo")
NAMES = ("size", "affinity", "contender", "device", "dtype", "threads", "layout")
# What one process may take before a case is written down as not running.
MEMORY_LIMIT_GIB = 14


def largest_tensors_gib(contender: str, affinity: str, size: str) -> float:
    """GiB of the pairwise tensors that a contender must hold at once in a training step."""
    channels, frames, height, width = SIZES[size]
    positions = frames * height * width
    entries = positions * frames * (height // 2) * (width // 2)
    if contender in ("videonl", "fast"):
        return 0.0
    # mmcv repeats θ and φ and joins them: (2C', N, M), its parts and its gradient.
    per_pair = 3 * channels if contender == "mmcv" and affinity == "concatenation" else 3
    return per_pair * entries * 4 / 2**30


def make_block(contender: str, affinity: str, channels: int, implementation: str) -> Any:
    """The contender's block with a batch norm and keys pooled 1 x 2 x 2."""
    if contender == "mmcv":
        from mmcv.cnn.bricks.non_local import NonLocal3d

        norm = {"type": "BN3d"}
        return NonLocal3d(channels, sub_sample=True, mode=affinity, norm_cfg=norm, zeros_init=False)
    if contender == "pytorchvideo":
        from pytorchvideo.layers.nonlocal_net import create_nonlocal

        return create_nonlocal(
            dim_in=channels,
            dim_inner=channels // 2,
            pool_size=(1, 2, 2),
            instantiation={"embedded_gaussian": "softmax"}.get(affinity, affinity),
        )
    from videonl.layers import NonLocalBlock

    return NonLocalBlock(
        channels, affinity=affinity, zero_init=False, implementation=implementation
    )


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """One case in this process: seconds per step and extra peak memory."""
    import torch

    device, dtype = case["device"], getattr(torch, case["dtype"])
    channels, *spatial = SIZES[case["size"]]
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    contender = case["contender"]
    implementation = contender if contender in ("fast", "reference") else "auto"
    block = make_block(contender, case["affinity"], channels, implementation)
    for name, parameter in block.named_parameters():
        if parameter.dim() > 1 or name == "affinity.weight":
            torch.nn.init.normal_(parameter, std=0.05)
    block.to(device=device, dtype=dtype).train()
    x = (0.2 * torch.randn(1, channels, *spatial)).to(device=device, dtype=dtype)
    if case["layout"] == "last":
        x = x.contiguous(memory_format=torch.channels_last_3d)
        block = block.to(memory_format=torch.channels_last_3d)
    grad = torch.randn_like(x)

    def step(x: Any) -> None:
        x.grad = None
        block.zero_grad()
        if case["backward"]:
            block(x).backward(grad if x.shape == grad.shape else None)
        else:
            with torch.no_grad():
                block(x)

    x.requires_grad_()
    warm = torch.randn(1, channels, 1, 4, 4, device=device, dtype=dtype, requires_grad=True)
    block(warm).sum().backward()  # loads the kernels before memory is looked at
    clock = time.process_time if case["clock"] == "cpu" else time.perf_counter
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    step(x)  # the first step is not counted: it sets things up
    seconds = []
    budget = case["seconds"]
    while not seconds or (sum(seconds) < budget and len(seconds) < 20):
        sync()
        start = clock()
        step(x)
        sync()
        seconds.append(clock() - start)
    x.grad = None
    block.zero_grad()
    return {
        "step_ms": round(1e3 * min(seconds), 2),
        "median_ms": round(1e3 * statistics.median(seconds), 2),
        "steps": len(seconds),
        "extra_peak_mib": round(extra_peak(lambda: step(x), device), 1),
    }


def extra_peak(step: Callable[[], None], device: str) -> float:
    """MiB that one step takes on top of what is there before it."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Freed tensors go back to the system at once, so that the peak is that of living tensors.
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(-3, 65536)  # M_MMAP_THRESHOLD
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the high-water mark
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{name} is not in /proc/self/status; this benchmark needs Linux.")


def run_in_fresh_process(case: dict[str, Any]) -> dict[str, Any]:
    """The case with its measurements, or with the reason why there are none."""
    need = largest_tensors_gib(case["contender"], case["affinity"], case["size"])
    if case["device"] == "cpu" and need > MEMORY_LIMIT_GIB:
        return case | {"error": f"needs {need:.0f} GiB for the pairwise tensors"}
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": str(case["threads"]), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if "modified by an inplace operation" in reason:
            reason = "its own backward pass fails (works in place)"
        return case | {"error": reason[:120]}
    return case | json.loads(done.stdout.strip().splitlines()[-1])


def machine(threads: int) -> dict[str, Any]:
    """What ran the cases, with its matrix-product rate at the shapes of the target case."""
    import torch

    torch.set_num_threads(threads)
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(1024, 256, dtype=dtype), torch.randn(256, 3136, dtype=dtype)
        seconds = []
        for _ in range(40):
            start = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - start)
        rates[str(dtype).removeprefix("torch.")] = round(2e-9 * a.numel() * 3136 / min(seconds))
    model = [
        x
        for x in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if "model name" in x
    ]
    return {
        "processor": model[0].split(":")[1].strip() if model else platform.processor(),
        "threads": threads,
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "matrix_product_gflops": rates,
    }


def cases(sizes: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """All contenders that have the affinity, at every size."""
    import torch

    devices = [("cpu", dtype) for dtype in args.dtypes]
    if args.device == "cuda" or (args.device is None and torch.cuda.is_available()):
        devices = [("cuda", "float32"), ("cuda", "bfloat16")]
    return [
        {
            "size": size,
            "affinity": affinity,
            "contender": contender,
            "device": device,
            "dtype": dtype,
            "threads": args.threads,
            "seconds": args.seconds,
            "clock": args.clock,
            "layout": layout,
            # One training step of softmax attention takes minutes there; the forward pass shows it.
            "backward": not (size == "res2-128" and "gaussian" in affinity),
        }
        for size in sizes
        for affinity in args.affinities
        for contender in args.contenders
        for device, dtype in devices
        for layout in LAYOUTS
        if not (layout == "contiguous" and size in LONG)
        if not (contender == "pytorchvideo" and affinity in ("gaussian", "concatenation"))
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=DEFAULT)
    parser.add_argument("--affinities", nargs="+", choices=AFFINITIES, default=AFFINITIES)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], help="on the CPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.6, help="time spent on each case")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu with --threads 1 is fair on a machine that others use too",
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--plot", action="store_true", help="only draw what the JSON holds")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case:
        print(json.dumps(run_case(json.loads(args.case))))
        return 0
    if not args.plot:
        measure(args)
    from plot_non_local import draw, table

    results = json.loads(args.output.read_text())
    draw(results, PLOT)
    print(table(results))
    return 0


def code_version() -> str:
    """A hash of what is measured: the layers, the kernels and this script."""
    rooms = [HERE.parent / "videonl" / room for room in ("layers", "kernels")]
    files = [Path(__file__), *sorted(path for room in rooms for path in room.glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def measure(args: argparse.Namespace) -> None:
    """Run the chosen cases one after the other, writing the JSON after each."""
    code = code_version()
    known = json.loads(args.output.read_text()) if args.output.exists() else {"cases": []}
    same = {"threads": args.threads, "clock": args.clock}
    known["cases"] = [c for c in known["cases"] if all(c[k] == v for k, v in same.items())]
    known["cases"] = [c for c in known["cases"] if c.get("code") == code]
    known["machine"] = machine(args.threads)
    done = {tuple(case[n] for n in NAMES): case for case in known["cases"]}
    for case in cases(args.sizes, args):
        if tuple(case[n] for n in NAMES) in done:
            continue
        result = run_in_fresh_process(case) | {"code": code}
        shape = SIZES[case["size"]]
        result["gflop"] = round(step_gflop(case["contender"], case["affinity"], shape), 2)
        rate = known["machine"]["matrix_product_gflops"].get(case["dtype"])
        if rate and case["device"] == "cpu" and case["threads"] == known["machine"]["threads"]:
            result["least_ms"] = round(1e3 * result["gflop"] / rate, 2)
        print(*(result[n] for n in NAMES), result.get("step_ms", result.get("error")), flush=True)
        done[tuple(case[n] for n in NAMES)] = result
        known["cases"] = [done[key] for key in sorted(done)]
        known["targets"] = targets(known)
        args.output.parent.mkdir(exist_ok=True)
        args.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
