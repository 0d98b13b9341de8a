"""Steps of several batches: the last one of an epoch too is the mean of the batches it has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.marks import mostly_slow
from tests.small_data import FLAGS
from tests.training.conftest import make_parts
from videonl.cli.main import main
from videonl.training import Checkpoints, VideoClassifier

Train = Callable[..., tuple[Any, Any]]
RATE, STEADY = 0.05, {"width": 8, "dropout": 0.0}
RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "learning_rate": RATE,
    "schedule": "constant",
    "warmup": 0.0,
    "reference_batch": 0,
    "batch_norm": "frozen",
}


def by_hand(root: Path, *, accumulate: int) -> dict[str, torch.Tensor]:
    """An epoch in plain torch: every step takes the mean loss of its batches."""
    classifier, data = make_parts(root, recipe=RECIPE, options=STEADY)
    classifier.train()
    optimizer = torch.optim.SGD(classifier.net.parameters(), lr=RATE)
    batches = list(data.train_dataloader())
    for start in range(0, len(batches), accumulate):
        window = batches[start : start + accumulate]
        optimizer.zero_grad()
        for batch in window:
            clips = classifier.clips({"video": data.augmented(batch)}).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(classifier(clips), batch["label"])
            (loss / len(window)).backward()
        optimizer.step()
    return dict(classifier.net.state_dict())


# Of an epoch's four batches; the last step of three at a time has one.
@pytest.mark.parametrize("accumulate", mostly_slow([2, 3, 100], quick=[3]))
def test_every_step_is_the_mean_of_its_batches(
    accumulate: int, small_data: Path, train: Train
) -> None:
    expected = by_hand(small_data, accumulate=accumulate)
    trained, _ = train(
        epochs=1,
        recipe=RECIPE,
        network=STEADY,
        trainer={"accumulate_grad_batches": accumulate},
    )
    for key, value in trained.net.state_dict().items():
        assert torch.allclose(value, expected[key], rtol=0, atol=1e-6), key


SMALL = [
    *("--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "x"),
    *("--recipe.learning_rate", "0.01", "--recipe.reference_batch", "2"),
    *("--recipe.warmup", "0", "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"),
]


@pytest.mark.slow  # test_within_an_epoch_the_place_is_counted_anew looks at the rates, too
@pytest.mark.parametrize(
    ("change", "printed", "factor"),
    [
        (["--data.batch_size", "4"], "rate      0.02 =", 2.0),
        (["--trainer.accumulate_grad_batches", "2"], "rate      0.02 =", 2.0),
        (["--data.batch_size", "1"], "rate      0.005 =", 0.5),
        (["--recipe.reference_batch", "1"], "rate      0.02 =", 2.0),
        ([], "rate      0.01 =", 1.0),
    ],
)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_what_is_printed_is_what_is_trained_with(
    change: list[str],
    printed: str,
    factor: float,
    schedule: str,
    small_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []
    step = torch.optim.SGD.step

    def watched(self: Any, *args: Any, **named: Any) -> Any:
        seen.extend([rate] if (rate := self.param_groups[0]["lr"]) else [])  # 0: the plan's
        return step(self, *args, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    own = ["--data.root", str(small_data), *FLAGS, *SMALL, "--recipe.schedule", schedule]
    own += ["--trainer.max_epochs", "2", "--recipe.optimizer", "sgd", "--out"]
    assert main(["train", "fit", *own, str(tmp_path / "whole")]) == 0
    whole, per_epoch = list(seen), len(seen) // 2
    assert seen[0] == pytest.approx(0.01)
    own.append(str(tmp_path / "half"))
    assert main(["train", "fit", *own, "--trainer.max_epochs", "1"]) == 0
    seen.clear()
    capsys.readouterr()
    assert main(["train", "fit", *own, *change, "--resume", "auto"]) == 0
    assert printed in capsys.readouterr().out
    assert seen[0] == pytest.approx(factor * whole[per_epoch], rel=1e-6)
    if schedule == "cosine":
        assert seen[-1] < seen[0]


def by_two_processes(file: Path) -> None:
    """Make a checkpoint after two batches that of two processes, each after one."""
    content = torch.load(file, weights_only=True)
    content["training_data"]["processes:"] = 2
    progress = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    progress.update({stage: count - 1 for stage, count in progress.items()})
    for group in content["optimizer_states"][0]["param_groups"]:
        group["lr"], group["initial_lr"] = 2 * group["lr"], 2 * group["initial_lr"]
    content["lr_schedulers"][0]["base_lrs"] = [
        2 * rate for rate in content["lr_schedulers"][0]["base_lrs"]
    ]
    torch.save(content, file)


@pytest.mark.parametrize(
    ("written", "change"),
    [
        pytest.param(lambda _: None, {"batch_size": 4}, marks=pytest.mark.slow),
        pytest.param(lambda _: None, {"batch_size": 1}, marks=pytest.mark.slow),
        (by_two_processes, {"batch_size": 2}),
    ],
)
def test_within_an_epoch_the_place_is_counted_anew(
    written: Callable[[Path], None],
    change: dict[str, int],
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    constant = {"schedule": "constant", "warmup": 0.0}
    save = Checkpoints.save_last

    def stop(self: Any, trainer: Any) -> None:
        save(self, trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(epochs=1, save_every_steps=2, recipe=constant)
    written(tmp_path / "run/last.ckpt")
    seen: list[int] = []
    rates: set[float] = set()
    training_step = VideoClassifier.training_step

    def counted(self: Any, batch: Any, batch_idx: int) -> Any:
        seen.extend(batch["index"].tolist())
        rates.update(group["lr"] for group in self.optimizers().param_groups)
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(VideoClassifier, "training_step", counted)
    train(epochs=1, resume=tmp_path / "run/last.ckpt", data=change, recipe=constant)
    assert len(seen) == len(set(seen)) == 4  # the other half of eight videos
    assert list(rates) == [pytest.approx(0.003 * change["batch_size"] / 2)]
    assert ", but not bit for bit" in capsys.readouterr().out
