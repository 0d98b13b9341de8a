"""No file names code: not a checkpoint, not the configuration in a run's folder, by no command."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.cli.checkpoints import NETWORK, write_ckpt
from tests.cli.train_options import listed
from tests.inference.networks import NAMES
from tests.marks import mostly_slow
from tests.small_data import FLAGS
from tests.videos import write_video
from videonl.cli.main import main
from videonl.errors import CheckpointError
from videonl.evaluation import compare_models
from videonl.inference import Predictor
from videonl.models import create_model
from videonl.training import VideoClassifier
from videonl.weights import load_checkpoint, save_checkpoint

STRANGE = "canary_of_strangers:net"
MODULE = """\
import os, pathlib
pathlib.Path(os.environ["CANARY"]).touch()
from videonl.models import create_model
def net(num_classes=400, **options):
    made = create_model("tiny_i3d_nl1", num_classes=num_classes, **options)
    return made
"""
DATA = [*FLAGS, "--data.short_side", "24", "--data.crop", "16", "--data.views", "1x1"]
CPU = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three classes, and a stranger's checkpoint, alone and in a run's folder."""
    place = tmp_path_factory.mktemp("strange")
    for split in ("train", "val", "test"):
        for name in NAMES:
            for number in range(2):
                write_video(place / f"data/{split}/{name}/{number}.mp4", 12)
    write_ckpt(place / "evil.ckpt", ask)
    for name in ("best.ckpt", "last.ckpt"):
        write_ckpt(place / "runs/x/2026-01-01_00-00-00" / name, ask)
    write_ckpt(place / "stored/last.ckpt")  # here the configuration asks, the checkpoint does not
    (place / "stored/config.yaml").write_text(yaml.safe_dump({"model": {"name": STRANGE}}))
    loaded = load_checkpoint(place / "stored/last.ckpt")
    save_checkpoint(loaded, place / "evil.safetensors")
    sidecar = json.loads((place / "evil.json").read_text())
    sidecar["model"]["name"] = STRANGE
    (place / "evil.json").write_text(json.dumps(sidecar))
    return place


def ask(content: dict[str, Any]) -> None:
    """Ask for code, as the file of a stranger does."""
    content["hyper_parameters"]["name"] = STRANGE


@pytest.fixture
def canary(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], bool]]:
    """Whether the module that a file asks for was imported; it lies where it would be found."""
    (tmp_path / "canary_of_strangers.py").write_text(MODULE)
    monkeypatch.setenv("CANARY", str(tmp_path / "sang"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("canary_of_strangers", None)
    yield (tmp_path / "sang").exists
    sys.modules.pop("canary_of_strangers", None)


def commands(place: Path, checkpoint: Path) -> dict[str, list[str]]:
    """Every command that reads a checkpoint."""
    root = ["--data.root", str(place / "data"), *DATA, *CPU]
    given, video = ["--checkpoint", str(checkpoint)], str(place / "data/test/clap/0.mp4")
    return {
        "fit --resume": ["train", "fit", *root, "--resume", str(checkpoint)],
        "fit --ckpt_path": ["train", "fit", *root, "--ckpt_path", str(checkpoint)],
        "fit --model.pretrained": ["train", "fit", *root, "--model.pretrained", str(checkpoint)],
        "validate": ["train", "validate", *root, *given],
        "test": ["train", "test", *root, *given],
        "test --ckpt_path": ["train", "test", *root, "--ckpt_path", str(checkpoint)],
        "train predict": ["train", "predict", *root, *given],
        "predict": ["predict", video, *given, "--views", "1x1"],
        "timeline": ["predict", video, *given, "--timeline"],
        "attend": ["attend", video, *given],
        "attend --data": ["attend", "--data", str(place / "data"), *given, "--videos", "1"],
        "extract": ["extract", video, *given],
        "export": ["export", *given],
        "convert": ["convert", str(checkpoint), "out.safetensors"],
        "serve": ["serve", *given, "--port", "0"],
        "compare": ["compare", str(checkpoint), "--no-speed"],
        "compare --data": ["compare", str(checkpoint), "--no-speed", "--data", str(place / "data")],
    }


NAMES_OF_COMMANDS = sorted(commands(Path(), Path()))


def refused(argv: list[str], capsys: Capture, source: Path) -> None:
    """The command ends with one sentence that names the file, the network and the way out."""
    code = main(argv)
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert code in (1, 2)
    assert "Traceback" not in text
    sentence = next(line for line in text.splitlines() if "never allowed to import code" in line)
    for part in (str(source), STRANGE, f"--model.name {STRANGE}"):
        assert part in sentence


@pytest.mark.parametrize("command", NAMES_OF_COMMANDS)
def test_a_stranger_s_checkpoint_imports_nothing(
    command: str, place: Path, canary: Callable[[], bool], capsys: Capture
) -> None:
    refused(commands(place, place / "evil.ckpt")[command], capsys, place / "evil.ckpt")
    assert not canary()


@pytest.mark.parametrize("command", ["convert", "export", "predict", "test", "compare"])
def test_a_stranger_s_sidecar_imports_nothing(
    command: str, place: Path, canary: Callable[[], bool], capsys: Capture
) -> None:
    source = place / "evil.safetensors"
    refused(commands(place, source)[command], capsys, source)
    assert not canary()


@pytest.mark.parametrize("command", ["fit --resume", "test", "predict", "export"])
def test_a_stranger_s_run_imports_nothing(
    command: str, place: Path, canary: Callable[[], bool], capsys: Capture
) -> None:
    run = place / "runs/x/2026-01-01_00-00-00"
    kept = run / ("last.ckpt" if command.startswith("fit") else "best.ckpt")
    refused(commands(place, run)[command], capsys, kept)
    assert not canary()


def test_resume_auto_imports_nothing(
    place: Path, canary: Callable[[], bool], capsys: Capture
) -> None:
    root = ["--data.root", str(place / "data"), *DATA, *CPU, "--out", str(place / "runs")]
    argv = ["train", "fit", *root, "--name", "x", "--resume", "auto"]
    last = place / "runs/x/2026-01-01_00-00-00/last.ckpt"
    refused(argv, capsys, last)
    refused([*argv, "--model.name", "tiny_i3d"], capsys, last)
    assert not canary()


@pytest.mark.parametrize("said", [[], ["--model.name", NETWORK]])
def test_a_stored_configuration_imports_nothing(
    said: list[str], place: Path, canary: Callable[[], bool], capsys: Capture
) -> None:
    argv = ["train", "fit", "--data.root", str(place / "data"), *DATA, *CPU, *said]
    refused([*argv, "--resume", str(place / "stored")], capsys, place / "stored/config.yaml")
    assert not canary()


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"options": {"width": {"class_path": "canary_of_strangers.net"}}}},
        {"model": {"options": {"width": [{"class_path": "canary_of_strangers.net"}]}}},
        {"model": {"options": {"class_path": "canary_of_strangers.net", "init_args": {}}}},
        {"model": {"options": {"x": {"class_path": "canary_of_strangers.net", "init_args": {}}}}},
        {"model": {"options.width": {"class_path": "canary_of_strangers.net"}}},
        {"model": {"options": "canary_of_strangers.net"}},
        {"model": {"class_path": "canary_of_strangers.net"}},
        {"recipe": {"milestones": {"class_path": "canary_of_strangers.net"}}},
        {"recipe": {"optimizer": "canary_of_strangers.net"}},
        {"data": {"views": {"class_path": "canary_of_strangers.net"}}},
        {"data": {"decoder": "canary_of_strangers.net"}},
        {"data": {"train_list": {"class_path": "canary_of_strangers.net"}}},
        {"trainer": {"strategy": {"class_path": "canary_of_strangers.net"}}},
        {"trainer": {"strategy": "canary_of_strangers.net"}},
        {"trainer": {"profiler": "canary_of_strangers.net"}},
        {"trainer": {"callbacks": [{"class_path": "canary_of_strangers.net"}]}},
        {"trainer": {"plugins": "canary_of_strangers:net"}},
    ],
    ids=str,
)
def test_no_setting_of_a_stored_configuration_is_a_class(
    settings: dict[str, Any],
    place: Path,
    tmp_path: Path,
    canary: Callable[[], bool],
    capsys: Capture,
) -> None:
    write_ckpt(tmp_path / "run/last.ckpt")
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(settings))
    argv = ["train", "fit", "--data.root", str(place / "data")]
    assert main([*argv, "--resume", str(tmp_path / "run")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not canary()


def test_only_the_tables_of_options_may_hold_anything() -> None:
    """In a value of any type jsonargparse imports classes; tables of options do not reach it."""
    assert {key for key, text in listed("fit").items() if "Any]" in text} == {"model.options"}


@pytest.mark.parametrize(
    "load",
    [
        load_checkpoint,
        Predictor.from_checkpoint,
        VideoClassifier.from_checkpoint,
        VideoClassifier.load_from_checkpoint,
        lambda path: create_model("tiny_i3d", pretrained=str(path)),
        lambda path: VideoClassifier("tiny_i3d", num_classes=3, pretrained=str(path)),
    ],
)
def test_python_imports_nothing(
    load: Callable[[Path], object], place: Path, canary: Callable[[], bool]
) -> None:
    with pytest.raises(CheckpointError, match=r"evil.ckpt asks for .*canary_of_strangers:net"):
        load(place / "evil.ckpt")
    assert compare_models([str(place / "evil.ckpt")], rounds=0).failed
    assert not canary()


@pytest.mark.parametrize(
    "key", ["_instantiator", "pretrained", "network", "callbacks", "optimizer", "_class_path"]
)
def test_no_other_hyper_parameter_imports(
    key: str, tmp_path: Path, canary: Callable[[], bool]
) -> None:
    path = write_ckpt(
        tmp_path / "a.ckpt",
        lambda content: content["hyper_parameters"].update({key: "canary_of_strangers.net"}),
    )
    found = VideoClassifier.load_from_checkpoint(path)
    assert found.hparams["name"] == NETWORK
    assert Predictor.from_checkpoint(path, device="cpu").class_names == NAMES
    assert not canary()


OPTIONS: list[dict[str, Any]] = [
    {"pretrained": "official/i3d_8x8"},
    {"name": "x"},
    {"num_classes": 3},
    {"non_local_options": {"affinity": "canary_of_strangers:net"}},
    {"non_local_options": {"norm": "canary_of_strangers:net"}},
]


@pytest.mark.parametrize(
    ("command", "options"),
    mostly_slow(
        [(name, o) for name in ("fit --resume", "test", "predict") for o in OPTIONS],
        quick=["test", ("fit --resume", OPTIONS[0]), ("predict", OPTIONS[3])],
    ),
)
def test_options_name_neither_files_nor_code(
    command: str,
    options: dict[str, Any],
    place: Path,
    tmp_path: Path,
    canary: Callable[[], bool],
    capsys: Capture,
) -> None:
    path = write_ckpt(
        tmp_path / "a.ckpt", lambda content: content["hyper_parameters"].update(options=options)
    )
    assert main(commands(place, path)[command]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not canary()


@pytest.fixture
def own(place: Path, tmp_path: Path, canary: Callable[[], bool]) -> Path:
    """The last checkpoint of a training of one's own network, by its own user."""
    argv = ["train", "fit", "--data.root", str(place / "data"), *DATA, *CPU, "--out", "own"]
    assert main([*argv, "--model.name", STRANGE, "--model.options.width", "8"]) == 0
    assert canary()
    (last,) = Path("own").glob("*/*/last.ckpt")
    return last.resolve()


def test_one_s_own_network_goes_on_where_the_user_says_its_name(own: Path, place: Path) -> None:
    assert torch.load(own, weights_only=True)["hyper_parameters"]["name"] == STRANGE
    for name in ("fit --resume", "validate", "predict", "convert"):
        argv = commands(place, own)[name]
        more = ["--trainer.max_epochs", "2"] if argv[1] == "fit" else []
        assert main([*argv, "--model.name", STRANGE, *more]) == 0, name
    assert Predictor.from_checkpoint(own, network=STRANGE, device="cpu").class_names == NAMES
    assert VideoClassifier.load_from_checkpoint(own, name=STRANGE).hparams["name"] == STRANGE
    assert create_model(STRANGE, pretrained=str(own), width=8).config["name"] == STRANGE


@pytest.mark.slow
def test_every_command_takes_one_s_own_network(own: Path, place: Path) -> None:
    for name, argv in commands(place, own).items():
        if name == "serve":
            continue
        more = ["--trainer.max_epochs", "2"] if argv[1] == "fit" else []
        assert main([*argv, "--model.name", STRANGE, *more]) == 0, name
    config = Path("mine.yaml")
    config.write_text(yaml.safe_dump({"model": {"name": STRANGE}}), encoding="utf-8")
    for name in ("test", "validate"):
        assert main([*commands(place, own)[name], "--config", str(config)]) == 0, name
    again = ["--config", str(own.parent / "config.yaml"), "--trainer.max_epochs", "3"]
    assert main([*commands(place, own)["fit --resume"], *again]) == 0
    sweep = Path("sweep.yaml")
    sweep.write_text(
        yaml.safe_dump({"entries": {"mine": {"checkpoint": str(own), "model": STRANGE}}}),
        encoding="utf-8",
    )
    assert main(["compare", "--sweep", str(sweep), "--no-speed"]) == 0


@pytest.mark.slow
def test_compare_trains_and_tests_one_s_own_network(
    place: Path, canary: Callable[[], bool]
) -> None:
    argv = ["compare", STRANGE, "--train", "--data", str(place / "data"), "--out", "table"]
    argv += ["--clip", "4x16", "--epochs", "1", "--seeds", "1", "--views", "1x1", "--no-speed"]
    assert main(argv) == 0
    assert canary()
