"""For a full GPU: estimate which batch fits, and which stages to recompute, without trying."""

from collections.abc import Collection
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn

from videonl.shares import counted
from videonl.training.recompute import blocks_of

ROOM = 0.8  # of the memory; the rest goes to convolutions' work space and to gaps
CLIPS = 2  # that are counted, since some norms refuse one alone


class Kept:
    """The memory that the backward pass keeps per clip, counted on the meta device.

    Args:
        net: takes clips (B, 3, T, H, W).
        clip: (T, H, W).
    """

    def __init__(self, net: nn.Module, clip: tuple[int, int, int]) -> None:
        self.stages = {
            name: blocks_of(net, name)
            for name, module in net.named_children()
            if isinstance(module, nn.Sequential) and any(True for _ in module.parameters())
        }
        self._inputs: dict[nn.Module, int] = {}
        self._kept: dict[nn.Module | None, int] = {}
        self._within: nn.Module | None = None
        self._count(net, clip)

    def _count(self, net: nn.Module, clip: tuple[int, int, int]) -> None:
        tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        empty = {
            name: torch.empty_like(value, device="meta").requires_grad_(value.requires_grad)
            for name, value in tensors.items()
        }
        seen = {value.untyped_storage()._cdata for value in empty.values()}
        alive = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in seen:
                seen.add(storage._cdata)
                alive.append(storage)  # so that no other one gets its address
                self._kept[self._within] = self._kept.get(self._within, 0) + storage.nbytes()
            return tensor

        blocks = [block for stage in self.stages.values() for block in stage]
        hooks = [block.register_forward_pre_hook(self._enter) for block in blocks]
        hooks += [block.register_forward_hook(self._leave) for block in blocks]
        kinds = [(block, type(block)) for block in blocks]
        try:
            for block, kind in kinds:
                if getattr(kind, "_recomputes", False):
                    block.__class__ = kind.__mro__[1]
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                clips = torch.empty((CLIPS, 3, *clip), device="meta")
                torch.func.functional_call(net, empty, (clips,))
        finally:
            for block, kind in kinds:
                block.__class__ = kind
            for hook in hooks:
                hook.remove()

    def _enter(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._within = block
        self._inputs[block] = sum(i.numel() * i.element_size() for i in inputs)

    def _leave(self, *_: Any) -> None:
        self._within = None

    def per_clip(self, stages: Collection[str]) -> float:
        """Bytes per clip if these stages are recomputed, one block at a time."""
        again = [block for stage in stages for block in self.stages.get(stage, ())]
        kept = sum(size for block, size in self._kept.items() if block not in again)
        kept += sum(self._inputs.get(block, 0) for block in again)
        kept += max((self._kept.get(block, 0) for block in again), default=0)
        return kept / CLIPS


def usable_memory(device: torch.device) -> int | None:
    """Bytes of a GPU that this process has or could get; None for other devices."""
    if device.type != "cuda":
        return None
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


def way_out(classifier: Any, data: Any, trainer: Trainer) -> str:
    """The message for a training whose batch does not fit, with options that should fit."""
    batch, accumulated = int(data.batch_size), trainer.accumulate_grad_batches
    stages, memory = list(classifier.recipe.checkpoint_stages), None
    shown, clips = classifier.preprocessing, counted(batch, "clip")
    try:
        memory = usable_memory(trainer.strategy.root_device)
        kept = Kept(classifier.net, (shown.frames, *shown.clip_size))
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        memory = None  # a network that shapes alone do not run
    if memory is None:
        halve = (
            "halve --data.batch_size and set --trainer.accumulate_grad_batches "
            f"{2 * accumulated} for the same training, "
        )
        return (
            f"the GPU does not have enough memory for batches of {clips}: "
            f"{halve if batch > 1 else ''}save memory with --recipe.checkpoint_stages, or use "
            "smaller or shorter clips (--data.crop, --data.frames)"
        )
    half = 0.5 if "16" in str(trainer.precision) else 1.0
    weights = sum(p.numel() * p.element_size() for p in classifier.net.parameters())
    copies = 4 + bool(classifier.recipe.ema)  # weights, gradients, two moments, the average
    room = ROOM * memory - copies * weights

    def fits(asked: Collection[str]) -> int:
        """The largest part of the batch that fits and divides it; 0: none."""
        most = room / max(half * kept.per_clip(asked), 1)
        return max((n for n in range(1, batch + 1) if batch % n == 0 and n <= most), default=0)

    head = (
        f"the GPU does not have enough memory for batches of {clips} (about "
        f"{half * kept.per_clip(stages) / 2**30:.2g} GiB per clip, of {memory / 2**30:.3g} GiB): "
    )
    ways = []
    if 0 < (size := fits(stages)) < batch:
        ways.append(f"{smaller(size, batch, accumulated)} should fit, with as many clips per step")
    more = list(stages)
    for name in kept.stages:
        more += [] if name in more else [name]
        if fits(more) == batch or (name == list(kept.stages)[-1] and fits(more) > size):
            option = f"--recipe.checkpoint_stages [{','.join(more)}]"
            beside = fits(more)
            rest = "" if beside == batch else f" with {smaller(beside, batch, accumulated)}"
            ways.append(f"{option}{rest} should fit, and computes these stages twice")
            break
    ways = ways or ["use smaller or shorter clips (--data.crop, --data.frames)"]
    return head + "; or ".join(ways)


def smaller(size: int, batch: int, accumulated: int) -> str:
    """The options of a smaller batch with as many clips per step."""
    times = accumulated * batch // size
    return f"--data.batch_size {size} --trainer.accumulate_grad_batches {times}"
