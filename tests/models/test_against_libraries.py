"""The same weights, the same logits: our graphs against those of PyTorchVideo and torchvision."""

import re
import warnings

import pytest
import torch

from videonl.models import create_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    hub = pytest.importorskip("pytorchvideo.models.hub")
    from pytorchvideo.models.resnet import create_resnet

EVERY_SECOND = ((3, 1, 1), [(3, 1, 1), (1, 1, 1)], [(3, 1, 1), (1, 1, 1)], [(1, 1, 1), (3, 1, 1)])
FLAT = ((1, 1, 1),) * 4


def our_key(key, first_stages):
    """PyTorchVideo's state-dict key in our words; ``first_stages`` maps its blocks to stages."""
    _, block, rest = key.split(".", 2)
    if int(block) == 0:
        return f"stem.{rest}"
    if int(block) not in first_stages:
        return rest.replace("proj.", "head.projection.")
    rest = re.sub(r"res_blocks\.(\d+)\.branch2\.", r"\1.", rest)
    rest = re.sub(r"res_blocks\.(\d+)\.branch1_(conv|norm)", r"\1.shortcut.\2", rest)
    return f"{first_stages[int(block)]}.{rest}"


@pytest.mark.parametrize(
    ("name", "kernels", "stem", "pool2"),
    [
        ("i3d_r50", EVERY_SECOND, 5, True),
        ("c2d_r50", FLAT, 1, True),
        ("slowonly_r50", ((1, 1, 1), (1, 1, 1), (3, 1, 1), (3, 1, 1)), 1, False),
    ],
)
@pytest.mark.parametrize("side", [224, 288])
def test_pytorchvideo_resnets(name, kernels, stem, pool2, side):
    torch.manual_seed(0)
    peer = create_resnet(
        model_depth=50,
        model_num_class=5,
        stem_dim_out=4,
        stem_conv_kernel_size=(stem, 7, 7),
        stage1_pool=torch.nn.MaxPool3d if pool2 else None,
        stage_conv_a_kernel_size=kernels,
        head_pool_kernel_size=(2 if pool2 else 4, 7, 7),
    ).eval()
    stages = (1, 3, 4, 5) if pool2 else (1, 2, 3, 4)
    words = dict(zip(stages, ("res2", "res3", "res4", "res5"), strict=True))
    state = {our_key(key, words): randomised(value) for key, value in peer.state_dict().items()}
    peer.load_state_dict(dict(zip(peer.state_dict(), state.values(), strict=True)))
    ours = create_model(name, num_classes=5, width=4).eval()
    ours.load_state_dict(state)
    clip = torch.randn(1, 3, 4, side, side)
    torch.testing.assert_close(ours(clip), peer(clip), rtol=1e-4, atol=1e-5)


def randomised(value):
    """Numbers that make every tensor matter: positive for scales and variances."""
    if not value.is_floating_point():
        return value
    return torch.rand_like(value) + 0.5 if value.dim() == 1 else value


@pytest.mark.parametrize(
    ("name", "features"),
    [
        pytest.param("slow_r50", (2048, 8, 7, 7), marks=pytest.mark.slow),
        pytest.param("r2plus1d_r50", (2048, 4, 7, 7), marks=pytest.mark.slow),
        pytest.param("csn_r101", (2048, 4, 7, 7), marks=pytest.mark.slow),
        ("x3d_m", (192, 16, 7, 7)),
    ],
)
def test_heads_of_pytorchvideo_at_the_size_they_were_made_for(name, features):
    torch.manual_seed(0)
    ours = create_model(name, num_classes=6).eval()
    peer = getattr(hub, name)(model_num_class=6).eval()
    peer.load_state_dict(ours.state_dict())
    head = peer.blocks[-1]
    head.activation = None  # ours returns logits
    x = torch.randn(2, *features)
    torch.testing.assert_close(ours.forward_head(x), head(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param("r3d_18", (8, 32, 32), marks=pytest.mark.slow),
        ("mc3_18", (8, 32, 32)),
        pytest.param("r2plus1d_18", (8, 32, 32), marks=pytest.mark.slow),
        pytest.param("s3d", (16, 224, 224), marks=pytest.mark.slow),
    ],
)
def test_torchvision_networks(name, shape):
    video = pytest.importorskip("torchvision.models.video")
    torch.manual_seed(0)
    ours = create_model(name, num_classes=6).eval()
    peer = getattr(video, name)(weights=None, num_classes=6).eval()
    peer.load_state_dict(ours.state_dict())
    clip = torch.randn(1, 3, *shape)
    torch.testing.assert_close(ours(clip), peer(clip), rtol=1e-4, atol=1e-5)
