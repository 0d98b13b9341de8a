"""What the docs pages show is so: their Python runs, their tables and pictures are current."""

import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for pattern in ("*.md", "docs/*.md") for path in ROOT.glob(pattern))
BESIDE = sorted(path for name in ("data", "checkpoints") for path in ROOT.glob(f"{name}/**/*.md"))
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Shell is checked by test_readme.py; text, nginx and the like are output, files and folders.
LANGUAGES = {"bash", "python", "yaml", "text", "nginx"}
# Shown for a file that only a reader has: run by tests/inference/test_export_command.py.
ELSEWHERE = {"export.md"}
# Pages that would train or download: the same lines with less to do.
LIGHT = {"resnet50": "resnet18", '"layer3.4"': '"layer3.1"', '"i3d_r50_nl5"': '"tiny_i3d_nl2"'}
SMALLER = {
    "README.md": LIGHT,
    "own_network.md": LIGHT,
    "lightning.md": {
        '"i3d_r50_nl5"': '"tiny_i3d"',
        'pretrained="pyslowfast/i3d_nln_r50"': "pretrained=None",
        "num_classes=3": "num_classes=2",
        "frames=8, stride=8, batch_size=8": "frames=2, stride=1, crop=32, short_side=36, "
        "batch_size=2, num_workers=0",
        "max_epochs=20": "accelerator='cpu', fast_dev_run=True, enable_progress_bar=False",
        "MyNetwork()": "torch.nn.Linear(3, 2)",
    },
}
SPLITS = [(split, name) for split in ("train", "val") for name in ("handshake", "hug")]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [code for name, code in BLOCK.findall(text) if name == language]


PYTHON = [p for p in PAGES if blocks(p, "python") and p.name not in ELSEWHERE]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages speak of: a clip, a checkpoint, a folder of videos, the clone."""
    clip = ROOT / "data" / "sample" / "clip.mp4"
    checkpoint = ROOT / "checkpoints" / "sample_nl.safetensors"
    for target in ("clip.mp4", *(f"videos/{split}/{name}/1.mp4" for split, name in SPLITS)):
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / target)
    for name in ("best", "model"):
        shutil.copy(checkpoint, tmp_path / f"{name}.ckpt")
        shutil.copy(checkpoint.with_suffix(".json"), tmp_path / f"{name}.json")
    shutil.copy(ROOT / "hubconf.py", tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_python_runs(page):
    scope: dict[str, object] = {}
    for code in blocks(page, "python"):
        for written, smaller in SMALLER.get(page.name, {}).items():
            code = code.replace(written, smaller)
        exec(compile(code, str(page), "exec"), scope)


def test_yaml_is_yaml():
    found = [yaml.safe_load(code) for page in PAGES for code in blocks(page, "yaml")]
    assert found
    assert all(type(one) is dict for one in found)


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page):
    text = page.read_text(encoding="utf-8")
    opened = [line for line in text.splitlines() if line.startswith("```")][::2]
    assert {line.removeprefix("```") for line in opened} <= LANGUAGES
    prose = BLOCK.sub("", text)
    assert not re.search(r"\n\n {4}(?![-*] )\S", prose), "indented: give it a fence and a language"


def test_tables_and_pictures_are_those_of_the_results(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs" / "scripts"), *sys.path])
    stale = import_module("results").bring_up_to_date(check=True)
    assert stale == [], "python docs/scripts/results.py writes them"
