"""The docs site builds without a warning, and the notebook runs as a script."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.browser import open_browser

pytestmark = pytest.mark.extras
ROOT = Path(__file__).resolve().parents[2]


def run(*words: str, **environment: str) -> str:
    """A Python module of the environment, from the root of the clone."""
    command = [sys.executable, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", **environment}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="see make test-extras")
    run("-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path))
    for page in ("index", "results", "reference/layers", "reference/commands", "proving"):
        assert (tmp_path / f"{page}.html").is_file()
    block = (tmp_path / "reference" / "layers.html").read_text(encoding="utf-8")
    assert 'id="videonl.layers.non_local.NonLocalBlock"' in block
    assert ":class:" not in block
    settings = (tmp_path / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "<code>recipe.learning_rate</code>" in settings
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, f"{page} fetches something"
    with open_browser() as browser:  # from a file, without a server
        browser.visit((tmp_path / "index.html").as_uri() + "?q=affinity")
        shown, until = "", time.monotonic() + 20
        while "affinity of your own" not in shown and time.monotonic() < until:
            time.sleep(0.2)
            shown = browser.run("return document.querySelector('.md-search-result').innerText")
        assert "affinity of your own" in shown


def test_the_notebook_answers(tmp_path):
    pytest.importorskip("jupytext", reason="see make test-extras")
    notebook, script = tmp_path / "worth_it.ipynb", tmp_path / "worth_it.py"
    source = str(ROOT / "examples" / "worth_it.py")
    run("-m", "jupytext", "--to", "ipynb", "--output", str(notebook), source)
    run("-m", "jupytext", "--to", "py:percent", "--output", str(script), str(notebook))
    said = run(str(script), WORTH_IT=str(tmp_path / "work"))
    assert (tmp_path / "work" / "attention.png").stat().st_size > 10_000
    assert "block, seed 1" in said
    assert "on block against plain" in said[said.rindex("Verdict") :]
