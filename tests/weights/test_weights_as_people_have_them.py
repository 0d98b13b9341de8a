"""Weights behind wrappers, averaged weights, weights of another network, and what is no weights."""

import io
import json
import re
import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.cli.checkpoints import write_ckpt
from tests.marks import mostly_slow
from tests.weights.hostile_files import PYSLOWFAST
from tests.weights.test_pretrained_readers import gluoncv_state, mmaction2_key, network
from videonl.errors import CheckpointError
from videonl.models import create_model
from videonl.weights import load_checkpoint, load_pretrained, read_content, save_checkpoint

PREFIXES = ["_orig_mod.", "module._orig_mod.", "net.model.", "model.module.net._orig_mod."]
State = dict[str, Tensor]


def pyslowfast() -> State:
    state = {}
    for key, value in network("c2d_r50", width=2, preset="pyslowfast").state_dict().items():
        for pattern, theirs in PYSLOWFAST:
            key = re.sub(pattern, theirs, key)
        state[key] = value
    return state


def mmaction2() -> State:
    made = network("i3d_r50", width=2, preset="mmaction2").state_dict()
    return {mmaction2_key(key): value for key, value in made.items()}


def gluoncv() -> State:
    return gluoncv_state(network("i3d_r50", width=2, preset="gluoncv"))


def hub() -> State:
    return dict(create_model("x3d_m", num_classes=5).state_dict())


def torchvision() -> State:
    return dict(create_model("s3d", num_classes=5).state_dict())


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("family", [pyslowfast, mmaction2, gluoncv, hub, torchvision])
def test_prefixes_in_any_nesting_come_off_for_every_family(family: Any, tmp_path: Path) -> None:
    state = family()
    plain = load_checkpoint(saved(tmp_path / "plain.pth", state))
    for prefix in [*PREFIXES, "lit.encoder."] if family is pyslowfast else PREFIXES[-1:]:
        wrapped = {prefix + key: value for key, value in state.items()}
        wrapped |= {"n_averaged": torch.tensor(3), "criterion.weight": torch.ones(5)}
        found = load_checkpoint(saved(tmp_path / "wrapped.pth", {"state_dict": wrapped}))
        assert found.model.config == plain.model.config
        assert same(found.model.state_dict(), plain.model.state_dict())
        assert any("criterion.weight" in text for text in found.report.skipped)


@pytest.mark.parametrize("prefix", mostly_slow(PREFIXES, quick=[PREFIXES[0], PREFIXES[-1]]))
def test_prefixes_come_off_in_files_of_ours(prefix: str, tmp_path: Path) -> None:
    def wrap(content: dict[str, Any], outside: str = "") -> None:
        state = content["state_dict"]
        content["state_dict"] = {
            f"{outside}net.{prefix}{key.removeprefix('net.')}": value
            for key, value in state.items()
        }

    plain = load_checkpoint(write_ckpt(tmp_path / "plain.ckpt"))
    for outside in ("", prefix):  # around the network, around the module of Lightning
        around = partial(wrap, outside=outside)
        found = load_checkpoint(write_ckpt(tmp_path / "wrapped.ckpt", around))
        assert same(found.model.state_dict(), plain.model.state_dict())


OWN = """
from torch import nn
from videonl.models import create_model
class Own(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.model = create_model("tiny_i3d_nl1", num_classes=classes, width=8)
        self.preprocessing, self.forward_features = self.model.preprocessing, self.model.forward
        self.forward_head, self.reset_classifier = self.model.forward_head, None
def own(num_classes=400, width=8):
    return Own(num_classes)
"""


def test_a_network_of_ones_own_may_call_its_parts_as_wrappers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrap(content: dict[str, Any]) -> None:
        content["hyper_parameters"]["name"] = "own_net:own"
        state = content["state_dict"]
        content["state_dict"] = {
            key.replace("net.", "net._orig_mod.model.", 1): value for key, value in state.items()
        }

    (tmp_path / "own_net.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = load_checkpoint(write_ckpt(tmp_path / "a.ckpt", wrap), network="own_net:own")
    plain = load_checkpoint(write_ckpt(tmp_path / "b.ckpt"))
    assert same(found.model.model.state_dict(), plain.model.state_dict())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("taken", "other"),
    [
        ("model_ema", "model"),  # torchvision evaluates the average
        pytest.param("state_dict_ema", "state_dict", marks=pytest.mark.slow),  # timm
        ("state_dict", "ema_state_dict"),  # MMEngine swaps them
    ],
)
def test_of_two_tables_the_publisher_s_is_taken(taken: str, other: str, tmp_path: Path) -> None:
    state = pyslowfast()
    more = {f"module.{key}": value + 1 for key, value in state.items()}
    path = saved(tmp_path / "a.pth", {other: more, taken: state, "epoch": 3})
    with pytest.warns(UserWarning, match=f"weights of '{taken}'.*--option weights={other}"):
        found = load_checkpoint(path)
    bias = "head.projection.bias"
    assert torch.equal(found.model.state_dict()[bias], state[bias])
    assert any(f"weights={other}" in note for note in found.report.notes)
    with pytest.warns(UserWarning, match=f"weights of '{other}'"):
        found = load_checkpoint(path, options={"weights": other})
    assert torch.equal(found.model.state_dict()[bias], state[bias] + 1)
    with pytest.warns(UserWarning, match=other):
        made = create_model("c2d_r50", pretrained=str(path), width=2, weights=other)
    assert torch.equal(made.state_dict()[bias], state[bias] + 1)
    assert "weights" not in made.config["options"]
    with pytest.raises(CheckpointError, match=f"no table of weights named 'x'; it has .*{other}"):
        load_checkpoint(path, options={"weights": "x"})


def test_a_table_of_any_name_is_taken_if_it_is_the_only_one(tmp_path: Path) -> None:
    state = torchvision()
    only = saved(tmp_path / "a.pth", {"video_net": state, "epoch": 3, "optimizer": {"state": {}}})
    assert len(load_checkpoint(only).report.loaded) == len(state)
    several = saved(tmp_path / "b.pth", {"left": state, "right": state})
    with pytest.raises(CheckpointError, match="tables of tensors, left, right; choose one with"):
        load_checkpoint(several)
    with pytest.warns(UserWarning, match="weights of 'right' are used"):
        assert load_checkpoint(several, options={"weights": "right"}).report.loaded


def test_numbers_that_no_publisher_writes_are_a_sentence(tmp_path: Path) -> None:
    keys = ["blocks.0.conv.weight", f"blocks.{'9' * 5000}.res_blocks.0.branch1_conv.weight"]
    path = saved(tmp_path / "a.pyth", {"model_state": dict.fromkeys(keys, torch.ones(2, 3))})
    with pytest.raises(CheckpointError, match=r"says of its network cannot be understood"):
        load_checkpoint(path)


def test_what_does_not_fit_begins_with_the_way_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", pyslowfast())
    with pytest.raises(CheckpointError) as caught:
        load_pretrained("i3d_r50_nl5", path)
    sentence = str(caught.value)
    way_out = sentence.index("the file contains c2d_r50, but the network is i3d_r50_nl5; use")
    assert way_out < sentence.index("shape: ")
    assert "--model.name c2d_r50" in sentence
    assert "and 7 more" in sentence
    assert len(sentence) < 600
    own = write_ckpt(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="contains tiny_i3d_nl1, but the network is tiny_"):
        load_pretrained("tiny_c2d", own)


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return path


def array_archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(90), "a.pth", "an ONNX model"),
        (b"\x08\x07" + bytes(90), "a.onnx", "an ONNX model"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "a.h5", "Keras weights"),
        (b'model_checkpoint_path: "m"', "checkpoint", "index of a folder of TensorFlow"),
        (bytes(50) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "m.index", "of a TensorFlow checkpoint"),
        (bytes(50), "m.data-00000-of-00001", "of a TensorFlow checkpoint"),
        (bytes(4) + b"TFL3" + bytes(50), "a.tflite", "TensorFlow Lite"),
        (b"\x93NUMPY" + bytes(50), "a.npy", "NumPy array"),
        (array_archive(), "a.npz", r"NumPy arrays \(.npz\)"),
        (bytes(4) + b"ftypisom" + bytes(50), "a.pth", "a video, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a.ckpt", "run git lfs pull"),
        (b"/annex/objects/SHA256E-s1--x", "a.ckpt", "run git annex get"),
        (b"outs:\n- md5: x", "a.ckpt", "run dvc pull"),
        (b"<!-- x --><html>", "a.pth", "a web page"),
        (b"Entry not found", "a.pth", "a web page"),
        (b'{"model": {}}', "a.json", "give the file of weights that it describes"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "a.pth.zst", "a zstd archive"),
        (b"learning_rate: 0.1\n", "a.yaml", "it starts with 'learning_rate: 0.1'"),
    ],
)
def test_what_is_no_checkpoint_is_named(
    content: bytes, name: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["weights/a.pth", "b.txt"], r"a zip archive; unpack it .*: weights/a\.pth"),
        (["a.txt"], r"not of torch.save \(it contains a\.txt\)"),
        (["config.json", "model.weights.h5"], "a Keras model"),
        (["a/code/x.py", "a/data.pkl", "a/constants.pkl"], "TorchScript.*torch.jit.load"),
        (["MAR-INF/MANIFEST.json", "a.pt"], "TorchServe"),
        (["p/.data/extern_modules", "p/data.pkl"], "torch.package"),
        (["archive_format", "models/model.json"], "torch.export"),
    ],
)
def test_archives_are_named(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(zipped(tmp_path / "a.pt", *names))


def test_a_real_torchscript_file_is_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        load_checkpoint(tmp_path / "a.pt")


def test_tensors_of_rare_kinds_are_no_programs(tmp_path: Path) -> None:
    plain = torch.zeros(4, 4)
    rare = {
        "complex": plain.to(torch.complex64),
        "float8": plain.to(torch.float8_e4m3fn),
        "sparse": plain.to_sparse(),
    }
    for name, tensor in rare.items():
        file = saved(tmp_path / f"{name}.ckpt", {"state_dict": {"stem.conv.weight": tensor}})
        with pytest.raises(CheckpointError, match=r"rare kind .*save them as ordinary float32"):
            load_checkpoint(file)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_newer_pickles_in_torch_files(protocol: int, tmp_path: Path) -> None:
    """``weights_only`` reads protocol 2 alone; tied and empty tensors are in them, too."""
    tied = torch.arange(12.0).reshape(3, 4)
    content = {"state_dict": {"a": tied, "b": tied.T, "c": tied[:0], "d": torch.nn.Parameter(tied)}}
    content |= {"epoch": 3, "name": "x" * 300}
    torch.save(content, tmp_path / "a.pth", pickle_protocol=protocol)
    read = read_content(tmp_path / "a.pth")
    assert (read.data["epoch"], read.data["name"], read.skipped) == (3, "x" * 300, [])
    for name, tensor in content["state_dict"].items():
        assert torch.equal(read.data["state_dict"][name], tensor), name
    old = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": False}
    torch.save(content, tmp_path / "old.pth", **old)
    with pytest.raises(CheckpointError, match=rf"pickle protocol {protocol}; load it where"):
        load_checkpoint(tmp_path / "old.pth")


def test_a_bare_state_dict_of_ours_says_what_is_missing(tmp_path: Path) -> None:
    net = create_model("tiny_i3d", num_classes=3)
    with pytest.raises(CheckpointError, match="names neither its network nor its strides"):
        load_checkpoint(saved(tmp_path / "a.pth", {"state_dict": net.state_dict()}))


def test_a_description_with_half_of_the_clips_takes_the_rest_of_the_network(tmp_path: Path) -> None:
    loaded = load_checkpoint(write_ckpt(tmp_path / "a.ckpt"))
    save_checkpoint(loaded, tmp_path / "b.safetensors")
    about = json.loads((tmp_path / "b.json").read_text())
    about["preprocessing"] = {"frames": 6}
    (tmp_path / "b.json").write_text(json.dumps(about))
    found = load_checkpoint(tmp_path / "b.safetensors").preprocessing
    assert found["frames"] == 6
    assert {"stride", "short_side", "crop", "mean", "std"} <= found.keys()
