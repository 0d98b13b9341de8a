"""Errors of a running training that a person can do something about, as one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from videonl.errors import VideoNLError

CAUGHT = re.compile(r"^Caught .* in DataLoader worker process")


@contextmanager
def clear_errors(settings: dict[str, Any]) -> Iterator[None]:
    """Turn a full GPU, and an error that a worker process met, into one sentence.

    Raises:
        VideoNLError: that sentence.
    """
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        batch = settings["data"]["batch_size"]
        raise VideoNLError(
            f"the GPU has not enough memory for batches of {batch} clips: halve --data.batch_size "
            "(the learning rate follows) and say --trainer.accumulate_grad_batches 2 for the same "
            "training, or take smaller or shorter clips (--data.crop, --data.frames); for test, "
            "lower --model.views_per_forward"
        ) from error
    except VideoNLError as error:
        text = str(error)
        if not CAUGHT.match(text):
            raise
        last = text.strip().splitlines()[-1]  # "videonl.errors.DatasetError: what happened"
        raise type(error)(last.partition(": ")[2] or last) from error
