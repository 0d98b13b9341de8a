"""RandAugment for all clips of a batch at once, the same in every frame of a clip.

Cubuk et al. 2019 (arXiv:1909.13719). The numbers are those of torchvision's operations clip by
clip; equalize and autocontrast look at the whole clip, so that it does not flicker.

A GPU is given a number of operators that does not grow with the batch. What a clip needs is known
on the host; so in every round the clips that change are gathered by the kind of their operation,
each kind is one chain of operators over its clips, and all parameters travel in one copy:

- geometry: one ``grid_sample`` with an affine matrix per clip, grey outside;
- sharpness, and brightness, contrast and colour: blends with a blurred or a grey picture;
- posterize, solarize, equalize and autocontrast: a table of 256 values per clip and channel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BLENDS = ("brightness", "contrast", "colour")
KINDS = (
    GEOMETRY,
    ("sharpness",),
    BLENDS,
    ("autocontrast",),
    ("equalize",),
    ("posterize", "solarize"),
)
OPERATIONS = (
    *("identity", "autocontrast", "equalize", *GEOMETRY, *BLENDS),
    *("sharpness", "posterize", "solarize"),
)  # in the order of the draws
SPREAD = 0.5  # standard deviation of the magnitude
GREY = 128.0  # outside of a picture that was moved
LEVELS = np.arange(256)
Drawn = tuple[str, float]  # an operation and its strength, -1 to 1


def draw_operations(
    generator: np.random.Generator, *, layers: int, magnitude: float
) -> list[Drawn]:
    """``layers`` random operations of RandAugment, each taken with probability one half.

    Args:
        generator: the source of randomness.
        layers: operations drawn.
        magnitude: mean strength, 0 to 10.

    Returns:
        Name and strength, -1 to 1, of those that were taken.
    """
    taken = []
    for name in generator.choice(list(OPERATIONS), layers):
        strength = float(np.clip(generator.normal(magnitude, SPREAD), 0, 10)) / 10
        sign = 1 if generator.random() < 0.5 else -1
        if generator.random() < 0.5:
            taken.append((str(name), sign * strength))
    return taken


@dataclass(frozen=True)
class Round:
    """One operation of every clip that has one, the clips in the order of ``KINDS``.

    Attributes:
        counts: clips of each of ``KINDS``.
        arrays: what the device needs, by name.
    """

    counts: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]


def rounds_of(drawn: Sequence[Sequence[Drawn]], shape: tuple[int, int, int]) -> list[Round]:
    """The first operation of every clip, then the second, and so on.

    Args:
        drawn: per clip.
        shape: (T, H, W) of the clips.
    """
    idle = {"identity"} | ({"sharpness"} if min(shape[1:]) < 3 else set())
    works = [[each for each in clip if each[0] not in idle] for clip in drawn]
    return [
        _round([(n, *clip[place]) for n, clip in enumerate(works) if len(clip) > place], shape)
        for place in range(max(map(len, works), default=0))
    ]


def _round(drawn: Sequence[tuple[int, str, float]], shape: tuple[int, int, int]) -> Round:
    """The parameters of one operation per clip: (its place, name, strength)."""
    groups = [[one for one in drawn if one[1] in names] for names in KINDS]
    geometry, sharpness, blends, wide, even, fixed = groups
    size = shape[1:]
    half = np.array([[0.5 * size[1]], [0.5 * size[0]]])  # ``grid_sample`` counts from -1 to 1
    matrices = np.array([_inverse(name, strength, size) for _, name, strength in geometry])
    ratios = np.array([1 + 0.9 * strength for _, _, strength in sharpness + blends])
    lights = np.array([name != "brightness" for _, name, _ in sharpness + blends])
    tables = [[_table(name, strength)] * 3 for _, name, strength in wide + even + fixed]
    arrays = {
        "clips": np.array([clip for group in groups for clip, _, _ in group]),
        "matrices": (matrices.reshape(-1, 2, 3) / half).astype(np.float32),
        "x": _centred(size[1]),
        "y": _centred(size[0]),
        "grey": np.array(GREY, np.float32),
        "ratios": ratios.astype(np.float32),
        "others": (lights * (1 - ratios)).astype(np.float32),
        "contrast": np.array([name == "contrast" for _, name, _ in blends], bool),
        "offsets": 256 * np.arange(3 * len(tables)),
        "one": np.ones(1, np.int64),
        "ends": np.tile(np.array([1, math.prod(shape)]), (len(wide + even), 3, 1)),
        "levels": LEVELS.astype(np.float32),
        "tables": np.array(tables, np.float32).reshape(-1, 3, 256),
    }
    return Round(tuple(map(len, groups)), arrays)


def _centred(length: int) -> np.ndarray:
    """Places of pixels from the middle of a picture."""
    return ((1 - length) / 2 + np.arange(length)).astype(np.float32)


def _inverse(name: str, strength: float, size: tuple[int, int]) -> list[list[float]]:
    """Where a pixel comes from: 2×3, in pixels from the middle."""
    turn, slope = math.radians(30 * strength), math.tan(math.radians(17 * strength))
    shift = 0.45 * strength
    return {
        "rotate": [[math.cos(turn), math.sin(turn), 0.0], [-math.sin(turn), math.cos(turn), 0.0]],
        "shear_x": [[1.0, slope, 0.0], [0.0, 1.0, 0.0]],
        "shear_y": [[1.0, 0.0, 0.0], [slope, 1.0, 0.0]],
        "translate_x": [[1.0, 0.0, -shift * size[1]], [0.0, 1.0, 0.0]],
        "translate_y": [[1.0, 0.0, 0.0], [0.0, 1.0, -shift * size[0]]],
    }[name]


def _table(name: str, strength: float) -> np.ndarray:
    """What becomes of 0 to 255, as far as the picture need not be known."""
    if name == "posterize":
        return LEVELS >> (bits := round(4 * abs(strength))) << bits
    if name == "solarize":
        return np.where(256 * (1 - abs(strength)) <= LEVELS, 255 - LEVELS, LEVELS)
    return LEVELS


def apply_round(video: Tensor, counts: Sequence[int], given: Mapping[str, Tensor]) -> None:
    """Change the clips of a round in place.

    Args:
        video: uint8 (N, T, H, W, 3).
        counts: see :class:`Round`.
        given: its arrays, on the device of the video.
    """
    frames = video.index_select(0, given["clips"])  # (n, T, H, W, 3)
    planes = frames.movedim(-1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    moved, sharp, blends, *tables = counts
    parts = planes.split((moved, sharp, blends, sum(tables)))
    if moved:  # (., T, 3, H, W) each
        _move(parts[0], given)
    if sharp:
        _sharpen(parts[1], given["others"][:sharp])
    if blends:
        _blend(parts[2], given["ratios"][sharp:], given["others"][sharp:], given["contrast"])
    if any(tables):
        _look_up(parts[3], frames[moved + sharp + blends :], tables, given)
    changed = planes.clamp_(0, 255).to(torch.uint8).movedim(2, -1)
    video.index_copy_(0, given["clips"], changed)


def _move(planes: Tensor, given: Mapping[str, Tensor]) -> None:
    """Rotate, shear, shift (g, T, 3, H, W) in place; one more plane tells what was outside."""
    a, b, c = given["matrices"][:, None, None].unbind(-1)  # (g, 1, 1, 2) of x, y and 1
    rows = torch.addcmul(c, given["y"][:, None, None], b)  # no product of matrices: never TF32
    grid = torch.addcmul(rows, given["x"][:, None], a)  # (g, H, W, 2)
    marked = F.pad(planes.flatten(1, 2), (0, 0, 0, 0, 0, 1), value=1.0)
    moved = F.grid_sample(marked, grid, mode="bilinear", align_corners=False)
    inside, moved = moved[:, -1:], moved[:, :-1]
    torch.round(torch.addcmul(given["grey"], moved.sub_(GREY), inside), out=planes.flatten(1, 2))


def _sharpen(planes: Tensor, other: Tensor) -> None:
    """Blend (s, T, 3, H, W) with its blurred self, in place; the border stays."""
    inner = planes[..., 1:-1, 1:-1]
    mean = F.avg_pool2d(planes.flatten(1, 2), 3, 1).view_as(inner)
    blurred = mean.lerp_(inner, 4 / 13).round_()  # (the sum of the nine + 4 × the middle) / 13
    inner.addcmul_(blurred.sub_(inner), other.view(-1, 1, 1, 1, 1))


def _blend(planes: Tensor, ratio: Tensor, other: Tensor, contrast: Tensor) -> None:
    """Blend (c, T, 3, H, W) with black, the mean grey of a frame, or grey, in place."""
    red, green, blue = planes.unbind(2)
    grey = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()
    mean = grey.mean((-2, -1), keepdim=True)
    grey = torch.where(contrast.view(-1, 1, 1, 1), mean, grey).unsqueeze(2)
    planes.mul_(ratio.view(-1, 1, 1, 1, 1)).addcmul_(grey, other.view(-1, 1, 1, 1, 1))


def _look_up(
    planes: Tensor, frames: Tensor, counts: Sequence[int], given: Mapping[str, Tensor]
) -> None:
    """Put the values of (m, T, H, W, 3) through their tables into (m, T, 3, H, W).

    Args:
        planes: the result.
        frames: uint8.
        counts: clips whose values are stretched, made as frequent, and looked up alone.
        given: see :class:`Round`.
    """
    wide, known = counts[0], counts[0] + counts[1]
    tables = given["tables"]  # (m, 3, 256)
    places = frames + given["offsets"].view(-1, 1, 1, 1, 3)
    if known:
        count = torch.zeros(known * 3 * 256, dtype=torch.int64, device=frames.device)
        seen = places[:known].flatten()
        count = count.scatter_add_(0, seen, given["one"].expand_as(seen)).view(known, 3, 256)
        upto = count.cumsum(-1)
        ends = torch.searchsorted(upto, given["ends"])  # the least and the greatest value
        if wide:
            _stretch(ends[:wide], given["levels"], out=tables[:wide])
        if wide < known:
            before, most = (upto - count)[wide:], ends[wide:, :, 1:]
            _even_out(before, most, given["levels"], out=tables[wide:known])
    planes.copy_(tables.take(places).movedim(-1, 2))


def _stretch(ends: Tensor, levels: Tensor, *, out: Tensor) -> None:
    """The tables (a, 3, 256) that lead from the least to the greatest value (a, 3, 2)."""
    least, most = ends.split(1, -1)
    spread = most - least
    torch.where(spread > 0, (levels - least) / spread.mul(1 / 255), levels, out=out)


def _even_out(before: Tensor, most: Tensor, levels: Tensor, *, out: Tensor) -> None:
    """The tables (e, 3, 256) that make all values as frequent, as Pillow has them.

    Args:
        before: int64 (e, 3, 256), how many pixels are darker than a value.
        most: (e, 3, 1), the greatest value.
        levels: float32 (256,), 0 to 255.
        out: the tables.
    """
    step = before.gather(-1, most) // 255
    equal = (before + step // 2) // step.clamp(min=1)
    torch.where(step > 0, equal, levels, out=out)
