"""Losses and weights that are NaN or infinite end the training, and are never saved or scored."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from videonl.errors import NotFiniteError, VideoNLError
from videonl.models.finite import NO_ANSWER, first_not_finite
from videonl.training.callbacks.ema import RAW
from videonl.training.metrics import of_all
from videonl.video.transfer import Arrival

REMEDY = (
    "lower --recipe.learning_rate, clip the gradients (--trainer.gradient_clip_val 1) or train in "
    "full precision (--trainer.precision 32-true)"
)


class TrainingDiverged(VideoNLError):
    """The loss or the weights became NaN or infinite."""


class FiniteLoss:
    """Checks every loss; on a GPU some steps later, when its asynchronous copy has arrived.

    Attributes:
        latest: the last loss that has arrived, on the host; None before the first.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[int, Arrival]] = deque()
        self.latest: Tensor | None = None

    def check(self, loss: Tensor, *, step: int) -> Arrival:
        """Queue a loss, and check those that have arrived.

        Args:
            loss: a scalar.
            step: the optimiser step, for the message.

        Returns:
            The loss, on its way to the host.

        Raises:
            TrainingDiverged: one of them is not finite.
        """
        noted = Arrival(loss)
        self._pending.append((step, noted))
        while self._pending and self._pending[0][1].here:
            self._judge(*self._pending.popleft())
        return noted

    def settle(self) -> None:
        """Wait for all queued losses and check them.

        Raises:
            TrainingDiverged: one of them is not finite.
        """
        while self._pending:
            self._judge(*self._pending.popleft())

    def _judge(self, step: int, noted: Arrival) -> None:
        self.latest = noted.wait()
        value = self.latest.item()
        if not math.isfinite(value):
            self._pending.clear()
            raise TrainingDiverged(f"the loss became {value} at step {step}: {REMEDY}")


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
