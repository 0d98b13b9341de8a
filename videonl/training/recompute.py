"""Activation checkpointing by stage: activations are computed again instead of kept.

The blocks of a stage keep their input alone; the backward pass runs each once more (Chen et al.,
2016, arXiv:1604.06174). Loss, gradients and batch-norm statistics are the same bits: the random
numbers of the second run are those of the first, and the statistics are not updated by it.
"""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from videonl.errors import VideoNLError


def recompute_stages(net: nn.Module, stages: Collection[str]) -> int:
    """Let the blocks of some stages compute their activations again in the backward pass.

    Keys of the state dict, hooks and the class tests (``isinstance``) stay as they are.

    Args:
        net: the network; changed in place.
        stages: names of its submodules, such as "res2"; of a sequence, every element is a block.

    Returns:
        The number of blocks.

    Raises:
        VideoNLError: a name that the network has not.
    """
    blocks = [block for stage in stages for block in blocks_of(net, stage)]
    for block in blocks:
        block.__class__ = recomputing(type(block))
    return len(blocks)


def blocks_of(net: nn.Module, stage: str) -> list[nn.Module]:
    """The blocks of a stage.

    Raises:
        VideoNLError: the network has no such stage.
    """
    known = dict(net.named_modules())
    if not stage or stage not in known:
        children = ", ".join(name for name, _ in net.named_children())
        raise VideoNLError(
            f"checkpoint_stages: the network has no part {stage!r}; it has {children}"
        )
    module = known[stage]
    return list(module) if isinstance(module, (nn.Sequential, nn.ModuleList)) else [module]


def recomputing(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a block, with a call that keeps nothing but its input.

    The call, not ``forward``: so what hooks add (a non-local block) is computed again too.
    """
    if getattr(kind, "_recomputes", False):
        return kind

    @torch.compiler.disable  # torch.compile leaves these blocks as they are, so the bits too
    def call(self: nn.Module, *inputs: Any) -> Any:
        run = partial(kind.__call__, self)
        if not self.training or not torch.is_grad_enabled():
            return run(*inputs)
        return checkpoint(run, *inputs, use_reentrant=False, context_fn=partial(contexts_of, self))

    return type(f"Recomputing{kind.__name__}", (kind,), {"__call__": call, "_recomputes": True})


def contexts_of(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the first and the second run of a block."""
    return nullcontext(), unchanged_statistics(block)


@contextmanager
def unchanged_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norms normalise with the batch, but do not count it a second time."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
