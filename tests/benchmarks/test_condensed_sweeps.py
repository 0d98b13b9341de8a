"""What is kept of a comparison: no answers, no folder of a machine, the verdict as it was told."""

import importlib.util
import json
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "sweeps.py"


def test_a_comparison_without_answers_and_paths(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("sweeps", FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    kept = ("name", "model", "input", "views", "params", "macs_per_view", "flops_per_view",
            "non_local_macs_per_view", "group", "seed", "top1", "error")  # fmt: skip
    row = dict.fromkeys(kept) | {"params": 5e5, "macs_per_view": 1e9, "group": "plain"}
    rows = [{**row, "top1": {"value": share}, "answers": ["x"]} for share in (0.5, 0.75)]
    found = {"protocol": {"data": {"root": "/some/where/clips"}, "classes": ["a"]}, "rows": rows}
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "compare.json").write_text(json.dumps({**found, "differences": [], "answers": {}}))
    page = (
        "# Comparison\n\n- a note\n\n## Verdict\n\nSome method.\n\n- Not shown.\n\n## Tests\n\n- x"
    )
    (folder / "compare.md").write_text(page)
    monkeypatch.setattr(sys, "argv", ["sweeps.py", str(folder), "--results", str(tmp_path)])
    script.main()
    written = (tmp_path / "sweep_mine.json").read_text()
    content = json.loads(written)
    assert content["verdict"] == ["Not shown."]
    assert content["protocol"] == {"data": {"root": "clips"}}
    assert "answers" not in written
    assert "| plain | 0.500 | 1.000 (2.000) | 62.5 ± 17.7 | 50, 75 |" in capsys.readouterr().out
