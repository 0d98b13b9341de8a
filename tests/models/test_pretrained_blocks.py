"""Single blocks of the peers: their keys, their function."""

import pytest
import torch

from tests.layers.peer_blocks import cases
from videonl.errors import CheckpointError
from videonl.layers import NonLocalBlock
from videonl.models.pretrained.blocks import load_block


def untold(case):
    """What the keys of a case do not tell, as arguments of load_block."""
    told = {"affinity": case.settings["affinity"]}
    if case.peer == "mmcv" and case.settings["affinity"] == "embedded_gaussian":
        told["use_scale"] = case.settings["use_scale"]
    if case.peer == "pyslowfast":
        told["subsample"] = case.settings["subsample"]
    return told


@pytest.mark.parametrize("peer", ["alexhex7", "mmcv", "pyslowfast", "gluoncv"])
def test_the_peers_own_outputs(peer):
    for case in cases(peer):
        block = load_block(case.state, **untold(case)).double()
        with torch.no_grad():
            found = block(case.input)
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
        found = load_block(alexhex7_keys(block, pooled=pooled, **names), affinity=affinity)
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
    load_block({**state, "W_f.0.bias": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="bias in W_f"):
        load_block({**state, "W_f.0.bias": torch.ones(1)})
