"""``hf:user/name`` and ``videonl push`` against a hub on this machine, with the real client."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.checkpoints import write_ckpt
from tests.extras.loopback_hub import Hub
from tests.videos import write_video
from videonl.cli.main import main
from videonl.inference import Predictor
from videonl.models import create_model

pytestmark = pytest.mark.extras
TOKEN = "hf_oNlyForThisTest"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def client() -> ModuleType:
    pytest.importorskip("huggingface_hub.constants", reason="see make test-extras")
    return sys.modules["huggingface_hub"]


@pytest.fixture
def hub(client: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and a client that knows no other; with a token, as users have one."""
    with Hub() as server:
        form = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(client.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(client.constants, "HUGGINGFACE_CO_URL_TEMPLATE", form)
        monkeypatch.setattr(client.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handlers", [])
        monkeypatch.setattr(client.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda _: None)  # between the client's tries
        monkeypatch.chdir(tmp_path)
        yield server
        server.shutdown()


def told(capsys: Capture, argv: list[str], code: int = 0) -> str:
    """What a command prints; never the token, never a trace."""
    assert main(argv) == code
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert TOKEN not in text
    assert "Traceback" not in text
    return text


def test_pushed_and_classified(hub: Hub, tmp_path: Path, capsys: Capture) -> None:
    checkpoint = write_ckpt(tmp_path / "run" / "best.ckpt")
    push = ["push", "run", "lab/tiny", "--licence", "cc-by-4.0", "--private"]
    text = told(capsys, push)
    commit = hub.repositories["lab/tiny"]["main"]
    assert f"pushed    hf:lab/tiny@{commit}" in text
    assert "%|" not in text  # no bar in what is no terminal
    assert hub.repositories["lab/tiny"]["private"]
    assert f"Bearer {TOKEN}" in hub.tokens
    files = hub.repositories["lab/tiny"]["commits"][commit]
    assert set(files) == {"README.md", "model.json", "model.safetensors"}
    assert "license: cc-by-4.0" in files["README.md"].decode()

    video = write_video(tmp_path / "a.mp4", 30)
    answers = []
    for name in ("run", "hf:lab/tiny", f"hf:lab/tiny@{commit}", "hf:lab/tiny/model.safetensors"):
        text = told(capsys, ["predict", str(video), "--checkpoint", name, "--json", "out.json"])
        assert name == "run" or f"hf:lab/tiny@{commit}/model.safetensors" in text
        answers.append(json.loads(Path("out.json").read_text("utf-8")))
    first, *others = answers
    assert all(answer["predictions"] == first["predictions"] for answer in others)
    assert others[0]["model"]["checkpoint"] == f"hf:lab/tiny@{commit}/model.safetensors"

    # Everywhere else that takes a checkpoint.
    told(capsys, ["convert", "hf:lab/tiny", "converted.safetensors"])
    told(capsys, ["compare", "hf:lab/tiny", "--no-speed"])
    told(capsys, ["export", "--checkpoint", "hf:lab/tiny", "--format", "torch-export"])
    assert Path("tiny.pt2").is_file()
    told(capsys, ["attend", str(video), "--checkpoint", "hf:lab/tiny", "--out", "pictures"])
    told(capsys, ["extract", str(video), "--checkpoint", "hf:lab/tiny", "--out", "features"])
    assert Predictor.from_checkpoint("hf:lab/tiny").class_names
    model = create_model("tiny_i3d_nl1", width=8, pretrained="hf:lab/tiny")
    assert model.config["num_classes"] == 3
    told(capsys, ["push", "hf:lab/tiny", "lab/again"])
    assert checkpoint.parent.is_dir()
    assert not [p for p in tmp_path.glob("cache/**/*") if p.suffix in (".csv", ".pt2", ".png")]


def test_a_training_starts_from_the_hub_and_is_tested(
    hub: Hub, tmp_path: Path, capsys: Capture
) -> None:
    from tests.small_data import FLAGS, write_small_data

    commit = hub.add("lab/tiny", {"best.ckpt": write_ckpt(tmp_path / "b.ckpt").read_bytes()})
    data = ["--data.root", str(write_small_data(tmp_path / "data", train=1, val=1)), *FLAGS]
    data += ["--trainer.accelerator", "cpu"]
    fit = ["train", "fit", *data, "--trainer.max_epochs", "1", "--name", "x"]
    told(capsys, [*fit, "--model.pretrained", "hf:lab/tiny"])
    (run,) = Path("runs/x").iterdir()
    assert f"pretrained: hf:lab/tiny@{commit}/best.ckpt" in (run / "config.yaml").read_text()
    asked = len(hub.asked)  # the commit is known, and the weights are in the checkpoint
    assert "nothing left to do" in told(capsys, ["train", "fit", "--resume", str(run)])
    assert len(hub.asked) == asked
    told(capsys, ["push", str(run), "lab/mine", "--dry-run", "look"])
    assert f"Started from hf:lab/tiny@{commit}/best.ckpt" in Path("look/README.md").read_text(
        "utf-8"
    )
    assert f"hf:lab/tiny@{commit}" in Path("look/model.json").read_text("utf-8")

    told(capsys, ["push", str(run), "lab/mine"])
    told(capsys, ["train", "test", *data, "--checkpoint", "hf:lab/mine"])
    (result,) = Path().glob("mine_val_*.json")
    assert json.loads(result.read_text())["checkpoint"].startswith("hf:lab/mine@")
    told(capsys, ["train", "predict", *data, "--checkpoint", "hf:lab/mine"])
    assert Path("mine_predictions.csv").is_file()


def test_what_can_not_be_had_is_one_sentence(
    hub: Hub, client: ModuleType, tmp_path: Path, capsys: Capture
) -> None:
    content = write_ckpt(tmp_path / "b.ckpt").read_bytes()
    hub.add("lab/two", {"a.ckpt": content, "sub/b.pth": content, "README.md": b"# two"})
    hub.add("lab/onnx", {"model.onnx": b"onnx", "config.json": b"{}"})
    hub.add("lab/text", {"model.safetensors": b"<!doctype html><html>"})
    hub.add("lab/other", {"pytorch_model.bin": b"\x80\x04N.no tensors in here"})
    for name, words in {
        "lab/none": "there is no such repository, or it is private",
        "lab/two": "contains several checkpoints: give one, such as hf:lab/two/a.ckpt",
        "lab/two/c.ckpt": "has no file c.ckpt; it contains README.md, a.ckpt, sub/b.pth",
        "lab/two@v1": "it has no revision v1",
        "lab/onnx": "contains no checkpoint",
        "lab/text": "model.safetensors is a web page",
        "lab/other": "pytorch_model.bin",
        "lab": "is not a name on the hub",
        "la--b/x": "is not the name of a repository",
        "lab/two/../../etc": "is not a file of a repository",
    }.items():
        text = told(capsys, ["convert", f"hf:{name}", "x.safetensors"], 2)
        assert words in text, text
    told(capsys, ["convert", "hf:lab/two/sub/b.pth", "x.safetensors"])


@pytest.mark.parametrize("fault", ["truncate", "flip"])
def test_a_broken_download_is_said_and_can_be_repeated(
    fault: str, hub: Hub, tmp_path: Path, capsys: Capture
) -> None:
    hub.add("lab/tiny", {"best.ckpt": write_ckpt(tmp_path / "b.ckpt").read_bytes()})
    hub.fault = fault
    fetch = ["models", "--fetch", "hf:lab/tiny"]
    text = told(capsys, fetch, 2)
    assert text.count("hf:lab/tiny: ") == 1, text
    hub.fault = ""
    place = told(capsys, fetch).splitlines()[0]
    assert Path(place).read_bytes() == (tmp_path / "b.ckpt").read_bytes()


def test_one_process_sees_one_commit_until_it_pushes(
    hub: Hub, tmp_path: Path, capsys: Capture
) -> None:
    write_ckpt(tmp_path / "run" / "best.ckpt")
    told(capsys, ["push", "run", "lab/tiny"])
    first = told(capsys, ["models", "--fetch", "hf:lab/tiny"])
    asked = len(hub.asked)
    assert told(capsys, ["models", "--fetch", "hf:lab/tiny"]) in first
    assert len(hub.asked) == asked
    told(capsys, ["push", "run", "lab/tiny", "--licence", "mit"])
    assert told(capsys, ["models", "--fetch", "hf:lab/tiny"]) not in first


def test_the_cache_serves_without_a_network(
    hub: Hub, client: ModuleType, tmp_path: Path, capsys: Capture
) -> None:
    """Another process, offline, by the variables that users of the client know."""
    content = write_ckpt(tmp_path / "b.ckpt").read_bytes()
    commit = hub.add("lab/tiny", {"best.ckpt": content})
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": client.constants.HF_HUB_CACHE,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def fetch(name: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "videonl.cli.main", "models", "--fetch", name]
        return subprocess.run(
            words, env={**environment, **more}, capture_output=True, text=True, check=False
        )

    online = fetch("hf:lab/tiny")
    asked = len(hub.asked)
    offline = fetch("hf:lab/tiny", HF_HUB_OFFLINE="1")
    missing = fetch("hf:lab/none", HF_HUB_OFFLINE="1")
    assert len(hub.asked) == asked
    assert (online.returncode, offline.returncode, missing.returncode) == (0, 0, 2)
    assert offline.stdout == online.stdout
    assert f"hf:lab/tiny@{commit}/best.ckpt" in offline.stderr
    assert "HF_HUB_OFFLINE is set" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_an_error_that_holds_the_token_is_said_without_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\x0bx")  # no header can hold it, says the HTTP library
    text = told(capsys, ["models", "--fetch", "hf:lab/tiny"], 2)
    assert "***" in text


def test_refused_pushes(hub: Hub, tmp_path: Path, capsys: Capture) -> None:
    write_ckpt(tmp_path / "run" / "best.ckpt")
    hub.add("lab/public", {"README.md": b"# mine"})
    text = told(capsys, ["push", "run", "lab/public", "--private"], 2)
    assert "exists and is public" in text
    assert set(hub.repositories["lab/public"]["commits"]) & {"model.json"} == set()
    hub.fault = "refuse"
    text = told(capsys, ["push", "run", "lab/new"], 2)
    assert "with a token that may do so" in text
    assert "lab/new" not in hub.repositories
