"""Every published block: the peer's keys and the peer's output, to 1e-9."""

import pytest
import torch

from tests.layers.peer_blocks import cases
from videonl.layers import NonLocalBlock
from videonl.layers.peer_keys import PEERS, rename_peer_key, rename_peer_keys


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize("peer", ["alexhex7", "mmcv", "pyslowfast", "gluoncv"])
def test_every_published_case(peer, implementation):
    for case in cases(peer):
        block = NonLocalBlock(
            case.input.shape[1],
            **{**PEERS[peer].options, **case.settings},
            implementation=implementation,
        )
        block.load_state_dict(rename_peer_keys(case.state, peer))
        for layout in (False, True):
            x = case.input
            if layout and x.dim() == 5:
                x = x.contiguous(memory_format=torch.channels_last_3d)
            with torch.no_grad():
                found = block.double().eval()(x)
            message = str(case)
            torch.testing.assert_close(
                found, case.output, rtol=0, atol=1e-9, msg=lambda m, c=message: f"{c}: {m}"
            )


def test_tied_copies_are_dropped_and_unknown_keys_refused():
    assert rename_peer_key("W_bn.1.running_mean", "gluoncv") is None
    assert rename_peer_key("W.weight", "gluoncv") == "out.weight"
    with pytest.raises(ValueError, match=r"psi\.weight"):
        rename_peer_keys({"psi.weight": torch.zeros(1)}, "mmcv")
    with pytest.raises(ValueError, match="alexhex7"):
        rename_peer_keys({}, "nobody")
