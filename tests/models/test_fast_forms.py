"""The cheap forms of a convolution and the folded norms against the plain ones."""

import pytest
import torch
from torch import Tensor, nn

from videonl import create_model
from videonl.kernels import ClipConv3d
from videonl.models import Affine3d, fuse_for_inference

LAST = torch.channels_last_3d
KERNELS = [(1, 1, 1), (3, 1, 1), (5, 1, 1), (1, 3, 3), (1, 7, 7), (3, 3, 3), (5, 7, 7)]


def plain(conv: nn.Conv3d) -> nn.Conv3d:
    """The same weights in PyTorch's own class, float64."""
    own = nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    own.load_state_dict(conv.state_dict())
    return own.double()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 1, 1)])
@pytest.mark.parametrize("layout", [LAST, torch.contiguous_format])
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("shape", [(1, 6, 4, 9, 8), (3, 6, 1, 5, 5), (2, 6, 5, 5, 4)])
def test_every_form_is_the_convolution(
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    layout: torch.memory_format,
    learns: bool,
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    padding = tuple(extent // 2 for extent in kernel)
    conv = ClipConv3d(6, 10, kernel, stride, padding, bias=learns)  # type: ignore[arg-type]
    conv = conv.to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(shape).to(memory_format=layout).requires_grad_(learns)
    other, wide = plain(conv), x.detach().double().requires_grad_(learns)
    with torch.set_grad_enabled(learns):
        y, expected = conv(x), other(wide)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    if not learns:
        return
    gradient = torch.randn_like(y)
    y.backward(gradient)
    expected.backward(gradient.double())
    for ours, theirs in ((x, wide), *zip(conv.parameters(), other.parameters(), strict=True)):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=2e-4, rtol=1e-5)


def test_gradients_of_the_taps_to_the_second_order_and_each_alone() -> None:
    torch.manual_seed(0)
    conv = ClipConv3d(2, 3, (3, 1, 1), padding=(1, 0, 0)).double()
    x = torch.randn(2, 2, 4, 2, 2, dtype=torch.float64).to(memory_format=LAST)
    inputs = (x.requires_grad_(), conv.weight, conv.bias)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)
    together = torch.autograd.grad(conv(x).square().sum(), inputs)
    for wanted, expected in zip(inputs, together, strict=True):
        for each in inputs:
            each.requires_grad_(each is wanted)
        if wanted is not conv.bias:  # the form of the taps serves x and the weight
            (found,) = torch.autograd.grad(conv(x).square().sum(), wanted)
            torch.testing.assert_close(found, expected)


def test_taps_under_autocast_are_half_precision() -> None:
    torch.manual_seed(0)
    conv = ClipConv3d(6, 10, (3, 1, 1), padding=(1, 0, 0))
    x = torch.randn(1, 6, 4, 5, 5).to(memory_format=LAST).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), conv(x), atol=0.05, rtol=0.05)
    y.float().sum().backward()
    assert conv.weight.grad is not None


def test_what_follows_the_taps_may_work_in_place() -> None:
    """As the ReLU of a network whose norms are folded into the bias."""
    conv = ClipConv3d(6, 10, (3, 1, 1), padding=(1, 0, 0))
    x = torch.randn(2, 6, 4, 5, 5).to(memory_format=LAST)
    torch.relu_(conv(x)).sum().backward()
    assert conv.bias is not None
    assert conv.bias.grad is not None
    found = conv.bias.grad.clone()
    conv.zero_grad()
    torch.relu(conv(x)).sum().backward()
    assert torch.equal(conv.bias.grad, found)


def test_other_convolutions_stay_what_they_are() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 5, 6, 6).to(memory_format=LAST)
    for options in ({"groups": 2}, {"dilation": 2}, {"padding": (0, 0, 0)}):
        conv = ClipConv3d(4, 4, (1, 3, 3), **options)  # type: ignore[arg-type]
        expected = nn.functional.conv3d(
            x, conv.weight, conv.bias, 1, conv.padding, conv.dilation, conv.groups
        )
        assert torch.equal(conv(x), expected)


def test_the_network_stays_in_channels_last() -> None:
    net = create_model("tiny_i3d", num_classes=3, width=8).eval()
    net = net.to(memory_format=LAST)  # type: ignore[call-overload]
    seen: list[bool] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output.is_contiguous(memory_format=LAST))

    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(look)
    net(torch.randn(1, 3, 4, 32, 32).to(memory_format=LAST))
    assert seen
    assert all(seen)


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "affine"}, {"norm": "frozen"}, {"non_local": {"res3": (0,)}, "width": 16}],
)
def test_folding_changes_no_more_than_the_rounding(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = create_model("tiny_i3d", num_classes=5, **{"width": 8, **options})
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d | Affine3d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    net.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fused = fuse_for_inference(net)
    x = torch.randn(2, 3, 4, 32, 32).to(memory_format=LAST)
    with torch.no_grad():
        expected, found = net(x), fused(x)
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)
    after = net.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items()), "not changed"
    left = [n for n, m in fused.named_modules() if isinstance(m, nn.BatchNorm3d | Affine3d)]
    assert not left
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_a_watched_norm_is_not_folded() -> None:
    net = create_model("tiny_i3d", num_classes=5, width=8)
    calls: list[int] = []
    net.stem.norm.register_forward_hook(lambda *_: calls.append(1))
    fuse_for_inference(net)(torch.randn(1, 3, 4, 32, 32))
    assert calls == [1]
