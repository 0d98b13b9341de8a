"""Blocks in networks that know nothing of them: what must not change, and what must survive."""

import copy
import io
import os

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from videonl.layers import AFFINITIES, NonLocalBlock, insert_non_local, remove_non_local

PLACES = {"layer3.0": {"affinity": "dot_product"}, "layer2": {}, "layer4.1.bn1": {}}


class Residual(nn.Module):
    """A residual block of a sequence network."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


def small(affinity="embedded_gaussian", *, start="identity"):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 8, 3), nn.ReLU(), Residual(8), nn.Flatten(), nn.LazyLinear(3))
    net(torch.randn(2, 2, 18))
    insert_non_local(net, {"1": {"affinity": affinity}, "2": {"affinity": affinity}})
    if start != "identity":
        for block in (net[1].non_local, net[2].non_local):
            for parameter in block.parameters():
                nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize("training", [False, True])
def test_outputs_are_bit_identical_and_keys_stay(training):
    torch.manual_seed(0)
    net = resnet18().train(training)
    x = torch.randn(2, 3, 64, 64)
    before, keys = copy.deepcopy(net)(x), list(net.state_dict())
    plain = copy.deepcopy(net)
    assert insert_non_local(net, PLACES) is net
    assert torch.equal(net(x), before)
    added = [k for k in net.state_dict() if k not in keys]
    assert [k for k in net.state_dict() if k in keys] == keys
    assert all(".non_local." in k for k in added)
    assert {k.split(".non_local.")[0] for k in added} == set(PLACES)
    assert net.layer3[0].non_local.training is training
    assert remove_non_local(net) is net
    assert list(net.state_dict()) == keys
    assert torch.equal(net(x), plain.train(training)(x)) or training  # running statistics moved
    assert not any(m._forward_hooks for m in net.modules())


def test_every_block_acts_once_also_in_a_sequential():
    calls = []
    net = insert_non_local(resnet18().eval(), PLACES)
    for name, module in net.named_modules():
        if isinstance(module, NonLocalBlock):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    net(torch.randn(1, 3, 64, 64))
    assert sorted(calls) == sorted(f"{place}.non_local" for place in PLACES)


@pytest.mark.parametrize(
    ("place", "channels", "dim"),
    [("conv1", 64, 2), ("relu", None, None), ("layer1", 64, 2), ("layer4.0.downsample", 512, 2)],
)
def test_channels_and_dimensions_are_found_or_asked_for(place, channels, dim):
    net = resnet18()
    if channels is None:
        with pytest.raises(ValueError, match=f"'{place}' cannot be found; pass in_channels"):
            insert_non_local(net, {place: {}})
        insert_non_local(net, {place: {"in_channels": 64, "dim": 2}})
        return
    block = insert_non_local(net, {place: {}}).get_submodule(f"{place}.non_local")
    assert (block.in_channels, block.dim) == (channels, dim)


def test_channels_of_an_activation_come_from_the_convolution_before_it():
    assert small()[1].non_local.in_channels == 8
    assert small()[1].non_local.dim == 1


def test_wrong_uses_are_named():
    net = resnet18()
    with pytest.raises(ValueError, match=r"no submodule 'layer9'"):
        insert_non_local(net, {"layer9": {}})
    insert_non_local(net, {"layer3.0": {}})
    with pytest.raises(ValueError, match="already"):
        insert_non_local(net, {"layer3.0": {}})
    with pytest.raises(ValueError, match="ModuleList"):
        insert_non_local(nn.ModuleDict({"a": nn.ModuleList([nn.Conv2d(3, 4, 1)])}), {"a": {}})
    with pytest.raises(TypeError, match="affinty"):
        insert_non_local(net, {"layer2": {"affinty": "gaussian"}})
    assert "layer2.non_local.theta.weight" not in net.state_dict()


def test_a_ready_block_keeps_dtype_and_device_of_its_place():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).double()
    block = NonLocalBlock(4, dim=2, affinity="gaussian")
    insert_non_local(net, {"1": block})
    assert net[1].non_local is block
    assert block.g.weight.dtype == torch.float64


def test_survives_deepcopy_saving_and_loading():
    net = small(start="random").eval()
    x = torch.randn(2, 2, 18)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(x), net(x))
    nn.init.zeros_(twin[2].non_local.out.weight)
    assert not torch.equal(twin(x), net(x))  # the copy's hook runs the copy's block
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    fresh = small().eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), net(x))
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), net(x))


def test_freezing_the_network_trains_the_blocks_alone():
    net = small()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("non_local" in name)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    before = copy.deepcopy(net.state_dict())
    for _ in range(2):  # the first step moves the zeroed scale, the second one the rest
        optimizer.zero_grad()
        net(torch.randn(4, 2, 18)).square().sum().backward()
        optimizer.step()
    moved = {k for k, p in net.named_parameters() if not torch.equal(p, before[k])}
    assert "2.non_local.theta.weight" in moved
    assert all("non_local" in k for k in moved)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_freezing_the_block_still_passes_gradients_to_the_input(affinity):
    net = small(affinity, start="random").double()
    x = torch.randn(2, 2, 18, dtype=torch.float64, requires_grad=True)
    net(x).sum().backward()
    free = x.grad.clone()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("non_local" not in name)
    net.zero_grad()
    x.grad = None
    net(x).sum().backward()
    torch.testing.assert_close(x.grad, free)
    assert net[2].non_local.g.weight.grad is None


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_survives_torch_export(affinity):
    net = small(affinity, start="random").eval()
    x = torch.randn(2, 2, 18)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_survives_torch_compile(affinity):
    net = small(affinity, start="random")
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True)
    x = torch.randn(2, 2, 18)
    for model in (net, compiled):
        model(x).square().sum().backward()
    for (name, a), b in zip(net.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-3, msg=name)


def train_one_step_in_a_process(rank, world, port, path):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    torch.set_num_threads(1)
    net = nn.parallel.DistributedDataParallel(small(start="random"))
    torch.manual_seed(rank)
    net(torch.randn(2, 2, 18)).square().sum().backward()
    grads = {k: p.grad for k, p in net.module.named_parameters()}
    torch.save(grads, f"{path}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_survives_distributed_training(tmp_path):
    """Two processes, gloo: both end with the same gradients, of the blocks too."""
    port = 20000 + os.getpid() % 20000
    torch.multiprocessing.spawn(train_one_step_in_a_process, (2, port, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert any("non_local" in key for key in first)
    for key, grad in first.items():
        torch.testing.assert_close(grad, second[key])
    assert first["2.non_local.theta.weight"].abs().sum() > 0
