"""Check that weights and outputs are finite: else no network is made and no score is given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videonl.errors import CheckpointError, NotFiniteError

NO_ANSWER = (
    "the network's output is not finite (NaN or infinity), so there is no result; its weights are "
    "too large or damaged: use an earlier checkpoint"
)
PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def first_not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of the first tensor with NaN or infinity; synchronises with the device once.

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
            f"{source}: {name} contains NaN or infinity, so the network cannot give a useful "
            "answer; use an earlier checkpoint (its training diverged), or download the file again"
        )


def check_answers(values: Tensor) -> Tensor:
    """Return the values unchanged; synchronises with the device.

    Raises:
        NotFiniteError: one of them is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise NotFiniteError(NO_ANSWER)
    return values
