"""Where to compute."""

import torch

from videonl.errors import VideoNLError


def choose_device(device: str | torch.device) -> torch.device:
    """A device by name; ``"auto"``: CUDA, else MPS, else the CPU.

    Raises:
        VideoNLError: no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise VideoNLError(
            f"device {str(device)!r} can not be used on this machine; use auto, cpu or cuda"
        ) from error
    return chosen
