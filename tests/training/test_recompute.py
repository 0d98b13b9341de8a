"""Activation checkpointing: less memory, the same bits."""

import pytest
import torch
from torch import nn

from videonl.errors import VideoNLError
from videonl.models import create_model
from videonl.training import VideoClassifier, recompute_stages

STAGES = ["res2", "res3"]


class Dropped(nn.Module):
    """A block with dropout and a batch norm that averages over all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3)
        self.norm = nn.BatchNorm3d(4, momentum=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.norm(self.conv(x)).relu(), 0.5, self.training)


def step(net: nn.Module, clips: torch.Tensor) -> tuple[float, int]:
    """Loss after two steps' backward passes, and the bytes that the second one kept."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(3)
    for _ in range(2):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = net(clips).square().mean()
        loss.backward()
    return loss.item(), sum(kept.values())


def check_same(plain: nn.Module, other: nn.Module, clips: torch.Tensor) -> tuple[int, int]:
    """The same loss, gradients and statistics; returns the bytes that each kept."""
    (expected, much), (loss, little) = step(plain, clips), step(other, clips)
    assert loss == expected
    gradients = dict(other.named_parameters())
    for name, parameter in plain.named_parameters():
        assert torch.equal(gradients[name].grad, parameter.grad), name
    state = other.state_dict()
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    return much, little


def test_the_same_bits_and_less_memory() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(create_model("tiny_i3d_nl1", num_classes=3, width=8, dropout=0.5).train())
    # One block of res3 has a non-local block, which a hook adds.
    assert recompute_stages(nets[1], STAGES) >= 2
    much, little = check_same(*nets, torch.randn(2, 3, 8, 32, 32))
    assert little < 0.7 * much
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(nets[0].eval()(clips), nets[1].eval()(clips))


def test_dropout_and_cumulative_norms_inside_of_a_block() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(nn.Sequential(Dropped(), nn.Conv3d(4, 2, 1)).train())
    recompute_stages(nets[1], ["0"])
    assert isinstance(nets[1][0], Dropped)
    check_same(*nets, torch.randn(2, 3, 6, 8, 8, requires_grad=True))
    assert nets[1][0].norm.num_batches_tracked == 2


def test_frozen_norms_stay_frozen() -> None:
    recipe = {"batch_norm": "frozen", "checkpoint_stages": STAGES}
    model = VideoClassifier("tiny_i3d_nl1", num_classes=2, options={"width": 8}, recipe=recipe)
    model.setup("fit")
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items() if "running" in key}
    model(torch.randn(2, 3, 8, 32, 32)).sum().backward()
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in before.items())


def test_unknown_stages_are_named() -> None:
    net = create_model("tiny_i3d", num_classes=2, width=8)
    with pytest.raises(VideoNLError, match=r"no part 'res7'; .*res2"):
        recompute_stages(net, ["res7"])
    with pytest.raises(VideoNLError, match="checkpoint_stages"):
        VideoClassifier("tiny_i3d", num_classes=2, recipe={"checkpoint_stages": "res2"})
