"""The receptive field, held against the textbook formula and against what a network cannot see."""

import pytest
import torch
from torch import nn

from videonl.errors import VideoNLError
from videonl.evaluation import receptive_field
from videonl.models import create_model


class Stack(nn.Module):
    """Convolutions and a pool, one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def by_formula(*layers: tuple[int, int]) -> int:
    """1 + sum of (kernel - 1) x the product of the strides before it."""
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field


def test_a_stack_follows_the_formula() -> None:
    model = Stack(
        nn.Conv3d(3, 4, (3, 5, 7), stride=(1, 2, 2), padding=(1, 2, 3)),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        nn.Conv3d(4, 2, 3, padding=1),
    )
    expected = (
        by_formula((3, 1), (1, 1), (3, 1)),
        by_formula((5, 2), (3, 2), (3, 1)),
        by_formula((7, 2), (3, 2), (3, 1)),
    )
    assert receptive_field(model, clip_shape=(12, 24, 24)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"layers": [1, 2]}, 21), ({"layers": [1, 1]}, 13), ({"layers": [1, 2], "width": 20}, 21)],
)
def test_the_networks_of_the_sample_data(options: dict[str, object], expected: int) -> None:
    plain = create_model("tiny_i3d_333", num_classes=3, stem_kernel=(3, 5, 5), **options)
    assert receptive_field(plain)[1:] == (expected, expected)


def test_a_block_is_left_out_and_the_model_stays_as_it_is() -> None:
    model = create_model("tiny_i3d_nl2", num_classes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert receptive_field(model) == receptive_field(create_model("tiny_i3d", num_classes=3))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_pixels_outside_the_field_change_nothing_and_those_at_its_rim_do() -> None:
    torch.manual_seed(0)
    model = create_model("tiny_i3d_333", num_classes=3, layers=(1, 1), stem_kernel=(3, 5, 5))
    model = model.double().eval()
    for module in model.modules():  # a fresh network ends its residual branches with zeros
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    _, height, _ = receptive_field(model)
    clip = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    middle = model.forward_features(clip)[..., 8, 8]
    changed = [
        row for row in range(64) if not torch.equal(_with_row(model, clip, row)[..., 8, 8], middle)
    ]
    assert len(changed) == changed[-1] - changed[0] + 1 == height


def _with_row(model: nn.Module, clip: torch.Tensor, row: int) -> torch.Tensor:
    other = clip.clone()
    other[:, :, :, row] += 10
    return model.forward_features(other)


def test_a_field_larger_than_allowed_is_an_error() -> None:
    with pytest.raises(VideoNLError, match="larger than 16"):
        receptive_field(create_model("tiny_i3d", num_classes=3), clip_shape=(4, 16, 16), largest=16)
