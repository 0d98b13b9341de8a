"""What a training waits for is measured, and nothing in its loop waits for a GPU."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.loops import fit_loop
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from tests.fake_cuda import Event, Gpu, fake_cuda
from tests.small_data import DATA
from videonl.data import VideoDataModule, VideoDataset
from videonl.training import (
    MovingAverage,
    ProgressLines,
    RateLog,
    SpeedMonitor,
    StepSeed,
    TerminalBar,
    VideoClassifier,
    make_trainer,
    read_metrics,
)
from videonl.video import Arrival

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


class Head(nn.Module):
    """A network that only marks its place in the queue of a GPU."""

    def __init__(self, num_classes: int, gpu: Gpu) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, device="cuda"))
        self._mark = gpu.mark
        self.places: list[int] = []

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.places.append(self._mark("network"))
        return self.weight.expand(len(clips), -1)


def batch_of(count: int) -> dict[str, Any]:
    """A training batch as the loader gives it."""
    numbers = torch.arange(count)
    return {
        "video": torch.zeros(count, 1, 4, 16, 16, 3, dtype=torch.uint8),
        "label": numbers % 3,
        "seed": numbers,
        "labels": [[0], [1, 2]] * (count // 2),
        "replaced": [],
    }


@pytest.mark.parametrize(
    ("multi_label", "recipe", "layers", "limit"),
    [
        pytest.param(False, {"cutmix": 1.0}, 0, 25, marks=pytest.mark.slow),
        pytest.param(True, {"mixup": 0.2}, 0, 25, marks=pytest.mark.slow),
        (False, {"mixup": 0.2}, 2, 25 + 2 * 47),
    ],
)
def test_a_step_launches_little_and_makes_the_host_wait_for_nothing(
    monkeypatch, small_data, multi_label, recipe, layers, limit
) -> None:
    """Everything around the network: flip, RandAugment, erase, normalise, mix, count."""
    options = {"erasing": 1.0, "flip": 0.5, "rand_augment": layers}
    data = VideoDataModule(str(small_data), **{**DATA, **options})
    classifier = VideoClassifier(
        "tiny_i3d_nl1", num_classes=3, recipe=recipe, multi_label=multi_label
    )
    monkeypatch.setattr(classifier, "log", nothing)
    batch, begins = batch_of(64), []
    with fake_cuda(monkeypatch) as gpu:
        loss = torch.zeros((), device="cuda")
        monkeypatch.setattr(classifier, "_loss", lambda logits, *_, **__: (loss, logits[:, 0]))
        classifier.net = head = Head(3, gpu)
        classifier.train_meter.to(torch.device("cuda"))
        for _ in range(2):
            begins.append(len(gpu.launched))
            there = data.on_before_batch_transfer(batch, 0)
            there = data.transfer_batch_to_device(there, torch.device("cuda"), 0)
            begins.append(len(gpu.launched))
            there["video"] = data.augmented(there)
            classifier.training_step(there, 0)
    assert gpu.waiting == []
    assert Event.waited_for == 0
    work = gpu.names[begins[1] : begins[2]]
    constants = 1  # the copy of mean and deviation, which is made once for tensors that are real
    assert len(work) - constants - 1 <= limit, " ".join(work)
    assert "addcmul" in work
    first, second = head.places
    copies = range(begins[2], begins[3])
    assert len(copies) == 3
    assert all(first not in gpu.launched[place].before for place in copies), "one after the other"
    assert set(copies) <= gpu.launched[second].before


class FakeAccelerator(CUDAAccelerator):
    """Of a machine whose GPU is not there."""

    def setup(self, trainer: Any) -> None: ...

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(_devices: Any) -> list[int]:
        return [0]

    @staticmethod
    def is_available() -> bool:
        return True


class Batches(list):
    """A loader; of a mere list every entry would be one."""


class Enough(Exception):
    """Ends a training within an epoch."""


class Watch(Callback):
    """Looks at what happened from the first batch to the last."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def on_train_batch_start(self, *arguments: Any) -> None:
        if arguments[-1] == 0:
            self.gpu.waiting.clear()  # the weights are copied at the start

    def on_train_batch_end(self, *arguments: Any) -> None:
        if arguments[-1] == 2:
            self.waiting = list(self.gpu.waiting)
            raise Enough


def test_a_training_of_lightning_makes_the_host_wait_for_nothing(monkeypatch, small_data) -> None:
    """Its loop, with our callbacks, a logger at every step, a bar, lines and an average.

    Fake tensors refuse ``item``; only the backward pass, which needs a GPU, is left out.
    """
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 0)
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", lambda self, _: self.detach().clone())
    monkeypatch.setattr(fit_loop, "has_len_all_ranks", lambda *_, **__: True)  # before the loop
    data = VideoDataModule(str(small_data), **DATA)
    data.setup("fit")
    loader = Batches([batch_of(8)] * 4)
    monkeypatch.setattr(data, "train_dataloader", lambda: loader)
    recipe = {"mixup": 0.2, "optimizer": "adamw", "learning_rate": 0.1, "ema": 0.9}
    classifier = VideoClassifier("tiny_i3d_nl1", num_classes=2, recipe=recipe)
    logger = DummyLogger()
    with fake_cuda(monkeypatch) as gpu:
        device = torch.device("cuda:0")
        classifier._device = device
        parts = [nn.Conv3d(3, 4, 1, device=device), nn.AdaptiveAvgPool3d(1), nn.Flatten()]
        classifier.net = nn.Sequential(*parts, nn.Linear(4, 2, device=device))

        def backward(loss: torch.Tensor, *_: Any) -> None:
            for parameter in classifier.net.parameters():
                parameter.grad = torch.zeros_like(parameter)

        monkeypatch.setattr(classifier, "backward", backward)
        bar = TerminalBar()
        monkeypatch.setattr(bar, "_refresh_rate", 1)
        watch = Watch(gpu)
        ours = [StepSeed(0), SpeedMonitor(), MovingAverage(0.9), ProgressLines(0.0), bar, watch]
        strategy = SingleDeviceStrategy(device=device, accelerator=FakeAccelerator())
        monkeypatch.setattr(strategy, "model_to_device", nothing)  # it is there
        monkeypatch.setattr(strategy, "teardown", nothing)
        trainer = make_trainer(
            {
                "strategy": strategy,
                "limit_val_batches": 0,
                "log_every_n_steps": 1,
                "gradient_clip_val": 1.0,
            },
            callbacks=[*ours, RateLog()],
            loggers=[logger],
        )
        with pytest.raises(Enough):
            trainer.fit(classifier, datamodule=data)
    assert watch.waiting == []
    assert Event.waited_for == 0
    assert any("foreach" in name or "fused" in name for name in gpu.names)


@pytest.mark.parametrize("accumulated", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_losses_that_arrive_later_are_logged_at_their_own_steps(
    train, monkeypatch, accumulated
) -> None:
    options = {"accumulate_grad_batches": accumulated}

    def logged(folder: str) -> list[tuple[float, float, float]]:
        _, fitted = train(folder=folder, epochs=1, trainer=options)
        rows = read_metrics(fitted.run_dir / "metrics.csv")
        found = [(r["step"], r["epoch"], r["train/loss"]) for r in rows if "train/loss" in r]
        speeds = [row["step"] for row in rows if "speed/data_wait" in row]
        assert speeds == [step for step, *_ in found], "one row a step"
        return found

    at_once = logged("once")
    assert len(at_once) == fitted_steps(at_once)
    monkeypatch.setattr(Arrival, "here", property(lambda _: False))  # until they are waited for
    assert logged("later") == at_once


def fitted_steps(rows: list[tuple[float, float, float]]) -> int:
    """Every step from the first on has a row."""
    assert [step for step, *_ in rows] == list(range(len(rows)))
    return len(rows)


def nothing(*_args: Any, **_named: Any) -> None:
    """In place of what has its own tests."""
