"""Which axis of a layer's answer holds its channels: the others are averaged to make features."""

from collections.abc import Callable, Sequence

from torch import nn

from videonl.errors import VideoNLError

_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)


def channel_axis(
    module: nn.Module | None,
    shape: Sequence[int],
    *,
    layer: str,
    smaller: Callable[[], Sequence[int]],
) -> int:
    """The axis of the channels.

    A layer of known kind says where they are. For every other (a block, a dropout), it is the one
    axis that keeps its size when the clips become smaller: time, rows, columns and tokens do not.

    Args:
        module: the layer; None: a feature map (B, C, T, H, W).
        shape: of its answer, (B, ...), at least two axes.
        layer: its name, for the message.
        smaller: gives the shape of its answer to clips of half the length and half the size.

    Raises:
        VideoNLError: no axis or several keep their sizes.
    """
    if len(shape) == 2 or module is None or isinstance(module, _FIRST):
        return 1
    if isinstance(module, _LAST):
        return len(shape) - 1
    large = [axis for axis in range(1, len(shape)) if shape[axis] != 1]
    if len(large) > 1:
        try:
            other = list(smaller())
        except (RuntimeError, ValueError, AssertionError):
            other = []  # a network for one size alone
        kept = [axis for axis in large if len(other) == len(shape) and other[axis] == shape[axis]]
    else:
        kept = large or [1]
    if len(kept) != 1:
        raise VideoNLError(
            f"the layer {layer!r} answers with {' x '.join(map(str, shape))} values and does not "
            "tell which axis holds its channels; choose a convolution, a norm or a linear layer"
        )
    return kept[0]
