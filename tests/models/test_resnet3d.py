"""What the options of the family do to its graph."""

import math

import pytest
import torch
from torch import nn

from videonl.layers import NonLocalBlock, remove_non_local
from videonl.models import Affine3d, FrozenBatchNorm3d, ResNet3D, create_model

TINY = {"layers": (1, 1), "width": 4, "dropout": 0.0}


def meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def places(model):
    return [name for name, module in model.named_modules() if isinstance(module, NonLocalBlock)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("c2d_r50", {}),
        ("c2d_r50_nl1", {"res4": [4]}),
        ("i3d_r50_nl5", {"res3": [1, 3], "res4": [1, 3, 5]}),
        ("i3d_r50_nl10", {"res3": range(4), "res4": range(6)}),
        ("i3d_r101_nl1", {"res4": [21]}),
        ("i3d_r101_nl5", {"res3": [1, 3], "res4": [6, 13, 20]}),
        ("i3d_r101_nl10", {"res3": range(4), "res4": [2, 6, 10, 14, 18, 22]}),
        ("slowonly_r50_nl5", {"res3": [0, 2], "res4": [0, 2, 4]}),
    ],
)
def test_where_the_blocks_sit(name, expected):
    wanted = [
        f"{stage}.{block}.non_local" for stage, blocks in expected.items() for block in blocks
    ]
    assert places(meta(name)) == wanted


def test_an_option_wins_over_the_name():
    assert places(meta("c2d_r50_nl5", non_local={"res2": [1]})) == ["res2.1.non_local"]
    assert places(meta("c2d_r50", non_local={"res5": 1})) == ["res5.1.non_local"]


def test_state_dict_keys():
    keys = set(meta("i3d_r50_nl5").state_dict())
    for key in (
        "stem.conv.weight",
        "stem.norm.running_var",
        "res2.0.conv_a.weight",
        "res5.2.norm_c.bias",
        "res3.0.shortcut.conv.weight",
        "res3.0.shortcut.norm.weight",
        "res3.1.non_local.theta.weight",
        "res4.5.non_local.out.bias",
        "res4.5.non_local.norm.weight",
        "head.projection.weight",
        "head.projection.bias",
    ):
        assert key in keys
    with_blocks = {key for key in keys if "non_local" not in key}
    assert with_blocks == set(meta("i3d_r50").state_dict())


@pytest.mark.parametrize(
    ("inflation", "conv_a", "conv_b", "stem"),
    [
        ("none", "111 1111 111111 111", "111 1111 111111 111", 1),
        ("3x1x1", "333 3131 313131 131", "111 1111 111111 111", 5),
        ("3x3x3", "111 1111 111111 111", "333 3131 313131 131", 5),
        ({"res4": "3x1x1", "res5": ("none", "3x1x1", "none")}, "111 1111 333333 131", None, 1),
    ],
)
def test_where_time_is_convolved(inflation, conv_a, conv_b, stem):
    model = meta("c2d_r50", inflation=inflation)
    stages = [model.get_submodule(stage) for stage in model.stages]

    def extents(which):
        rows = [[str(getattr(block, which).kernel_size[0]) for block in s] for s in stages]
        return " ".join("".join(row) for row in rows)

    assert extents("conv_a") == conv_a
    assert conv_b is None or extents("conv_b") == conv_b
    assert model.stem.conv.kernel_size == (stem, 7, 7)


@pytest.mark.parametrize(
    ("preset", "clip", "after_res5"),
    [  # pool1 without padding: 224 -> 112 -> 55 -> 28 -> 14 -> 7 (CHECKPOINTS, section 0)
        ("pytorchvideo", (8, 224, 224), (4, 7, 7)),
        ("official_8x8", (8, 224, 224), (4, 7, 7)),
        ("official_32x2", (32, 224, 224), (4, 7, 7)),
        ("official_32x4", (32, 224, 224), (16, 7, 7)),
        ("official_128x1", (128, 224, 224), (16, 7, 7)),
        ("mmaction2", (32, 256, 256), (4, 8, 8)),
        ("gluoncv", (32, 224, 224), (4, 7, 7)),
    ],
)
def test_strides_of_the_presets(preset, clip, after_res5):
    model = meta("i3d_r50_nl5", preset=preset).eval()
    features = model.forward_features(torch.empty(1, 3, *clip, device="meta"))
    assert tuple(features.shape[2:]) == after_res5
    frames = model.preprocessing["frames"]
    assert frames == clip[0]


def test_pool1_padding_decides_the_size_after_the_stem():
    clip = torch.empty(1, 3, 8, 224, 224, device="meta")
    assert meta("c2d_r50").stem(clip).shape[-1] == 56
    assert meta("c2d_r50", preset="official_8x8").stem(clip).shape[-1] == 55


def test_affine_presets_group_res3_and_have_no_norm_in_the_blocks():
    model = meta("i3d_r50_nl5", preset="official_32x4")
    blocks = {name: model.get_submodule(name) for name in places(model)}
    assert {name: block.temporal_groups for name, block in blocks.items()} == {
        "res3.1.non_local": 4,
        "res3.3.non_local": 4,
        "res4.1.non_local": 1,
        "res4.3.non_local": 1,
        "res4.5.non_local": 1,
    }
    assert all(block.norm is None for block in blocks.values())
    assert isinstance(model.stem.norm, Affine3d)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in model.modules())


def test_norms_of_the_blocks_may_be_frozen_by_name():
    options = {"norm": "frozen", "non_local_options": {"norm": "frozen"}}
    model = meta("tiny_i3d_nl1", **options)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    assert all(isinstance(norm, FrozenBatchNorm3d) for norm in norms)
    assert isinstance(model.res4[0].non_local.norm, FrozenBatchNorm3d)


def test_frozen_norm_survives_training_mode():
    torch.manual_seed(0)
    model = ResNet3D(3, norm="frozen", **TINY).train()
    before = {key: value.clone() for key, value in model.state_dict().items() if "norm" in key}
    model(torch.randn(2, 3, 2, 32, 32)).sum().backward()
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(p.grad is None for name, p in model.named_parameters() if "norm" in name)
    assert all(p.grad is not None for name, p in model.named_parameters() if "norm" not in name)
    assert not model.stem.norm.training
    assert model.training


def test_affine_equals_batch_norm_with_folded_statistics():
    torch.manual_seed(0)
    norm = nn.BatchNorm3d(5).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.5, 2)
    affine = Affine3d(5)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    affine.weight.data = scale
    affine.bias.data = norm.bias - norm.running_mean * scale
    x = torch.randn(2, 5, 3, 4, 4)
    torch.testing.assert_close(affine(x), norm(x))


def test_zero_initialised_blocks_change_nothing():
    torch.manual_seed(0)
    model = create_model("tiny_i3d_nl2", num_classes=4).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with_blocks = model(clip)
    assert places(model)
    remove_non_local(model)
    assert not places(model)
    assert torch.equal(model(clip), with_blocks)


def test_head_with_one_cell_gives_the_same_logits_everywhere():
    torch.manual_seed(0)
    features = torch.randn(2, 32, 3, 2, 2)
    results = []
    for options in (
        {"head_pool": "global"},
        {"head_pool": "sliding", "head_average": "logits"},
        {"head_pool": "sliding", "head_average": "probabilities"},
        {"head_pool": "sliding", "head_average": "sigmoids"},
    ):
        model = ResNet3D(5, **TINY, **options)
        nn.init.constant_(model.head.projection.bias, 0.3)
        model.head.projection.weight.data = torch.linspace(-1, 1, 160).reshape(5, 32)
        results.append(model.forward_head(features))
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])
    torch.testing.assert_close(results[0], results[3])


def test_sliding_head_averages_probabilities_over_cells():
    torch.manual_seed(0)
    model = ResNet3D(5, **TINY, head_window=(2, 2), head_average="probabilities").eval()
    nn.init.normal_(model.head.projection.weight)
    clip = torch.randn(2, 3, 4, 48, 48)
    cells = model.forward_cells(clip)
    assert cells.shape == (2, 5, 1, 5, 5)
    published = cells.softmax(1).mean((2, 3, 4))
    torch.testing.assert_close(model(clip).softmax(1), published)

    model.head.average = "logits"
    torch.testing.assert_close(model(clip), cells.mean((2, 3, 4)))

    model.head.average = "sigmoids"
    torch.testing.assert_close(model(clip).sigmoid(), cells.sigmoid().mean((2, 3, 4)))
    nn.init.constant_(model.head.projection.bias, 200.0)  # all of them are 1: still finite
    assert model(clip).isfinite().all()


def test_start_of_training():
    torch.manual_seed(0)
    model = ResNet3D(400, **TINY)
    assert all(block.norm_c.weight.count_nonzero() == 0 for block in [*model.res2, *model.res3])
    assert model.head.projection.weight.std().item() == pytest.approx(0.01, rel=0.1)
    fan_out = 4 * 9  # res2.0.conv_b: 4 channels out, kernel 1x3x3
    wanted = math.sqrt(2 / fan_out)
    assert model.res2[0].conv_b.weight.std().item() == pytest.approx(wanted, rel=0.25)
    for options in ({"zero_init_residual": False}, {"norm": "frozen"}):
        other = ResNet3D(400, **TINY, **options)
        assert other.res2[0].norm_c.weight.count_nonzero() == 16


@pytest.fixture
def two_threads():
    """With one thread and a small batch torch leaves oneDNN, and with it channels-last."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_channels_last_gives_the_same_numbers_and_is_kept(two_threads):
    torch.manual_seed(0)
    model = create_model("tiny_i3d_333_nl1", num_classes=4, non_local_options={"zero_init": False})
    model.eval()
    clip = torch.randn(2, 3, 4, 32, 32)
    plain = model(clip)
    model.to(memory_format=torch.channels_last_3d)
    clip = clip.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(model(clip), plain, rtol=1e-4, atol=1e-5)
    features = model.forward_features(clip)
    assert features.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("attend", ["space", "time", "spacetime"])
@pytest.mark.parametrize(
    "affinity", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
)
def test_every_affinity_and_extent_of_table_2(affinity, attend):
    torch.manual_seed(0)
    options = {"affinity": affinity, "attend": attend}
    model = create_model("tiny_c2d_nl1", num_classes=3, non_local_options=options)
    model(torch.randn(1, 3, 4, 32, 32)).sum().backward()
    again = create_model(model.config["name"], num_classes=3, **model.config["options"])
    again.load_state_dict(model.state_dict())


@pytest.mark.parametrize("stage", ["res2", "res3", "res4", "res5"])
def test_a_block_in_any_stage(stage):
    model = meta("c2d_r50", non_local={stage: (1,)}).eval()
    assert places(model) == [f"{stage}.1.non_local"]
    assert model(torch.empty(1, 3, 8, 64, 64, device="meta")).shape == (1, 400)
