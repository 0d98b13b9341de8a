"""Networks with blocks under torch.compile: one graph, few recompilations; under torch.func."""

import os
import subprocess
import venv
from pathlib import Path

import pytest
import torch
from torch import nn

from videonl.layers import AFFINITIES, Affinity, NonLocalBlock

ROOT = Path(__file__).resolve().parents[2]
SIZES = [(2, 3, 4, 8, 8), (2, 3, 6, 10, 10)]


class Nearness(Affinity):
    """An affinity of one's own."""

    def weights(self, queries, keys):
        return torch.softmax(-torch.cdist(queries, keys), dim=-1)


def network(affinity, **options):
    torch.manual_seed(0)
    block = NonLocalBlock(8, affinity=affinity, zero_init=False, **options)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), block)


@pytest.mark.parametrize("autocast", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("train", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "affinity",
    [
        "embedded_gaussian",
        pytest.param(Nearness, marks=pytest.mark.slow),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in AFFINITIES
            if name != "embedded_gaussian"
        ),
    ],
)
@pytest.mark.parametrize(
    "implementation",
    [
        "auto",
        pytest.param("fast", marks=pytest.mark.slow),
        pytest.param("reference", marks=pytest.mark.slow),
    ],
)
def test_one_graph_and_at_most_one_more_for_a_second_size(
    affinity, implementation, train, autocast
):
    torch._dynamo.reset()
    net = network(affinity, implementation=implementation).train(train)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(net, fullgraph=True, backend=backend)
    for size in SIZES:
        x = torch.randn(size).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found, expected = compiled(x), net(x)
        if train:
            found.float().sum().backward()
        tolerance = 5e-2 if autocast else 1e-4
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert len(graphs) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_inductor_trains_a_small_network(affinity):
    torch._dynamo.reset()
    # In float64: single sums before a batch norm differ in the third digit, eager ones too.
    net = network(affinity, implementation="fast").double()
    x = torch.randn(SIZES[0], dtype=torch.float64)
    found, expected = [], []
    for model, grads in ((torch.compile(net, fullgraph=True), found), (net, expected)):
        net.zero_grad()
        model(x).square().sum().backward()
        grads += [p.grad.clone() for p in net.parameters()]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.skipif("VIDEONL_LOWEST_TORCH" not in os.environ, reason="makes an environment: asked")
@pytest.mark.timeout(3600)
def test_the_lowest_torch_compiles_whole_graphs_too(tmp_path):
    """VIDEONL_LOWEST_TORCH=2.10.0 (or the python of an environment that has it)."""
    given = os.environ["VIDEONL_LOWEST_TORCH"]
    python = given
    if not Path(given).exists():
        venv.create(tmp_path / "venv", with_pip=True)
        python = str(tmp_path / "venv" / "bin" / "python")
        install = [python, "-m", "pip", "install", "-q", f"torch=={given}", "numpy", "pytest"]
        subprocess.run([*install, "pytest-timeout"], check=True)
    tests = ["tests/layers/test_compiled.py", "-p", "no:cacheprovider", "--noconftest"]
    run = [python, "-m", "pytest", "-q", *tests, "-k", "one_graph"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.filterwarnings("ignore:.*batching rule.*")
@pytest.mark.parametrize("implementation", ["auto", "fast"])
@pytest.mark.parametrize("affinity", [*AFFINITIES, Nearness])
def test_torch_func_takes_gradients_of_many_samples(affinity, implementation):
    """Per-sample gradients: vmap of grad, of the form with the matrix and of those without.

    Blocks of an affinity of one's own are computed again by checkpoints, which cannot do this.
    """
    block = NonLocalBlock(6, affinity=affinity, norm=None, zero_init=False)
    block.implementation = implementation
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    parameters = dict(block.named_parameters())
    x = torch.randn(3, 6, 2, 6, 6)

    def loss(parameters, sample):
        return torch.func.functional_call(block, parameters, (sample[None],)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
    if implementation == "fast" and affinity is Nearness:
        with pytest.raises(ValueError, match="use 'auto' or 'reference'"):
            per_sample(parameters, x)
        return
    found = per_sample(parameters, x)
    for i in range(3):
        block.zero_grad()
        loss(parameters, x[i]).backward()
        for name, parameter in block.named_parameters():
            torch.testing.assert_close(found[name][i], parameter.grad, rtol=1e-4, atol=1e-4)


def test_a_sum_of_one_result_compiles_with_its_gradient() -> None:
    """The quick one of the sorted form, whose operator keeps nothing for its gradient."""
    torch._dynamo.reset()
    block = NonLocalBlock(4, affinity="concatenation", zero_init=False, implementation="fast")
    x = torch.randn(1, 4, 1, 2, 2, requires_grad=True)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    compiled(x).sum().backward()
    assert x.grad is not None
