"""What a training does where nobody has said, as a table: facts of the data -> settings."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.conftest import QUIET, make_parts
from videonl.errors import VideoNLError
from videonl.training import (
    DataFacts,
    FitResult,
    VideoClassifier,
    choose,
    duration,
    make_plan,
    make_trainer,
    plan_lines,
)

UT = DataFacts(videos=84, seconds=3.8)
POOLED = {"pool1_kernel": [1, 3, 3], "pool1_stride": [1, 2, 2], "pool1_padding": [0, 1, 1]}


@pytest.mark.parametrize(
    ("facts", "given", "expected"),
    [
        # Few videos, nothing said: all of it.
        (UT, {}, {
            "model.name": "tiny_i3d_nl2", "model.options": {**POOLED, "dropout": 0.2},
            "data.crop": 64, "data.sampling": "segments", "data.frames": 16,
            "data.picture": "whole", "data.jitter": [73, 110], "recipe.optimizer": "adamw",
            "recipe.learning_rate": 0.003, "recipe.reference_batch": 8, "recipe.weight_decay": 0.05,
            "recipe.label_smoothing": 0.05, "trainer.max_epochs": 120,
            "trainer.check_val_every_n_epoch": 3,
        }),
        # Longer videos have more frames, to a limit; more videos fewer epochs of the same steps.
        (DataFacts(400, 12.0), {}, {"data.frames": 24, "trainer.max_epochs": 24}),
        (DataFacts(400, 60.0), {}, {"data.frames": 32}),
        (DataFacts(400, None), {}, {"data.frames": 16}),
        (DataFacts(3000, 5.0), {}, {"trainer.max_epochs": 12}),
        (UT, {"data.batch_size": 16}, {"trainer.max_epochs": 240}),
        (DataFacts(3, 5.0), {"data.batch_size": 8}, {"trainer.max_epochs": 1200}),
        # Each of eight processes has an eighth of the videos: as many steps need more epochs.
        (DataFacts(400, 12.0, processes=8), {}, {"trainer.max_epochs": 200}),
        (DataFacts(84, 3.8, processes=8), {"data.batch_size": 8}, {"trainer.max_epochs": 1200}),
        # Another network has clips of its own, and learns more slowly.
        (UT, {"model.name": "r3d_18"}, {
            "data.frames": None, "data.crop": None, "model.options": None, "data.jitter": None,
            "data.sampling": "segments", "recipe.learning_rate": 0.001,
        }),
        # What was said stays, and so does what belongs to it.
        (UT, {"model.name": "tiny_c2d", "model.options": {"width": 8}}, {
            "model.name": None, "model.options": {**POOLED, "dropout": 0.2},
        }),
        (UT, {"model.options": {"pool1_stride": [1, 1, 1], "dropout": 0.0}}, {
            "model.options": None,
        }),
        (UT, {"data.stride": 4}, {"data.sampling": None, "data.frames": 16}),
        (UT, {"data.fps": 15}, {"data.sampling": None}),
        (UT, {"data.frames": 8}, {"data.frames": None, "data.sampling": "segments"}),
        (UT, {"data.short_side": 72}, {"data.picture": None, "data.crop": None}),
        (UT, {"data.crop": 96}, {
            "data.picture": "whole", "data.crop": None, "data.jitter": [110, 165],
        }),
        (UT, {"data.resized_crop": (0.5, 1)}, {"data.picture": None, "data.crop": 64}),
        (UT, {"recipe.optimizer": "sgd"}, {
            "recipe.optimizer": None, "recipe.learning_rate": None, "recipe.weight_decay": None,
        }),
        (UT, {"recipe.learning_rate": 0.01}, {
            "recipe.optimizer": "adamw", "recipe.reference_batch": None,
        }),
        (UT, {"trainer.max_epochs": 2}, {
            "trainer.max_epochs": None, "trainer.check_val_every_n_epoch": None,
        }),
        (UT, {"trainer.max_steps": 5}, {"trainer.max_epochs": None}),
        (UT, {"trainer.check_val_every_n_epoch": 1}, {"trainer.max_epochs": 120}),
        # Published weights keep their clips and learn on gently.
        (UT, {"model.pretrained": "x.pth", "model.name": "i3d_r50"}, {
            "recipe.batch_norm": "frozen", "recipe.fresh_factor": 10.0, "data.sampling": None,
            "data.picture": None, "recipe.optimizer": None, "trainer.max_epochs": 50,
        }),
    ],
)  # fmt: skip
def test_settings_follow_the_data(
    facts: DataFacts, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    chosen = choose(facts, given).settings
    assert {key: chosen.get(key) for key in expected} == expected
    assert not (chosen.keys() - {"model.options"}) & given.keys()
    if not given and facts == UT:
        assert chosen == expected


def test_many_videos_are_trained_on_as_the_paper_does() -> None:
    assert choose(DataFacts(240_000, 10.0), {}).settings == {}


def test_every_choice_has_a_line_with_the_flags_that_change_it() -> None:
    chosen = choose(UT, {"recipe.weight_decay": 0.0})
    lines = chosen.lines()
    assert all(": " in line and line.startswith("--") for line in lines)
    said = " ".join(lines)
    for key in chosen.settings:
        assert f"--{key}" in said
    assert "--model.options.pool1_kernel [1,3,3]" in said
    assert "weight_decay" not in said


def test_a_step_has_no_more_batches_than_an_epoch() -> None:
    given = {"data.batch_size": 2, "trainer.accumulate_grad_batches": 16}
    (line,) = (each for each in choose(DataFacts(8, 1.0), given).lines() if "max_epochs" in each)
    assert "1200 steps of 8 clips" in line


def test_two_measured_batches_leave_no_trace(
    train: Callable[..., tuple[VideoClassifier, FitResult]], capsys: pytest.CaptureFixture[str]
) -> None:
    plain, _ = train(epochs=1, folder="plain")
    said: list[str] = []

    def announce(*parts: Any, **more: Any) -> list[str]:
        said.extend(plan_lines(*parts, **more))
        return said

    planned, _ = train(epochs=1, folder="planned", announce=announce)
    assert any("(measured on 2 batches)" in line for line in said)
    assert all(line in capsys.readouterr().out for line in said[:1])
    other = planned.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, other[key]), key


def test_validations_within_an_epoch_take_their_time(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"compute": 3.0, "read": 0.0, "again": 0.0, "memory": 1.0, "batches": 2, "gpu": False}
    monkeypatch.setattr("videonl.training.plan.measure", lambda *_: SimpleNamespace(**found))
    seconds = []
    for every in (None, 1, 0.5, "00:01:00:00"):  # None and a time: once per epoch
        options = {**QUIET, "logger": False, "max_epochs": 2, "val_check_interval": every}
        classifier, data = make_parts(small_data)
        seconds.append(make_plan(classifier, data, make_trainer(options)).seconds)
    plain, each, half, timed = (round(found or 0.0, 3) for found in seconds)
    batches = len(data.train_dataloader())
    videos = len(data.records["val"]) * data.preprocessing.num_views
    once = round(videos / data.batch_size, 3)  # a third of a step per batch
    assert plain == timed == pytest.approx(2 * (3 * batches + once))
    assert half == pytest.approx(2 * (3 * batches + 2 * once))
    assert each == pytest.approx(2 * (3 * batches + batches * once))


def plan_of(root: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """The plan where a batch takes three seconds."""
    found = {"compute": 3.0, "read": 0.0, "again": 0.0, "memory": 1.0, "batches": 2, "gpu": False}
    monkeypatch.setattr("videonl.training.plan.measure", lambda *_: SimpleNamespace(**found))
    classifier, data = make_parts(root, recipe=options.pop("recipe", None))
    trainer = make_trainer({**QUIET, "logger": False, **options})
    return make_plan(classifier, data, trainer)


def test_time_counts_the_batches_there_are(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"max_epochs": 2, "limit_val_batches": 0}
    plain = plan_of(small_data, monkeypatch, **options).seconds
    assert plain == pytest.approx(2 * 4 * 3.0)  # two epochs of four batches
    for window in (3, 100):  # two steps, one step of these four batches
        options["accumulate_grad_batches"] = window
        assert plan_of(small_data, monkeypatch, **options).seconds == pytest.approx(plain)
    options |= {"accumulate_grad_batches": 1, "limit_val_batches": 1}  # one of two batches
    assert plan_of(small_data, monkeypatch, **options).seconds == pytest.approx(plain + 2 * 1.0)


def test_a_limit_of_time(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(small_data, monkeypatch, max_epochs=2000, max_time="00:00:10:00")
    assert plan.seconds == pytest.approx(600)
    assert any("at most, until --trainer.max_time" in line for line in plan.course)
    endless = {"max_epochs": -1, "max_time": "00:00:10:00"}
    with pytest.raises(VideoNLError, match=r"give --trainer.max_epochs .*schedule constant"):
        plan_of(small_data, monkeypatch, **endless)
    steady = {"schedule": "constant", "warmup": 0.0}
    plan = plan_of(small_data, monkeypatch, recipe=steady, **endless)
    assert plan.seconds is None


@pytest.mark.slow
def test_only_the_time_ends_it(train: Callable[..., tuple[VideoClassifier, FitResult]]) -> None:
    endless = {"max_time": "00:00:00:01"}
    with pytest.raises(VideoNLError, match="needs to know how many steps"):
        train(epochs=-1, trainer=endless)
    _, result = train(
        epochs=-1, trainer=endless, recipe={"schedule": "constant", "warmup": 0.0}, folder="steady"
    )
    assert result.last.is_file()


def test_times_in_words() -> None:
    times = [duration(seconds) for seconds in (0.4, 80, 100, 6000, 200_000)]
    assert times == ["0.4 seconds", "80 seconds", "1.7 minutes", "1.7 hours", "2.3 days"]
