"""Predictions of several processes: what the others have done already, and merging them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videonl.claims import is_written_now
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.files import csv_line, write_text
from videonl.inference.writers import CsvRows, is_prediction, read_lines
from videonl.shards import Shard, shard_files, shard_path


def done_by_others(path: Path, rank: int, *, run: Mapping[str, object]) -> set[str]:
    """Paths that the result files of the other ranks already contain.

    Raises:
        VideoNLError: one of them belongs to another checkpoint or protocol.
    """
    done: set[str] = set()
    for other, file in shard_files(path).items():
        if other == rank:
            continue
        for offset, _, entry in read_lines(file):
            if offset == 0 and any(entry.get(key) != run[key] for key in ("model", "protocol")):
                raise VideoNLError(
                    f"{file} was made with another checkpoint or protocol: "
                    "remove it, or give another --json FILE"
                )
            if is_prediction(entry):
                done.add(str(entry["path"]))
    return done


def remove_old(path: Path, shard: Shard) -> None:
    """Remove files of an earlier run with more processes; every process takes its share."""
    for rank, file in shard_files(path).items():
        if rank >= shard.size and rank % shard.size == shard.rank:
            file.unlink(missing_ok=True)


@dataclass
class Merged:
    """The result of merging.

    Attributes:
        predictions: files with a prediction.
        failures: path -> reason, of files without a prediction.
        missing: files of the set that are in no result file.
        repeated: lines left out because their file had one already.
        ranks_missing: processes that wrote no result file.
        ranks_writing: processes that are still writing theirs.
    """

    predictions: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    repeated: int = 0
    ranks_missing: list[int] = field(default_factory=list)
    ranks_writing: list[int] = field(default_factory=list)


def merge(path: Path) -> Merged:
    """Merge the result files of all ranks into ``path``, every file once, sorted by path.

    Where a file has a prediction and a failure (it was tried again), the prediction counts.

    Args:
        path: the JSON Lines file that the processes were given.

    Raises:
        VideoNLError: no result files, or results of several checkpoints, protocols or sets.
    """
    files = shard_files(path)
    writing = [rank for rank, file in files.items() if is_written_now(file)]
    for rank in writing:
        if not files[rank].stat().st_size:  # that process has just started
            del files[rank]
    headers = {rank: _header(file) for rank, file in files.items()}
    if not headers:
        raise VideoNLError(
            f"there are no result files {shard_path(path, 0).name}, ... beside {path}; they are "
            "written where several processes share the work"
        )
    first = _common(headers, files)
    found = Merged(ranks_writing=writing)
    place: dict[str, tuple[int, int]] = {}  # path -> (rank, byte offset of its line)
    for rank, file in files.items():
        for offset, _, entry in read_lines(file):
            name = entry.get("path")
            if not isinstance(name, str):
                continue  # the header
            if not is_prediction(entry):
                found.failures[name] = str(entry.get("error"))
            elif name in place:
                found.repeated += 1
            else:
                place[name] = (rank, offset)
    found.failures = {name: why for name, why in found.failures.items() if name not in place}
    found.predictions = len(place)
    size = first["shard"]["size"]
    found.missing = max(0, first["set"]["files"] - found.predictions - len(found.failures))
    found.ranks_missing = [r for r in range(size) if r not in files and r not in writing]
    write_text(path, _merged_lines(first, files, place, found))
    return found


def _header(file: Path) -> dict[str, Any]:
    _, _, header = next(read_lines(file), (0, "", {}))
    if not isinstance(header.get("shard"), dict) or not isinstance(header.get("set"), dict):
        raise VideoNLError(f"{file} is not a result file of one process of videonl predict")
    return header


def _common(headers: dict[int, dict[str, Any]], files: dict[int, Path]) -> dict[str, Any]:
    """The header that all have in common; files of an earlier, larger run may be left over."""
    current = [rank for rank in headers if rank < headers[min(headers)]["shard"]["size"]]
    first = headers[min(headers)]
    for rank, header in headers.items():
        keys = ("model", "protocol", "set") if rank in current else ("model", "protocol")
        for key in keys:
            if header.get(key) != first.get(key):
                what = {"set": "sets of files", "model": "checkpoints"}.get(key, f"{key}s")
                raise VideoNLError(
                    f"{files[rank]} and {files[min(files)]} belong to different {what}: run all "
                    "processes again with --resume, or remove the old result files"
                )
    return first


def _merged_lines(
    header: dict[str, Any],
    files: dict[int, Path],
    place: dict[str, tuple[int, int]],
    found: Merged,
) -> Iterator[str]:
    """The lines of the merged file, read one by one from their files to save memory."""
    yield json_text({key: header[key] for key in ("videonl", "model", "protocol", "set")}) + "\n"
    with ExitStack() as stack:
        opened = {rank: stack.enter_context(file.open("rb")) for rank, file in files.items()}
        for name in sorted(place):
            rank, offset = place[name]
            opened[rank].seek(offset)
            yield opened[rank].readline().decode("utf-8", errors="surrogateescape")
    for name, error in sorted(found.failures.items()):
        yield json_text({"path": name, "error": error}) + "\n"


def write_csv(source: Path, path: Path) -> None:
    """Write the rows that ``videonl predict --csv`` would have written.

    Args:
        source: what :func:`merge` wrote.
        path: of the CSV.
    """
    entries = (entry for _, _, entry in read_lines(source))
    header = next(entries)
    widths = (len(entry["classes"]) for _, _, entry in read_lines(source) if is_prediction(entry))
    rows = CsvRows(header, top_k=max(widths, default=1))

    def lines() -> Iterator[str]:
        yield csv_line(rows.columns)
        for entry in entries:
            classes = [(each["class"], each["probability"]) for each in entry.get("classes", ())]
            yield rows.row(entry["path"], error=entry.get("error", ""), classes=classes)

    write_text(path, lines())
