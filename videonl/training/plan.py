"""Time and memory that a training will take, measured on two batches that are then undone."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer

from videonl.data import VideoDataModule
from videonl.errors import VideoNLError
from videonl.shares import counted
from videonl.training.callbacks.progress import peak_of_process
from videonl.training.classifier import VideoClassifier
from videonl.training.memory import way_out
from videonl.training.recipe import (
    batches_per_epoch,
    batches_per_step,
    check_end,
    make_optimizer,
)
from videonl.training.run_header import facts

BATCHES = 2
PATIENCE = 30.0  # seconds of the first batch after which there is no second
FORWARD = 1 / 3  # of a step's time: the backward pass takes twice as long


@dataclass(frozen=True)
class Measured:
    """What two batches took.

    Attributes:
        batches: that were measured, one or two.
        compute: seconds of the faster batch for forward pass, backward pass and step.
        read: seconds of one process to decode one clip for the first time.
        again: likewise for a second time; less if decoded pictures are kept in memory.
        memory: peak in GiB, of this process or of the GPU.
        gpu: whether it is that of the GPU.
    """

    batches: int
    compute: float
    read: float
    again: float
    memory: float
    gpu: bool


@dataclass(frozen=True)
class Plan:
    """The plan of a training, as lines to print.

    Attributes:
        facts: of the data, the network and the device.
        chosen: settings that were chosen because they were not given.
        course: steps, time and memory.
        warnings: possible problems, to be known before the start.
        seconds: how long it will take; None if that is not known.
    """

    facts: list[str]
    chosen: list[str]
    course: list[str]
    warnings: list[str]
    seconds: float | None

    @property
    def lines(self) -> list[str]:
        """All of it, warnings last."""
        return [*self.facts, *self.chosen, *self.course, *self.warnings]


def make_plan(
    classifier: VideoClassifier,
    data: VideoDataModule,
    trainer: Trainer,
    *,
    run_dir: Path | None = None,
    chosen: Sequence[str] = (),
) -> Plan:
    """Plan a training that is about to start.

    Args:
        classifier: the network.
        data: set up already.
        trainer: that will train.
        run_dir: see ``facts``.
        chosen: a line for each setting that was chosen because it was not given.

    Raises:
        VideoNLError: a batch does not fit into the memory of the GPU.
    """
    lines = facts(classifier, data, trainer, run_dir=run_dir)
    warnings = [line for line in lines if line.startswith(("warning", "hint"))]
    known = [line for line in lines if line not in warnings]
    told = [f"{'' if n else 'chosen':<10}{line}" for n, line in enumerate(chosen)]
    steps, epochs = steps_of(trainer, data)
    if steps is None and classifier.optimizer is None:
        check_end(classifier.recipe, math.inf)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return Plan(known, told, [], warnings, None)
    try:
        found = measure(classifier, data, trainer)
    except torch.OutOfMemoryError as error:
        raise VideoNLError(way_out(classifier, data, trainer)) from error
    seconds = None if steps is None else seconds_of(found, steps, epochs, trainer, data)
    shown = counted(1, "epoch") if epochs == 1 else f"{round(epochs, 2):g} epochs"
    text = "until --trainer.max_time, in epochs" if steps is None else f"{steps}: {shown}"
    limits = (c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer))  # type: ignore[attr-defined]
    limit = min((each for each in limits if each is not None), default=math.inf)
    if seconds is not None and limit < seconds:
        seconds, text = limit, f"{text} at most, until --trainer.max_time,"
    batches = f"measured on {counted(found.batches, 'batch')}"
    course = [f"steps     {text} of {counted(steps_of_epoch(trainer, data), 'step')}"]
    course += [] if seconds is None else [f"time      about {duration(seconds)} ({batches})"]
    return Plan(known, told, [*course, memory(found)], warnings, seconds)


def plan_lines(
    classifier: VideoClassifier,
    data: VideoDataModule,
    trainer: Trainer,
    *,
    run_dir: Path | None = None,
    chosen: Sequence[str] = (),
) -> list[str]:
    """The lines of ``make_plan``."""
    return make_plan(classifier, data, trainer, run_dir=run_dir, chosen=chosen).lines


def steps_of_epoch(trainer: Trainer, data: Any) -> int:
    """Steps of the optimiser in one pass over the videos."""
    return math.ceil(batches_per_epoch(trainer, data) / batches_per_step(trainer, data))


def steps_of(trainer: Trainer, data: Any) -> tuple[int | None, float]:
    """(steps, epochs) of a training; None and infinity where only the time ends it."""
    each = steps_of_epoch(trainer, data)
    ends = []
    if trainer.max_epochs not in (None, -1):
        ends.append(int(trainer.max_epochs or 0) * each)
    if trainer.max_steps not in (None, -1):
        ends.append(trainer.max_steps)
    return (min(ends), min(ends) / each) if ends else (None, math.inf)


def seconds_of(found: Measured, steps: int, epochs: float, trainer: Trainer, data: Any) -> float:
    """The time of so many steps, and of the validations between."""
    each = batches_per_epoch(trainer, data)
    batches = steps * each / steps_of_epoch(trainer, data)
    first = min(batches, each)
    seconds = first * step_seconds(found, data, first=True)
    seconds += (batches - first) * step_seconds(found, data, first=False)
    if times := validations(epochs, trainer, data):
        seconds += times * validation_seconds(found, trainer, data)
    return seconds


def memory(found: Measured) -> str:
    """The line about the peak memory."""
    whose = "of the GPU" if found.gpu else "of this process, without its decoding processes"
    return f"memory    {found.memory:.2g} GiB at the peak {whose}"


def step_seconds(found: Measured, data: Any, *, first: bool) -> float:
    """Seconds of one batch, reading included."""
    reading = data.batch_size * (found.read if first else found.again)
    return together(reading, found.compute, data.num_workers, gpu=found.gpu)


def together(reading: float, computing: float, workers: int, *, gpu: bool) -> float:
    """Seconds for both, if so many worker processes read while the network computes.

    On a CPU the workers and the network share the cores.
    """
    if not workers:
        return reading + computing
    if gpu:
        return max(computing, reading / workers)
    cores = max(torch.get_num_threads(), 1)
    return max(computing, reading / workers, computing + reading / cores)


def validations(epochs: float, trainer: Trainer, data: Any) -> float:
    """The number of validations."""
    if "val" not in data.records or not trainer.limit_val_batches:
        return 0.0
    # Batches, or a share of an epoch; Lightning has none where it is a time.
    every = getattr(trainer, "val_check_interval", 1.0)
    if isinstance(every, int):
        every /= batches_per_epoch(trainer, data)
    return epochs / (trainer.check_val_every_n_epoch or 1) / every


def validation_seconds(found: Measured, trainer: Trainer, data: Any) -> float:
    """Seconds of one validation on one of the processes."""
    videos: float = math.ceil(len(data.records["val"]) / trainer.world_size)
    views, limit = data.preprocessing.num_views, trainer.limit_val_batches
    if isinstance(limit, int):
        videos = min(videos, limit * max(1, data.batch_size // views))
    elif limit is not None:
        videos *= limit
    computing = FORWARD * found.compute / data.batch_size * videos * views
    return together(videos * views * found.again, computing, data.num_workers, gpu=found.gpu)


def measure(classifier: VideoClassifier, data: Any, trainer: Trainer) -> Measured:
    """Train on two batches, then restore weights and random number generators."""
    device = trainer.strategy.root_device
    gpu = device.type == "cuda"
    loader = data.train_dataloader()
    videos: Any = loader.dataset
    videos.preprocessing = videos.preprocessing.with_colours(classifier.preprocessing)
    keys = list(loader.sampler)[: BATCHES * data.batch_size]
    batches = [keys[n : n + data.batch_size] for n in range(0, len(keys), data.batch_size)]
    read, compute, done = 0.0, math.inf, 0
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    with undone(classifier, trainer) as step:
        for batch in batches:
            start = time.perf_counter()
            items = loader.collate_fn([videos[key] for key in batch])
            read = (time.perf_counter() - start) / len(batch)
            start = time.perf_counter()
            step(data, {k: v.to(device) if torch.is_tensor(v) else v for k, v in items.items()})
            if gpu:
                torch.cuda.synchronize(device)
            compute, done = min(compute, time.perf_counter() - start), done + 1
            if compute > PATIENCE:
                break
    start = time.perf_counter()
    for key in batches[0]:
        epoch, index = key
        _ = videos[epoch + 1, index]
    again = (time.perf_counter() - start) / len(batches[0])
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if gpu else peak_of_process()
    return Measured(done, compute, max(read, again), again, peak, gpu)


@contextmanager
def undone(
    classifier: VideoClassifier, trainer: Trainer
) -> Iterator[Callable[[Any, dict[str, Any]], None]]:
    """A training step of the recipe, whose changes are undone at the end."""
    device, precision = trainer.strategy.root_device, trainer.precision_plugin
    net, recipe = classifier.to(device).net, classifier.recipe
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        classifier.train()
        optimizer = make_optimizer(
            recipe.optimizer,
            [{"params": [p for p in net.parameters() if p.requires_grad], "lr": 0.0}],
            momentum=recipe.momentum,
            beta2=recipe.beta2,
            fused=False,
        )

        def step(data: Any, batch: dict[str, Any]) -> None:
            task = classifier.task
            clips = classifier.clips({**batch, "video": data.augmented(batch)}).flatten(0, 1)
            with precision.forward_context():
                targets = task.targets(task.truth(batch))
                loss, _ = task.loss(classifier(clips), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        try:
            yield step
        finally:
            optimizer.zero_grad()
            net.load_state_dict(kept)


def duration(seconds: float) -> str:
    """In words.

    Example:
        >>> duration(40), duration(400), duration(40_000)
        ('40 seconds', '6.7 minutes', '11 hours')
    """
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return "1 second" if round(seconds, 1) == 1 else f"{seconds:.2g} seconds"
