"""A data set of a few small video files that a network learns in seconds: dark and light clips."""

from pathlib import Path

import numpy as np

from tests.videos import write_video

CLASSES = ("dark", "light")
# Arguments of a VideoDataModule for it, and the same as flags of train.py.
DATA = {
    "frames": 4,
    "stride": 2,
    "short_side": 36,
    "crop": 32,
    "batch_size": 2,
    "num_workers": 0,
    "val_views": (1, 1),
    "views": (2, 3),
    "decoder": "pyav",
}
FLAGS = [
    text
    for key, value in DATA.items()
    for text in (f"--data.{key}", "x".join(map(str, value)) if isinstance(value, tuple) else value)
]
FLAGS = [str(text) for text in FLAGS]


def write_small_data(root: Path, *, train: int = 4, val: int = 2, test: int = 0) -> Path:
    """Write ``root/{train,val,test}/{dark,light}/N.mp4``, so many per class; 12 frames of 48×40."""
    random = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val), ("test", test)):
        for place, name in enumerate(CLASSES):
            for index in range(number):
                noise = random.normal(70 + 110 * place, 30, (12, 40, 48, 3))
                frames = np.clip(noise, 0, 255).astype(np.uint8)
                write_video(root / split / name / f"{index}.mp4", frames)
    return root
