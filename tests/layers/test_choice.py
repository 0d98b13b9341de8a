"""The rule of ``implementation="auto"`` against the committed measurement."""

import json
from pathlib import Path

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
        fast = fast_is_cheaper(positions=case["positions"], keys=case["keys"])
        chosen = case["fast_ms" if fast else "reference_ms"]
        better = min(case["fast_ms"], case["reference_ms"])
        assert chosen <= 1.6 * better, case
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
