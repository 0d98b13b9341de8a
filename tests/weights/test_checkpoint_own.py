"""Our own checkpoint formats load back exactly, with weights_only, and say what is wrong."""

import json

import pytest
import torch

from videonl.errors import CheckpointError
from videonl.models import create_model
from videonl.weights import LoadedModel, load_checkpoint, save_checkpoint

CLIP = torch.randn(1, 3, 8, 48, 48, generator=torch.Generator().manual_seed(0))
NAMES = ["run", "jump", "sit"]


def tiny(num_classes=3, seed=0):
    torch.manual_seed(seed)
    model = create_model("tiny_i3d_nl1", num_classes=num_classes, width=4).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def lightning_file(model, path, *, prefix="net.", **more):
    about = {
        "name": model.config["name"],
        "num_classes": model.config["num_classes"],
        "options": model.config["options"],
        "class_names": NAMES,
        "preprocessing": {**model.preprocessing, "frames": 4},
        "videonl_version": "1.0",
    }
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save({"hyper_parameters": about, "state_dict": state, "epoch": 3, **more}, path)
    return path


def same(first, second):
    with torch.no_grad():
        return torch.equal(first.eval()(CLIP), second.eval()(CLIP))


def test_lightning_checkpoint(tmp_path):
    model = tiny()
    loaded = load_checkpoint(lightning_file(model, tmp_path / "a.ckpt"))
    assert same(loaded.model, model)
    assert not loaded.model.training
    assert loaded.class_names == NAMES
    assert loaded.preprocessing["frames"] == loaded.model.preprocessing["frames"] == 4
    assert loaded.provenance["epoch"] == 3
    assert len(loaded.report.loaded) == len(model.state_dict())
    assert not loaded.report.new


def test_averaged_weights_and_compiled_keys_are_what_counts(tmp_path):
    averaged, current = tiny(seed=1), tiny(seed=2)
    path = lightning_file(
        averaged,
        tmp_path / "ema.ckpt",
        prefix="net._orig_mod.",
        averaging_state={"n_averaged": torch.tensor(7)},
        current_model_state=current.state_dict(),
    )
    loaded = load_checkpoint(path)
    assert same(loaded.model, averaged)
    assert loaded.provenance["averaged"]


def test_safetensors_round_trip(tmp_path):
    loaded = load_checkpoint(lightning_file(tiny(), tmp_path / "a.ckpt"))
    sidecar = save_checkpoint(loaded, tmp_path / "b.safetensors", provenance={"licence": "MIT"})
    about = json.loads(sidecar.read_text())
    assert about["class_names"] == NAMES
    assert about["provenance"]["licence"] == "MIT"
    again = load_checkpoint(tmp_path / "b.safetensors")
    assert same(again.model, loaded.model)
    assert (again.class_names, again.preprocessing) == (NAMES, loaded.preprocessing)
    assert again.model.config == loaded.model.config
    sidecar.write_text(json.dumps(about), encoding="utf-8-sig")  # as editors of Windows save it
    assert load_checkpoint(tmp_path / "b.safetensors").class_names == NAMES
    result = {"model": {"name": "tiny_i3d", "num_classes": 3}, "predictions": []}
    sidecar.write_text(json.dumps(result))  # of the same name; the copy inside serves
    again = load_checkpoint(tmp_path / "b.safetensors")
    assert (again.class_names, again.preprocessing) == (NAMES, loaded.preprocessing)
    sidecar.unlink()  # left behind
    assert same(load_checkpoint(tmp_path / "b.safetensors").model, loaded.model)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"c\.json, where the description .* another name"):
        save_checkpoint(loaded, tmp_path / "c.safetensors")
    assert (tmp_path / "c.json").read_text() == "{}"


def test_only_num_classes_replaces_the_head(tmp_path):
    path = lightning_file(tiny(), tmp_path / "a.ckpt")
    loaded = load_checkpoint(path, num_classes=5)
    assert loaded.model(CLIP).shape == (1, 5)
    assert loaded.class_names is None
    assert loaded.report.new == ["head.projection.weight", "head.projection.bias"]
    assert any("head.projection.weight" in text for text in loaded.report.skipped)
    assert "new (2): head.projection.weight" in str(loaded.report)


def test_missing_and_surplus_keys_are_listed(tmp_path):
    model = tiny()
    path = lightning_file(model, tmp_path / "a.ckpt")
    data = torch.load(path, weights_only=True)
    del data["state_dict"]["net.stem.conv.weight"]
    data["state_dict"]["net.stem.extra"] = torch.zeros(1)
    torch.save(data, path)
    with pytest.raises(CheckpointError, match=r"missing: stem.conv.weight; unexpected: stem.extra"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "os:system"}, "never allowed to import code.*--model.name os:system"),
        ({"name": "no_such_net"}, "there is no network"),
        ({"options": {"widht": 3}}, "widht"),
        ({"name": None}, "does not name its network"),
    ],
)
def test_bad_descriptions(tmp_path, change, message):
    path = lightning_file(tiny(), tmp_path / "a.ckpt")
    data = torch.load(path, weights_only=True)
    data["hyper_parameters"].update(change)
    torch.save(data, path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_class_names_of_the_caller(tmp_path):
    path = lightning_file(tiny(), tmp_path / "a.ckpt")
    assert load_checkpoint(path, class_names=list("abc")).class_names == list("abc")
    with pytest.raises(CheckpointError, match="3 classes, but 2 class names"):
        load_checkpoint(path, class_names=list("ab"))


def test_sidecar_suffix_and_folder(tmp_path):
    loaded = LoadedModel(tiny(), None, {})
    with pytest.raises(CheckpointError, match="must end with"):
        save_checkpoint(loaded, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        save_checkpoint(loaded, tmp_path / "no" / "b.safetensors")
