"""Single blocks of the peers: their keys, their function."""

import pytest
import torch

from tests.layers.peer_blocks import cases
from videonl.errors import CheckpointError
from videonl.layers import NonLocalBlock
from videonl.weights import load_block


def untold(case):
    """What the keys of a case do not tell, as arguments of load_block."""
    told = {"affinity": case.settings["affinity"]}
    if case.peer == "mmcv" and case.settings["affinity"] == "embedded_gaussian":
        told["use_scale"] = case.settings["use_scale"]
    if case.peer == "alexhex7" and case.settings["affinity"] == "embedded_gaussian":
        told["use_scale"] = False  # without a norm the keys may be GluonCV's
    if case.peer == "pyslowfast":
        told["subsample"] = case.settings["subsample"]
    return told


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize("peer", ["alexhex7", "mmcv", "pyslowfast", "gluoncv"])
def test_the_peers_own_outputs(peer, implementation):
    for case in cases(peer):
        block = load_block(case.state, **untold(case)).double()
        block.implementation = implementation
        inputs = [case.input]
        if case.input.dim() == 5:
            inputs.append(case.input.contiguous(memory_format=torch.channels_last_3d))
        for x in inputs:
            with torch.no_grad():
                found = block(x)
            assert (found - case.output).abs().max() < 1e-9, case


def alexhex7_keys(block, *, pooled, out="W", concat="concat_project"):
    state = {}
    for key, value in block.state_dict().items():
        part, _, end = key.partition(".")
        if part in ("g", "phi") and pooled:
            key = f"{part}.0.{end}"
        key = key.replace("norm.", f"{out}.1.").replace("affinity.", f"{concat}.0.")
        key = key.replace("out.", f"{out}.0." if block.norm is not None else f"{out}.")
        state[key] = value.reshape(1, -1, 1, 1) if part == "affinity" else value
    return state


@pytest.mark.parametrize("norm", ["batch", None])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(
    "affinity", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
)
def test_alexhex7_and_tea1528_keys(affinity, pooled, norm):
    torch.manual_seed(0)
    block = NonLocalBlock(
        6,
        affinity=affinity,
        subsample=pooled,
        subsample_position="after",
        use_scale=False,
        norm=norm,
        zero_init=False,
    ).eval()
    x = torch.randn(1, 6, 2, 4, 4)
    for names in ({}, {"out": "W_z", "concat": "W_f"}):
        keys = alexhex7_keys(block, pooled=pooled, **names)
        found = load_block(keys, affinity=affinity, use_scale=False)
        assert torch.equal(found(x), block(x))


def test_what_the_keys_do_not_tell_is_asked_for():
    block = NonLocalBlock(4, zero_init=False)
    state = alexhex7_keys(block, pooled=True)
    with pytest.raises(CheckpointError, match="embedded_gaussian or dot_product"):
        load_block(state)
    with pytest.raises(CheckpointError, match="embedded_gaussian or dot_product"):
        load_block(state, affinity="gaussian")
    with pytest.raises(CheckpointError, match="does not know: surplus"):
        load_block({**state, "surplus": torch.zeros(1)}, affinity="dot_product")
    del state["W.1.running_var"]
    with pytest.raises(CheckpointError, match=r"missing: norm\.running_var"):
        load_block(state, affinity="dot_product")
    with pytest.raises(CheckpointError, match="no block with the keys a"):
        load_block({"a": torch.zeros(1)})
    hub = {
        f"conv_{key}" if not key.startswith("norm") else key: value
        for key, value in block.state_dict().items()
    }
    with pytest.raises(CheckpointError, match="subsample=False"):
        load_block(hub, affinity="embedded_gaussian")
    concat = NonLocalBlock(4, affinity="concatenation", subsample=False, zero_init=False)
    state = alexhex7_keys(concat, pooled=False, out="W_z", concat="W_f")
    x = torch.randn(1, 4, 2, 3, 3)
    for bias in (0.0, 0.7):
        found = load_block({**state, "W_f.0.bias": torch.full((1,), bias)})
        weight = concat.affinity.weight
        theta, phi, g = (m(x).flatten(2) for m in (concat.theta, concat.phi, concat.g))
        both = (weight[:2] @ theta)[:, :, None] + (weight[2:] @ phi)[:, None] + bias
        y = g @ (torch.relu(both) / 18).mT
        expected = x + concat.eval().norm(concat.out(y.view(1, 2, 2, 3, 3)))
        for found.implementation in ("reference", "fast"):
            torch.testing.assert_close(found(x), expected)
    again = NonLocalBlock(4, affinity="concatenation", subsample=False)
    again.load_state_dict(found.state_dict())
    assert again.affinity.bias.item() == pytest.approx(0.7)


def test_a_block_that_may_be_of_two_peers_is_refused():
    """θ, φ, g and W without a norm: AlexHex7's has no scale, GluonCV's has."""
    block = NonLocalBlock(4, norm=None, subsample=False, zero_init=False)
    state = alexhex7_keys(block, pooled=False)
    with pytest.raises(CheckpointError, match="use_scale=False"):
        load_block(state, affinity="embedded_gaussian")
    x = torch.randn(1, 4, 2, 3, 3)
    torch.testing.assert_close(
        load_block(state, affinity="embedded_gaussian", use_scale=True)(x), block(x)
    )
    load_block(state, affinity="dot_product")  # in which both are the same
