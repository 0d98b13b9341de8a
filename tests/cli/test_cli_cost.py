"""``videonl cost``: figures at once, one sentence for a wrong name."""

import json
import subprocess
import sys
from argparse import ArgumentTypeError

import pytest

from videonl.cli.main import main
from videonl.cli.values import parse_clip, parse_option, parse_views


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


def test_values():
    assert parse_clip("32x224") == (3, 32, 224, 224)
    assert parse_clip("8x256X320") == (3, 8, 256, 320)
    assert parse_views("10x3") == (10, 3)
    assert parse_views("4") == (4, 1)
    assert parse_option('non_local={"res2": [1]}') == ("non_local", {"res2": [1]})
    assert parse_option("preset=gluoncv") == ("preset", "gluoncv")
    assert parse_option("norm=a=b") == ("norm", "a=b")
    for parse, text in ((parse_clip, "3"), (parse_clip, "0x3"), (parse_views, "1x2x3")):
        with pytest.raises(ArgumentTypeError, match=repr(text)):
            parse(text)
    with pytest.raises(ArgumentTypeError, match="NAME=VALUE"):
        parse_option("preset")


def test_help_imports_no_torch():
    code = (
        "import sys; from videonl.cli.main import main\n"
        "try: main(['cost', '--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--views" in done.stdout
