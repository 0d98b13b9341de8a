"""How a batch travels from a worker to the training process: by shared memory, or by a pipe.

Docker gives a container 64 MB of shared memory, less than two batches. A worker that finds no room
there loses its batch, and the training waits for it for ever. So every worker looks at the free
space before every batch: a batch that would not fit twice for every worker is sent through the pipe
as bytes, which is somewhat slower and needs no shared memory at all.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

SHARED_MEMORY = Path("/dev/shm")  # of Linux; other systems have no such limit


def free_bytes() -> float:
    """Free shared memory of this machine or container; infinite where there is no such folder."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return float("inf")
    return float(found.f_bavail * found.f_frsize)


class Travelling(dict[str, Any]):
    """A batch that is pickled in one of the two forms; what arrives is a ``dict`` of tensors."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Choose the form now: the batches before this one are in shared memory already."""
        info = get_worker_info()
        workers = info.num_workers if info is not None else 1
        tensors = (value for value in self.values() if isinstance(value, torch.Tensor))
        size = sum(value.nbytes for value in tensors)
        if free_bytes() > 2 * (workers + 1) * size:
            return dict, (list(self.items()),)
        return of_arrays, ({k: _as_array(v) for k, v in self.items()},)


def of_arrays(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch whose tensors came as numpy arrays."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in batch.items()}


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


def workers_that_can_start(wanted: int, *, tell: Callable[[str], object]) -> int:
    """``wanted`` worker processes, or none where no semaphore can be made.

    Even a queue between processes needs a page of shared memory for each of its locks.

    Args:
        wanted: worker processes.
        tell: called with the sentence that says why there are none.
    """
    if not wanted or not SHARED_MEMORY.is_dir():
        return wanted
    try:
        with tempfile.TemporaryFile(dir=SHARED_MEMORY) as file:
            file.write(bytes(4096 * 8 * (wanted + 1)))
    except OSError as error:
        tell(
            f"{SHARED_MEMORY} has no room ({error.strerror}): decoding in this process; give more "
            "with docker run --shm-size 1g, or give --data.num_workers 0 to hide this note"
        )
        return 0
    return wanted
