"""The wheel installs and imports in an empty folder; the pins say what they must."""

import os
import re
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, from a copy of the sources, so that the tree stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in ("videonl", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL)
    (built,) = folder.glob("videonl-*.whl")
    return built


def test_wheel_holds_the_package_and_only_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "videonl/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"videonl"}
    templates = ROOT / "videonl" / "reports" / "templates"
    files = [*(ROOT / "videonl").rglob("*.py"), *templates.iterdir()]
    assert {path.suffix for path in templates.iterdir()} == {".html", ".css", ".js", ".md"}
    sources = {str(path.relative_to(ROOT)) for path in files}
    assert sources <= set(names)


@pytest.mark.slow
def test_wheel_installs_and_imports_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, cwd=empty)
    code = (
        "import videonl, torch; from videonl.layers import NonLocalBlock; "
        "x = torch.zeros(1, 4, 2, 4, 4); assert NonLocalBlock(4)(x).shape == x.shape; "
        "assert 'i3d_r50_nl5' in videonl.list_models(); print(videonl.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert str(site) in run.stdout
    script = subprocess.run(
        [str(site / "bin" / "videonl"), "--version"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.stdout.startswith("videonl "), script.stderr


@pytest.mark.slow
def test_wheel_and_sdist_install_in_an_empty_environment(tmp_path: Path) -> None:
    """The environment is new; what videonl leans on it sees from the tests' own."""
    source, built = tmp_path / "source", tmp_path / "dist"
    source.mkdir()
    for name in ("videonl", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    seen = [path for path in site.getsitepackages() if Path(path).is_dir()]
    for number, file in enumerate(sorted(built.iterdir())):
        home = tmp_path / f"environment{number}"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
        python = home / "bin" / "python"
        (packages,) = home.glob("lib/*/site-packages")
        (packages / "dependencies.pth").write_text("\n".join(seen))
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
        words = ["--no-deps", "--no-build-isolation", "--ignore-installed", str(file)]
        subprocess.run([*pip, *words], check=True, cwd=tmp_path)
        code = "import videonl; print(videonl.__file__)"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        asked = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
        where = subprocess.run([str(python), "-c", code], check=True, **asked)
        assert str(home) in where.stdout, file.name
        doctor = subprocess.run([str(home / "bin" / "videonl"), "doctor"], **asked)
        assert doctor.returncode == 0, doctor.stderr
    assert number == 1, "one wheel and one source distribution"


def test_malicious_and_broken_releases_are_excluded() -> None:
    requirements = {re.split(r"[^\w-]", r)[0]: r for r in PROJECT["dependencies"]}
    assert "!=2.6.2" in requirements["lightning"]
    assert "!=2.6.3" in requirements["lightning"]
    assert "!=2.13.0" in requirements["torch"]
    assert "platform_machine == 'x86_64'" in requirements["decord"]
    assert not re.search(r"^lightning==2\.6\.[23]\b", LOCK, re.MULTILINE)


def test_lock_pins_every_dependency_with_hashes() -> None:
    pinned = {name.lower() for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
    extras = PROJECT["optional-dependencies"]
    assert extras["dev"][0] == "videonl[export,serve]", "the tests need both extras"
    ours = [*extras["export"], *extras["serve"], *extras["dev"][1:]]
    for requirement in [*PROJECT["dependencies"], *ours]:
        name = re.match(r"[\w-]+", requirement)
        assert name is not None
        assert name.group().lower() in pinned, f"{name.group()} is not in requirements.lock"
    assert len(re.findall(r"^[\w.-]+==[^\n]*\\\n\s+--hash=sha256:", LOCK, re.MULTILINE)) == len(
        re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE)
    )


def test_make_help_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in phony.group(1).split():
        assert f"make {target} " in shown.stdout
