import torch

from videonl.layers import ChannelAttention, NonLocalBlock


def test_equals_the_loops_of_the_published_formula():
    torch.manual_seed(0)
    layer = ChannelAttention().double()
    torch.nn.init.constant_(layer.beta, 0.7)
    x = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for sample in range(2):
        a = x[sample].flatten(1)
        for j in range(3):
            weights = torch.stack([(a[i] @ a[j]).exp() for i in range(3)])
            weights = weights / weights.sum()
            mixed = sum(weights[i] * a[i] for i in range(3))
            expected[sample, j] = 0.7 * mixed.view(2, 2, 2)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)


def test_off_by_default_and_the_identity_at_the_start():
    assert not any(key.startswith("channel") for key in NonLocalBlock(8).state_dict())
    block = NonLocalBlock(8, channel_attention=True)
    x = torch.randn(2, 8, 2, 4, 4)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.channel.beta.grad.abs().item() > 0


def test_channels_last_and_bfloat16():
    layer = ChannelAttention()
    torch.nn.init.ones_(layer.beta)
    x = torch.randn(2, 8, 2, 4, 4)
    last = layer(x.contiguous(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(last, layer(x))
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
