"""The plan before a training, and what is taken where nobody has said."""

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.accelerators import CPUAccelerator

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.models import create_model
from videonl.training import DataFacts, choose, make_trainer

SHORT = ["--trainer.accelerator", "cpu", "--data.num_workers", "0", "--data.batch_size", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("plan"), train=2, val=1)


def test_a_plan_alone_writes_and_trains_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fit", "--data.root", str(data), "--dry-run", *SHORT]) == 0
    said = capsys.readouterr().out
    for line in (
        "data      2 classes, videos: 4 in train, 2 in val",
        "0.5 0.5 0.5  25 25 25  48x40",
        "clip      the 16 frames of a clip are spread over the whole video; 6 of 6 have fewer",
        "picture   a clip sees 100.0 % of a picture",
        "shortcut  ",
        "network   tiny_i3d_nl2, 0.219 M parameters",
        "baseline  always answering the most frequent class scores 50 %",
        "chosen    --model.name tiny_i3d_nl2: too few videos (4)",
        "          --data.picture whole: ",
        "steps     1200: 600 epochs of 2",
        "time      about ",
        "(measured on 2 batches)",
        "GiB at the peak of this process",
    ):
        assert line in said, line
    assert not list(tmp_path.iterdir())


SMALL = ["--data.crop", "32", "--model.options.width", "4", "--data.frames", "4"]


def test_a_batch_larger_than_the_data_set_counts_what_is_there(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ["train", "fit", "--data.root", str(data), "--dry-run", *SHORT[:-1], "64", *SMALL]
    assert main(fit) == 0
    said = capsys.readouterr().out
    assert "rate      0.0015 = 0.003 × 4/8: global batch 4 = 4 clips × 1 device" in said
    assert "1200 steps of 4 clips" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data.crop", "7"], "error: the network cannot take clips of 16x8x8: subsample pools"),
        (["--trainer.accelerator", "cuda"], "accelerator cuda: no GPU of this machine can be used"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    fit = ["train", "fit", "--data.root", str(data), "--dry-run", *SHORT]
    assert main([*fit, *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_takes_what_the_plan_says_and_goes_on_with_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "fit", "--data.root", str(data), "--out", str(tmp_path), *SHORT]
    argv += ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    argv += ["--model.options.width", "4", "--data.frames", "4", "--data.crop", "32"]
    assert main([*argv, "--resume", "auto"]) == 0
    said = capsys.readouterr().out
    assert "--trainer.max_epochs" not in said[: said.index("time      about")]
    assert said.index("chosen    ") < said.index("time      about") < said.index("epoch 1/1")
    (config,) = tmp_path.glob("*_tiny_i3d_nl2/*/config.yaml")
    stored = yaml.safe_load(config.read_text())
    assert stored["recipe"]["optimizer"] == "adamw"
    assert (stored["data"]["sampling"], stored["data"]["picture"]) == ("segments", "whole")
    assert stored["model"]["options"]["width"] == 4
    assert stored["model"]["options"]["dropout"] == 0.2
    # Going on keeps what was chosen then, also where it would be chosen otherwise now.
    stored["recipe"]["label_smoothing"] = 0.2
    config.write_text(yaml.safe_dump(stored))
    argv[argv.index("--trainer.max_epochs") + 1] = "2"
    assert main([*argv, "--resume", "auto"]) == 0
    assert "chosen" not in capsys.readouterr().out
    (again,) = tmp_path.glob("*_tiny_i3d_nl2/*/config.yaml")
    assert yaml.safe_load(again.read_text())["recipe"]["label_smoothing"] == 0.2
    # The plan of what will be refused is refused.
    wrong = [*argv, "--resume", str(config.parent), "--recipe.beta2", "0.5"]
    assert main([*wrong, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert main(wrong) == 2
    assert capsys.readouterr().err == said
    assert "was trained with recipe.beta2" in said


def test_a_configuration_is_trained_as_it_stands(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("model: {name: tiny_c2d}\ndata: {frames: 4}\n")
    argv = ["train", "fit", "--config", str(config), "--data.root", str(data), "--dry-run", *SHORT]
    assert main([*argv, *FLAGS, "--data.val", "none"]) == 0
    said = capsys.readouterr().out
    assert "chosen" not in said
    assert "sgd, cosine" in said
    assert "steps     40: 20 epochs of 2" in said


COMPARE = ["compare", "tiny_c2d", "tiny_c2d_nl1", "--train", "--device", "cpu"]


def test_compare_plans_all_rows_with_one_budget(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [*COMPARE, "--data", str(data), "--dry-run", "--seeds", "5", "--epochs", "7"]
    argv += ["--data.num_workers", "0", "--data.crop=32"]
    argv += ["--model.options.width", "8", "--recipe.warmup", "0.2", "--data.frames", "4"]
    assert main([*argv, "--equal-cost"]) == 0
    said = capsys.readouterr().out
    assert said.count("network   tiny_c2d") == 2
    pooled = choose(DataFacts(4), {}).settings["model.options"]
    wide = create_model("tiny_c2d", num_classes=2, width=9, **pooled)
    assert f"tiny_c2d, {sum(p.numel() for p in wide.parameters()) / 1e6:.3g} M" in said
    assert said.count("data      ") == 1
    assert said.count("steps     7: 7 epochs of 1") == 2
    assert "global batch 4 = 4 clips" in said, "all videos, as fit"
    assert "--data.sampling segments" in said
    assert "in all    10 trainings (2 networks x 5 seeds): about " in said
    assert not list(tmp_path.iterdir())


def test_steps_alone_end_a_training(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "fit", "--data.root", str(data), "--dry-run", *SHORT, *FLAGS[:8]]
    argv += ["--model.options.width", "4"]
    assert main([*argv, "--trainer.max_steps", "70"]) == 0
    assert "steps     70: 35 epochs of 2 steps" in capsys.readouterr().out
    assert make_trainer({"accelerator": "cpu", "max_steps": 70}).max_epochs == -1


@pytest.mark.slow
def test_the_chosen_epochs_count_the_processes(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 2))
    fit = ["train", "fit", "--data.root", str(data), "--dry-run"]
    assert main([*fit, *SHORT]) == 0
    said = capsys.readouterr().out
    assert "--trainer.max_epochs 1200" in said
    assert "1200 steps of 4 clips" in said
    assert "steps     1200: 1200 epochs of 1" in said
    for argv in ([*fit, *SHORT, "--trainer.devices", "1"], [*COMPARE, "--data", str(data)]):
        more = ["--dry-run", *SHORT[2:], *SMALL] if argv[0] == "compare" else SMALL
        assert main([*argv, *more]) == 0
        assert "600 epochs of 2" in capsys.readouterr().out, argv


@pytest.mark.slow
def test_compare_trains_by_a_configuration_and_flags(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"name: mine\nmodel: {{name: tiny_i3d, options: {{width: 4, dropout: 0.3}}}}\n"
        f"recipe: {{optimizer: adamw, learning_rate: 0.002}}\n"
        f"data: {{root: {data}, frames: 4, stride: 2, crop: 32, num_workers: 0}}\n"
        f"trainer: {{max_epochs: 3}}\n"
    )
    argv = [*COMPARE, "--config", str(config), "--seeds", "1", "--no-speed"]
    argv += ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    argv += ["--trainer.callbacks", "Timer"]
    argv += ["--recipe.weight_decay", "0.01", "--data.flip", "0", "--train-batch", "2"]
    assert main(argv) == 0
    printed = capsys.readouterr()
    assert "network   tiny_c2d, " in printed.err
    assert "chosen" not in printed.err
    assert "(val)" in printed.out, "there is no test"
    (compared,) = (tmp_path / "runs").glob("*_compare/*/compare.json")
    budget = yaml.safe_load(compared.read_text())["protocol"]["training"]
    assert (budget["epochs"], budget["batch_size"]) == (1, 2)
    assert budget["clip"] == {"frames": 4, "stride": 2, "crop": 32, "short_side": 37}
    assert budget["recipe"] == {
        "optimizer": "adamw", "learning_rate": 0.002, "weight_decay": 0.01
    }  # fmt: skip
    assert budget["data"] == {"flip": 0.0}
    assert budget["options"] == {"width": 4, "dropout": 0.3}
    assert budget["trainer"]["limit_train_batches"] == 1
    assert budget["trainer"]["callbacks"]["class_path"].endswith(".Timer")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--epochs", "3", "--trainer.max_epochs", "4"], "both are the same option"),
        (["--data.root", "elsewhere"], "--data says"),
        (["--clip", "4x32", "--data.crop=48"], "--clip says 32"),
        (["--data.frame", "4"], "did you mean --data.frames"),
        (["--recipe.optimizer", "adam"], "--recipe.optimizer 'adam'"),
        (["--config", "none.yaml"], "there is no such file"),
        (["--model.options.non_local", "{res3: [0]}"], "the same blocks into every row"),
    ],
)
def test_what_compare_refuses(
    data: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMPARE, "--data", str(data), *argv]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_options_of_a_training_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in (["--data.frames", "4"], ["--dry-run"]):
        assert main(["compare", "tiny_c2d", *flag]) == 2
        assert f"{flag[0]} is for trainings; add --train" in capsys.readouterr().err
