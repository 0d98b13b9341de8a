"""Copies between the host and a GPU for which nobody waits.

What goes up travels on a stream of its own, beside what the GPU computes; only what is queued
afterwards waits for it. What comes down is read when it has arrived by itself: to ask a GPU for a
value at once is to wait for everything that is queued there.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

WORD = 16  # bytes that a packed array begins at a multiple of


@lru_cache(maxsize=64)
def lane(device: torch.device) -> torch.cuda.Stream:
    """The stream of the copies to a GPU."""
    return torch.cuda.Stream(device)


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device."""
    if device.type != "cuda" or value.device.type != "cpu":
        return value.to(device)
    beside, computing = lane(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(beside):
        there = value.pin_memory().to(device, non_blocking=True)
    computing.wait_stream(beside)
    there.record_stream(computing)  # its memory was allocated for the other stream
    return there


def sent_together(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays on a device, in one copy."""
    places = np.cumsum([0, *(-(-array.nbytes // WORD) * WORD for array in arrays)])
    packed = np.zeros(int(places[-1]), np.uint8)
    for place, array in zip(places[:-1], arrays, strict=True):
        packed[place : place + array.nbytes] = (
            np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        )
    there = sent(torch.from_numpy(packed), device)
    return [
        there[place : place + array.nbytes].view(torch.from_numpy(array).dtype).view(array.shape)
        for place, array in zip(places[:-1].tolist(), arrays, strict=True)
    ]


class Arrival:
    """A copy of values of a device that comes to the host behind the work queued so far.

    On a CPU it is there at once.

    Args:
        value: what may change on its device afterwards.
    """

    def __init__(self, value: Tensor) -> None:
        value = value.detach()
        self._event: torch.cuda.Event | None = None
        if value.device.type != "cuda":
            self._value = value.to("cpu", copy=True)
            return
        room = torch.empty_like(value, device="cpu").pin_memory()
        self._value = room.copy_(value, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record(torch.cuda.current_stream(value.device))

    @property
    def here(self) -> bool:
        """Whether nobody has to wait for it any more."""
        return self._event is None or self._event.query()

    def wait(self) -> Tensor:
        """The values on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._value
