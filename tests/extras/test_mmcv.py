"""mmcv's own non-local blocks compute what tests/layers/peer_blocks.py writes down."""

import pytest
import torch

from tests.layers.peer_blocks import cases
from videonl.weights.blocks import load_block

pytestmark = pytest.mark.extras


def test_every_case_is_that_of_the_library():
    non_local = pytest.importorskip("mmcv.cnn.bricks.non_local", reason="see make test-extras")
    blocks = {1: non_local.NonLocal1d, 2: non_local.NonLocal2d, 3: non_local.NonLocal3d}
    for case in cases("mmcv"):
        told, dim = case.settings, case.settings["dim"]
        norm = {"type": f"BN{dim}d"} if told["norm"] else None
        peer = blocks[dim](
            in_channels=case.input.shape[1],
            mode=told["affinity"],
            sub_sample=told["subsample"],
            use_scale=told["use_scale"],
            norm_cfg=norm,
            conv_cfg={"type": f"Conv{dim}d"},
        )
        peer.load_state_dict(case.state)
        scaled = {"use_scale": told["use_scale"]} if told["affinity"] == "embedded_gaussian" else {}
        ours = load_block(peer.state_dict(), affinity=told["affinity"], **scaled)
        with torch.no_grad():
            theirs = peer.double().eval()(case.input)
            assert (theirs - case.output).abs().max() < 1e-9, case
            assert (ours.double().eval()(case.input) - theirs).abs().max() < 1e-9, case
