"""Block, networks and the whole road on a CUDA device, beside the peers: first answer in 4 minutes.

    python benchmarks/gpu.py                                  # stops after 240 s; again: goes on
    python benchmarks/gpu.py --only block/res3-32 --limit-s 600
    python benchmarks/gpu.py --device cpu --quick --json gpu.json     # tries the script

The contenders of a case run in one process and in turns, round after round, so that whatever else
the machine does meets all of them; a ratio is the median of the ratios within the rounds. The JSON
is written after every case and a case that is in it is not measured again. Peers that are not
installed are left out. The cases that tell most come first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from non_local import SUMS, forced, make_block
from torch import Tensor, nn
from train_step_networks import Entry, autocast, inference_step, make_network, training_step

from videonl.escapes import json_text
from videonl.files import write_text
from videonl.kernels import TABLE

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.json"
# Name -> batch, channels, and (T, H, W) of the features.
BLOCKS: dict[str, tuple[int, int, int, int, int]] = {
    "res3-8": (8, 512, 4, 28, 28),
    "res4-8": (8, 1024, 4, 14, 14),
    "res3-32": (4, 512, 16, 28, 28),
    "res4-32": (4, 1024, 16, 14, 14),
    "res3-128": (1, 512, 64, 28, 28),
}
QUICK_BLOCKS = {"tiny": (1, 8, 2, 8, 8)}
FORMS = ("auto", "reference", "fast")
PRECISIONS = ("bf16", "tf32")
NETWORKS = (
    Entry("videonl", "i3d_r50"),
    Entry("videonl", "c2d_r50"),
    Entry("videonl", "i3d_r50_nl5"),
    Entry("videonl", "i3d_r50_nl5", implementation="reference"),
    Entry("pytorchvideo", "i3d_r50"),
    Entry("pytorchvideo", "c2d_r50"),
)
GRAPHS = "reduce-overhead"  # torch.compile's mode with CUDA graphs
OURS, PEER = NETWORKS[0], NETWORKS[4]
# How a case compiles -> its contenders, each with how it is compiled; ratios are to the first.
CONTENDERS: dict[str, tuple[tuple[Entry, bool | str], ...]] = {
    "eager": tuple((entry, False) for entry in NETWORKS),
    "compiled": tuple((e, how) for e in (OURS, NETWORKS[2]) for how in (True, GRAPHS)),
    "both": ((OURS, True), (OURS, False), (PEER, False), (PEER, True)),
}
TARGETS = {"training_road": 0.95, "inference_road": 0.9}  # of what the slower part could do
WORKERS = 16  # that decode for a training
QUICK_NETWORKS = (Entry("videonl", "tiny_i3d"), Entry("videonl", "tiny_i3d_nl1"))
COMPILE_S = 75  # of a network, cold
ENOUGH = 1.03  # a doubled batch that gives less than this many times the clips: the chip is full


class Clock:
    """Milliseconds and MiB of steps that are run in turns."""

    def __init__(self, device: str, seconds: float) -> None:
        self.cuda, self.seconds = device == "cuda", seconds

    def once(self, step: Callable[[], Any]) -> float:
        """Milliseconds of one step."""
        if not self.cuda:
            begin = time.perf_counter()
            step()
            return 1e3 * (time.perf_counter() - begin)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        torch.cuda.synchronize()
        events[0].record()
        step()
        events[1].record()
        torch.cuda.synchronize()
        return events[0].elapsed_time(events[1])

    def peak(self, step: Callable[[], Any]) -> float | None:
        """MiB on top of what is there before the step; CUDA only."""
        if not self.cuda:
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)

    def compare(self, makers: dict[str, Callable[[], Callable[[], Any]]]) -> dict[str, Any]:
        """Every contender in turns for ``seconds`` each: times, memory, ratios to the first."""
        steps, found = {}, {}
        for name, make in makers.items():
            try:
                step = make()
                step()  # sets things up, compiles
                found[name] = {"extra_peak_mib": self.peak(step)}
                steps[name] = step
            except (RuntimeError, ImportError, ValueError) as error:  # out of memory is the first
                found[name] = {"error": str(error).splitlines()[0][:160]}
                if self.cuda:
                    torch.cuda.empty_cache()
        times: dict[str, list[float]] = {name: [] for name in steps}
        begin = time.perf_counter()
        while steps and len(times[next(iter(steps))]) < 30:
            for name, step in steps.items():
                times[name].append(self.once(step))
            if time.perf_counter() - begin > self.seconds * len(steps):
                break
        first = next(iter(times), "")
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, times[first], strict=True)]
            found[name] |= {
                "ms": round(statistics.median(values), 3),
                "least_ms": round(min(values), 3),
                "rounds": len(values),
                "to_first": round(statistics.median(ratios), 3),
            }
        return {"first": first, "contenders": found}


@contextmanager
def listened(kind: str, answers: dict[str, str | None]) -> Iterator[None]:
    """The table, whose forms also write down what they refuse, and None where they serve."""

    def asking(form: Any) -> Any:
        def refuses(operands: Any) -> str | None:
            answers[form.name] = form.refuses(operands)
            return answers[form.name]

        return replace(form, refuses=refuses)

    whole = TABLE[kind]
    TABLE[kind] = tuple(asking(form) for form in whole)
    try:
        yield
    finally:
        TABLE[kind] = whole


def block_step(block: nn.Module, x: Tensor, precision: str) -> Callable[[], None]:
    """A training step of a block."""
    block = block.to(x.device).train().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    grad = torch.randn_like(x)

    def step() -> None:
        x.grad = None
        block.zero_grad()
        with autocast({"device": x.device.type, "precision": precision}):
            result = block(x)
        result.backward(grad.to(result.dtype))

    return step


def measure_block(case: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """One block in all forms, by the table and alone, and the peers' blocks."""
    batch, channels, *spatial = (BLOCKS | QUICK_BLOCKS)[case["size"]]
    affinity, kind = case["affinity"], SUMS[case["affinity"]]
    generator = torch.Generator().manual_seed(0)
    x = 0.2 * torch.randn(batch, channels, *spatial, generator=generator)
    x = x.to(case["device"], memory_format=torch.channels_last_3d).requires_grad_()
    answers: dict[str, str | None] = {}

    def maker(contender: str, form: str, alone: str = "") -> Callable[[], Callable[[], None]]:
        def make() -> Callable[[], None]:
            torch.manual_seed(0)
            block = make_block(contender, affinity, channels, form)
            step = block_step(block, x, case["precision"])

            def run() -> None:
                with forced(alone, affinity):
                    step()

            return run if alone else step

        return make

    makers = {form: maker("videonl", form) for form in reversed(FORMS)}
    with listened(kind, answers):
        makers["auto"]()()
    for name in (f"form: {form.name}" for form in TABLE[kind]):
        makers[name] = maker("videonl", "auto", name)
    if find_spec("pytorchvideo") and affinity in ("embedded_gaussian", "dot_product"):
        makers["pytorchvideo"] = maker("pytorchvideo", "")
    if find_spec("mmcv"):
        makers["mmcv"] = maker("mmcv", "")
    makers = {"reference": makers.pop("reference")} | makers  # ratios are to the literal form
    return {"refused": answers, **clock.compare(makers)}


def network_step(entry: Entry, case: dict[str, Any]) -> Callable[[], Tensor]:
    """A step of a network in the layout that suits it."""
    net = make_network(entry)
    if case["mode"] == "training":
        return training_step(net, entry.layout, case, rate=0.0)
    return inference_step(net, entry.layout, case, ours=entry.library == "videonl")


def contenders_of(case: dict[str, Any]) -> tuple[tuple[Entry, bool | str], ...]:
    """The networks of a case, each with how it is compiled."""
    if case["quick"]:
        return tuple((entry, False) for entry in QUICK_NETWORKS)
    return CONTENDERS[case["compile"]]


def title_of(entry: Entry, how: bool | str) -> str:
    """How the table calls a contender."""
    return entry.title + (", CUDA graphs" if how == GRAPHS else ", compiled" if how else "")


def measure_networks(case: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """Networks in turns; first the batch that fills the chip, where the case asks for it."""
    found: dict[str, Any] = {}
    if case["batch"] == "full":
        found["clips_per_second_by_batch"] = series = fill(case, clock)
        case = case | {"batch": max(series, key=lambda batch: series[batch])}
    makers = {
        title_of(entry, how): (
            lambda entry=entry, how=how: network_step(entry, case | {"compile": how})
        )
        for entry, how in contenders_of(case)
    }
    return found | {"batch": case["batch"], **clock.compare(makers)}


def fill(case: dict[str, Any], clock: Clock) -> dict[int, float]:
    """Clips per second of the first network by batch, doubled while that gains."""
    batch, rates = 2 if case["quick"] else 16, {}
    while True:
        try:
            step = network_step(
                contenders_of(case)[0][0], case | {"batch": batch, "compile": False}
            )
            step()
            rates[batch] = round(1e3 * batch / min(clock.once(step) for _ in range(3)), 2)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if batch // 2 in rates and rates[batch] < ENOUGH * rates[batch // 2]:
            break
        batch *= 2
    return rates


def measure_training_road(case: dict[str, Any], _: Clock) -> dict[str, Any]:
    """Clips per second of the loader, of the network, and of both together."""
    import end_to_end

    end_to_end.SETTINGS[case["network"]] = tuple(case["setting"])  # type: ignore[assignment]
    *_, batch, batches = case["setting"]
    with tempfile.TemporaryDirectory() as folder:
        videos = (batches + 3) * batch
        root = end_to_end.make_data(Path(folder), videos, prepared=True)
        workers = 1 if case["quick"] else WORKERS
        bench = end_to_end.Bench(case["network"], root, workers, torch.device(case["device"]))
        bench.model = bench.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        bench.precision = lambda: autocast(case)
        rates = bench.round()
    share = rates["together"] / min(rates["data"], rates["model"])
    return {"clips_per_second": rates, "share": round(share, 3), "workers": workers}


def measure_inference_road(case: dict[str, Any], _: Clock) -> dict[str, Any]:
    """Videos per second of ``Predictor`` from files, against the network alone."""
    import throughput

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = str(throughput.write_network(folder, case["network"]))
        videos = throughput.write_videos(folder, 1) * case["videos"]
        options = SimpleNamespace(
            threads=torch.get_num_threads(), device=case["device"], decoder="pyav", rounds=1,
            workers=None, precision="32" if case["quick"] else "bf16",
        )  # fmt: skip
        return throughput.measure_rates(checkpoint, videos, tuple(case["views"]), options)  # type: ignore[arg-type]


MEASURES = {
    "block": measure_block,
    "network": measure_networks,
    "training_road": measure_training_road,
    "inference_road": measure_inference_road,
}


def cases(device: str, *, quick: bool) -> dict[str, dict[str, Any]]:
    """Name -> case; those that tell most come first."""
    base = {"device": device, "quick": quick, "frames": 4 if quick else 8}
    base["side"] = 32 if quick else 224

    def block(size: str, affinity: str, precision: str) -> tuple[str, dict[str, Any]]:
        case = base | {"size": size, "affinity": affinity, "precision": precision}
        return f"block/{size}/{affinity}/{precision}", case

    def network(
        mode: str, precision: str, batch: int | str, how: str = "eager"
    ) -> tuple[str, dict[str, Any]]:
        case = base | {"mode": mode, "precision": precision, "batch": batch, "compile": how}
        return f"network/{mode}/{precision}/{how}/{batch}", case

    name = QUICK_NETWORKS[1].name if quick else NETWORKS[2].name
    # frames, stride, crop, clips per batch, batches (workers hold two each in advance)
    setting = (4, 2, 32, 2, 2) if quick else (8, 8, 224, 16, 6 * WORKERS)
    training = base | {"network": name, "precision": "bf16", "setting": setting}
    inference = base | {"network": name, "videos": 2 if quick else 16}
    inference["views"] = (1, 1) if quick else (10, 3)
    roads = [(f"training_road/{name}", training), (f"inference_road/{name}", inference)]
    if quick:
        blocks = [block("tiny", affinity, "bf16") for affinity in SUMS]
        return dict([*blocks, network("training", "bf16", 2), network("inference", "bf16", "full"),
                     *roads])  # fmt: skip
    first = [block(size, affinity, "bf16") for size in BLOCKS
             for affinity in ("embedded_gaussian", "gaussian")]  # fmt: skip
    whole = [block(size, affinity, each) for each in PRECISIONS for size in BLOCKS
             for affinity in SUMS]  # fmt: skip
    return dict(
        [*first, network("training", "bf16", 16), network("training", "bf16", 16, "compiled"),
         *whole, *roads, network("training", "bf16", "full"), network("inference", "bf16", 16),
         network("training", "tf32", 16), network("inference", "bf16", "full"),
         network("training", "bf16", "full", "both"),
         network("inference", "bf16", "full", "both"),
         network("inference", "bf16", 16, "compiled")]
    )  # fmt: skip


def compile_seconds(case: dict[str, Any]) -> float:
    """What compiling the contenders of a case takes, about."""
    contenders = contenders_of(case) if "compile" in case else ()
    return COMPILE_S * sum(bool(how) for _, how in contenders)


def run(name: str, case: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """A case with what was measured, or with the reason why nothing was."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if case.get("precision") == "tf32" else "highest")
    begin = time.perf_counter()
    try:
        found = MEASURES[name.partition("/")[0]](case, clock)
    except (RuntimeError, ImportError, ValueError, OSError) as error:
        found = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"}
    finally:
        torch.set_float32_matmul_precision(before)
    torch.compiler.reset()
    if clock.cuda:
        torch.cuda.empty_cache()
    if (target := TARGETS.get(name.partition("/")[0])) is not None:
        found["target"] = target
    return {"case": case, **found, "seconds": round(time.perf_counter() - begin, 1)}


def table(results: dict[str, Any]) -> str:
    """One line a case: milliseconds of every contender and its ratio to the first."""
    lines = []
    for name, case in results.items():
        words = [
            f"{key} {case[key]}" for key in ("error", "batch", "share", "target") if key in case
        ]
        for contender, found in case.get("contenders", {}).items():
            text = f"{found['ms']:.2f} ({found['to_first']:.2f})" if "ms" in found else "failed"
            words.append(f"{contender} {text}")
        lines.append(f"{name}: {'; '.join(words)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing in the JSON, print the table."""
    from videonl.evaluation.speed import describe_environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--only", nargs="+", default=[""], metavar="START", help="of case names")
    parser.add_argument("--limit-s", type=float, default=240, help="start no case that ends later")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks/gpu.py measures on a CUDA device and there is none "
              "(--device cpu --quick tries the script).", file=sys.stderr)  # fmt: skip
        return 2
    begin = time.perf_counter()
    content: dict[str, Any] = {"cases": {}}
    if arguments.json.exists():
        content = json.loads(arguments.json.read_text())
    content["machine"] = describe_environment(torch.device(arguments.device))
    clock = Clock(arguments.device, 0.02 if arguments.quick else 0.15)
    wanted = cases(arguments.device, quick=arguments.quick)
    left = 0
    for name, case in wanted.items():
        if name in content["cases"] or not name.startswith(tuple(arguments.only)):
            continue
        spent = time.perf_counter() - begin
        if spent + compile_seconds(case) > arguments.limit_s:
            left += 1
            continue
        content["cases"][name] = run(name, case, clock)
        print(table({name: content["cases"][name]}), flush=True)
        write_text(arguments.json, json_text(content, indent=1) + "\n")
    print("\n" + table(content["cases"]))
    if left:
        print(f"{left} cases are left; the same command goes on with them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
