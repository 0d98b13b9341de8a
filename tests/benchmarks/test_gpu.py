"""``benchmarks/gpu.py`` at tiny sizes on the CPU: what it measures, writes and refuses."""

import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    return gpu


def test_without_a_cuda_device_it_says_so(gpu, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 2
    assert "measures on a CUDA device and there is none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_writes_every_case_and_goes_on_where_it_stopped(gpu, capsys, tmp_path):
    path = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--quick", "--json", str(path), "--only"]
    assert gpu.main([*words, "block/", "--limit-s", "0"]) == 0
    assert "4 cases are left" in capsys.readouterr().out
    assert not path.exists()
    assert gpu.main([*words, "block/tiny/gaussian"]) == 0
    before = json.loads(path.read_text())
    assert list(before["cases"]) == ["block/tiny/gaussian/bf16"]
    assert torch.__version__.startswith(before["machine"]["versions"]["torch"])
    assert gpu.main([*words, "block/tiny/gaussian", "block/tiny/emb"]) == 0
    after = json.loads(path.read_text())["cases"]
    assert after["block/tiny/gaussian/bf16"] == before["cases"]["block/tiny/gaussian/bf16"]
    case = after["block/tiny/embedded_gaussian/bf16"]
    for contender in ("auto", "reference", "fast", "pytorchvideo"):
        assert case["contenders"][contender]["ms"] > 0
    assert case["first"] == "reference"
    assert case["contenders"]["reference"]["to_first"] == 1
    assert "embedded_gaussian/bf16: reference" in capsys.readouterr().out.splitlines()[-1]


def test_a_contender_that_fails_is_written_down_with_its_reason(gpu):
    def broken():
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    found = gpu.Clock("cpu", 0.0).compare({"a": broken, "b": lambda: lambda: None})
    assert found["contenders"]["a"] == {"error": "CUDA out of memory."}
    assert found["first"] == "b"


def test_at_the_full_chip_ours_and_the_peer_run_eager_and_compiled(gpu):
    cases = gpu.cases("cuda", quick=False)
    for mode in ("training", "inference"):
        titles = [
            gpu.title_of(*c) for c in gpu.contenders_of(cases[f"network/{mode}/bf16/both/full"])
        ]
        peer = "pytorchvideo i3d_r50 (channels_last)"
        assert titles == ["videonl i3d_r50, compiled", "videonl i3d_r50", peer, f"{peer}, compiled"]
    graphs = gpu.contenders_of(cases["network/training/bf16/compiled/16"])
    assert "videonl i3d_r50, CUDA graphs" in [gpu.title_of(*c) for c in graphs]
    assert gpu.compile_seconds(cases["network/training/bf16/both/full"]) == 2 * gpu.COMPILE_S
    road = cases["training_road/i3d_r50_nl5"]
    assert road["setting"][-1] > 2 * gpu.WORKERS  # more batches than the workers hold ready


@pytest.mark.slow
def test_networks_and_roads_from_files(gpu, tmp_path):
    path = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--quick", "--json", str(path)]
    assert gpu.main([*words, "--only", "network/", "training_road/", "inference_road/"]) == 0
    cases = json.loads(path.read_text())["cases"]
    assert len(cases) == 4
    assert not [name for name, case in cases.items() if "error" in case]
    full = cases["network/inference/bf16/eager/full"]
    assert str(full["batch"]) in full["clips_per_second_by_batch"]
    assert cases["training_road/tiny_i3d_nl1"]["clips_per_second"]["together"] > 0
    assert cases["inference_road/tiny_i3d_nl1"]["end_to_end"] > 0
    assert [case["target"] for case in cases.values() if "target" in case] == [0.95, 0.9]
