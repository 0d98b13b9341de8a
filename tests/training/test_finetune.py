"""Fine-tuning: a new head and new non-local blocks on loaded weights."""

import re
from pathlib import Path

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.layers import NonLocalBlock
from videonl.models import create_model
from videonl.training import VideoClassifier, batch_norms, parameter_groups
from videonl.weights import LoadedModel, save_checkpoint

OPTIONS = {"width": 8}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain network with seven classes and statistics that are not those of the start."""
    torch.manual_seed(0)
    net = create_model("tiny_i3d", num_classes=7, **OPTIONS)
    with torch.no_grad():
        for norm in batch_norms(net):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    save_checkpoint(LoadedModel(net, None, dict(net.preprocessing)), path)
    return path


def tuned(plain: Path, *, num_classes: int = 2) -> VideoClassifier:
    return VideoClassifier(
        "tiny_i3d_nl1",
        num_classes=num_classes,
        options=OPTIONS,
        pretrained=str(plain),
        recipe={"batch_norm": "frozen", "fresh_factor": 10.0},
    )


def test_new_blocks_leave_the_logits_as_they_were(plain: Path) -> None:
    clips = torch.randn(2, 3, 4, 32, 32)
    before = create_model("tiny_i3d", num_classes=7, pretrained=str(plain), **OPTIONS).eval()
    after = tuned(plain, num_classes=7).eval()
    assert any(isinstance(module, NonLocalBlock) for module in after.modules())
    assert torch.allclose(after(clips), before(clips), atol=1e-5)


def test_head_and_blocks_are_fresh_and_learn_faster(plain: Path) -> None:
    model = tuned(plain)
    assert {"head.projection.weight", "head.projection.bias"} <= model.fresh
    block = next(n for n, m in model.net.named_modules() if isinstance(m, NonLocalBlock))
    assert f"{block}.theta.weight" in model.fresh
    assert not any(name.startswith("stem.") for name in model.fresh)
    groups = parameter_groups(
        model.net,
        rate=0.1,
        weight_decay=0.0,
        norm_weight_decay=0.0,
        fresh=model.fresh,
        fresh_factor=model.recipe.fresh_factor,
    )
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.net.named_parameters():
        if id(parameter) in rates:
            assert rates[id(parameter)] == (1.0 if name in model.fresh else 0.1), name


def test_loaded_norms_are_frozen_and_new_ones_learn(plain: Path) -> None:
    model = tuned(plain).train()
    block = next(m for m in model.net.modules() if isinstance(m, NonLocalBlock))
    assert block.norm.training
    assert block.norm.weight.requires_grad
    others = [norm for norm in batch_norms(model.net) if norm is not block.norm]
    assert others
    assert not any(norm.training or norm.weight.requires_grad for norm in others)


def named(folder: Path, names: list[str] | None) -> Path:
    """A plain network whose classifier has rows of its own, and such names."""
    torch.manual_seed(0)
    net = create_model("tiny_i3d", num_classes=3, **OPTIONS)
    path = folder / "named.safetensors"
    save_checkpoint(LoadedModel(net, names, dict(net.preprocessing)), path)
    return path


@pytest.mark.parametrize(
    ("of_file", "wanted", "rows", "said"),
    [
        (["a", "b", "c"], ["a", "b", "c"], [0, 1, 2], "the classes are those of the weights"),
        (["c", "a", "b"], ["a", "b", "c"], [1, 2, 0], "reordered by name to the classes"),
        (["x", "y", "z"], ["a", "b", "c"], None, "is new.*weights are x, y, z.*are a, b, c"),
        (["A", "b", "c"], ["a", "b", "c"], None, "is new"),
        (None, ["a", "b", "c"], None, "is new.*have no names in the file"),
    ],
)
def test_rows_of_the_classifier_go_by_name(
    of_file: list[str] | None,
    wanted: list[str],
    rows: list[int] | None,
    said: str,
    tmp_path: Path,
) -> None:
    path = named(tmp_path, of_file)
    head = "head.projection.weight"
    old = create_model("tiny_i3d", pretrained=str(path), **OPTIONS).state_dict()
    model = VideoClassifier(
        "tiny_i3d", num_classes=3, class_names=wanted, options=OPTIONS, pretrained=str(path)
    )
    assert re.search(said, str(model.net.load_report))
    assert (head in model.fresh) is (rows is None)
    for key in (head, "head.projection.bias"):
        found = model.net.state_dict()[key]
        if rows is not None:
            assert torch.equal(found, old[key][rows])
    if rows is None:
        assert not torch.equal(model.net.state_dict()[head], old[head])


def test_the_checkpoint_tells_where_it_came_from(plain: Path) -> None:
    kept = dict(tuned(plain).hparams)
    assert kept["provenance"] == str(plain)
    again = VideoClassifier(**kept)  # without the file: the weights are in the checkpoint
    assert again.hparams["provenance"] == str(plain)


def test_going_on_needs_neither_the_file_nor_its_flags(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data", train=2, val=1)
    weights = tmp_path / "weights.safetensors"
    for suffix in (".safetensors", ".json"):
        weights.with_suffix(suffix).write_bytes(plain.with_suffix(suffix).read_bytes())
    out = ["--out", str(tmp_path / "runs"), "--name", "x", "--trainer.accelerator", "cpu"]
    start = ["train", "fit", "--data.root", str(data), *FLAGS, *out, "--trainer.max_epochs", "1"]
    start += ["--model.pretrained", str(weights), "--model.name", "tiny_i3d_nl1"]
    assert main(start) == 0
    assert "new (" in capsys.readouterr().out
    weights.unlink()
    (folder,) = (tmp_path / "runs").glob("x/*")
    assert main(["train", "fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    content = torch.load(folder / "last.ckpt", weights_only=True)
    assert content["hyper_parameters"]["options"]["width"] == 8  # the file said so
    assert content["hyper_parameters"]["recipe"]["batch_norm"] == "frozen"
    assert "head.projection.weight" in content["hyper_parameters"]["fresh"]


def test_a_run_is_a_checkpoint_and_a_damaged_one_names_the_whole_one(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data", train=2, val=1)
    common = ["train", "fit", "--data.root", str(data), *FLAGS, "--trainer.accelerator", "cpu"]
    common += ["--out", str(tmp_path / "runs"), "--name", "x", "--model.options.width", "8"]
    start = [*common, "--model.name", "tiny_i3d", "--trainer.max_epochs", "1"]
    assert main(start) == 0
    name = tmp_path / "runs/x"
    (run,) = name.iterdir()
    video = str(data / "val/dark/0.mp4")
    for folder in (run, name):
        line = ["predict", video, "--checkpoint", str(folder), "--device", "cpu", "--views", "1x1"]
        assert main([*line, "--no-isolate"]) == 0
    again = [*common, "--name", "y", "--model.pretrained", str(name), "--trainer.max_epochs", "1"]
    assert main(again) == 0
    assert "the classifier is kept: the classes are those of the weights" in capsys.readouterr().out

    last = run / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    assert main([*start, "--resume", "auto"]) != 0
    shown = capsys.readouterr().err
    assert f"{last} is a damaged archive" in shown
    best = run / "best.ckpt"
    assert f"{best} is intact: go on with --resume {best}" in shown
    assert "weights_only" not in shown
    assert main(["train", "fit", "--resume", str(best), "--trainer.max_epochs", "2"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
