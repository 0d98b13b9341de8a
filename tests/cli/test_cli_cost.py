"""``videonl cost``: figures at once, one sentence for a wrong name."""

import json
import subprocess
import sys

import pytest

from videonl.cli.main import main


def test_table(capsys):
    assert main(["cost", "i3d_r50_nl5", "--clip", "8x224", "--views", "10x3", "--blocks"]) == 0
    out = capsys.readouterr().out
    assert "i3d_r50_nl5, one view of 8 × 224 × 224" in out
    assert "35.40 M" in out
    assert "36.535 GMACs" in out
    assert "30 views" in out
    assert "res4.5.non_local" in out


def test_its_own_clip_and_json(capsys):
    assert main(["cost", "i3d_r50", "--option", "preset=official_32x2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["clip_shape"] == [3, 32, 224, 224]
    assert figures["params"] == 28_043_472
    assert main(["cost", "tiny_c2d", "tiny_i3d", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["tiny_c2d", "tiny_i3d"]


def test_views_are_counted_as_they_are_made(capsys):
    """A published network's three crops are squares of the short side, 256; one crop has 224."""
    assert main(["cost", "i3d_r50_nl5", "--views", "10x3"]) == 0
    out = capsys.readouterr().out
    assert "one view of 8 × 256 × 256" in out
    assert "30 views                 1467.518 GMACs" in out
    assert main(["compare", "i3d_r50_nl5", "--no-speed"]) == 0
    assert "8x256x256" in capsys.readouterr().out
    assert main(["compare", "i3d_r50_nl5", "--no-speed", "--views", "1x1"]) == 0
    assert "8x224x224" in capsys.readouterr().out


def test_the_written_form_is_shown_beside_a_faster_one(capsys):
    option = 'non_local_options={"affinity": "dot_product"}'
    assert main(["cost", "i3d_r50_nl5", "--clip", "32x224", "--option", option]) == 0
    assert "N × M form" in capsys.readouterr().out


def test_wrong_name_and_values(capsys):
    assert main(["cost", "i3d_r5"]) == 2
    error = capsys.readouterr().err
    assert "did you mean" in error
    assert error.count("\n") == 1
    assert main(["cost", "i3d_r50", "--option", "widht=3"]) == 2
    assert "did you mean width" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["cost", "i3d_r50", "--clip", "big"])
    assert "write FRAMESxSIDE, such as 32x224" in capsys.readouterr().err


def test_values(capsys):
    def cost(*words):
        assert main(["cost", "tiny_i3d", "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    assert cost("--clip", "8x32X40")["clip_shape"] == [3, 8, 32, 40]
    assert cost("--views", "10x3")["total_macs"] == 30 * cost()["macs"]
    assert cost("--views", "4")["total_macs"] == 4 * cost()["macs"]
    options = [
        "--option",
        'non_local={"res2": [0]}',
        "--option",
        'non_local_options={"affinity": "gaussian"}',
    ]
    assert cost(*options)["params"] > cost()["params"]


@pytest.mark.parametrize(
    "words",
    [("--clip", "3"), ("--clip", "0x3"), ("--views", "1x2x3"), ("--option", "preset")],
)
def test_wrong_values(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["cost", "tiny_i3d", *words])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert repr(words[1]) in shown
    assert shown.count("\n") == 1


@pytest.mark.slow  # test_main_command asks every command
def test_help_imports_no_torch():
    code = (
        "import sys; from videonl.cli.main import main\n"
        "try: main(['cost', '--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--views" in done.stdout
