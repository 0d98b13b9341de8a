"""Count the operations that torch dispatches, separately for non-local blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from videonl.layers import Concatenation, NonLocalBlock

aten = torch.ops.aten
CONVOLUTIONS = {aten.convolution, aten._convolution}
NORMS = {
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_no_training,
}


@dataclass
class NonLocalCost:
    """One non-local block in one view.

    Attributes:
        name: its place in the network.
        affinity: the class of its pairwise function.
        positions: N, query positions of the feature map.
        keys: M, key positions that one query looks at.
        written_projection_macs: of θ, φ, g and the output, as 1×1×1 convolutions.
        written_pairwise_macs: of f(x_i, x_j) and its sum over g_j through the N × M matrix.
        macs: of everything in the block, as executed.
    """

    name: str
    affinity: str
    positions: int
    keys: int
    written_projection_macs: int
    written_pairwise_macs: int
    macs: int = 0

    @property
    def projection_macs(self) -> int:
        """The part of ``macs`` that the projections explain; a fast form may fold some away."""
        return min(self.macs, self.written_projection_macs)

    @property
    def pairwise_macs(self) -> int:
        """The part of ``macs`` beyond the projections."""
        return self.macs - self.projection_macs

    @property
    def paper_macs(self) -> int:
        """Of everything in the block, as the paper writes it."""
        return self.written_projection_macs + self.written_pairwise_macs


class Counter(TorchDispatchMode):
    """Counts the MACs of everything that runs within it, on any device.

    Attributes:
        convolution_macs: of all convolutions outside of the non-local blocks.
        linear_macs: of matrix products outside of the non-local blocks.
        norm_elements: elements that pass through batch norm.
        blocks: the cost of the non-local blocks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution_macs = 0
        self.linear_macs = 0
        self.norm_elements = 0
        self.blocks: list[NonLocalCost] = []
        self._inside: NonLocalCost | None = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count it."""
        operation = func._overloadpacket
        if operation in NORMS:
            self.norm_elements += args[0].numel()
            if args[0].device.type == "meta":  # torch would take half the time of a count for it
                return torch.empty_like(args[0]), *(args[0].new_empty(0) for _ in range(2))
        out = func(*args, **(kwargs or {}))
        if operation in NORMS:
            return out
        macs = operation_macs(operation, args, kwargs or {}, out, elementwise=self._inside)
        if self._inside:
            self._inside.macs += macs
        elif operation in CONVOLUTIONS:
            self.convolution_macs += macs
        else:
            self.linear_macs += macs
        return out

    def watch(self, model: nn.Module) -> None:
        """Count the operations inside the non-local blocks of ``model`` separately."""
        for name, module in model.named_modules():
            if isinstance(module, NonLocalBlock):
                module.register_forward_pre_hook(self._enter(name))
                module.register_forward_hook(self._leave)

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(block: nn.Module, args: tuple[Any, ...]) -> None:
            assert isinstance(block, NonLocalBlock)
            self._inside = written_cost(name, block, tuple(args[0].shape))
            self.blocks.append(self._inside)

        return enter

    def _leave(self, *_: Any) -> None:
        self._inside = None


def operation_macs(
    operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, *, elementwise: object
) -> int:
    """MACs of one operation; zero for other than convolutions and matrix products.

    Args:
        operation: the overload packet, ``torch.ops.aten.mm`` for instance.
        args: its positional arguments.
        kwargs: its keyword arguments.
        out: its result.
        elementwise: if true, products of two tensors element by element and prefix sums count
            one MAC per element, as in the fast form of concatenation.
    """
    if operation in flop_registry:
        return int(flop_registry[operation](*args, **kwargs, out_val=out)) // 2
    if operation is torch.ops.videonl.softmax_blocks:
        queries, keys, values = args[:3]
        return int(queries.numel() * keys.shape[1] + out[0].numel() * values.shape[1])
    if operation is torch.ops.videonl.relu_sums:  # two prefix sums, a product with each
        return int(4 * args[2].numel() + out.numel())
    if operation in (aten.mv, aten.dot):
        return int(args[0].numel())
    if elementwise and operation is aten.cumsum:
        return int(out.numel())
    if elementwise and operation is aten.mul and isinstance(args[1], Tensor):
        return int(out.numel())
    return 0


def written_cost(name: str, block: NonLocalBlock, shape: tuple[int, ...]) -> NonLocalCost:
    """The cost of a block by equations 1 to 6 of the paper, before anything is executed.

    Per pair of positions: C for the inner product of the embeddings (all channels for the
    Gaussian, 2C for w_f over their concatenation), and C for the sum over g.

    Args:
        name: of the block.
        block: the block.
        shape: (B, C, T, H, W) of its input, or fewer dimensions.
    """
    batch, channels, *spatial = shape
    kernel = block.pool_kernel or (1,) * len(spatial)
    pooled = [size // k for size, k in zip(spatial, kernel, strict=True)]
    positions, key_positions = prod(spatial), prod(pooled)
    groups = block.temporal_groups
    if block.attend == "time":
        groups = prod(pooled[1:])
    elif block.attend == "space" and block.dim == 3:
        groups = spatial[0]
    inner, embedded = block.inner_channels, block.affinity.embedded
    projected = positions + (key_positions if block.subsample_position == "before" else positions)
    per_pair = inner + (inner if embedded else channels)
    if isinstance(block.affinity, Concatenation):
        per_pair += inner
    return NonLocalCost(
        name,
        type(block.affinity).__name__,
        positions=positions,
        keys=key_positions // groups,
        # W_z at the queries and g at the keys; with embeddings, θ and φ likewise.
        written_projection_macs=batch * projected * (2 if embedded else 1) * channels * inner,
        written_pairwise_macs=batch * positions * (key_positions // groups) * per_pair,
    )
