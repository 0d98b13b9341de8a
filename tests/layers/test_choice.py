"""The rule of ``implementation="auto"`` against the committed measurement."""

import json
from pathlib import Path

import pytest
import torch

from videonl.layers import NonLocalBlock
from videonl.layers.choice import fast_is_cheaper

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_the_rule_is_near_the_better_form_in_every_measured_case():
    cases = json.loads((RESULTS / "non_local_choice.json").read_text())["cases"]
    assert {case["affinity"] for case in cases} == {
        "gaussian",
        "embedded_gaussian",
        "dot_product",
        "concatenation",
    }
    lost, best = 0.0, 0.0
    for case in cases:
        sizes = {name: case[name] for name in ("positions", "keys", "channels", "affinity")}
        fast = fast_is_cheaper(**sizes)
        chosen = case["fast_ms" if fast else "reference_ms"]
        better = min(case["fast_ms"], case["reference_ms"])
        # Of a step of a few milliseconds half a one may go; of a long one a tenth.
        assert chosen <= max(1.12 * better, better + 0.6), case
        lost, best = lost + chosen - better, best + better
    assert lost < 0.05 * best


def test_auto_follows_the_rule_and_never_changes_the_result():
    block = NonLocalBlock(8, zero_init=False).double()
    for size, fast in ((8, False), (32, True)):
        x = torch.randn(1, 8, 1, size, size, dtype=torch.float64)
        assert block._takes_fast(size * size, size * size // 4) is fast
        expected = block(x)
        for block.implementation in ("fast", "reference"):
            torch.testing.assert_close(block(x), expected)
        block.implementation = "auto"


@pytest.mark.parametrize(
    ("affinity", "positions", "keys", "channels", "fast"),
    [
        ("dot_product", 784, 196, 64, True),
        ("dot_product", 784, 196, 512, False),  # C is larger than N M / (N + M)
        ("dot_product", 12544, 3136, 512, True),
        ("concatenation", 49, 9, 32, False),
        ("concatenation", 196, 49, 512, True),  # θ and W_z of all positions are saved
        ("embedded_gaussian", 196, 49, 512, False),
        ("own", 784, 196, 64, False),
        ("own", 12544, 3136, 64, True),
    ],
)
def test_the_rule_looks_at_positions_keys_width_and_affinity(
    affinity, positions, keys, channels, fast
):
    found = fast_is_cheaper(affinity=affinity, positions=positions, keys=keys, channels=channels)
    assert found is fast


def test_on_cuda_fused_attention_is_taken_always():
    sizes = {"positions": 16, "keys": 4, "channels": 32}
    assert fast_is_cheaper(affinity="gaussian", device="cuda", **sizes)
    assert not fast_is_cheaper(affinity="concatenation", device="cuda", **sizes)
