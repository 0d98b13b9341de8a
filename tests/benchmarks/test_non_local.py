"""``benchmarks/non_local.py``: what it measures, that it goes on, and what it says of ``auto``."""

import argparse
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def non_local(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import non_local

    return non_local


def test_every_form_of_the_table_runs_in_the_layout_of_the_networks(non_local):
    everyone = (*non_local.CONTENDERS, non_local.FORMS)
    told = {"affinities": ["gaussian", "concatenation"], "contenders": everyone, "clock": "wall"}
    told |= {"device": "cpu", "dtypes": ["float32"], "threads": 2, "seconds": 0.1}
    sizes = ["res3-8", "res4-128", "res3-128"]
    found = {}
    for case in non_local.cases(sizes, argparse.Namespace(**told)):
        key = (case["size"], case["affinity"], case["layout"])
        found.setdefault(key, []).append(case["contender"])
    ours = ["videonl", "fast", "reference"]
    forms = ["form: literal", "form: sorted"]
    softmax = ["form: matrix kept", "form: fused attention", "form: blocks of queries"]
    assert {key: [n for n in names if n != "mmcv"] for key, names in found.items()} == {
        ("res3-8", "gaussian", "last"): ours + softmax,
        ("res3-8", "concatenation", "last"): ours + forms,
        ("res3-8", "gaussian", "contiguous"): ours,
        ("res3-8", "concatenation", "contiguous"): ours,
        ("res4-128", "gaussian", "last"): ours + softmax,
        ("res4-128", "concatenation", "last"): ours + forms,
        ("res3-128", "gaussian", "last"): ours,
        ("res3-128", "concatenation", "last"): ours,
    }


def test_it_says_which_form_auto_takes_and_which_was_the_fastest(non_local):
    def case(contender, step_ms, **more):
        common = dict.fromkeys(("size", "affinity", "device", "dtype", "threads", "layout"), "x")
        return common | {"contender": contender, "step_ms": step_ms} | more

    cases = [
        case("fast", 9.0, form="sorted"),
        case("form: literal", 8.0),
        case("form: sorted", 1.0) | {"same_as": "fast"},
        case("mmcv", 2.0),
        case("videonl", 10.0, form="sorted"),
    ]
    del cases[2]["step_ms"]  # not measured twice
    (found,) = non_local.choices({"cases": cases})
    assert (found["auto"], found["auto_ms"]) == ("sorted", 10.0)
    assert (found["fastest"], found["fastest_ms"], found["slower_percent"]) == (
        "literal",
        8.0,
        25.0,
    )


@pytest.mark.slow
def test_a_run_writes_every_case_and_goes_on_where_it_stopped(non_local, capsys, tmp_path):
    path = tmp_path / "out.json"
    words = ["--sizes", "tiny", "--seconds", "0", "--threads", "1", "--output", str(path)]
    assert non_local.main([*words, "--affinities", "concatenation"]) == 0
    assert "auto takes 'literal'" in capsys.readouterr().out
    before = json.loads(path.read_text())
    assert {case["layout"] for case in before["cases"]} == {"last", "contiguous"}
    assert non_local.main([*words, "--affinities", "concatenation", "embedded_gaussian"]) == 0
    printed = capsys.readouterr().out
    assert "tiny concatenation videonl" not in printed
    after = json.loads(path.read_text())
    kept = [case for case in after["cases"] if case["affinity"] == "concatenation"]
    assert kept == before["cases"]
    by_name = {(c["contender"], c["layout"]): c for c in after["cases"] if c not in kept}
    peer = by_name["pytorchvideo", "contiguous"]
    assert peer["step_ms"] > 0
    assert peer["steps"] >= non_local.ROUNDS[0]
    assert by_name["reference", "last"]["extra_peak_mib"] > 0
    assert by_name["form: fused attention", "last"]["same_as"] == "videonl"
    assert {one["affinity"] for one in after["choices"]} == {"concatenation", "embedded_gaussian"}
    assert len({case["code"] for case in after["cases"]}) == 1
