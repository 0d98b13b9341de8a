"""RandAugment for clips: the same operations with the same strength on every frame.

Cubuk et al. 2019 (arXiv:1909.13719). Operations that look at the picture (equalize, autocontrast)
look at the whole clip, so that a clip does not flicker.
"""

from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

Operation = Callable[[torch.Tensor, float], torch.Tensor]  # (T, 3, H, W), -1 to 1


def _affine(
    clip: torch.Tensor, *, angle: float = 0, shift: tuple[float, float] = (0, 0), **shear: float
) -> torch.Tensor:
    return F.affine(
        clip,
        angle=angle,
        translate=[shift[0] * clip.shape[-1], shift[1] * clip.shape[-2]],
        scale=1.0,
        shear=[shear.get("x", 0.0), shear.get("y", 0.0)],
        interpolation=F.InterpolationMode.BILINEAR,
        fill=[128.0],
    )


def _whole(function: Callable[[torch.Tensor], torch.Tensor], clip: torch.Tensor) -> torch.Tensor:
    """Apply a per-picture operation to the clip as one tall picture (3, T * H, W)."""
    tall = clip.transpose(0, 1).flatten(1, 2)
    return function(tall).unflatten(1, (clip.shape[0], clip.shape[2])).transpose(0, 1)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda clip, _: clip,
    "autocontrast": lambda clip, _: _whole(F.autocontrast, clip),
    "equalize": lambda clip, _: _whole(F.equalize, clip),
    "rotate": lambda clip, s: _affine(clip, angle=30 * s),
    "shear_x": lambda clip, s: _affine(clip, x=17 * s),
    "shear_y": lambda clip, s: _affine(clip, y=17 * s),
    "translate_x": lambda clip, s: _affine(clip, shift=(0.45 * s, 0)),
    "translate_y": lambda clip, s: _affine(clip, shift=(0, 0.45 * s)),
    "brightness": lambda clip, s: F.adjust_brightness(clip, 1 + 0.9 * s),
    "contrast": lambda clip, s: F.adjust_contrast(clip, 1 + 0.9 * s),
    "colour": lambda clip, s: F.adjust_saturation(clip, 1 + 0.9 * s),
    "sharpness": lambda clip, s: F.adjust_sharpness(clip, 1 + 0.9 * s),
    "posterize": lambda clip, s: F.posterize(clip, 8 - round(4 * abs(s))),
    "solarize": lambda clip, s: F.solarize(clip, 256 * (1 - abs(s))),
}


def rand_augment(
    clip: torch.Tensor,
    generator: np.random.Generator,
    *,
    layers: int = 2,
    magnitude: float = 7.0,
    spread: float = 0.5,
) -> torch.Tensor:
    """Apply ``layers`` random operations, each with probability one half.

    Args:
        clip: uint8 (T, H, W, 3).
        generator: the source of randomness.
        layers: operations drawn.
        magnitude: mean strength, 0 to 10.
        spread: standard deviation of the strength.

    Returns:
        uint8 (T, H, W, 3).
    """
    frames = clip.permute(0, 3, 1, 2)  # (T, 3, H, W)
    for name in generator.choice(list(OPERATIONS), layers):
        strength = float(np.clip(generator.normal(magnitude, spread), 0, 10)) / 10
        sign = 1 if generator.random() < 0.5 else -1
        if generator.random() < 0.5:
            frames = OPERATIONS[str(name)](frames, sign * strength)
    return frames.permute(0, 2, 3, 1)
