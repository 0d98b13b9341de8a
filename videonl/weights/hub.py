"""Checkpoints on the Hugging Face hub: ``hf:user/name``, at one commit, by its own client.

The client downloads, manages the cache and honours ``HF_HUB_OFFLINE``, ``HF_HOME``, ``HF_ENDPOINT``
and ``HF_TOKEN``. A downloaded file is untrusted like any other and read by the safe readers only.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, unquote

from videonl import __version__
from videonl.errors import CheckpointError, first_line
from videonl.escapes import visible
from videonl.files import explain_full, sha256
from videonl.shares import few
from videonl.weights.run_folder import LAST, MODEL, SUFFIXES, checkpoint_in

PREFIX = "hf:"
FORM = "hf:USER/NAME, hf:USER/NAME@REVISION or hf:USER/NAME/FILE"
PACKAGE, PARTS = "huggingface_hub", ("constants", "errors", "utils")
READABLE = (*SUFFIXES, ".params", ".bin")
SHOWN = 5  # files of a repository that are named in a sentence

_PART = r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_NAME = re.compile(
    r"hf:(?://)?(?P<repository>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/@]+))?(?:/(?P<file>.+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubName:
    """The parts of a name on the hub.

    Attributes:
        repository: ``user/name``.
        revision: a branch, a tag or a commit; None for the main branch.
        file: inside of the repository; None for its only checkpoint.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        """As a user writes it."""
        special = (self.revision or "").startswith(("refs/pr/", "refs/convert/"))
        revision = f"@{quote(self.revision, safe='/' if special else '')}" if self.revision else ""
        return f"{PREFIX}{self.repository}{revision}" + (f"/{self.file}" if self.file else "")


# One process uses one commit of a name, however often it asks.
_resolved: dict[tuple[HubName, str, str], Path] = {}


def is_hub(source: str | Path) -> bool:
    """Whether a text names a checkpoint on the hub."""
    return str(source).startswith(PREFIX)


def parse_hub(source: str | Path) -> HubName:
    """Parse ``hf:user/name@revision/file``; a slash in a revision is written ``%2F``.

    Raises:
        CheckpointError: it is not such a name.

    Example:
        >>> parse_hub("hf:lab/i3d@v1/best.safetensors")
        HubName(repository='lab/i3d', revision='v1', file='best.safetensors')
    """
    # pathlib, through which some names have gone, makes one slash of two.
    text = re.sub(r"^hf:/+", PREFIX, str(source))
    found = _NAME.fullmatch(text)
    if found is None:
        raise CheckpointError(f"{source} is not a name on the hub; write {FORM}")
    revision, file = found["revision"], found["file"]
    if file and (file != file.strip("/") or {"", ".", ".."} & set(re.split(r"[/\\]", file))):
        raise CheckpointError(f"{source}: {file} is not a file of a repository; write {FORM}")
    revision = unquote(revision) if revision else None
    if revision and not re.fullmatch(r"(?!.*\.\.)[\w./-]{1,200}", revision):
        raise CheckpointError(f"{source}: {revision} is not a revision; write {FORM}")
    return HubName(checked_repository(found["repository"], source=source), revision, file)


def checked_repository(repository: str, *, source: object = None) -> str:
    """Check ``user/name``: letters, digits, ``-``, ``_`` and ``.``, each part of at most 96.

    Raises:
        CheckpointError: another text; ``source`` is the name that contains it.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise CheckpointError(
            f"{source or repository}: {repository!r} is not the name of a repository; write "
            "USER/NAME in letters, digits, -, _ and . (no -- or .., no - or . at the ends)"
        )
    return repository


def stem_of(source: str | Path) -> str:
    """The name, without ending, for files that are made from a checkpoint."""
    return parse_hub(source).repository.split("/")[1] if is_hub(source) else Path(source).stem


def resumed_from(resume: str) -> Path:
    """The checkpoint of ``--resume``, which continues in the folder of its run.

    Raises:
        CheckpointError: a name on the hub, no such file, or a folder without a checkpoint.
    """
    if is_hub(resume):
        raise CheckpointError(
            f"--resume {resume}: a training can only continue in its own folder, and the hub has "
            f"only weights; start from them with --model.pretrained {resume}"
        )
    path = checkpoint_in(resume, wanted=(LAST,))
    if not path.is_file():
        raise CheckpointError(f"--resume {resume}: {path} does not exist")
    return path


def pinned_name(path: str | Path) -> str | None:
    """The name, with its commit, of a file in the client's cache; None for any other file.

    Example:
        >>> pinned_name(f"hub/models--lab--i3d/snapshots/{'0' * 40}/best.ckpt")
        'hf:lab/i3d@0000000000000000000000000000000000000000/best.ckpt'
    """
    parts = Path(path).parts
    for place in range(1, len(parts) - 2):
        folder, commit = parts[place - 1], parts[place + 1]
        named = folder.startswith("models--") and folder.count("--") == 2
        if parts[place] == "snapshots" and named and _COMMIT.fullmatch(commit):
            _, user, name = folder.split("--")
            return str(HubName(f"{user}/{name}", commit, "/".join(parts[place + 2 :])))
    return None


def pinned(source: str) -> str:
    """A name on the hub with its commit and file; no request is made if it has both.

    Raises:
        CheckpointError: see ``hub_file``.
    """
    name = parse_hub(source)
    if name.file and _COMMIT.fullmatch(name.revision or ""):
        return source
    return pinned_name(hub_file(source)) or source


def hub_file(source: str | Path) -> Path:
    """The file of a name on the hub: from the client's cache, or downloaded into it.

    Its commit is printed once on standard error, and is used until the process ends.

    Raises:
        CheckpointError: a bad name, no such repository, revision or file, none or several
            checkpoints, a broken download, no network, or the package is missing.
    """
    name = parse_hub(source)
    client = client_of(str(name))
    key = name, client.constants.ENDPOINT, client.constants.HF_HUB_CACHE
    known = _resolved.get(key)
    if known is not None and known.exists():
        return known
    with explained(name, client):
        path = _downloaded(name, client)
    _check_content(name, path)
    print(f"hub       {pinned_name(path) or name}", file=sys.stderr)
    _resolved[key] = path
    return path


def client_of(wanted: str) -> ModuleType:
    """The package ``huggingface_hub``.

    Raises:
        CheckpointError: it is not installed; says how to install it.
    """
    try:
        for part in PARTS:
            import_module(f"{PACKAGE}.{part}")
    except ImportError as error:
        missing = (error.name or PACKAGE).partition(".")[0]
        raise CheckpointError(
            f"{wanted} needs the package {missing}: pip install 'videonl[hub]'"
        ) from None
    return import_module(PACKAGE)


def _downloaded(name: HubName, client: ModuleType) -> Path:
    """The named file, or else the usual one, or else the only checkpoint."""
    about = {"library_name": "videonl", "library_version": __version__}

    def fetch(file: str) -> Path:
        place = client.hf_hub_download(name.repository, file, revision=name.revision, **about)
        return Path(place)

    try:
        return fetch(name.file or MODEL)
    except client.errors.EntryNotFoundError as error:
        files = _files(name, client, error)
    if name.file:
        raise _other(name, f"has no file {name.file}", files)
    found = [file for file in files if file.lower().endswith(READABLE)]
    if len(found) == 1:
        return fetch(found[0])
    if found:
        raise _other(
            name, f"contains several checkpoints: give one, such as {name}/{found[0]}", found
        )
    raise _other(name, f"contains no checkpoint ({', '.join(READABLE)})", files)


def _files(name: HubName, client: ModuleType, error: Exception) -> Sequence[str]:
    """The files of a repository; without a network those in the cache.

    Raises:
        Exception: the error, if nothing of it is in the cache.
    """
    if not isinstance(error, client.errors.LocalEntryNotFoundError):
        return list(client.HfApi().list_repo_files(name.repository, revision=name.revision))
    about = {"revision": name.revision, "local_files_only": True}
    with suppress(client.errors.LocalEntryNotFoundError):
        place = Path(client.snapshot_download(name.repository, **about))
        files = [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()]
        if files and not name.file:
            return files
    raise error


def _other(name: HubName, reason: str, files: Sequence[str]) -> CheckpointError:
    """The error that says what a repository contains instead."""
    shown = few(sorted(files), SHOWN) or "nothing"
    base = HubName(name.repository, name.revision)
    return CheckpointError(f"{base} {reason}; it contains {visible(shown)}")


def _check_content(name: HubName, path: Path) -> None:
    """Compare a large file with its SHA-256, its name in the cache; a wrong file is deleted.

    Raises:
        CheckpointError: they differ.
    """
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    found = sha256(blob)
    if found != blob.name:
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        raise CheckpointError(
            f"{name}: the SHA-256 of the downloaded file starts with {found[:8]}, not "
            f"{blob.name[:8]} as the hub says; it was deleted, try again"
        )


@contextmanager
def explained(name: HubName, client: ModuleType) -> Iterator[None]:
    """Turn every error of the client into one sentence, without the token.

    Raises:
        CheckpointError: names the repository and what to do.
    """
    errors, bars = client.errors, client.utils
    hide = not sys.stderr.isatty() and not bars.are_progress_bars_disabled()
    try:
        if hide:
            bars.disable_progress_bars()
        yield
    except CheckpointError:
        raise
    except Exception as error:  # the client's own, its HTTP library's, the disk's
        reason = first_line(error.__cause__ or error)[:300].rstrip(".")
        log_in = "log in with hf auth login or set HF_TOKEN"
        if isinstance(error, errors.GatedRepoError):
            text = f"its owner asks you to accept terms first, on its page; then {log_in}"
        elif isinstance(error, errors.RepositoryNotFoundError):
            text = f"there is no such repository, or it is private: {log_in}"
        elif isinstance(error, errors.RevisionNotFoundError):
            text = f"it has no revision {name.revision or 'main'}"
        elif isinstance(error, errors.LocalEntryNotFoundError):
            offline = "HF_HUB_OFFLINE is set" if client.constants.HF_HUB_OFFLINE else ""
            cause = offline or f"the hub does not answer ({reason})"
            text = f"it is not in the cache {client.constants.HF_HUB_CACHE}, and {cause}"
        elif getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            text = f"the hub refuses ({reason}): {log_in}, with a token that may do so"
        else:
            text = f"the hub's client failed ({explain_full(error) or reason}); try again"
        for token in filter(None, [client.get_token()]):  # as it is, and as Python shows it
            text = text.replace(token, "***").replace(repr(token)[1:-1], "***")
        raise CheckpointError(f"{name}: {visible(text)}") from None
    finally:
        if hide:
            bars.enable_progress_bars()


def push_folder(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Upload the files of a folder in one commit; a missing repository is made.

    Args:
        folder: all of its files are uploaded.
        repository: ``user/name``.
        private: make it private; a repository that is public already is refused.
        message: of the commit.

    Returns:
        ``hf:user/name@commit``.

    Raises:
        CheckpointError: it cannot be made or written, or the package is missing.
    """
    name = HubName(repository)
    client = client_of(f"pushing to {name}")
    with explained(name, client):
        hub = client.HfApi(library_name="videonl", library_version=__version__)
        hub.create_repo(repository, private=private or None, exist_ok=True)
        if private and not hub.model_info(repository).private:
            raise CheckpointError(
                f"{name} exists and is public; make it private on its page first, or leave out "
                "--private"
            )
        done = hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    for known in [key for key in _resolved if key[0].repository == repository]:
        del _resolved[known]
    return str(HubName(repository, done.oid))
