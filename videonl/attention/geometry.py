"""Where the positions of a feature map lie in the clip: traced through the network itself.

Every strided layer on the way moves positions by its own rule: output i of a kernel k with stride
s, dilation d and padding p is centred on input s·i - p + d·(k - 1)/2. The rule is derived from the
operators that really run (on the meta device: no values, no memory), not from a table of networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from videonl.errors import VideoNLError, taking_clips
from videonl.layers import NonLocalBlock
from videonl.models.registry import meta_copy

Triple = tuple[float, float, float]
_POOLS = ("max_pool3d_with_indices", "max_pool3d", "avg_pool3d")


@dataclass(frozen=True)
class Lattice:
    """Positions of a feature map (T', H', W') in the units of the clip: frames, rows, columns.

    Position i lies at ``offset + stride * i`` (a whole number is the middle of a pixel) and stands
    for a cell that is ``stride`` wide.

    Attributes:
        shape: (T', H', W').
        stride: distance between neighbours, (frames, rows, columns).
        offset: the place of position 0.
    """

    shape: tuple[int, int, int]
    stride: Triple
    offset: Triple

    def at(self, index: Sequence[float]) -> Triple:
        """The point of the clip that a position stands for."""
        t, y, x = (o + s * i for o, s, i in zip(self.offset, self.stride, index, strict=True))
        return t, y, x

    def nearest(self, point: Sequence[float]) -> tuple[int, int, int]:
        """The position whose cell holds a point of the clip; clamped to the map."""
        t, y, x = (
            min(max(round((p - o) / s), 0), n - 1)
            for p, o, s, n in zip(point, self.offset, self.stride, self.shape, strict=True)
        )
        return t, y, x

    def pooled(self, kernel: Sequence[int] | None) -> "Lattice":
        """The lattice after a pool with stride = kernel, as of a block's keys."""
        if kernel is None:
            return self
        t, h, w = (n // k for n, k in zip(self.shape, kernel, strict=True))
        return Lattice((t, h, w), *_moved(self, kernel, kernel, (0, 0, 0), (1, 1, 1)))


def trace_blocks(model: nn.Module, clip_shape: Sequence[int]) -> dict[str, Lattice]:
    """The query lattice of every non-local block that a clip goes through.

    Args:
        model: any network over clips (B, 3, T, H, W) built of convolutions and pools.
        clip_shape: (T, H, W).

    Returns:
        Name of the module -> lattice, in the order of the forward pass.

    Raises:
        VideoNLError: an operator on the way moves positions in an unknown way, or the network
            cannot take such clips.
    """
    twin = meta_copy(model)
    tracer = _Tracer()
    for name, module in twin.named_modules():
        if isinstance(module, NonLocalBlock):
            tracer.watch(name, module)
    clip = torch.empty(1, 3, *clip_shape, device="meta")
    tracer.put(clip, Lattice((clip_shape[0], clip_shape[1], clip_shape[2]), (1, 1, 1), (0, 0, 0)))
    features = getattr(twin, "forward_features", twin)
    with torch.no_grad(), tracer, taking_clips(clip.shape):
        features(clip)
    return tracer.blocks


class _Tracer(TorchDispatchMode):
    """Follows the lattice from operator to operator."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: dict[str, Lattice] = {}
        # The tensors are kept, so that no id is given out twice; meta tensors weigh nothing.
        self._known: dict[int, tuple[Tensor, Lattice]] = {}

    def put(self, tensor: Tensor, lattice: Lattice) -> None:
        self._known[id(tensor)] = (tensor, lattice)

    def watch(self, name: str, block: NonLocalBlock) -> None:
        """Note a block's lattice; its output lies as its input does."""

        def enter(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            lattice = self._of(inputs[0])
            if lattice is None or lattice.shape != tuple(inputs[0].shape[2:]):
                raise VideoNLError(
                    f"the positions of {name} cannot be traced back to the clip: its input of "
                    f"shape {tuple(inputs[0].shape)} is not made by convolutions and pools alone; "
                    "choose another --block"
                )
            self.blocks[name] = lattice

        def leave(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            self.put(output, self.blocks[name])

        block.register_forward_pre_hook(enter)
        block.register_forward_hook(leave)

    def _of(self, tensor: Tensor) -> Lattice | None:
        found = self._known.get(id(tensor))
        return None if found is None else found[1]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and tensor.dim() == 5 and self._of(tensor) is None:
                lattice = self._rule(func, args, tensor)
                if lattice is not None:
                    self.put(tensor, lattice)
        return out

    def _rule(self, func: Any, args: tuple[Any, ...], out: Tensor) -> Lattice | None:
        """The lattice of an operator's result, or None if it is unknown."""
        name = func.overloadpacket.__name__
        shape = (int(out.shape[2]), int(out.shape[3]), int(out.shape[4]))
        source = self._of(args[0]) if args and isinstance(args[0], Tensor) else None
        if source is not None and name == "convolution":
            _, weight, _, stride, padding, dilation, transposed = args[:7]
            if transposed:
                return None
            return Lattice(shape, *_moved(source, weight.shape[2:], stride, padding, dilation))
        if source is not None and name in _POOLS:
            kernel, stride, padding, dilation = _pool_arguments(name, args)
            return Lattice(shape, *_moved(source, kernel, stride, padding, dilation))
        if source is not None and name == "slice":
            return _sliced(source, shape, *args[1:])
        if source is not None and name == "constant_pad_nd":
            before = [*args[1][0::2], 0, 0, 0][2::-1]  # listed from the last dimension on
            return Lattice(shape, *_moved(source, (1,) * 3, (1,) * 3, before, (1,) * 3))
        for tensor in _tensors(args):  # anything else keeps positions if it keeps the shape
            lattice = self._of(tensor)
            if lattice is not None and lattice.shape == shape:
                return lattice
        return None


def _moved(
    source: Lattice,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Triple, Triple]:
    """(stride, offset) behind a window operator."""
    strides, offsets = [], []
    for d in range(3):
        centre = dilation[d] * (kernel[d] - 1) / 2 - padding[d]
        strides.append(source.stride[d] * stride[d])
        offsets.append(source.offset[d] + source.stride[d] * centre)
    return (strides[0], strides[1], strides[2]), (offsets[0], offsets[1], offsets[2])


def _pool_arguments(name: str, args: tuple[Any, ...]) -> tuple[Sequence[int], ...]:
    kernel = _three(args[1])
    stride = _three(args[2]) if len(args) > 2 and args[2] else kernel
    padding = _three(args[3]) if len(args) > 3 else (0, 0, 0)
    dilation = _three(args[4]) if len(args) > 4 and name.startswith("max") else (1, 1, 1)
    return kernel, stride, padding, dilation


def _three(value: Any) -> tuple[int, int, int]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    t, h, w = values * 3 if len(values) == 1 else values
    return t, h, w


def _sliced(
    source: Lattice, shape: tuple[int, int, int], dim: int = 0, start: Any = 0, *rest: Any
) -> Lattice | None:
    """Every ``step``-th position from ``start`` on along one dimension."""
    dim, step = dim % 5, (rest[1] if len(rest) > 1 else 1)
    if dim < 2:
        return source if source.shape == shape else None
    first = start or 0
    first = max(first + source.shape[dim - 2], 0) if first < 0 else first
    stride, offset = list(source.stride), list(source.offset)
    offset[dim - 2] += stride[dim - 2] * first
    stride[dim - 2] *= step
    return Lattice(shape, (stride[0], stride[1], stride[2]), (offset[0], offset[1], offset[2]))


def _tensors(args: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in args:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found.extend(v for v in value if isinstance(v, Tensor))
    return found
