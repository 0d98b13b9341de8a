"""Random changes of clips: decided by the seed, alike in all frames."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import functional as F

from tests.fake_cuda import VIEWS
from videonl.data import OPERATIONS, Augmentation, augment, draw_operations

MOVING = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def clip_by_clip(clip: torch.Tensor, name: str, strength: float) -> torch.Tensor:
    """An operation on (T, H, W, 3) as torchvision has it, another statement of what is batched."""
    frames, most = clip.permute(0, 3, 1, 2), 1 + 0.9 * strength

    def whole(function) -> torch.Tensor:  # the clip as one tall picture
        tall = frames.transpose(0, 1).flatten(1, 2)
        return function(tall).unflatten(1, (len(frames), frames.shape[2])).transpose(0, 1)

    def affine(angle=0.0, x=0.0, y=0.0, shear=(0.0, 0.0)) -> torch.Tensor:
        shift = [x * frames.shape[3], y * frames.shape[2]]
        return F.affine(
            frames, angle=angle, translate=shift, scale=1.0, shear=list(shear),
            interpolation=F.InterpolationMode.BILINEAR, fill=[128.0],
        )  # fmt: skip

    changed = {
        "identity": lambda: frames,
        "autocontrast": lambda: whole(F.autocontrast),
        "equalize": lambda: whole(F.equalize),
        "rotate": lambda: affine(angle=30 * strength),
        "shear_x": lambda: affine(shear=(17 * strength, 0.0)),
        "shear_y": lambda: affine(shear=(0.0, 17 * strength)),
        "translate_x": lambda: affine(x=0.45 * strength),
        "translate_y": lambda: affine(y=0.45 * strength),
        "brightness": lambda: F.adjust_brightness(frames, most),
        "contrast": lambda: F.adjust_contrast(frames, most),
        "colour": lambda: F.adjust_saturation(frames, most),
        "sharpness": lambda: F.adjust_sharpness(frames, most),
        "posterize": lambda: F.posterize(frames, 8 - round(4 * abs(strength))),
        "solarize": lambda: F.solarize(frames, 256 * (1 - abs(strength))),
    }[name]()
    return changed.permute(0, 2, 3, 1)


@pytest.mark.parametrize("magnitude", [5.0, 9.5])
def test_all_clips_at_once_are_as_torchvision_changes_each(magnitude: float) -> None:
    """The numbers of every operation, and of two on each other, whatever else is in the batch."""
    pictures = [noise(3, 26, 30, 3), noise(3, 26, 30, 3) // 3 + 60, noise(3, 26, 30, 1)]
    pictures = [*pictures[:2], pictures[2].expand(-1, -1, -1, 3), torch.full((3, 26, 30, 3), 7)]
    video = torch.stack([picture.byte() for picture in pictures] * 40)[:, None]
    seeds = range(len(video))
    found = augment(video, [0] * len(video), seeds, Augmentation(0, (), 2, magnitude))
    used, differ = set(), 0
    for clip, changed, seed in zip(video, found, seeds, strict=True):
        generator = np.random.default_rng((seed, 1))
        generator.random(2)  # the coins of flip and erasing
        drawn = draw_operations(generator, layers=2, magnitude=magnitude)
        expected = clip[0]
        for name, strength in drawn:
            expected = clip_by_clip(expected, name, strength)
        used |= {name for name, _ in drawn}
        away = (changed[0].int() - expected.int()).abs()
        if not MOVING & {name for name, _ in drawn}:
            assert away.max() == 0, drawn
        differ += int((away > 0).sum())
    assert used == set(OPERATIONS)
    assert differ < 1e-3 * video.numel()  # places between pixels are rounded in another order


def test_operators_do_not_grow_with_the_batch() -> None:
    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(func._overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    counts = []
    for videos in (96, 192):
        video, names = noise(videos, 1, 2, 8, 8, 3), []
        with Calls():
            augment(video, [0] * videos, range(videos), ALL)
        counts.append(len([name for name in names if name not in VIEWS]))
    assert counts == [3 + 2 * 47] * 2  # without the copy to a device


ALL = Augmentation(flip=0.5, layers=2, magnitude=9, erasing=0.5)


def test_augment_is_deterministic_per_sample() -> None:
    video = noise(4, 1, 3, 16, 20, 3)
    labels, seeds = torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 8])
    before = video.clone()
    together = augment(video, labels, seeds, ALL)
    assert torch.equal(video, before)
    assert together.shape == video.shape
    assert together.dtype == torch.uint8
    for i in range(4):  # whatever batch a sample is in
        alone = augment(video[i : i + 1], labels[i : i + 1], seeds[i : i + 1], ALL)
        assert torch.equal(alone[0], together[i])
    assert not torch.equal(together, augment(video, labels, seeds + 1, ALL))


def test_flip_and_its_exceptions() -> None:
    video = noise(64, 1, 2, 4, 6, 3)
    seeds = range(64)
    flipped = augment(video, [0] * 64, seeds, Augmentation(flip=1))
    assert torch.equal(flipped, video.flip(-2))
    kept = augment(video, [7] * 64, seeds, Augmentation(flip=1, flip_exceptions={7}))
    assert torch.equal(kept, video)
    some = augment(video, [0] * 64, seeds, Augmentation(flip=0.5))
    count = sum(not torch.equal(a, b) for a, b in zip(some, video, strict=True))
    assert 18 < count < 46


def test_erase_is_the_same_box_in_all_frames() -> None:
    video = torch.zeros(1, 1, 5, 30, 40, 3, dtype=torch.uint8)
    erased = augment(video, [0], [3], Augmentation(flip=0, erasing=1))
    assert not video.any()
    changed = erased[0, 0].ne(0).any(-1)  # (T, H, W)
    assert changed.any()
    assert (changed == changed[0]).all()
    assert 0.01 < changed[0].float().mean() < 0.36


@pytest.mark.parametrize("magnitude", [0.0, 3.0, 10.0])
def test_frames_of_a_clip_are_changed_alike(magnitude: float) -> None:
    """Over so many seeds every operation of RandAugment is drawn."""
    seeds = range(150)
    picture = noise(1, 1, 1, 24, 24, 3) // 2 + 40
    video = picture.expand(len(seeds), 1, 4, -1, -1, -1)  # four equal frames
    chosen = Augmentation(flip=0, layers=1, magnitude=magnitude)
    out = augment(video, [0] * len(seeds), seeds, chosen)
    assert (out.shape, out.dtype) == (video.shape, torch.uint8)
    assert (out == out[:, :, :1]).all(), "a flicker"
    kinds = {frames.numpy().tobytes() for frames in out}
    assert video[0].contiguous().numpy().tobytes() in kinds  # to change nothing is one of them
    # Without strength only what has none is left: equalizing, inverting, ...
    assert len(kinds) > (3 if magnitude == 0 else 14)


def test_layers_add_up() -> None:
    video = noise(1, 1, 2, 16, 16, 3).expand(30, -1, -1, -1, -1, -1)
    out = augment(video, [0] * 30, range(30), Augmentation(flip=0, layers=3))
    assert len({clip.numpy().tobytes() for clip in out}) > 15


@pytest.mark.parametrize(
    "values", [{"flip": 2}, {"erasing": -1}, {"layers": -1}, {"magnitude": 11}]
)
def test_wrong_augmentation(values: dict) -> None:
    with pytest.raises(ValueError, match=r"got|a probability lies"):
        Augmentation(**values)
