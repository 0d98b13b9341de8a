"""What a training waits for is measured, and nothing in its loop waits for a GPU."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.small_data import DATA
from videonl.data import VideoDataModule, VideoDataset
from videonl.training import VideoClassifier
from videonl.training.metrics_file import read_metrics

SLOW = 0.15  # seconds


def shares(fitted: Any) -> list[float]:
    rows = read_metrics(fitted.run_dir / "metrics.csv")
    return [row["speed/data_wait"] for row in rows if "speed/data_wait" in row][1:]


def slowly(function: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(SLOW)
        return function(*args, **kwargs)

    return slow


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_a_slow_data_set_and_a_slow_network_are_told_apart(train, monkeypatch, device) -> None:
    options = {"accelerator": device, "log_every_n_steps": 1}
    with monkeypatch.context() as patched:
        patched.setattr(VideoDataset, "__getitem__", slowly(VideoDataset.__getitem__))
        _, fitted = train(epochs=1, trainer=options)
        assert min(shares(fitted)) > 0.5
    for slow in (  # the step, and the augmentation on the device: neither is waiting for data
        (VideoClassifier, "forward", sleeping_forward(device)),
        (VideoDataModule, "augmented", slowly(VideoDataModule.augmented)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(*slow)
            _, fitted = train(epochs=1, trainer=options)
            assert max(shares(fitted)) < 0.4


def sleeping_forward(device: str) -> Callable[..., Any]:
    plain = VideoClassifier.forward

    def forward(self: VideoClassifier, clips: torch.Tensor) -> torch.Tensor:
        if device == "cuda":
            torch.cuda._sleep(int(SLOW * 1e9))
        return plain(self, clips)

    return forward if device == "cuda" else slowly(plain)


VIEWS = {"device", "view", "slice", "select", "unsqueeze", "expand", "permute", "t", "detach"}
VIEWS |= {"alias", "unbind", "as_strided_", "lift_fresh"}


class Calls(TorchDispatchMode):
    """What a GPU is given to do, and what would make the host wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: list[str] = []
        self.waiting: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in (*args, result) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in tensors}
        if "cuda" in devices and name not in VIEWS:
            self.launched.append(name)
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique"):
            self.waiting.append(name)
        queued = (kwargs or {}).get("non_blocking", False) or any(x is True for x in args)
        if name in ("_to_copy", "copy_") and devices == {"cpu", "cuda"} and not queued:
            self.waiting.append(f"{name} {kwargs}")
        return result


class Head(nn.Module):
    """A network of one operator, whose answer has a gradient."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, device="cuda"))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.weight.expand(len(clips), -1)


@pytest.mark.parametrize(
    ("multi_label", "recipe", "limit"),
    [(False, {"mixup": 0.2}, 25), (False, {"cutmix": 1.0}, 26), (True, {"mixup": 0.2}, 25)],
)
def test_a_step_launches_little_and_makes_the_host_wait_for_nothing(
    monkeypatch, small_data, multi_label, recipe, limit
) -> None:
    """Everything around the network: flip, erase, normalise, mix, count; over fake CUDA tensors."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.cuda, "synchronize", forbidden)
    data = VideoDataModule(str(small_data), **{**DATA, "erasing": 1.0, "flip": 0.5})
    classifier = VideoClassifier(
        "tiny_i3d_nl1", num_classes=3, recipe=recipe, multi_label=multi_label
    )
    monkeypatch.setattr(classifier.finite, "check", nothing)  # asks when the copy has arrived
    monkeypatch.setattr(classifier, "log", nothing)
    loss = torch.zeros(())
    monkeypatch.setattr(classifier, "_loss", lambda logits, *_, **__: (loss, logits[:, 0]))
    with FakeTensorMode(allow_non_fake_inputs=True):
        classifier.net = Head(3)
        batch = {
            "video": torch.zeros(8, 1, 4, 16, 16, 3, dtype=torch.uint8, device="cuda"),
            "label": torch.zeros(8, dtype=torch.long, device="cuda"),
            "labels": [[0], [1, 2]] * 4,
            "host": ([0] * 8, list(range(8))),
        }
        classifier.train_meter.to(torch.device("cuda"))
        with Calls() as calls:
            batch["video"] = data.augmented(batch)
            classifier.training_step(batch, 0)
    assert calls.waiting == []
    constants = 1  # the copy of mean and deviation, which is made once for tensors that are real
    assert len(calls.launched) - constants <= limit, " ".join(calls.launched)
    assert "addcmul" in calls.launched


def nothing(*_args: Any, **_named: Any) -> None:
    """In place of what has its own tests."""


def forbidden(*_args: Any) -> None:
    raise AssertionError("torch.cuda.synchronize in the loop of a training")
