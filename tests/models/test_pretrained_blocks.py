"""Single blocks of the peers: their keys, their function."""

from pathlib import Path

import pytest
import torch

from videonl.errors import CheckpointError
from videonl.layers import NonLocalBlock
from videonl.models.pretrained.blocks import load_block

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
SOFTMAX = {"softmax": "embedded_gaussian", "dot_product": "dot_product"}


def arguments(settings):
    """What the keys of a case do not tell."""
    form = settings.get("form") or settings.get("mode") or SOFTMAX[settings["instantiation"]]
    told = {"affinity": form}
    if settings.get("mode") == "embedded_gaussian":
        told["use_scale"] = settings["use_scale"]
    if settings.get("form") == "embedded_gaussian":
        told["use_scale"] = False  # AlexHex7's; without a norm the keys may be GluonCV's
    if "pool_size" in settings:
        pool = settings["pool_size"]
        told["subsample"] = tuple(pool) if pool and max(pool) > 1 else False
    return told


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the parity fixtures (shared/vectors) are absent")
@pytest.mark.parametrize(("peer", "count"), [("alexhex7", 50), ("mmcv", 60), ("pyslowfast", 16)])
def test_the_peers_own_outputs(peer, count):
    cases = torch.load(VECTORS / f"blocks_{peer}.pt", weights_only=True)["cases"]
    assert len(cases) == count
    for case in cases:
        block = load_block(case["state_dict"], **arguments(case["settings"])).double()
        with torch.no_grad():
            found = block(case["input"].double())
        assert (found - case["output"]).abs().max() < 1e-9, case["settings"]


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
