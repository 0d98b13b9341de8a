"""``videonl export`` as it is called, and the docs' way to run its file with onnxruntime alone."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.networks import NAMES, PREPROCESSING, write_checkpoint
from tests.videos import numbered_frames
from videonl import Predictor
from videonl.cli.main import main
from videonl.models import create_model
from videonl.weights import LoadedModel, save_checkpoint

DOCS = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def small_checkpoint(folder: Path) -> Path:
    """As small as a network with a block can be: the exporters are slow."""
    torch.manual_seed(0)
    net = create_model("tiny_i3d", num_classes=3, width=4, layers=(1,), non_local={"res2": (0,)})
    torch.nn.init.normal_(net.head.projection.weight, std=2.0)
    path = folder / "model.safetensors"
    save_checkpoint(LoadedModel(net.eval(), NAMES, dict(PREPROCESSING)), path)
    return path


def example() -> str:
    """The Python code of the docs."""
    found = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (code,) = (one for one in found if "onnxruntime" in one)
    assert "import torch" not in code
    assert "videonl" not in code
    return code


@pytest.mark.timeout(900)
def test_the_docs_example_gives_the_predictors_probabilities(tmp_path, monkeypatch, capsys):
    checkpoint = small_checkpoint(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--checkpoint", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("model.onnx: ")
    assert "variable sizes: batch and clip length" in said
    assert "agrees with the network" in said
    assert str(DOCS.parents[1]).encode() not in (tmp_path / "model.onnx").read_bytes()
    frames = numbered_frames(4, 16, 16)
    scope = {"frames": frames}
    exec(compile(example(), "docs/export.md", "exec"), scope)
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    expected = predictor.view_probabilities(torch.from_numpy(frames)[None])[0]
    np.testing.assert_allclose(scope["probabilities"], expected, atol=1e-5)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(NAMES)
    assert printed[0].split(":")[0] == NAMES[int(expected.argmax())]


def test_standard_output_takes_the_file_and_nothing_else(tmp_path, monkeypatch, capfdbinary):
    checkpoint = small_checkpoint(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["--format", "torch-export", "--clip", "1x16", "--out", "-"]
    assert main(["export", "--checkpoint", str(checkpoint), *words]) == 0
    out, err = capfdbinary.readouterr()
    (tmp_path / "m.pt2").write_bytes(out)
    program = torch.export.load(tmp_path / "m.pt2")
    assert program.module()(torch.zeros(1, 3, 1, 16, 16)).shape == (1, 3)
    assert b"the clip length is fixed: a graph of a single frame" in err
    assert b"warning" not in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "."], "is a folder"),
        (["--out", "gone/m.pt2"], "does not exist"),
        (["--format", "torch-export", "--out", "m.ONNX"], "ends as a file of --format onnx"),
    ],
)
def test_bad_usage_is_one_sentence(tmp_path, words, sentence, capsys, monkeypatch):
    checkpoint = write_checkpoint(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--checkpoint", str(checkpoint), *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
