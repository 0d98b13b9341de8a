"""Weights and answers are finite, or there is neither a network nor a score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videonl.errors import CheckpointError, NotFiniteError

NO_ANSWER = (
    "the network answers with values that are not finite (NaN or infinity), so there is no result; "
    "its weights are too large or damaged: take an earlier checkpoint"
)
PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def first_not_finite(state: Mapping[str, Any]) -> str | None:
    """The first tensor that holds NaN or infinity, by name; a device is waited for once.

    Nothing is copied: a tensor that claims more than its file holds costs no memory here.
    """
    names: list[str] = []
    ends: list[Tensor] = []
    for name, value in state.items():
        dense = isinstance(value, Tensor) and value.layout is torch.strided and value.numel() > 0
        if dense and value.dtype in PLAIN:
            low, high = value.detach().aminmax()  # a NaN is both
            names.append(name)
            ends.append(
                (low.isfinite() & high.isfinite()).to(ends[0].device if ends else low.device)
            )
    good = torch.stack(ends).tolist() if ends else []
    return next((name for name, fine in zip(names, good, strict=True) if not fine), None)


def check_finite(state: Mapping[str, Any], *, source: str | Path) -> None:
    """Refuse the weights of a file that hold NaN or infinity.

    Raises:
        CheckpointError: names the file and the first such tensor.
    """
    name = first_not_finite(state)
    if name is not None:
        raise CheckpointError(
            f"{source}: {name} holds NaN or infinity, so that no answer of its network means "
            "anything; take an earlier checkpoint (its training diverged), or fetch the file again"
        )


def check_answers(values: Tensor) -> Tensor:
    """The same values; here the host waits for the device.

    Raises:
        NotFiniteError: one of them is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise NotFiniteError(NO_ANSWER)
    return values
