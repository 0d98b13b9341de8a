"""A CUDA device that is not there: fake tensors, and what is queued for it on which stream."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from videonl.video import lane

VIEWS = {"device", "view", "slice", "select", "unsqueeze", "expand", "permute", "t", "detach"}
VIEWS |= {"alias", "unbind", "as_strided_", "lift_fresh", "split", "split_with_sizes", "squeeze"}
VIEWS |= {"transpose", "_unsafe_view", "prim_device", "empty_like"}
ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero"}


@dataclass
class Launch:
    """An operator, and the places of all that a GPU does before it."""

    name: str
    before: frozenset[int]


class Stream:
    """What is queued one after the other."""

    def __init__(self, *_: Any) -> None:
        self.done: frozenset[int] = frozenset()

    def wait_stream(self, other: "Stream") -> None:
        self.done |= other.done


class Event:
    """A moment of a queue that has not come yet."""

    waited_for: int = 0

    def __init__(self, **_: Any) -> None:
        pass

    def record(self, stream: Any = None) -> None:
        pass

    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        type(self).waited_for += 1


class Gpu(TorchDispatchMode):
    """What a GPU is given to do, in which order, and what would make the host wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: list[Launch] = []
        self.copies: list[int] = []  # those launched that come from the host
        self.waiting: list[str] = []
        self.stream = Stream()

    def mark(self, name: str) -> int:
        """Queue something by hand; its place."""
        self.launched.append(Launch(name, self.stream.done))
        self.stream.done |= {len(self.launched) - 1}
        return len(self.launched) - 1

    @property
    def names(self) -> list[str]:
        return [launch.name for launch in self.launched]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        given = [*args, *(kwargs or {}).values()]
        parts = [y for x in given for y in (x if isinstance(x, list | tuple) else [x])]
        tensors = [x for x in (*parts, result) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in tensors}
        if "cuda" not in devices:
            return result
        copied = name in ("_to_copy", "copy_") and "cpu" in devices
        if name not in VIEWS:
            place = self.mark(name)
            self.copies += [place] if copied and result.device.type == "cuda" else []
        queued = (kwargs or {}).get("non_blocking", False) or any(x is True for x in args)
        if name in ASKING or (copied and not queued):
            self.waiting.append(f"{name} {asked_by()}")
        return result


def asked_by() -> str:
    """The line outside of torch that runs an operator."""
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and frame.filename != __file__:
            return f"{frame.filename}:{frame.lineno} {frame.line}"
    return ""


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Within it tensors are fake, and may lie on ``cuda``."""
    gpu = Gpu()

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        before, gpu.stream = gpu.stream, stream
        yield
        gpu.stream = before

    def forbidden(*_: Any) -> None:
        raise AssertionError("torch.cuda.synchronize makes the host wait")

    lane.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: gpu.stream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "synchronize", forbidden)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    monkeypatch.setattr(Event, "waited_for", 0)
    with FakeTensorMode(allow_non_fake_inputs=True), gpu:
        yield gpu
    lane.cache_clear()
