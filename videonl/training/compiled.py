"""The network of a training compiled by ``torch.compile``, whole, for training and validation."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from videonl.errors import VideoNLError


class CompiledNetwork:
    """Compiles a network in place at its first call in each mode; its keys stay as they are.

    Training batches have one size. Those of a validation do not, and a graph for each would take
    minutes: a smaller one is filled up with empty clips, whose answers are dropped.

    Args:
        net: the network.
        whole: compile as one graph, or fail; False if parts have to stay uncompiled.
    """

    def __init__(self, net: nn.Module, *, whole: bool) -> None:
        from torch._dynamo.callback import callback_handler

        self._net, self._clock, self._handler = net, _Clock(), callback_handler
        self._largest = 0
        net.compile(fullgraph=whole, dynamic=False)
        callback_handler.register_start_callback(self._clock.start)
        callback_handler.register_end_callback(self._clock.end)

    def __call__(self, clips: Tensor) -> Tensor:
        """Logits (B, K) of clips (B, 3, T, H, W).

        Raises:
            VideoNLError: the network cannot be compiled.
        """
        from torch._dynamo.exc import TorchDynamoException

        count = len(clips)
        if not self._net.training:
            self._largest = max(self._largest, count)
            clips = filled(clips, self._largest)
        try:
            return self._net(clips)[:count]
        except TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            raise VideoNLError(
                f"--model.compile true: the network cannot be compiled ({reason}); leave it out"
            ) from error

    def tell(self, say: Callable[[str], None], what: str) -> None:
        """Print how long compiling took since the last call; nothing if nothing was compiled.

        Args:
            say: takes the sentence.
            what: was compiled for.
        """
        if self._clock.seconds:
            say(f"compiled the network for {what} in {self._clock.seconds:.0f} s")
            self._clock.seconds = 0.0

    def close(self) -> None:
        """Remove the callbacks at the compiler; the network stays compiled."""
        if self._clock.start in self._handler.start_callbacks:
            self._handler.remove_start_callback(self._clock.start)
            self._handler.remove_end_callback(self._clock.end)


class _Clock:
    """Counts the seconds that the compiler takes."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def start(self, _about: object) -> None:
        self._began = time.perf_counter()

    def end(self, _about: object) -> None:
        self.seconds += time.perf_counter() - self._began


def filled(clips: Tensor, count: int) -> Tensor:
    """The clips (B, ...), padded with zeros to ``count`` clips in channels-last layout."""
    if len(clips) == count:
        return clips
    more = clips.new_zeros((count, *clips.shape[1:]))
    more = more.contiguous(memory_format=torch.channels_last_3d)
    more[: len(clips)] = clips
    return more


def check_compiler() -> None:
    """Refuse to compile on a machine without a C++ compiler, before anything begins.

    Raises:
        VideoNLError: there is none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # a class of torch's inside, another one in every version
        raise VideoNLError(
            "--model.compile true needs a C++ compiler, and this machine has none: install one "
            "(apt install g++), name it in the variable CXX, or leave the option out"
        ) from error
