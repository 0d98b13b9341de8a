"""The lines before a training: data, network, device, learning rate, and warnings."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn

from videonl.data import class_lines, cover_line, picture_line, shortcut_of
from videonl.errors import VideoNLError
from videonl.shares import counted, percent
from videonl.training.classifier import VideoClassifier
from videonl.training.recipe import batches_per_step, global_batch, scaled_rate

FEW_VIDEOS = 2000  # below this, training from scratch rarely works for networks of this size
LARGE_NETWORK = 10e6  # parameters
SLOW_ON_CPU = 5e6


def facts(
    classifier: VideoClassifier, data: Any, trainer: Trainer, *, run_dir: Path | None
) -> list[str]:
    """The lines, warnings last."""
    recipe, shape = classifier.recipe, classifier.preprocessing
    accumulated, devices = batches_per_step(trainer, data), trainer.world_size
    per_device = data.clips_per_batch(devices)
    batch = global_batch(trainer, data)
    rate = scaled_rate(recipe.learning_rate, batch=batch, reference_batch=recipe.reference_batch)
    scaling = f" = {recipe.learning_rate:g} × {batch}/{recipe.reference_batch}"
    parameters = sum(p.numel() for p in classifier.net.parameters())
    census: dict[str, dict[str, int]] = data.census
    videos = {split: part.found for split, part in data.catalogue.census.items()}
    counts = ", ".join(f"{number} in {split}" for split, number in videos.items())
    baseline = baseline_of(
        census.get("val", {}), len(data.records.get("val", ())), multi_label=classifier.multi_label
    )
    height, width = shape.clip_size
    device = f"{devices} × {trainer.strategy.root_device.type}"
    lines = [
        f"data      {counted(classifier.num_classes, 'class')}, videos: {counts} ({data.root})",
        *(f"          {note}" for note in data.catalogue.notes),
        f"network   {classifier.hparams['name']}, {parameters / 1e6:.3g} M parameters, clips of "
        f"{counted(shape.frames, 'frame')} ({shape.shown_steps}) of {height}×{width}"
        f"{' (whole pictures)' if shape.rectangle else ''}",
        f"device    {device}, {trainer.precision}",
        f"rate      {rate:g}{scaling if recipe.reference_batch else ''}: global batch {batch} = "
        f"{counted(per_device, 'clip')} × {counted(devices, 'device')} × {accumulated} "
        f"accumulated; {recipe.optimizer}, {recipe.schedule}",
    ]
    if classifier.optimizer is not None:
        lines[-1] = f"rate      set by the given optimiser: global batch {batch}"
    if data.catalogue.records.get("train"):
        lines[1:1] = looks_of(data)
    if text := data.keep_decoded(trainer.max_epochs):
        lines.insert(1, f"frames    {text}")
    if data.rate_text:
        lines.insert(1, f"videos    {data.rate_text}")
    if baseline is not None:
        lines.append(f"baseline  {baseline}")
    if run_dir is not None:
        lines.append(f"run       {run_dir}")
    if accumulated < trainer.accumulate_grad_batches:
        lines.append(
            f"warning: an epoch has {counted(accumulated, 'batch')} per device, fewer than the "
            f"{trainer.accumulate_grad_batches} of --trainer.accumulate_grad_batches, so a step "
            "accumulates only these"
        )
    return lines + warnings_of(classifier, videos, census, parameters, trainer)


def looks_of(data: Any) -> list[str]:
    """Lines about the headers of the videos: per class, how clips fit, and possible shortcuts."""
    val = data.records.get("val", [])
    records = [*data.records["train"], *val]
    look = data.look
    if not look.facts:
        return [f"videos    their headers could not be read ({look.how})"]
    names = data.class_names
    classes = {r.path: ", ".join(names[n] for n in r.labels) for r in records}
    found = shortcut_of(
        data.root,
        val or records,
        learnt=data.records["train"] if val else (),
        group=data.group,
        look=look,
    )
    table = class_lines(look.facts, classes)
    return [
        f"looked at {look.how}",
        *(f"          {line}" for line in table),
        f"clip      {cover_line(look.facts, data.preprocessing)}",
        f"picture   {picture_line(look.facts, data.preprocessing)}",
        f"shortcut  {found if isinstance(found, str) else found.text()}",
    ]


def warnings_of(
    classifier: VideoClassifier,
    videos: dict[str, int],
    census: dict[str, dict[str, int]],
    parameters: int,
    trainer: Trainer,
) -> list[str]:
    """Possible problems, to be known before the training starts."""
    found = []
    training = videos.get("train", 0)
    scratch = classifier.hparams["provenance"] is None
    if scratch and training < FEW_VIDEOS and parameters > LARGE_NETWORK:
        found.append(
            f"warning: {counted(training, 'training video')} for {parameters / 1e6:.3g} M "
            "parameters from scratch is too little; start from published weights (--config "
            "configs/finetune.yaml --model.pretrained FILE) or use a small network (--model.name "
            "tiny_i3d_nl1)"
        )
    if trainer.strategy.root_device.type == "cpu" and parameters > SLOW_ON_CPU:
        found.append(
            "hint: without a GPU this will be slow; a small network with small frames is faster, "
            "as in --config configs/ut_interaction.yaml"
        )
    if classifier.recipe.batch_norm == "sync" and trainer.strategy.root_device.type == "cpu":
        found.append(
            "hint: batch_norm sync has no effect on CPUs: every process has its own statistics"
        )
    for split in ("train", "val"):
        empty = [name for name, number in census.get(split, {}).items() if not number]
        if empty:
            listed = ", ".join(empty[:5]) + (" ..." if len(empty) > 5 else "")
            found.append(
                f"warning: {counted(len(empty), 'class')} without videos in {split}: {listed}"
            )
    return found


def baseline_of(counts: dict[str, int], videos: int, *, multi_label: bool) -> str | None:
    """The score of giving every video the same answer; None without videos.

    Args:
        counts: validation videos per class.
        videos: validation videos.
        multi_label: a video may count in several classes.
    """
    present = [count for count in counts.values() if count]
    if not present or not videos:
        return None
    if multi_label:
        share = sum(present) / len(present) / videos
        return f"giving every video the same answer has a mAP of {percent(share, videos)}"
    share = max(present) / sum(present)
    return f"always answering the most frequent class scores {percent(share, videos)}"


def check_clip(network: nn.Module, name: str, *, frames: int, size: tuple[int, int]) -> None:
    """Run the network on the shape of one clip, on the meta device.

    Args:
        network: takes (B, 3, T, H, W).
        name: of the network, for the message.
        frames: T.
        size: (H, W).

    Raises:
        VideoNLError: it does not fit, with the reason.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    empty = {key: torch.empty_like(value, device="meta") for key, value in tensors.items()}
    clips = torch.empty((2, 3, frames, *size), device="meta")
    modes = {module: module.training for module in network.modules()}
    for module in modes:
        module.training = False  # no statistics, no dropout
    try:
        with torch.no_grad():
            torch.func.functional_call(network, empty, (clips,))
    except (ValueError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return  # a user's network that needs real values: only the training can tell
        raise VideoNLError(
            f"{name} does not take clips of {counted(frames, 'frame')} of {size[0]}×{size[1]} "
            f"(--data.frames, --data.crop): {' '.join(str(error).split())}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
