"""Random changes of clips: decided by the seed, alike in all frames."""

import numpy as np
import pytest
import torch

from videonl.data import Augmentation, augment


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


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
