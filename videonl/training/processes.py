"""What the processes of a job know, put together; all of them have to come here."""

from typing import TypeVar

import torch
from torch import Tensor

Known = TypeVar("Known")


def are_several() -> bool:
    """Whether this process is one of a job's."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def of_all(known: Known) -> list[Known]:
    """What each of them knows, in the order of their ranks."""
    if not are_several():
        return [known]
    shares = [known] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, known)
    return shares


def add_up(counts: Tensor) -> Tensor:
    """Their sum, in place; on a device that the processes can exchange."""
    if are_several():
        torch.distributed.all_reduce(counts)
    return counts
