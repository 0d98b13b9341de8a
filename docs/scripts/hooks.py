"""Hooks of mkdocs: pages written at build time, and links out of ``docs/`` that lead somewhere.

A page may link to any file of the repository, as on a code host. What is linked comes into the
site under ``repository/``: Markdown as a page, a folder as its list of files, all else as it is.
"""

import re
import sys
from pathlib import Path
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import reference  # noqa: E402 - it lies beside this file, which mkdocs loads by its path

LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)")
BESIDE = "repository/"


def target_of(page: str, link: str) -> str | None:
    """The repository's path that a page's link leads to; None: a page of the site itself.

    Args:
        page: path below ``docs/``, or below ``repository/`` for a file of the repository.
        link: as it stands in the page, without an anchor.
    """
    outside = page.startswith(BESIDE)
    home = Path(page.removeprefix(BESIDE)).parent
    path = normpath((home if outside else "docs" / home) / link)
    inside = path.startswith("docs/")
    return path if (ROOT / path).exists() and (outside or not inside) else None


def place_of(path: str) -> str:
    """Where a file of the repository lies in the site's sources."""
    if path.startswith("docs/") and path != "docs":
        return path.removeprefix("docs/")
    return BESIDE + (f"{path}/README.md" if (ROOT / path).is_dir() else path)


def folder_text(path: str) -> str:
    """A folder's own README, or the list of its files."""
    readme = ROOT / path / "README.md"
    if readme.is_file():
        return readme.read_text(encoding="utf-8")
    files = sorted(p.name for p in (ROOT / path).iterdir() if p.is_file() and p.suffix)
    return "\n".join([f"# {path}/", "", *(f"- [{name}]({name})" for name in files)])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference before the last entry of the navigation."""
    assert config.nav is not None
    config.nav.insert(-1, {"Reference": reference.NAMES})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and everything of the repository that a page links to."""
    for name, text in reference.pages().items():
        files.append(File.generated(config, name, content=text))
    known = {file.src_uri for file in files}
    asked = [file for file in files if file.is_documentation_page()]
    while asked:
        page = asked.pop()
        for _, link in LINK.findall(page.content_string):
            path = target_of(page.src_uri, link)
            if path is None or place_of(path) in known:
                continue
            place, source = place_of(path), ROOT / path
            known.add(place)
            if place.endswith(".md"):
                text = folder_text(path) if source.is_dir() else source.read_text("utf-8")
                file = File.generated(config, place, content=text)
                asked.append(file)
            else:
                file = File.generated(config, place, abs_src_path=str(source))
            files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links to files of the repository to where they lie in the site."""
    source = page.file.src_uri

    def turned(found: re.Match[str]) -> str:
        path = target_of(source, found[2])
        return found[0] if path is None else found[1] + relpath(place_of(path), Path(source).parent)

    return LINK.sub(turned, markdown)
