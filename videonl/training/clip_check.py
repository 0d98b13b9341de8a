"""Whether a network takes the clips of a training, known before the first video is read."""

import torch
from torch import nn

from videonl.errors import VideoNLError


def check_clip(network: nn.Module, name: str, *, frames: int, size: int) -> None:
    """Push the shape of one clip through the network, without its weights and without arithmetic.

    Args:
        network: takes (B, 3, T, H, W).
        name: of the network, for the message.
        frames: T.
        size: H and W.

    Raises:
        VideoNLError: it does not fit, with the reason.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    empty = {key: torch.empty_like(value, device="meta") for key, value in tensors.items()}
    clips = torch.empty((2, 3, frames, size, size), device="meta")
    modes = {module: module.training for module in network.modules()}
    for module in modes:
        module.training = False  # statistics and dropout play no part
    try:
        with torch.no_grad():
            torch.func.functional_call(network, empty, (clips,))
    except (ValueError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return  # a network of one's own that looks at values: only running it tells
        raise VideoNLError(
            f"{name} does not take clips of {frames} frames of {size}×{size} (--data.frames, "
            f"--data.crop): {' '.join(str(error).split())}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
