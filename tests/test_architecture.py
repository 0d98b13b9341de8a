"""The floors of the house: every room imports only what lies below it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "videonl"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A room is the longest of these prefixes that fits a module's name; its number is its floor.
FLOORS = {
    "videonl.cli": 7,
    "videonl.inference.server": 6,
    "videonl.reports": 5,
    "videonl.inference": 4,
    "videonl.evaluation": 4,
    "videonl.training": 3,
    "videonl.data.datamodule": 3,
    "videonl.data.dataset": 2,
    "videonl.models": 2,
    "videonl.data": 1,
    "videonl.layers": 1,
    "videonl.kernels": 0,
}
# For every room.
NEUTRAL = tuple(
    f"videonl.{name}"
    for name in ("errors", "_version", "files", "class_names", "escapes", "json_text", "home")
)
ROOMS_OF_ONE_FLOOR = {"videonl.models": "videonl.data", "videonl.data": "videonl.models"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    fits = [room for room in FLOORS if module == room or module.startswith(room + ".")]
    return max(fits, key=len) if fits else None


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import; the house uses absolute ones")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_only_downwards(path: Path) -> None:
    room = room_of(module_name(path))
    if room is None:
        assert module_name(path) in ("videonl", *NEUTRAL), "a module in no room of DESIGN's table"
        return
    for name in imports_of(path):
        other = room_of(name)
        if other is None or other == room:
            continue
        assert FLOORS[other] <= FLOORS[room], f"{module_name(path)} imports {name}, a floor above"
        if FLOORS[room] == FLOORS[other]:
            assert other.startswith("videonl.data") or FLOORS[room] > 1, f"{path} imports {name}"
        forbidden = ROOMS_OF_ONE_FLOOR.get(room)
        if room != "videonl.data.datamodule" and forbidden:
            assert not other.startswith(forbidden), f"{module_name(path)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_lightning_and_decoders_stay_in_their_rooms(path: Path) -> None:
    name = module_name(path)
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top in ("lightning", "pytorch_lightning"):
            assert room_of(name) in ("videonl.training", "videonl.data.datamodule", "videonl.cli")
        if top in ("jinja2", "markupsafe"):
            assert name.startswith("videonl.reports"), f"{name} imports {top}"
        if top == "decord":
            assert name.startswith("videonl.data"), f"{name} imports decord"
        if top == "av":
            assert name.startswith(("videonl.data", "videonl.inference")), f"{name} imports av"
        assert not imported.startswith("pytorchvideo.transforms"), "it can not be imported"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import videonl", {"torch"}),
        ("import videonl.layers", {"lightning", "torchvision", "av", "triton"}),
        ("import videonl.models", {"lightning"}),
        ("import videonl.cli.main", {"torch"}),
    ],
)
def test_imports_stay_light(statement: str, absent: set[str]) -> None:
    code = f"{statement}, sys; print(*sorted({absent!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_kernels_need_torch_alone() -> None:
    for path in sorted((PACKAGE / "kernels").glob("*.py")):
        for imported in imports_of(path):
            top = imported.split(".")[0]
            own = top in sys.stdlib_module_names or imported.startswith("videonl.kernels")
            assert own or top in ("torch", "videonl") or "tiles" in path.name, f"{path}: {imported}"
            assert top != "videonl" or imported.startswith("videonl.kernels"), f"{path}: {imported}"


def test_no_unfinished_words_in_the_sources() -> None:
    for path in [*SOURCES, *ROOT.glob("benchmarks/*.py"), *ROOT.glob("configs/*.yaml")]:
        text = path.read_text()
        for word in ("TODO", "FIXME", "raise NotImplementedError"):
            assert word not in text, f"{path} holds {word}"
