"""Losses and weights that are NaN or infinite end the training, and are never saved or scored."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videonl.errors import NotFiniteError, VideoNLError
from videonl.models.finite import NO_ANSWER, first_not_finite
from videonl.training.ema import RAW
from videonl.training.processes import of_all

REMEDY = (
    "lower --recipe.learning_rate, clip the gradients (--trainer.gradient_clip_val 1) or train in "
    "full precision (--trainer.precision 32-true)"
)
Pending = tuple[int, Tensor, torch.cuda.Event | None]


class TrainingDiverged(VideoNLError):
    """The loss or the weights became NaN or infinite."""


class FiniteLoss:
    """Checks every loss; on a GPU some steps later, when its asynchronous copy has arrived.

    Reading a value from a GPU at once would make the host wait for all queued work.
    """

    def __init__(self) -> None:
        self._pending: deque[Pending] = deque()

    def check(self, loss: Tensor, *, step: int) -> None:
        """Queue a loss, and check those that have arrived.

        Args:
            loss: a scalar.
            step: the optimiser step, for the message.

        Raises:
            TrainingDiverged: one of them is not finite.
        """
        value, event = loss.detach(), None
        if loss.device.type == "cuda":
            copy = torch.empty((), dtype=value.dtype, pin_memory=True)
            value = copy.copy_(value, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending.append((step, value, event))
        while self._pending and (self._pending[0][2] is None or self._pending[0][2].query()):
            self._judge(self._pending.popleft())

    def settle(self) -> None:
        """Wait for all queued losses and check them.

        Raises:
            TrainingDiverged: one of them is not finite.
        """
        while self._pending:
            entry = self._pending.popleft()
            if entry[2] is not None:
                entry[2].synchronize()
            self._judge(entry)

    def _judge(self, entry: Pending) -> None:
        step, value, _ = entry
        if not math.isfinite(value.item()):
            self._pending.clear()
            raise TrainingDiverged(f"the loss became {value.item()} at step {step}: {REMEDY}")


def weights_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """All weights in a checkpoint, including those beside a moving average."""
    averaged, raw = checkpoint.get("state_dict"), checkpoint.get(RAW)
    found = dict(averaged) if isinstance(averaged, Mapping) else {}
    if isinstance(raw, Mapping):
        found |= {f"{RAW}.{name}": value for name, value in raw.items()}
    return found


def check_weights(state: Mapping[str, Any], *, step: int) -> None:
    """Refuse weights that are not finite, in all processes if they are not finite in one.

    Args:
        state: weights by name.
        step: optimiser steps done, for the message.

    Raises:
        TrainingDiverged: names the first of them.
    """
    name = next((found for found in of_all(first_not_finite(state)) if found is not None), None)
    if name is not None:
        raise TrainingDiverged(
            f"the weights became NaN or infinite by step {step} ({name}): {REMEDY}"
        )


def check_score(loss: float | None, *, step: int | None) -> None:
    """Refuse a score whose loss is not finite.

    Args:
        loss: of the videos; None where none could be read.
        step: optimiser steps done, where a training validates itself.

    Raises:
        TrainingDiverged: in a training.
        NotFiniteError: elsewhere.
    """
    if loss is None or math.isfinite(loss):
        return
    if step is None:
        raise NotFiniteError(NO_ANSWER)
    raise TrainingDiverged(f"the validation loss became {loss} at step {step}: {REMEDY}")
