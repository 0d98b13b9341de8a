"""From images to clips: W3d = repeat(W2d, k_t) / k_t, the paper's start (section 3.2)."""

from collections.abc import Mapping

from torch import Tensor


def inflate(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Spread the kernels of an image network over time.

    A clip that stands still then gives the responses of the image, away from the clip's ends.

    Args:
        tensors: convolutions (out, in, kh, kw) or (out, in, 1, kh, kw), and anything else.
        wanted: the tensors of the network, by the same keys.

    Returns:
        (tensors, keys of those that were spread over several frames).
    """
    inflated, spread = {}, []
    for key, tensor in tensors.items():
        target = wanted.get(key)
        if target is not None and target.dim() == 5 and tensor.dim() == 4:
            tensor = tensor.unsqueeze(2)
        if target is not None and target.dim() == tensor.dim() == 5 and tensor.shape[2] == 1:
            extent = target.shape[2]
            if extent > 1:
                tensor = tensor.repeat(1, 1, extent, 1, 1) / extent
                spread.append(key)
        inflated[key] = tensor
    return inflated, spread
