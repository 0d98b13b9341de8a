"""Every reader, with small networks in the peer's keys; the peers themselves where installed.

The file is long because every publisher has a section, and all share how keys are written back.
"""

import re
import warnings

import pytest
import torch

from videonl.errors import CheckpointError
from videonl.models import create_model
from videonl.weights import LoadedModel, load_checkpoint, load_pretrained, save_checkpoint

CLIP = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1)).double()
SMALL = CLIP[..., :40, :40]
SLOW = pytest.mark.slow
NL = {"res3": (1, 3), "res4": (1, 3, 5)}
NORMS = ("weight", "bias", "running_mean", "running_var")


def randomise(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("running_var"):
            value.copy_(noise.abs() + 0.5)
        elif value.dim() > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(noise * 0.1 + (0.5 if "norm" in key and key.endswith("weight") else 0))
    return model.eval()


def network(name="i3d_r50_nl5", *, width=4, num_classes=5, **options):
    return randomise(create_model(name, num_classes=num_classes, width=width, **options))


def logits(model, clip=SMALL):
    with torch.no_grad():
        return model.double().eval()(clip)


def pyslowfast_key(key):
    for pattern, peer in (
        (r"stem\.conv\.(.*)", r"s1.pathway0_stem.conv.\1"),
        (r"stem\.norm\.(.*)", r"s1.pathway0_stem.bn.\1"),
        (r"res(\d)\.(\d+)\.shortcut\.conv\.(.*)", r"s\1.pathway0_res\2.branch1.\3"),
        (r"res(\d)\.(\d+)\.shortcut\.norm\.(.*)", r"s\1.pathway0_res\2.branch1_bn.\3"),
        (r"res(\d)\.(\d+)\.conv_(.)\.(.*)", r"s\1.pathway0_res\2.branch2.\3.\4"),
        (r"res(\d)\.(\d+)\.norm_(.)\.(.*)", r"s\1.pathway0_res\2.branch2.\3_bn.\4"),
        (r"res(\d)\.(\d+)\.non_local\.norm\.(.*)", r"s\1.pathway0_nonlocal\2.bn.\3"),
        (r"res(\d)\.(\d+)\.non_local\.(.*)", r"s\1.pathway0_nonlocal\2.conv_\3"),
        (r"head\.projection\.(.*)", r"head.projection.\1"),
    ):
        if re.fullmatch(pattern, key):
            return re.sub(pattern, peer, key)
    raise AssertionError(key)


def mmaction2_key(key, *, pooled=True):
    key = re.sub(r"^stem\.", "backbone.conv1.", key)
    key = re.sub(r"^backbone\.conv1\.norm", "backbone.conv1.bn", key)
    key = re.sub(r"^res(\d)\.", lambda m: f"backbone.layer{int(m[1]) - 1}.", key)
    key = key.replace("shortcut.norm", "downsample.bn").replace("shortcut", "downsample")
    for number, letter in enumerate("abc", start=1):
        key = key.replace(f".conv_{letter}.", f".conv{number}.conv.")
        key = key.replace(f".norm_{letter}.", f".conv{number}.bn.")
    key = re.sub(r"non_local\.(g|phi)\.", rf"non_local.\1{'.0' if pooled else ''}.conv.", key)
    key = key.replace("non_local.theta.", "non_local.theta.conv.")
    key = key.replace("non_local.out.", "non_local.conv_out.conv.")
    key = key.replace("non_local.norm.", "non_local.conv_out.bn.")
    key = key.replace("non_local.affinity.", "non_local.concat_project.conv.")
    key = key.replace(".non_local.", ".non_local_block.")
    return key.replace("head.projection", "cls_head.fc_cls")


def gluoncv_state(model):
    state = {}
    for key, value in model.state_dict().items():
        key = key.replace("stem.conv", "first_stage.0").replace("stem.norm", "first_stage.1")
        key = re.sub(r"^res(\d)\.", lambda m: f"res_layers.{int(m[1]) - 2}.", key)
        key = key.replace("shortcut.conv", "downsample.0").replace("shortcut.norm", "downsample.1")
        for number, letter in enumerate("abc", start=1):
            key = key.replace(f".conv_{letter}.", f".conv{number}.")
            key = key.replace(f".norm_{letter}.", f".bn{number}.")
        key = key.replace("non_local.out", "nonlocal_block.W")
        key = key.replace("non_local.norm", "nonlocal_block.bn")
        key = key.replace("non_local", "nonlocal_block").replace("head.projection", "fc")
        state[key] = value
        for tied, copy in (
            ("fc.", "head.1."),
            ("block.W.", "block.W_bn.0."),
            ("block.bn.", "block.W_bn.1."),
        ):
            if tied in key:
                state[key.replace(tied, copy)] = value
    return state


def saved(path, content):
    torch.save(content, path)
    return str(path)


def test_pytorchvideo_itself(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorchvideo.models.resnet import create_resnet

        peer = randomise(
            create_resnet(
                model_num_class=5,
                stem_dim_out=4,
                stem_conv_kernel_size=(5, 7, 7),
                stage1_pool=torch.nn.MaxPool3d,
                stage_conv_a_kernel_size=(
                    (3, 1, 1),
                    [(3, 1, 1), (1, 1, 1)],
                    [(3, 1, 1), (1, 1, 1)],
                    [(1, 1, 1), (3, 1, 1)],
                ),
                stage_spatial_h_stride=(1, 2, 2, 2),
                stage_spatial_w_stride=(1, 2, 2, 2),
                head_pool_kernel_size=(4, 2, 2),
            )
        )
    path = saved(tmp_path / "a.pyth", {"model_state": peer.state_dict()})
    loaded = load_checkpoint(path, options={"head_window": (2, 2)})
    big = torch.randn(1, 3, 8, 96, 96, generator=torch.Generator().manual_seed(2)).double()
    for clip in (CLIP, big):
        assert (logits(loaded.model, clip) - logits(peer, clip)).abs().max() < 1e-9
    assert loaded.model.config["name"] == "i3d_r50"
    wrapped = {f"model.{key}": value for key, value in peer.state_dict().items()}
    path = saved(tmp_path / "b.pyth", {"model_state": wrapped})
    averaged = load_checkpoint(path, options={"head_window": (2, 2)})
    assert averaged.model.config["options"]["head_average"] == "probabilities"
    assert (logits(averaged.model, CLIP) - logits(peer, CLIP)).abs().max() < 1e-9


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("r3d_18", marks=SLOW),
        "mc3_18",
        pytest.param("r2plus1d_18", marks=SLOW),
        pytest.param("s3d", marks=SLOW),
    ],
)
def test_torchvision_video_itself(tmp_path, name):
    import torchvision.models.video as peers

    peer = getattr(peers, name)(num_classes=5).eval()
    path = saved(tmp_path / "a.pth", peer.state_dict())
    loaded = load_checkpoint(path)
    assert loaded.model.config["name"] == name
    clip = torch.randn(1, 3, 16, 32, 32) if name != "s3d" else torch.randn(1, 3, 16, 224, 224)
    with torch.no_grad():
        assert (loaded.model(clip) - peer(clip)).abs().max() < 1e-5
    fine = load_checkpoint(path, num_classes=3)
    assert len(fine.report.new) == 2


def narrow_resnet50():
    """torchvision's network with a sixteenth of its channels."""
    from torchvision.models.resnet import Bottleneck, ResNet

    class Narrow(ResNet):
        def _make_layer(self, block, planes, *args, **options):
            if planes == 64:
                self.conv1 = torch.nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False)
                self.bn1, self.inplanes = torch.nn.BatchNorm2d(4), 4
            return super()._make_layer(block, planes // 16, *args, **options)

    peer = Narrow(Bottleneck, [3, 4, 6, 3])
    peer.fc = torch.nn.Linear(128, 1000)
    return peer.eval()


def test_torchvision_images_inflate(tmp_path):
    peer = narrow_resnet50()
    path = saved(tmp_path / "resnet50.pth", peer.state_dict())
    c2d = create_model("c2d_r50", pretrained=path, num_classes=1000)
    assert c2d.preprocessing["mean"] == [0.485, 0.456, 0.406]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        still = c2d.eval()(images[:, :, None].expand(-1, -1, 4, -1, -1))
        assert (still - peer(images)).abs().max() < 1e-4
    i3d = create_model("i3d_r50_nl5", pretrained=path, num_classes=7)
    weight = peer.layer1[0].conv1.weight / 3
    assert torch.equal(i3d.res2[0].conv_a.weight, weight[:, :, None].repeat(1, 1, 3, 1, 1))
    report = i3d.load_report
    assert "fc" not in " ".join(report.loaded)
    assert {key.split(".non_local")[0] for key in report.new if "non_local" in key} == {
        f"{stage}.{block}" for stage, blocks in NL.items() for block in blocks
    }


@pytest.mark.parametrize(
    ("name", "options", "prefix"),
    [
        ("i3d_r50_nl5", {}, "module."),
        ("c2d_r50_nl10", {}, ""),
        ("slowonly_r50", {}, ""),
        ("i3d_r50", {"non_local": {"res2": (0,), "res5": (1, 2)}}, ""),
        pytest.param("i3d_r101_nl5", {}, "", marks=SLOW),
        pytest.param("i3d_r50_nl5", {"non_local_options": {"inner_channels": 3}}, "", marks=SLOW),
        pytest.param("c2d_r50_nl10", {}, "module.", marks=SLOW),
        pytest.param("i3d_r101_nl5", {}, "module.", marks=SLOW),
    ],
)
def test_pyslowfast(tmp_path, name, options, prefix):
    model = network(name, preset="pyslowfast", **options)
    state = {prefix + pyslowfast_key(key): value for key, value in model.state_dict().items()}
    path = saved(tmp_path / "a.pyth", {"epoch": 3, "model_state": state, "optimizer_state": {}})
    loaded = load_checkpoint(path)
    assert loaded.model.config["name"] == name
    assert torch.equal(logits(loaded.model), logits(model))


def test_pyslowfast_settings(tmp_path):
    model = network(
        "i3d_r50_nl5",
        preset="pyslowfast",
        non_local_options={"affinity": "dot_product", "subsample": False},
        non_local_groups={"res3": 2},
        pool2_kernel=(1, 1, 1),
        head_window=(2, 2),
    )
    state = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    settings = """
MODEL: {ARCH: slow_i3d, HEAD_ACT: softmax}
DATA: {NUM_FRAMES: 16, SAMPLING_RATE: 4, TRAIN_CROP_SIZE: 64, MEAN: [0.45, 0.45, 0.45]}
NONLOCAL:
  INSTANTIATION: dot_product
  GROUP: [[1], [2], [1], [1]]
  POOL: [[[1, 1, 1]], [[1, 1, 1]], [[1, 1, 1]], [[1, 1, 1]]]
"""
    path = saved(tmp_path / "a.pyth", {"model_state": state, "cfg": settings})
    loaded = load_checkpoint(path)
    big = torch.randn(1, 3, 8, 96, 96, generator=torch.Generator().manual_seed(2)).double()
    assert torch.equal(logits(loaded.model, big), logits(model, big))
    assert (loaded.preprocessing["frames"], loaded.preprocessing["stride"]) == (16, 4)


def test_what_settings_alone_tell_of_a_graph(tmp_path):
    """Strides, pools and the kind of answer: the weights have the same shapes with any."""
    cells = {"head_average": "sigmoids", "head_window": (1, 1)}
    model = network("i3d_r50", preset="pyslowfast", strides=(1, 2, 2, 1), **cells)
    tensors = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    told = "MODEL: {ARCH: i3d, HEAD_ACT: sigmoid}\n"
    told += "DATA: {ENSEMBLE_METHOD: sum, TRAIN_CROP_SIZE: 32}\n"
    told += "RESNET: {SPATIAL_STRIDES: [[1], [2], [2], [1]]%s}"
    path = saved(tmp_path / "a.pyth", {"model_state": tensors, "cfg": told % ""})
    loaded = load_checkpoint(path)
    assert torch.equal(logits(loaded.model, CLIP), logits(model, CLIP))
    assert (loaded.multi_label, loaded.preprocessing["average"]) == (True, "mean")
    for entry in ("STRIDE_1X1: true", "SPATIAL_DILATIONS: [[1], [1], [1], [2]]"):
        path = saved(tmp_path / "b.pyth", {"model_state": tensors, "cfg": told % f", {entry}"})
        with pytest.raises(CheckpointError, match=f"{entry.partition(':')[0]}=.*; supported is"):
            load_checkpoint(path)
    given = {"stem_stride": (1, 2, 2), "pool1_stride": (1, 2, 2), "pool2_kernel": (1, 1, 1)}
    model = network("i3d_r50", preset="mmaction2", strides=(1, 2, 2, 1), **given)
    tensors = {mmaction2_key(key): value for key, value in model.state_dict().items()}
    told = """
model = dict(
    backbone=dict(
        conv1_stride_t=1, pool1_stride_t=1, with_pool2=False, spatial_strides=(1, 2, 2, 1), %s),
    cls_head=dict(multi_class=True, average_clips='score'))
"""
    path = saved(tmp_path / "a.pth", {"state_dict": tensors, "meta": {"cfg": told % ""}})
    loaded = load_checkpoint(path)
    assert torch.equal(logits(loaded.model, CLIP), logits(model, CLIP))
    assert (loaded.multi_label, loaded.preprocessing["average"]) == (True, "logits")
    for entry in ("style='caffe'", "temporal_strides=(1, 2, 1, 1)", "dilations=(1, 1, 1, 2)"):
        about = {"state_dict": tensors, "meta": {"cfg": told % entry}}
        with pytest.raises(CheckpointError, match="; supported is"):
            load_checkpoint(saved(tmp_path / "b.pth", about))


@pytest.mark.parametrize(
    ("affinity", "options"),
    [
        ("embedded_gaussian", {}),
        ("dot_product", {}),
        ("gaussian", {}),
        ("concatenation", {}),
        ("embedded_gaussian", {"subsample": False}),
        pytest.param("embedded_gaussian", {"norm": None, "out_bias": True}, marks=SLOW),
    ],
)
def test_mmaction2(tmp_path, affinity, options):
    form = {"affinity": affinity, **options}
    model = network(preset="mmaction2", non_local_options=form)
    state = {}
    for key, value in model.state_dict().items():
        if key.endswith("affinity.weight"):
            value = value.reshape(1, -1, 1, 1)
        state[mmaction2_key(key, pooled=options.get("subsample", True))] = value
    path = saved(tmp_path / "a.pth", {"meta": {"epoch": 100}, "state_dict": state})
    clip = torch.randn(1, 3, 16, 48, 48, generator=torch.Generator().manual_seed(3)).double()
    if affinity in ("embedded_gaussian", "dot_product"):
        with pytest.raises(CheckpointError, match="dot product or an embedded Gaussian"):
            load_checkpoint(path)
        chosen = load_checkpoint(path, options={"non_local_options": {"affinity": affinity}})
        assert torch.equal(logits(chosen.model, clip), logits(model, clip))
        about = {"cfg": f"non_local_cfg=dict(mode='{affinity}', use_scale=False)"}
        path = saved(tmp_path / "b.pth", {"meta": about, "state_dict": state})
    loaded = load_checkpoint(path)
    assert torch.equal(logits(loaded.model, clip), logits(model, clip))


def test_mmaction2_slowonly_scales_and_c2d_is_flat(tmp_path):
    form = {"affinity": "embedded_gaussian"}
    slow = network("slowonly_r50_nl5", preset="mmaction2_slowonly")
    state = {mmaction2_key(key): value for key, value in slow.state_dict().items()}
    path = saved(tmp_path / "a.pth", {"state_dict": state})
    loaded = load_checkpoint(path, options={"non_local_options": form})
    assert torch.equal(logits(loaded.model), logits(slow))
    assert loaded.model.config["name"] == "slowonly_r50_nl5"
    c2d = network("c2d_r50", preset="mmaction2_c2d")
    state = {
        mmaction2_key(key): value.squeeze(2) if value.dim() == 5 else value
        for key, value in c2d.state_dict().items()
    }
    path = saved(tmp_path / "b.pth", {"state_dict": state})
    loaded = load_checkpoint(path)
    assert torch.equal(logits(loaded.model), logits(c2d))
    assert "nopool" in str(loaded.report)
    for meta in ({"name": "c2d-nopool"}, {"cfg": "model = dict(backbone=dict(type='ResNet'))"}):
        path = saved(tmp_path / "c.pth", {"state_dict": state, "meta": meta})
        assert load_checkpoint(path).model.config["options"]["pool2_kernel"] == [1, 1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "i3d_r50_nl10",
        pytest.param("i3d_r50", marks=SLOW),
        pytest.param("i3d_r101_nl5", marks=SLOW),
        pytest.param("i3d_r101_nl10", marks=SLOW),
    ],
)
def test_gluoncv(tmp_path, name):
    model = network(name, preset="gluoncv")
    state = gluoncv_state(model)
    loaded = load_checkpoint(saved(tmp_path / "a.pth", state))
    assert loaded.model.config["name"] == name
    assert torch.equal(logits(loaded.model), logits(model))
    assert sum("tied copy" in text for text in loaded.report.skipped) == len(state) - len(
        model.state_dict()
    )
    state["head.1.bias"] = state["head.1.bias"] + 1
    with pytest.raises(CheckpointError, match=r"tied copies .* differ: head\.1\.bias and fc\.bias"):
        load_checkpoint(saved(tmp_path / "b.pth", state))


def test_fresh_non_local_blocks_start_from_the_plain_logits(tmp_path):
    plain = network("i3d_r50", preset="pyslowfast")
    state = {pyslowfast_key(key): value for key, value in plain.state_dict().items()}
    path = saved(tmp_path / "a.pyth", {"model_state": state})
    grown = create_model("i3d_r50_nl5", pretrained=path, num_classes=5)
    assert torch.equal(logits(grown), logits(plain))
    assert len([key for key in grown.load_report.new if key.endswith("theta.weight")]) == 5
    assert grown.config["options"]["preset"] == "pyslowfast"
    again = create_model(grown.config["name"], num_classes=5, **grown.config["options"])
    again.load_state_dict(grown.state_dict())
    assert torch.equal(logits(again), logits(plain))


@pytest.mark.parametrize(
    "name",
    ["c2d_r50_nl5", *(pytest.param(f"i3d_r{x}", marks=SLOW) for x in ("50", "101_nl5", "50_nl10"))],
)
def test_the_name_must_fit_the_file(tmp_path, name):
    model = network("i3d_r50_nl5", preset="pyslowfast")
    state = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    path = saved(tmp_path / "a.pyth", {"model_state": state})
    with pytest.raises(CheckpointError, match="the file contains i3d_r50_nl5"):
        load_pretrained(name, path)


def test_without_settings_c2d_and_slow_c2d_are_told_by_an_option(tmp_path):
    slow = network("c2d_r50", preset="pyslowfast", pool2_kernel=(1, 1, 1))
    state = {pyslowfast_key(key): value for key, value in slow.state_dict().items()}
    path = saved(tmp_path / "a.pyth", {"model_state": state})
    pooled = load_checkpoint(path)
    note = "for one without (slow_c2d), give pool2_kernel=(1, 1, 1)"
    assert note in str(pooled.report)
    assert not torch.equal(logits(pooled.model), logits(slow))
    loaded = load_checkpoint(path, options={"pool2_kernel": (1, 1, 1)})
    assert torch.equal(logits(loaded.model), logits(slow))
    assert "slow_c2d" not in str(loaded.report)
    path = saved(tmp_path / "b.pyth", {"model_state": state, "cfg": "MODEL: {ARCH: slow_c2d}"})
    assert torch.equal(logits(load_checkpoint(path).model), logits(slow))


def test_only_num_classes_replaces_the_head(tmp_path):
    model = network("c2d_r50", preset="pyslowfast")
    state = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    path = saved(tmp_path / "a.pyth", {"model_state": state})
    assert load_pretrained("c2d_r50", path).config["num_classes"] == 5
    fine = load_pretrained("c2d_r50", path, num_classes=3)
    assert fine.load_report.new == ["head.projection.weight", "head.projection.bias"]
    assert "classifier of 5 classes" in str(fine.load_report)


@pytest.mark.parametrize(
    "lost",
    [
        "s3.pathway0_nonlocal1.bn.running_var",
        "s4.pathway0_res0.branch1.weight",
        pytest.param("s1.pathway0_stem.bn.bias", marks=SLOW),
        pytest.param("head.projection.bias", marks=SLOW),
    ],
)
def test_nothing_may_be_missing(tmp_path, lost):
    model = network("i3d_r50_nl5", preset="pyslowfast")
    state = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    del state[lost]
    with pytest.raises(CheckpointError, match="missing: "):
        load_checkpoint(saved(tmp_path / "a.pyth", {"model_state": state}))


def test_nothing_may_be_left_over(tmp_path):
    model = network("c2d_r50", preset="pyslowfast")
    state = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    state["s3.pathway0_res1.extra.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"does not know: s3.pathway0_res1.extra.weight"):
        load_checkpoint(saved(tmp_path / "a.pyth", {"model_state": state}))


@pytest.mark.slow
def test_another_3d_resnet_with_torchvisions_keys(tmp_path):
    state = {"conv1.weight": torch.ones(4, 3, 7, 7, 7), "layer1.0.conv1.weight": torch.ones(4, 4)}
    with pytest.raises(CheckpointError, match=r"no reader knows these keys: conv1\.weight"):
        load_checkpoint(saved(tmp_path / "a.pth", {"state_dict": state}))


def test_the_peers_own_slow_network(tmp_path):
    peer = create_model("slow_r50", num_classes=4)
    path = saved(tmp_path / "SLOW_8x8_R50.pyth", {"model_state": peer.state_dict()})
    again = create_model("slow_r50", pretrained=path)
    ours = load_checkpoint(path)
    assert ours.model.config["name"] == "slowonly_r50"
    clip = torch.randn(1, 3, 4, 64, 64)
    with torch.no_grad():
        wanted = peer.eval()(clip)
        assert torch.equal(again.eval()(clip), wanted)
        assert (ours.model(clip) - wanted).abs().max() < 1e-5
    assert len(create_model("slow_r50", pretrained=path, num_classes=3).load_report.new) == 2


def test_integers_are_no_weights(tmp_path):
    model = network("c2d_r50", preset="pyslowfast")
    state = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    state["head.projection.bias"] = torch.ones(5, dtype=torch.int64)
    with pytest.raises(CheckpointError, match=r"not floating point: head\.projection\.bias"):
        load_checkpoint(saved(tmp_path / "a.pyth", {"model_state": state}))


def test_a_start_from_our_own_checkpoint(tmp_path):
    plain = network("i3d_r50", preset="official_8x8", num_classes=5)
    save_checkpoint(LoadedModel(plain, None, plain.preprocessing), tmp_path / "a.safetensors")
    grown = create_model("i3d_r50_nl1", pretrained=str(tmp_path / "a.safetensors"))
    assert torch.equal(logits(grown), logits(plain))
    assert grown.config["num_classes"] == 5


def test_heavy_i3d(tmp_path):
    places = dict.fromkeys(("res2", "res3", "res4", "res5"), "3x1x1")
    strides = {"stem_stride": (1, 2, 2), "pool1_stride": (1, 2, 2), "stem_kernel": (5, 7, 7)}
    model = network("i3d_r50", preset="mmaction2", inflation=places, **strides)
    state = {mmaction2_key(key): value for key, value in model.state_dict().items()}
    path = saved(tmp_path / "a.pth", {"state_dict": state})
    assert torch.equal(logits(load_checkpoint(path).model), logits(model))
    with pytest.raises(CheckpointError, match=r"the file contains i3d_r50 .*inflation"):
        create_model("i3d_r50", pretrained=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slow_r50", "r2plus1d_r50", "x3d_m"])
def test_hub_networks_at_published_test_size(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorchvideo.models.hub as hub

        peer = randomise(getattr(hub, name)(pretrained=False, model_num_class=4))
    path = saved(tmp_path / "a.pyth", {"model_state": peer.state_dict()})
    model = create_model(name, pretrained=path).eval()
    assert ("X3D-XS, -S and -M" in str(model.load_report)) == (name == "x3d_m")
    clip = torch.randn(1, 3, 16 if name != "slow_r50" else 8, 256, 256)
    with torch.no_grad():
        wanted = peer(clip)
        # Some hub networks end in a softmax of every cell; ours give logits.
        model.blocks[-1].activation = peer.blocks[-1].activation
        found = model(clip)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max().clamp(min=1)


def test_settings_that_cannot_be_read_are_told(tmp_path):
    model = network("i3d_r50", preset="pyslowfast")
    tensors = {pyslowfast_key(key): value for key, value in model.state_dict().items()}
    path = saved(tmp_path / "a.pyth", {"model_state": tensors, "cfg": "MODEL: {ARCH: [i3d"})
    told = "the file's cfg cannot be read, so that it counts as published: cfg is not YAML, line 1"
    notes = load_checkpoint(path).report.notes
    assert any(note.startswith(told) for note in notes)
    assert not any(note.startswith("no settings") for note in notes)
    model = network("i3d_r50", preset="mmaction2", stem_stride=(1, 2, 2), pool1_stride=(1, 2, 2))
    tensors = {mmaction2_key(key): value for key, value in model.state_dict().items()}
    path = saved(tmp_path / "a.pth", {"state_dict": tensors, "meta": {"cfg": "model = dict("}})
    told = "the file's cfg cannot be read, so that it counts as published: it is no Python"
    assert any(note.startswith(told) for note in load_checkpoint(path).report.notes)
