"""The official format, with blobs of our own making and a network written out in plain torch."""

import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.videos import write_video
from tests.weights import python2_pickle
from videonl.cli.main import main
from videonl.errors import CheckpointError
from videonl.models import create_model
from videonl.weights import load_checkpoint

GRAPHS = {  # stem stride, pool1 kernel and stride; pool1 has no padding; groups of res3
    "official_8x8": ((1, 2, 2), (1, 3, 3), (1, 2, 2), 1),
    "official_32x2": ((2, 2, 2), (2, 3, 3), (2, 2, 2), 1),
    "official_32x4": ((1, 2, 2), (1, 3, 3), (1, 2, 2), 4),
    "official_128x1": ((2, 2, 2), (2, 3, 3), (2, 2, 2), 4),
}
LAYERS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
PLACES = {50: {3: (1, 3), 4: (1, 3, 5)}, 101: {3: (1, 3), 4: (6, 13, 20)}}
FRAMES = {"official_8x8": 8, "official_32x2": 16, "official_32x4": 8, "official_128x1": 32}


def make_blobs(*, depth=50, width=2, i3d=True, non_local=True, affine=False, classes=5):
    random = np.random.RandomState(depth + width)
    blobs = {}

    def conv(name, out, inside, *kernel, bias=False):
        fan = inside * int(np.prod(kernel))
        blobs[f"{name}_w"] = random.randn(out, inside, *kernel).astype("f4") / fan**0.5
        if bias:
            blobs[f"{name}_b"] = random.randn(out).astype("f4") * 0.1

    def norm(name, size, statistics=not affine):
        blobs[f"{name}_s"] = random.uniform(0.3, 0.8, size).astype("f4")
        blobs[f"{name}_b"] = random.randn(size).astype("f4") * 0.1
        if statistics:
            blobs[f"{name}_rm"] = random.randn(size).astype("f4") * 0.1
            blobs[f"{name}_riv"] = random.uniform(0.5, 1.5, size).astype("f4")

    conv("conv1", width, 3, 5 if i3d else 1, 7, 7)
    norm("res_conv1_bn", width)
    inside = width
    for stage, count in enumerate(LAYERS[depth], start=2):
        inner = width * 2 ** (stage - 2)
        for j in range(count):
            inflated = i3d and (stage == 2 or j % 2 == (1 if stage == 5 else 0))
            name = f"res{stage}_{j}_branch"
            if j == 0:
                conv(f"{name}1", inner * 4, inside, 1, 1, 1)
                norm(f"{name}1_bn", inner * 4)
            conv(f"{name}2a", inner, inside, 3 if inflated else 1, 1, 1)
            conv(f"{name}2b", inner, inner, 1, 3, 3)
            conv(f"{name}2c", inner * 4, inner, 1, 1, 1)
            for letter, size in (("a", inner), ("b", inner), ("c", inner * 4)):
                norm(f"{name}2{letter}_bn", size)
            inside = inner * 4
            if non_local and j in PLACES[depth].get(stage, ()):
                for part in ("theta", "phi", "g"):
                    conv(
                        f"nonlocal_conv{stage}_{j}_{part}", inside // 2, inside, 1, 1, 1, bias=True
                    )
                conv(f"nonlocal_conv{stage}_{j}_out", inside, inside // 2, 1, 1, 1, bias=True)
                if not affine:
                    norm(f"nonlocal_conv{stage}_{j}_bn", inside)
    blobs["pred_w"] = random.randn(classes, inside).astype("f4") / inside**0.5
    blobs["pred_b"] = random.randn(classes).astype("f4") * 0.1
    return blobs


def plain_network(blobs, graph, clip, *, depth=50):
    """The official graph, operation by operation; logits of every cell (B, K, 1, h, w)."""
    b = {key: torch.from_numpy(np.asarray(value)).double() for key, value in blobs.items()}
    stem_stride, kernel, stride, groups = GRAPHS[graph]

    def norm(x, name):
        if f"{name}_rm" in b:
            arrays = [b[f"{name}_{s}"] for s in ("rm", "riv", "s", "b")]
            return F.batch_norm(x, *arrays, eps=1e-5)
        return x * b[f"{name}_s"][:, None, None, None] + b[f"{name}_b"][:, None, None, None]

    def conv(x, name, stride=(1, 1, 1)):
        weight = b[f"{name}_w"]
        return F.conv3d(x, weight, b.get(f"{name}_b"), stride, [k // 2 for k in weight.shape[2:]])

    def attend(x, name):
        pooled = F.max_pool3d(x, (1, 2, 2), (1, 2, 2))
        theta, phi, g = (
            conv(source, f"{name}_{part}").flatten(2)
            for part, source in (("theta", x), ("phi", pooled), ("g", pooled))
        )
        weights = (theta.transpose(1, 2) @ phi * theta.shape[1] ** -0.5).softmax(-1)
        y = (g @ weights.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:])
        y = conv(y, f"{name}_out")
        return norm(y, f"{name}_bn") if f"{name}_bn_s" in b else y

    x = F.relu(norm(conv(clip.double(), "conv1", stem_stride), "res_conv1_bn"))
    x = F.max_pool3d(x, kernel, stride)
    for stage, count in enumerate(LAYERS[depth], start=2):
        for j in range(count):
            step = (1, 2, 2) if stage > 2 and j == 0 else (1, 1, 1)
            name = f"res{stage}_{j}_branch"
            y = F.relu(norm(conv(x, f"{name}2a"), f"{name}2a_bn"))
            y = F.relu(norm(conv(y, f"{name}2b", step), f"{name}2b_bn"))
            y = norm(conv(y, f"{name}2c"), f"{name}2c_bn")
            x = F.relu(y + (norm(conv(x, f"{name}1", step), f"{name}1_bn") if j == 0 else x))
            place = f"nonlocal_conv{stage}_{j}"
            if f"{place}_g_w" in b:
                parts = x.chunk(groups, 2) if stage == 3 else (x,)
                x = x + torch.cat([attend(part, place) for part in parts], 2)
        if stage == 2:
            x = F.max_pool3d(x, (2, 1, 1))
    x = F.avg_pool3d(x, (x.shape[2], *[min(7, size) for size in x.shape[3:]]), 1)
    weight = b["pred_w"].reshape(b["pred_w"].shape[0], -1, 1, 1, 1)
    return F.conv3d(x, weight, b["pred_b"])


def written(path, content, protocol=2):
    with path.open("wb") as file:
        pickle.dump(content, file, protocol)
    return path


@pytest.mark.parametrize(
    ("graph", "settings"),
    [
        ("official_8x8", {}),
        ("official_32x2", {"i3d": False}),
        ("official_32x4", {"affine": True}),
        ("official_128x1", {"affine": True, "non_local": False}),
        pytest.param("official_8x8", {"i3d": False, "non_local": False}, marks=pytest.mark.slow),
        pytest.param("official_8x8", {"depth": 101}, marks=pytest.mark.slow),
        pytest.param("official_32x2", {}, marks=pytest.mark.slow),
        pytest.param("official_128x1", {"affine": True}, marks=pytest.mark.slow),
    ],
)
def test_logits(tmp_path, graph, settings):
    blobs = make_blobs(**settings)
    extra = {"lr": np.float32(0.01), "model_iter": 7, "conv1_w_momentum": blobs["conv1_w"]}
    path = written(tmp_path / "a.pkl", {"blobs": {**blobs, **extra}})
    loaded = load_checkpoint(path, options={"preset": graph})
    clip = torch.randn(1, 3, FRAMES[graph], 72, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cells = plain_network(blobs, graph, clip, depth=settings.get("depth", 50))
        found = loaded.model.double()(clip.double())
    assert (found - cells.flatten(2).mean(2)).abs().max() < 1e-9


def test_large_frames_average_probabilities(tmp_path):
    blobs = make_blobs(i3d=False, non_local=False)
    loaded = load_checkpoint(
        written(tmp_path / "a.pkl", {"blobs": blobs}), options={"preset": "official_8x8"}
    )
    clip = torch.randn(1, 3, 4, 256, 256, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        cells = plain_network(blobs, "official_8x8", clip)
        assert cells.shape[3:] == (2, 2)
        wanted = cells.softmax(1).mean((2, 3, 4))
        assert (loaded.model.double()(clip).softmax(1) - wanted).abs().max() < 1e-9


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_wrapper_and_protocols(tmp_path, protocol):
    blobs = make_blobs(non_local=False)
    blobs["pred_w"] = blobs["pred_w"].reshape(*blobs["pred_w"].shape, 1, 1, 1)
    path = written(tmp_path / "a.pkl", blobs, protocol)
    loaded = load_checkpoint(path, options={"preset": "official_8x8"})
    assert loaded.model.config["name"] == "i3d_r50"
    assert np.array_equal(loaded.model.stem.conv.weight.detach().numpy(), blobs["conv1_w"])


@pytest.mark.parametrize(
    ("graph", "settings"),
    [("official_8x8", {"width": 4}), ("official_32x4", {"affine": True})],
)
def test_a_file_of_python_2(tmp_path, graph, settings):
    """As the official code wrote it, with what a training leaves beside the weights."""
    blobs = make_blobs(**settings)
    names = ("conv1_w", "res2_0_branch2a_w", "pred_w")
    extra = {f"{name}_momentum": blobs[name] for name in names}
    extra |= {"lr": np.array([0.01], "f4"), "model_iter": 400000, "epoch": np.int64(7)}
    path = tmp_path / "a.pkl"
    path.write_bytes(python2_pickle.dump({"blobs": {**blobs, **extra}}))
    with path.open("rb") as file:
        again = pickle.load(file, encoding="latin1")["blobs"]
    assert all(np.array_equal(again[name], value) for name, value in blobs.items())
    loaded = load_checkpoint(path, options={"preset": graph})
    clip = torch.randn(2, 3, FRAMES[graph], 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = plain_network(blobs, graph, clip).flatten(2).mean(2)
        logits = loaded.model(clip)
        assert (loaded.model.double()(clip.double()) - wanted).abs().max() < 1e-9
    assert (logits - wanted).abs().max() < 1e-5 * wanted.abs().max().clamp(min=1)
    used = [key for key in loaded.report.loaded if "num_batches" not in key]
    assert len(used) >= len(blobs)
    skipped = " ".join(loaded.report.skipped)
    assert skipped.count("momentum of the training") == 3
    assert "lr (state of the training)" in skipped
    by_name = create_model(
        loaded.model.config["name"],
        pretrained=str(path),
        num_classes=logits.shape[1],
        preset=graph,
    ).eval()
    with torch.no_grad():
        assert torch.equal(by_name(clip), logits)


def test_the_graph_is_asked_for(tmp_path):
    batch_norm, affine = make_blobs(), make_blobs(affine=True)
    path = written(tmp_path / "a.pkl", batch_norm)
    with pytest.raises(CheckpointError, match=r"preset=official_8x8\|official_32x2\|pyslowfast"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="preset=official_8x8"):
        create_model("i3d_r50_nl5", pretrained=str(path), num_classes=5)
    with pytest.raises(CheckpointError, match=r"preset=official_32x4\|official_128x1"):
        load_checkpoint(written(tmp_path / "b.pkl", affine))
    renamed = tmp_path / "i3d_nonlocal_32x2_IN_pretrain_400k.pkl"
    path.rename(renamed)
    with pytest.warns(UserWarning, match="taken from the file name"):
        loaded = load_checkpoint(renamed)
    assert loaded.model.config["options"]["preset"] == "official_32x2"
    assert "which is that of official/i3d_nl_32x2" in str(loaded.report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = load_checkpoint(renamed, options={"preset": "official_8x8"})
    assert told.model.config["options"]["preset"] == "official_8x8"
    assert "CC BY-NC 4.0" in loaded.provenance["licence"]


def test_a_published_name_on_another_network_decides_nothing(tmp_path):
    path = tmp_path / "c2d_baseline_32x2_IN_pretrain_400k.pkl"
    with pytest.raises(CheckpointError, match="leaves open which graph"):
        load_checkpoint(written(path, make_blobs()))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("res4_2_branch2b_bn_riv", "missing: res4.2.norm_b.running_var"),
        ("nonlocal_conv3_1_bn_s", "missing: res3.1.non_local.norm.weight"),
        ("nonlocal_conv4_5_out_b", "missing: res4.5.non_local.out.bias"),
        ("pred_b", "missing: head.projection.bias"),
        ("conv1_w", "no reader knows"),
        ("res_conv1_bn_rm", "statistics are missing"),
    ],
)
def test_missing_blobs(tmp_path, lost, message):
    blobs = make_blobs()
    del blobs[lost]
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(written(tmp_path / "a.pkl", blobs), options={"preset": "official_8x8"})


def test_momentum_without_its_blob(tmp_path):
    blobs = make_blobs()
    blobs["nonlocal_conv3_1_g_w_momentum"] = blobs.pop("nonlocal_conv3_1_g_w")
    with pytest.raises(CheckpointError, match="only the momentum of nonlocal_conv3_1_g_w"):
        load_checkpoint(written(tmp_path / "a.pkl", blobs), options={"preset": "official_8x8"})


def test_affine_forgets_no_norm(tmp_path):
    blobs = make_blobs(affine=True)
    loaded = load_checkpoint(
        written(tmp_path / "a.pkl", blobs), options={"preset": "official_32x4"}
    )
    assert loaded.model.res3[1].non_local.norm is None
    with pytest.raises(CheckpointError, match="unexpected"):
        load_checkpoint(
            written(tmp_path / "b.pkl", make_blobs()), options={"preset": "official_32x4"}
        )


def test_infer_asks_for_the_graph_and_takes_it(tmp_path, capsys):
    path = written(tmp_path / "a.pkl", make_blobs(non_local=False))
    clip = write_video(tmp_path / "clip.mp4", 20)
    argv = [
        "predict",
        str(clip),
        "--checkpoint",
        str(path),
        "--views",
        "1x1",
        "--quiet",
        "--no-isolate",
    ]
    assert main(argv) == 2
    assert "--option NAME=VALUE" in capsys.readouterr().err
    assert main([*argv, "--option", "preset=official_8x8"]) == 0
    assert capsys.readouterr().out.startswith("class ")
    assert main([*argv, "--option", "preset=officiel"]) == 2
    assert "preset is 'officiel'" in capsys.readouterr().err
