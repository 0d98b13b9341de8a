"""A loss that is not finite ends the training with one sentence, without slowing it down."""

import math
from collections import deque

import torch
from torch import Tensor

from videonl.errors import VideoNLError

Pending = tuple[int, Tensor, torch.cuda.Event | None]


class TrainingDiverged(VideoNLError):
    """The loss became NaN or infinite."""


class FiniteLoss:
    """Looks at every loss; on a GPU some steps later, when its copy has arrived by itself.

    Asking a GPU for a value at once makes the host wait for all the work that is queued.
    """

    def __init__(self) -> None:
        self._pending: deque[Pending] = deque()

    def check(self, loss: Tensor, *, step: int) -> None:
        """Note a loss, and look at those that have arrived.

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
        """Wait for all losses noted and look at them.

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
            raise TrainingDiverged(
                f"the loss became {value.item()} at step {step}: lower --recipe.learning_rate, "
                "clip the gradients (--trainer.gradient_clip_val 1) or train in full precision "
                "(--trainer.precision 32-true)"
            )
