"""Time and peak memory of a training step of one non-local block: ours, the reference form, peers.

    python benchmarks/non_local.py                       # those of DEFAULT (a quarter of an hour)
    python benchmarks/non_local.py --sizes res3-32       # some sizes; results merge into the JSON
    python benchmarks/non_local.py --plot                # the plot and the table from the JSON

The contenders of one size, affinity and layout run in one fresh process on the same input and in
turns, round after round, so that whatever else the machine does meets all of them; the time is
that of the fastest round. Both memory layouts are measured: "last" is channels_last_3d, which the
networks use. There every form of ``videonl.kernels.TABLE`` runs too: "choices" in the JSON, printed
case by case, says which form ``auto`` takes and which one was the fastest. The JSON is written
after every process, and what it holds already of the same code is not measured again, so an
interrupted run goes on.

The peers need ``pip install -e ".[bench]"``; without them their cases are left out. Peak memory is
that of the tensors which a step holds at once, on top of what is there before it (input, weights).
On a CUDA device the same cases run in float32 and bfloat16.
The file is long because the process that measures a case and the one that orders the cases must
agree on every entry, and peers, forms, memory and choices are entries of the same cases.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import accumulate, product
from pathlib import Path
from typing import Any

from non_local_flops import choices, step_gflop, targets

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "non_local.json"
PLOT = HERE.parent / "docs" / "non_local_benchmark.png"

# Stage -> channels and (T, H, W) of one clip of that many frames (temporal stride 2 from res3 on).
SIZES: dict[str, tuple[int, int, int, int]] = {
    "tiny": (8, 2, 8, 8),  # tries the script
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
DEFAULT = ("res3-32", "res3-8", "res4-8", "res4-32", "res3-128", "res4-128")
# There one step of the literal forms takes seconds: in the networks' layout only.
LONG = ("res3-128", "res4-128", "res2-128")
# There it takes tens of seconds: without every other form.
LONGEST = ("res3-128", "res2-128")
LAYOUTS = ("last", "contiguous")
SUMS = {
    "gaussian": "softmax",
    "embedded_gaussian": "softmax",
    "dot_product": "dot_product",
    "concatenation": "relu",
}
AFFINITIES = tuple(SUMS)
CONTENDERS = ("videonl", "fast", "reference", "mmcv", "pytorchvideo")
PEERS = ("mmcv", "pytorchvideo")
FORMS = "forms"  # of the table, each as a contender "form: its name"
NAMES = ("size", "affinity", "contender", "device", "dtype", "threads", "layout")
FOLDED = ("form: associated", "form: sorted")
# What the contenders of one process have in common.
GROUP = tuple(name for name in NAMES if name != "contender")
# What one process may take before a case is written down as not running.
MEMORY_LIMIT_GIB = 14
ROUNDS = 2, 20  # the fewest and the most that are counted
ONE_ROUND_S = 3.0  # from so many seconds on the first step is the only one


def largest_tensors_gib(contender: str, affinity: str, size: str) -> float:
    """GiB of the pairwise tensors that a contender must hold at once in a training step."""
    channels, frames, height, width = SIZES[size]
    positions = frames * height * width
    entries = positions * frames * (height // 2) * (width // 2)
    if contender in ("videonl", "fast", "form: blocks of queries", *FOLDED):
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


@contextmanager
def forced(contender: str, affinity: str) -> Iterator[None]:
    """While it lasts, a contender "form: its name" takes that form, whatever the table says."""
    from videonl import kernels

    forms = {f"form: {form.name}": form for form in kernels.TABLE[SUMS[affinity]]}
    if contender not in forms:
        yield
        return
    chosen, kernels.choose = kernels.choose, lambda *_: forms[contender]
    try:
        yield
    finally:
        kernels.choose = chosen


class Runner:
    """One contender of a process: its block, its step, its times."""

    def __init__(self, case: dict[str, Any]) -> None:
        import torch

        self.case, self.seconds, self.peak = case, [], 0.0
        self.cuda = case["device"] == "cuda"
        self.clock = time.process_time if case["clock"] == "cpu" else time.perf_counter
        channels, *spatial = SIZES[case["size"]]
        torch.manual_seed(0)
        contender = case["contender"]
        implementation = contender if contender in ("fast", "reference") else "auto"
        self.block = make_block(contender, case["affinity"], channels, implementation)
        for name, parameter in self.block.named_parameters():
            if parameter.dim() > 1 or name == "affinity.weight":
                torch.nn.init.normal_(parameter, std=0.05)
        here = {"device": case["device"], "dtype": getattr(torch, case["dtype"])}
        self.block.to(**here).train()
        self.x = (0.2 * torch.randn(1, channels, *spatial)).to(**here)
        if case["layout"] == "last":
            self.x = self.x.contiguous(memory_format=torch.channels_last_3d)
            self.block.to(memory_format=torch.channels_last_3d)
        self.grad = torch.randn_like(self.x)
        self.form = None
        if contender in ("videonl", "fast"):
            from videonl.kernels import choose

            with torch.no_grad():
                self.form = choose(self.block.operands(self.x), implementation).name
        self.x.requires_grad_()
        warm = torch.randn(1, channels, 1, 4, 4, **here, requires_grad=True)
        with forced(contender, case["affinity"]):
            found = self.block(warm)
            found.backward(torch.ones_like(found))  # loads code and kernels before anything counts

    def step(self) -> None:
        """Forward and backward, or forward alone."""
        import torch

        self.forget()
        with forced(self.case["contender"], self.case["affinity"]):
            if self.case["backward"]:
                self.block(self.x).backward(self.grad)
            else:
                with torch.no_grad():
                    self.block(self.x)

    def forget(self) -> None:
        """Drop the gradients."""
        self.x.grad = None
        self.block.zero_grad()

    def time(self) -> float:
        """Seconds of one step."""
        import torch

        sync = torch.cuda.synchronize if self.cuda else lambda: None
        sync()
        start = self.clock()
        self.step()
        sync()
        return self.clock() - start

    def first(self) -> None:
        """The step that sets things up: its memory; its time where nothing else takes as long."""
        seconds: list[float] = []
        self.peak = extra_peak(lambda: seconds.append(self.time()), self.case["device"])
        if seconds[0] > ONE_ROUND_S:
            self.seconds = seconds

    def result(self) -> dict[str, Any]:
        """What was measured."""
        form = {"form": self.form} if self.form else {}
        return form | {
            "step_ms": round(1e3 * min(self.seconds), 2),
            "median_ms": round(1e3 * statistics.median(self.seconds), 2),
            "steps": len(self.seconds),
            "extra_peak_mib": round(self.peak, 2),
        }


def run_cases(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contenders of one size, affinity, layout and type in this process, in turns."""
    import torch

    torch.set_num_threads(cases[0]["threads"])
    runners: dict[str, Runner] = {}
    found: dict[str, dict[str, Any]] = {}

    def attempt(contender: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (RuntimeError, MemoryError, ImportError, ValueError) as error:
            found[contender] = {"error": _reason(str(error) or type(error).__name__)}
            runners.pop(contender, None)
            return None

    taken: dict[str, str] = {}  # form -> the contender that takes it by itself
    for case in cases:
        contender = case["contender"]
        name = contender.removeprefix("form: ")
        if name in taken and contender != name:
            found[contender] = {"same_as": taken[name]}
            continue
        runner = attempt(contender, lambda case=case: Runner(case))
        if runner is None:
            continue
        runners[contender] = runner
        if runner.form:
            taken.setdefault(runner.form, contender)
        attempt(contender, runner.first)
    quick = [name for name, runner in runners.items() if not runner.seconds]
    least, most = ROUNDS
    begin, rounds = time.perf_counter(), 0
    while quick and rounds < most:
        if rounds >= least and time.perf_counter() - begin > cases[0]["seconds"] * len(quick):
            break
        for name in quick:
            runners[name].seconds.append(runners[name].time())
        rounds += 1
    found |= {name: runner.result() for name, runner in runners.items()}
    return [case | found[case["contender"]] for case in cases]


def _reason(words: str) -> str:
    if "modified by an inplace operation" in words:
        return "its own backward pass fails (works in place)"
    return words.strip().splitlines()[-1][:120]


def extra_peak(step: Callable[[], Any], device: str) -> float:
    """MiB of tensors that one step holds at once on top of what is there before it.

    On a CPU they are counted as torch allocates and frees them: what the system says of a process
    depends on how it pages.
    """
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as seen:
        step()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0)) / 2**20


def run_in_fresh_process(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases of one group with their measurements, or with the reason why there are none."""
    found, able = [], []
    for case in cases:
        need = largest_tensors_gib(case["contender"], case["affinity"], case["size"])
        if case["device"] == "cpu" and need > MEMORY_LIMIT_GIB:
            found.append(case | {"error": f"needs {need:.0f} GiB for the pairwise tensors"})
        else:
            able.append(case)
    if not able:
        return found
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": str(able[0]["threads"]), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, __file__, "--run", json.dumps(able)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if not done.returncode:
        return found + json.loads(done.stdout.strip().splitlines()[-1])
    if len(able) > 1:  # the system ended it: whoever it was, the others are measured alone
        return found + [result for case in able for result in run_in_fresh_process([case])]
    reason = _reason(done.stderr) if done.stderr.strip() else f"exit status {done.returncode}"
    return [*found, able[0] | {"error": reason}]


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
    """All contenders that have the affinity and are installed, at every size."""
    import torch

    from videonl.kernels import TABLE

    devices = [("cpu", dtype) for dtype in args.dtypes]
    if args.device == "cuda" or (args.device is None and torch.cuda.is_available()):
        devices = [("cuda", "float32"), ("cuda", "bfloat16")]
    found = []
    for size, layout, affinity, (device, dtype) in product(
        sizes, LAYOUTS, args.affinities, devices
    ):
        if layout == "contiguous" and size in LONG:
            continue
        names = [c for c in args.contenders if c not in PEERS or find_spec(c) is not None]
        if affinity in ("gaussian", "concatenation") and "pytorchvideo" in names:
            names.remove("pytorchvideo")
        if FORMS in names:
            names.remove(FORMS)
            if layout == "last" and size not in LONGEST:
                forms = dict.fromkeys(f"form: {form.name}" for form in TABLE[SUMS[affinity]])
                names += [f for f in forms if device == "cuda" or f != "form: Triton tiles"]
        common = {
            "size": size,
            "affinity": affinity,
            "device": device,
            "dtype": dtype,
            "threads": args.threads,
            "seconds": args.seconds,
            "clock": args.clock,
            "layout": layout,
            # One training step of softmax attention takes minutes there; the forward pass shows it.
            "backward": not (size == "res2-128" and "gaussian" in affinity),
        }
        found += [common | {"contender": contender} for contender in names]
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=DEFAULT)
    parser.add_argument("--affinities", nargs="+", choices=AFFINITIES, default=AFFINITIES)
    everyone = (*CONTENDERS, FORMS)
    parser.add_argument("--contenders", nargs="+", choices=everyone, default=everyone)
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
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.run:
        print(json.dumps(run_cases(json.loads(args.run))))
        return 0
    if not args.plot:
        measure(args)
    from plot_non_local import draw, table

    results = json.loads(args.output.read_text())
    if args.output == RESULTS:
        draw(results, PLOT)
    print(table(results))
    return 0


def code_version() -> str:
    """A hash of what is measured: the layers, the kernels and this script."""
    rooms = [HERE.parent / "videonl" / room for room in ("layers", "kernels")]
    files = [Path(__file__), *sorted(path for room in rooms for path in room.glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def measure(args: argparse.Namespace) -> None:
    """Run what the JSON does not hold yet, a process at a time, writing the JSON after each."""
    code = code_version()
    known = json.loads(args.output.read_text()) if args.output.exists() else {"cases": []}
    same = {"threads": args.threads, "clock": args.clock, "code": code}
    known["cases"] = [c for c in known["cases"] if all(c.get(k) == v for k, v in same.items())]
    known["machine"] = machine(args.threads)
    done = {tuple(case[n] for n in NAMES): case for case in known["cases"]}
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for case in cases(args.sizes, args):
        if tuple(case[n] for n in NAMES) not in done:
            groups.setdefault(tuple(case[n] for n in GROUP), []).append(case)
    for group in groups.values():
        for result in run_in_fresh_process(group):
            result |= {"code": code} | work(result, known["machine"])
            words = result.get("step_ms", result.get("error", result.get("same_as")))
            print(*(result[n] for n in NAMES), words, flush=True)
            done[tuple(result[n] for n in NAMES)] = result
        known["cases"] = [done[key] for key in sorted(done)]
        known["targets"], known["choices"] = targets(known), choices(known)
        for one in known["choices"]:
            if all(one[name] == group[0][name] for name in GROUP):
                print(
                    f"  auto takes {one['auto']!r}, {one['auto_ms']} ms; the fastest is "
                    f"{one['fastest']!r}, {one['fastest_ms']} ms; auto {one['slower_percent']:+} %",
                    flush=True,
                )
        args.output.parent.mkdir(exist_ok=True)
        args.output.write_text(json.dumps(known, indent=1) + "\n")


def work(case: dict[str, Any], machine: dict[str, Any]) -> dict[str, float]:
    """The products of one step, and the time of these alone at the measured rate."""
    if case["contender"].startswith("form: "):
        return {}
    gflop = step_gflop(case["contender"], case["affinity"], SIZES[case["size"]])
    rate = machine["matrix_product_gflops"].get(case["dtype"])
    least = {"least_ms": round(1e3 * gflop / rate, 2)} if rate and case["device"] == "cpu" else {}
    return {"gflop": round(gflop, 2)} | least


if __name__ == "__main__":
    sys.exit(main())
