"""The theoretical receptive field of a network: computed from the network itself, not from a table.

Luo et al., Understanding the effective receptive field in deep convolutional networks (NIPS 2016),
section 2: the input positions whose change can affect one output position. In a copy of the network
with positive weights nothing cancels, so its gradient is non-zero at exactly these positions.
"""

import copy
from typing import Any

import torch
from torch import nn

from videonl.errors import VideoNLError
from videonl.layers import NonLocalBlock, remove_non_local

_AVERAGE: dict[type[nn.Module], type[nn.Module]] = {
    nn.MaxPool1d: nn.AvgPool1d,
    nn.MaxPool2d: nn.AvgPool2d,
    nn.MaxPool3d: nn.AvgPool3d,
}


def receptive_field(
    model: nn.Module, *, clip_shape: tuple[int, int, int] = (8, 64, 64), largest: int = 1024
) -> tuple[int, int, int]:
    """Frames, rows and columns that one position of the last features can see.

    Non-local blocks are removed, since with one a position sees the whole clip by definition.
    Layers after the features (the pooling of the head) are not counted.

    Args:
        model: a network with ``forward_features``.
        clip_shape: (T, H, W) to begin with; it is made larger until the field fits in.
        largest: side at which the search ends.

    Returns:
        (frames, rows, columns) of the input, no more than the network could see in an endless clip;
        frames are those of ``clip_shape`` at most.

    Raises:
        VideoNLError: the field is larger than ``largest``.
    """
    twin = _positive_twin(model)
    frames, height, width = clip_shape
    while True:
        extent = _extent(twin, (frames, height, width))
        if extent[1] < height - 2 and extent[2] < width - 2:
            return extent
        if max(height, width) >= largest:
            raise VideoNLError(
                f"the receptive field is larger than {largest} pixels; raise the argument largest"
            )
        height, width = 2 * height, 2 * width


def _extent(twin: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Size of the input box that the middle position of the features sees."""
    clip = torch.ones(1, 3, *shape, dtype=torch.float64, requires_grad=True)
    features = twin.forward_features(clip)  # type: ignore[operator]
    middle = features[0, :, *(size // 2 for size in features.shape[2:])]
    (gradient,) = torch.autograd.grad(middle.sum(), clip)
    seen = gradient[0].sum(0) > 0  # (T, H, W)
    sides = []
    for dim in range(3):
        others = tuple(other for other in range(3) if other != dim)
        places = seen.any(dim=others[1]).any(dim=others[0]).nonzero().flatten()
        sides.append(int(places[-1] - places[0]) + 1)
    return sides[0], sides[1], sides[2]


def _positive_twin(model: nn.Module) -> nn.Module:
    """A copy with positive averaging weights: no sign cancels and nothing vanishes."""
    twin = copy.deepcopy(model).double().eval()
    if any(isinstance(module, NonLocalBlock) for module in twin.modules()):
        twin = remove_non_local(twin)
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if average := _AVERAGE.get(type(child)):
                pool: Any = child
                stays = pool.kernel_size, pool.stride, pool.padding
                setattr(module, name, average(*stays, ceil_mode=pool.ceil_mode))
    for module in twin.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor):
            fan_in = weight[0].numel() if weight.dim() > 1 else 1
            weight.data.fill_(1 / fan_in)
        for name in ("bias", "running_mean"):
            if isinstance(getattr(module, name, None), torch.Tensor):
                getattr(module, name).data.zero_()
        variance = getattr(module, "running_var", None)
        if isinstance(variance, torch.Tensor):
            variance.data.fill_(1)
    return twin
