"""The lowest versions that pyproject.toml allows, as constraints for pip (``make test-lowest``)."""

import re
import tomllib
from pathlib import Path

FLOOR = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)[^;]*(;.*)?")


def constraints() -> list[str]:
    """``name==floor`` of everything that names a floor."""
    path = Path(__file__).resolve().parents[1] / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["export"], *extras["serve"], *extras["dev"]]
    found = (FLOOR.fullmatch(requirement) for requirement in asked)
    return [f"{one[1]}=={one[2]}{one[3] or ''}" for one in found if one]


if __name__ == "__main__":
    print(*constraints(), sep="\n")
