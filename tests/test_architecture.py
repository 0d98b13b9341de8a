"""The floors of the house: every room imports only what lies below it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "videonl"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# room -> floor; a room imports only rooms of lower floors.
FLOORS = {
    "kernels": 0,
    **dict.fromkeys(("layers", "video", "sample"), 1),
    **dict.fromkeys(("models", "data"), 2),
    "weights": 3,
    **dict.fromkeys(("training", "inference"), 4),
    **dict.fromkeys(("attention", "evaluation"), 5),
    "reports": 6,
    "serve": 7,
    "cli": 8,
}
# Single modules that every room may know; they know each other at most.
GROUND = {"errors", "__version__", "files", "claims", "class_names", "escapes", "shares"}
GROUND |= {"shards", "limits", "doors"}  # doors: a function of videonl/__init__.py
# The one arrow that goes up, inside a function: create_model(pretrained=...) asks the room of
# weights, which makes the network with create_model once the file has spoken.
UPWARD = {("videonl.models.registry", "weights")}
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# What tests may import besides the doors of the rooms: where every command begins.
DOORS = {"videonl", "videonl.cli.main", *(f"videonl.{name}" for name in (*FLOORS, *GROUND))}
# (test, module): the only exceptions. The tiles are compiled for GPUs that are not here and run
# under an interpreter, which needs the kernels themselves.
INSIDE = {
    ("tests/kernels/softmax_tiles_interpreted.py", "videonl.kernels.softmax_tiles"),
    ("tests/kernels/softmax_tiles_interpreted.py", "videonl.kernels.softmax_tiles_triton"),
    ("tests/kernels/test_softmax_tiles.py", "videonl.kernels.softmax_tiles"),
    ("tests/kernels/test_softmax_tiles.py", "videonl.kernels.softmax_tiles_triton"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room of a module of videonl; None for the ground and for what is not ours."""
    parts = module.split(".")
    inside = parts[0] == "videonl" and len(parts) > 1 and parts[1] not in GROUND
    return parts[1] if inside else None


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements below a node; what is inside of expressions imports nothing."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, part, ()):
            if isinstance(inner, ast.stmt):
                yield inner
            yield from statements(inner)


@cache
def imports_of(path: Path, *, lazy: bool = True) -> set[str]:
    """What a module imports; ``lazy``: also inside of functions and for types only."""
    found = set()
    tree = tree_of(path)
    for node in statements(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import; the house uses absolute ones")
    return found


def wrong_imports(path: Path) -> Iterator[str]:
    """What a module imports from where it may not."""
    name = module_name(path)
    room = room_of(name)
    rooms = {room_of(imported) for imported in imports_of(path)} - {None, room}
    if room not in FLOORS:
        if room is not None or rooms:
            yield f"{name} stands in no room of the house" if room else f"{name} knows a room"
        return
    for other in rooms:
        if other not in FLOORS:
            yield f"{name} imports {other}, which is no room"
        elif FLOORS[other] >= FLOORS[room] and (name, other) not in UPWARD:
            yield f"{name} imports {other}, which is not below it"


def test_imports_only_downwards() -> None:
    assert [text for path in SOURCES for text in wrong_imports(path)] == []


def test_no_circles_within_a_room() -> None:
    edges = {module_name(path): imports_of(path, lazy=False) for path in SOURCES}
    left = {name: found & edges.keys() - {name} for name, found in edges.items()}
    while ends := [name for name, found in left.items() if not found]:
        for name in ends:
            del left[name]
        for found in left.values():
            found.difference_update(ends)
    assert not left, f"these import each other in a circle: {sorted(left)}"


def test_rooms_are_small_and_files_are_no_crumbs() -> None:
    folders = [path.parent for path in SOURCES]
    assert max(map(folders.count, folders)) <= 21, "a trade of that room makes a sub-room"
    small = [path for path in SOURCES if len(path.read_text("utf-8").splitlines()) <= 50]
    assert len(small) <= 20, "merge one into the file whose idea it is part of"


def test_lightning_and_decoders_stay_in_their_rooms() -> None:
    homes = {
        **dict.fromkeys(("lightning", "pytorch_lightning"), ("training", "cli")),
        **dict.fromkeys(("jinja2", "markupsafe"), ("reports",)),
        "decord": ("video",),
        "av": ("video", "sample", "inference", "attention"),
    }
    found = {(path, imported) for path in SOURCES for imported in imports_of(path)}
    strange = [
        f"{module_name(path)} imports {imported}"
        for path, imported in found
        if room_of(module_name(path)) not in homes.get(top := imported.split(".")[0], FLOORS)
        and top in homes
        and (module_name(path), top) != ("videonl.data.datamodule", "lightning")
    ]
    assert strange == []
    broken = [path for path, name in found if name.startswith("pytorchvideo.transforms")]
    assert broken == [], "it cannot be imported"


def test_imports_stay_light() -> None:
    """In one process, in which every import brings at most what is named there."""
    tiles = "videonl.kernels.softmax_tiles_triton"
    absent = {
        "import videonl": {"torch"},
        "import videonl.cli.main": {"torch"},
        "import videonl.layers": {"lightning", "torchvision", "av", "triton", tiles},
        "import videonl.models": {"lightning"},
    }
    code = "import sys\n"
    for statement, names in absent.items():
        code += f"{statement}\nassert not {names!r} & sys.modules.keys(), {statement!r}\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_kernels_need_torch_alone() -> None:
    for path in sorted((PACKAGE / "kernels").glob("*.py")):
        for imported in imports_of(path):
            top = imported.split(".")[0]
            own = top in sys.stdlib_module_names or imported.startswith("videonl.kernels")
            assert own or top in ("torch", "videonl") or "tiles" in path.name, f"{path}: {imported}"
            assert top != "videonl" or imported.startswith("videonl.kernels"), f"{path}: {imported}"


def test_tests_come_in_by_the_doors() -> None:
    """Tests know public names only, so that what is behind them may move; no exception is idle."""
    modules = {module_name(path) for path in SOURCES}
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in TESTS
        for name in imports_of(path) & modules - DOORS
    }
    assert sorted(found - INSIDE) == [], "import these from the room (videonl.ROOM) instead"
    assert sorted(INSIDE - found) == [], "these exceptions are not needed any more"


@pytest.mark.parametrize("room", sorted(FLOORS.keys() - {"cli"}))
def test_every_door_opens(room: str) -> None:
    """A door called like a module of its room would lead to the name or to the module by chance."""
    doors = import_module(f"videonl.{room}")
    assert all(getattr(doors, name) is not None for name in doors.__all__)
    modules = {module.name for module in iter_modules(doors.__path__)}
    assert modules & set(doors.__all__) == set()


def test_no_unfinished_words_in_the_sources() -> None:
    for path in [*SOURCES, *ROOT.glob("benchmarks/*.py"), *ROOT.glob("configs/*.yaml")]:
        text = path.read_text()
        for word in ("TODO", "FIXME", "raise NotImplementedError"):
            assert word not in text, f"{path} holds {word}"


# A share of 100 as text, such as f"{100 * x:.1f} %", f"{x:.1%}" and "%.1f%%".
PERCENT = re.compile(r"%\}|\} ?%|\df%%|\) ?\+ ?\"[ \u00a0]?%\"")
WRITERS = {"shares.py", "server.js"}
LENGTHS = re.compile(r"(left|width)[^;]*%")  # of a style, where per cent is no notation


def test_one_function_writes_percentages() -> None:
    files = [*SOURCES, *(PACKAGE / "reports" / "templates").glob("*.*")]
    own = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in files
        if path.name not in WRITERS
        for line in re.sub(r"\{%.*?%\}", "", path.read_text(encoding="utf-8")).splitlines()
        if PERCENT.search(line) and not LENGTHS.search(line)
    ]
    assert own == [], "use videonl.shares.percent"


def test_a_long_file_says_why() -> None:
    long = {
        p: p.read_text(encoding="utf-8")
        for p in [*SOURCES, *TESTS, *(ROOT / "benchmarks").glob("*.py")]
    }
    silent = [
        str(path.relative_to(ROOT))
        for path, text in long.items()
        if text.count("\n") > 450 and "The file is long because" not in text
    ]
    assert not silent, f"over 450 lines, and the docstring does not say why: {silent}"
