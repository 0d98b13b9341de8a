"""What the counter counts, and what it leaves alone."""

import json
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videonl.errors import VideoNLError
from videonl.evaluation import count_cost
from videonl.layers import Affinity, NonLocalBlock
from videonl.models import create_model

CLIP = (3, 8, 48, 48)


def cost_of(affinity, **options):
    block = {"affinity": affinity, **options}
    return count_cost("tiny_i3d_nl1", CLIP, options={"non_local_options": block})


def test_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(3, 8, (3, 3, 3), padding=1, groups=1)
            self.norm = nn.BatchNorm3d(8)
            self.block = NonLocalBlock(8, inner_channels=4)
            self.fc = nn.Linear(8, 5)

        def forward(self, x):
            x = F.relu(self.norm(self.conv(x)))
            return self.fc(self.block(x).mean((2, 3, 4)))

    cost = count_cost(Net(), (3, 4, 6, 6), views=(10, 3))
    positions, keys = 4 * 6 * 6, 4 * 3 * 3
    convolution = positions * 8 * 3 * 27
    projections = positions * (8 * 4 + 4 * 8) + keys * 2 * 8 * 4
    pairwise = positions * keys * (4 + 4)
    assert cost.convolution_macs == convolution + projections
    assert cost.pairwise_macs == pairwise
    assert cost.linear_macs == 8 * 5
    assert cost.macs == convolution + projections + pairwise + 40
    assert cost.flops == 2 * cost.macs
    assert cost.non_local_macs == projections + pairwise
    assert cost.norm_elements == 2 * positions * 8
    assert cost.macs_with_norm("train") == cost.macs + 5 * cost.norm_elements
    assert cost.views == 30
    assert cost.total_flops == 60 * cost.macs
    (block,) = cost.blocks
    assert (block.name, block.positions, block.keys) == ("block", positions, keys)


@pytest.mark.parametrize("affinity", ["gaussian", "embedded_gaussian", "dot_product"])
@pytest.mark.parametrize(
    "options", [{}, {"subsample": False}, {"attend": "space"}, {"temporal_groups": 4}]
)
def test_the_written_form_is_what_the_reference_executes(affinity, options):
    reference = cost_of(affinity, implementation="reference", **options)
    assert reference.paper_macs == reference.macs
    assert cost_of(affinity, implementation="fast", **options).paper_macs == reference.macs


def test_time_only_attention():
    reference = cost_of("dot_product", implementation="reference", attend="time", subsample=False)
    assert reference.paper_macs == reference.macs
    assert reference.blocks[0].keys == 8


def test_fused_attention_is_not_counted_as_nothing():
    (block,) = cost_of("embedded_gaussian", implementation="fast").blocks
    assert block.pairwise_macs == block.written_pairwise_macs > 0
    assert block.macs == block.paper_macs


def test_fast_forms_grow_with_positions_not_with_pairs():
    for affinity in ("dot_product", "concatenation"):
        options = {"non_local_options": {"affinity": affinity, "implementation": "fast"}}
        short, long = (
            count_cost("tiny_i3d_nl1", (3, frames, 96, 96), options=options).blocks[0]
            for frames in (8, 16)
        )
        assert 0 < short.macs < short.paper_macs
        assert long.macs < 2.01 * short.macs
        assert long.written_projection_macs == 2 * short.written_projection_macs
        assert long.written_pairwise_macs == 4 * short.written_pairwise_macs
        assert short.projection_macs + short.pairwise_macs == short.macs


def test_the_written_form_of_concatenation():
    (block,) = cost_of("concatenation").blocks
    inner = 96  # of the 192 channels of res4
    assert block.written_pairwise_macs == block.positions * block.keys * 3 * inner


def test_an_affinity_of_ones_own_is_counted():
    class Cosine(Affinity):
        def weights(self, queries, keys):
            return F.normalize(queries, dim=2) @ F.normalize(keys, dim=2).transpose(1, 2)

    cost = cost_of(Cosine)
    assert cost.blocks[0].affinity == "Cosine"
    assert cost.pairwise_macs == cost.blocks[0].written_pairwise_macs > 0


def test_a_network_is_left_as_it_was():
    model = create_model("tiny_i3d_nl1", num_classes=5).train()
    model.res3.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    cost = count_cost(model, CLIP)
    assert cost == count_cost(model, CLIP)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(not parameter.is_meta for parameter in model.parameters())
    by_name = count_cost("tiny_i3d_nl1", CLIP, num_classes=5)
    assert (cost.macs, cost.params, cost.blocks) == (by_name.macs, by_name.params, by_name.blocks)


def test_frozen_norm_counts_like_batch_norm():
    frozen = count_cost("tiny_i3d", CLIP, options={"norm": "frozen"})
    assert frozen.norm_elements == count_cost("tiny_i3d", CLIP).norm_elements > 0
    assert count_cost("tiny_i3d", CLIP, options={"norm": "affine"}).norm_elements == 0


def test_bad_input():
    with pytest.raises(VideoNLError, match="did you mean i3d_r50"):
        count_cost("i3d_r5")
    with pytest.raises(VideoNLError, match=r"tiny_i3d cannot take a clip of \(4, 8, 48, 48\)"):
        count_cost("tiny_i3d", (4, 8, 48, 48))
    with pytest.raises(VideoNLError, match=r"cannot take a clip.*temporal_groups=4") as caught:
        count_cost("i3d_r50_nl5", (3, 6, 64, 64), options={"preset": "official_32x4"})
    assert "\n" not in str(caught.value)
    with pytest.raises(VideoNLError, match="belong to a network that is given by name"):
        count_cost(create_model("tiny_i3d"), CLIP, options={"width": 3})


def test_as_dict_is_json():
    figures = count_cost("tiny_i3d_nl1", CLIP, views=30).as_dict()
    assert json.loads(json.dumps(figures))["total_macs"] == 30 * figures["macs"]


def test_counting_is_quick():
    count_cost("tiny_i3d", CLIP)  # torch imports its meta functions once
    start = time.process_time()
    count_cost("i3d_r101_nl5", (3, 32, 224, 224))
    assert time.process_time() - start < 10
