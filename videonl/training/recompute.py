"""Activation checkpointing by stage: activations are recomputed instead of kept.

The blocks of a stage keep only their input; the backward pass runs each once more (Chen et al.,
2016, arXiv:1604.06174). Loss, gradients and batch-norm statistics are bit for bit the same: the
second run has the random numbers of the first, and does not update the statistics.
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
    """Make the blocks of some stages recompute their activations in the backward pass.

    Keys of the state dict, hooks and the class tests (``isinstance``) stay as they are.

    Args:
        net: the network; changed in place.
        stages: names of its submodules, such as "res2"; of a sequence, every element is a block.

    Returns:
        The number of blocks.

    Raises:
        VideoNLError: a name that the network does not have.
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
    """A subclass of a block's class whose ``__call__`` keeps only its input.

    ``__call__`` and not ``forward``, so that hooks (such as non-local blocks) are recomputed too.
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
    """The contexts of the first and the second run of a block."""
    return nullcontext(), unchanged_statistics(block)


@contextmanager
def unchanged_statistics(block: nn.Module) -> Iterator[None]:
    """Let batch norms normalise with the batch without updating their statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
