"""Gather and sum values over the processes of a distributed training; all must call these."""

from typing import TypeVar

import torch
from torch import Tensor

Known = TypeVar("Known")


def are_several() -> bool:
    """Whether this process is one of several."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def of_all(known: Known) -> list[Known]:
    """The values of all processes, in the order of their ranks."""
    if not are_several():
        return [known]
    shares = [known] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, known)
    return shares


def add_up(counts: Tensor) -> Tensor:
    """The sum over all processes, in place; on a device that their backend supports."""
    if are_several():
        torch.distributed.all_reduce(counts)
    return counts
