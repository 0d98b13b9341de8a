"""Every published block: the peer's weights, the peer's input, the peer's output, to 1e-9."""

from pathlib import Path

import pytest
import torch

from videonl.layers import NonLocalBlock
from videonl.layers.peer_keys import PEERS, rename_peer_key, rename_peer_keys

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"

needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the peers' outputs (../shared/vectors) are not on this machine"
)


def options_alexhex7(s):
    return {
        "affinity": s["form"],
        "dim": s["ndim"],
        "inner_channels": s["inter_channels"],
        "subsample": s["sub_sample"],
        "norm": "batch" if s["bn_layer"] else None,
    }


def options_mmcv(s):
    return {
        "affinity": s["mode"],
        "dim": s["ndim"],
        "subsample": s["sub_sample"],
        "use_scale": s["use_scale"],
        "norm": "batch" if s["norm"] else None,
        "out_bias": not s["norm"],
    }


def options_pyslowfast(s):
    names = {"softmax": "embedded_gaussian", "dot_product": "dot_product"}
    return {
        "affinity": names[s["instantiation"]],
        "inner_channels": s["dim_inner"],
        "subsample": False if s["pool_size"] is None else tuple(s["pool_size"]),
    }


@needs_vectors
@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize(
    ("peer", "options", "count"),
    [
        ("alexhex7", options_alexhex7, 50),
        ("mmcv", options_mmcv, 60),
        ("pyslowfast", options_pyslowfast, 16),
    ],
)
def test_every_published_case(peer, options, count, implementation):
    cases = torch.load(VECTORS / f"blocks_{peer}.pt", weights_only=True)["cases"]
    assert len(cases) == count
    for case in cases:
        state = rename_peer_keys(case["state_dict"], peer)
        chosen = dict(PEERS[peer].options) | options(case["settings"])
        channels = case["input"].shape[1]
        block = NonLocalBlock(channels, **chosen, implementation=implementation)
        block.load_state_dict(state)
        for layout in (False, True):
            x = case["input"].double()
            if layout and x.dim() == 5:
                x = x.contiguous(memory_format=torch.channels_last_3d)
            with torch.no_grad():
                found = block.double().eval()(x)
            torch.testing.assert_close(
                found,
                case["output"],
                rtol=0,
                atol=1e-9,
                msg=lambda m, c=case: f"{c['settings']}{m}",
            )


def test_tied_copies_are_dropped_and_unknown_keys_refused():
    assert rename_peer_key("W_bn.1.running_mean", "gluoncv") is None
    assert rename_peer_key("W.weight", "gluoncv") == "out.weight"
    with pytest.raises(ValueError, match=r"psi\.weight"):
        rename_peer_keys({"psi.weight": torch.zeros(1)}, "mmcv")
    with pytest.raises(ValueError, match="alexhex7"):
        rename_peer_keys({}, "nobody")
