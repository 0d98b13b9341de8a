"""Clips per second and peak memory of several networks, measured so that they can be compared.

The rounds alternate: every network runs once per round, and every other round is in reverse order,
so that a machine that is slower for a while affects all networks alike. The median over the rounds
is reported with its quartiles, and with the machine and the versions that it was measured on.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videonl import __version__
from videonl.errors import first_line
from videonl.evaluation.statistics import quartiles
from videonl.limits import usable_cores

PACKAGES = ("torch", "torchvision", "pytorchvideo", "lightning", "av", "decord", "numpy")
MIN_SECONDS = 0.2  # of work per network and round, much longer than the clock's resolution


@dataclass(frozen=True)
class Speed:
    """What was measured of one network.

    Attributes:
        clips_per_second: median over the rounds.
        low: first quartile.
        high: third quartile.
        rounds: how often it was measured.
        batch_size: clips per pass.
        peak_memory: bytes: weights, clips and the most that one pass held at once; on the CPU as
            the allocator counts them, without the libraries' own scratch memory.
    """

    clips_per_second: float
    low: float
    high: float
    rounds: int
    batch_size: int
    peak_memory: int

    def as_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """A network to measure, on its device, and the clip (3, T, H, W) that it sees."""

    model: nn.Module
    clip_shape: tuple[int, int, int, int]


def measure(
    subjects: Mapping[str, Subject],
    *,
    training: bool = False,
    batch_size: int = 1,
    rounds: int = 5,
    device: torch.device,
    on_round: Callable[[int], None] | None = None,
) -> tuple[dict[str, Speed], dict[str, str]]:
    """Measure networks side by side.

    Args:
        subjects: by name.
        training: forward and backward in training mode, instead of forward in evaluation mode.
        batch_size: clips per pass.
        rounds: how often each is measured.
        device: where.
        on_round: called with the number of rounds done.

    Returns:
        (results, reasons why others have none), by name.
    """
    passes: dict[str, Callable[[], None]] = {}
    memory: dict[str, int] = {}
    errors: dict[str, str] = {}
    for name, subject in subjects.items():
        try:
            run = _one_pass(subject, training=training, batch_size=batch_size, device=device)
            memory[name] = _peak_memory(subject, run, batch_size=batch_size, device=device)
            passes[name] = run
        except (ValueError, TypeError, RuntimeError) as error:  # no memory, or too small a clip
            errors[name] = first_line(error)
    rates: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(rounds):
        order = list(passes)[:: -1 if number % 2 else 1]
        for name in order:
            rates[name].append(batch_size * _passes_per_second(passes[name], device))
        if on_round:
            on_round(number + 1)
    results = {}
    for name, values in rates.items():
        low, middle, high = quartiles(values)
        results[name] = Speed(middle, low, high, rounds, batch_size, memory[name])
    return results, errors


def _one_pass(
    subject: Subject, *, training: bool, batch_size: int, device: torch.device
) -> Callable[[], None]:
    """A call that runs the network once on fixed noise."""
    channels, frames, height, width = subject.clip_shape
    shape = (batch_size, frames, height, width, channels)
    noise = torch.randn(shape, device=device, generator=torch.Generator(device).manual_seed(0))
    clips = noise.movedim(-1, 1)  # the memory order that to_clips makes
    model = subject.model

    def infer() -> None:
        model.eval()
        with torch.inference_mode():
            model(clips)

    def train() -> None:
        model.train()
        loss: Tensor = model(clips).float().logsumexp(1).sum()
        loss.backward()
        model.zero_grad(set_to_none=True)

    return train if training else infer


def _passes_per_second(run: Callable[[], None], device: torch.device) -> float:
    """Passes per second over at least ``MIN_SECONDS``."""
    _wait(device)
    start = time.perf_counter()
    count = 0
    while True:
        run()
        count += 1
        _wait(device)
        passed = time.perf_counter() - start
        if passed >= MIN_SECONDS:
            return count / passed


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_memory(
    subject: Subject, run: Callable[[], None], *, batch_size: int, device: torch.device
) -> int:
    """Bytes: weights, clips, and the most that a pass allocated at once; warms up too."""
    run()
    weights = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (*subject.model.parameters(), *subject.model.buffers())
    )
    channels, frames, height, width = subject.clip_shape
    clips = 4 * batch_size * channels * frames * height * width
    if device.type == "cuda":
        _wait(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        _wait(device)
        return weights + clips + torch.cuda.max_memory_allocated(device) - before
    return weights + clips + _allocated_at_once(run)


def _allocated_at_once(run: Callable[[], None]) -> int:
    """The most bytes that PyTorch's CPU allocator held during a call, from its own record.

    The resident size of the process would include memory of other networks.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler chats on stderr
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def describe_environment(device: torch.device) -> dict[str, object]:
    """Versions, processor, cores, threads and accelerator; primitives."""
    versions = {"videonl": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    found: dict[str, object] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "versions": versions,
    }
    if device.type == "cuda":
        found["accelerator"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
        found["tf32"] = torch.backends.cudnn.allow_tf32
    return found


def processor_name() -> str:
    """The processor's own name where the system tells, else its kind."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
