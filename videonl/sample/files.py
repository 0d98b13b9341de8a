"""Write the sample data set to a folder, in parallel, and read back what its clips show.

root/{train,val,test}/<class>/<split>_<number>.mp4
root/manifest.json     the parameters, from which the clips can be made again
root/manifest.csv      one row per clip: path, split, class, distance and both bodies
"""

import csv
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import chain, islice
from pathlib import Path

from videonl.claims import LOCK
from videonl.errors import DatasetError
from videonl.escapes import json_text, parse_json
from videonl.files import csv_line, write_text
from videonl.limits import usable_cores
from videonl.sample.drawing import encode_scene
from videonl.sample.task import SPLITS, Body, SampleParameters, Scene, draw_scene

MANIFEST, TABLE = "manifest.json", "manifest.csv"
_GENERATOR = 1  # raised when the same parameters give other clips
_OLDER = {"scale": 1.0, "gap": None, "of": "motion"}  # entries that older manifests do not have
_BATCH = 8  # clips per task of a worker


@dataclass(frozen=True)
class Clip:
    """One clip of the data set: where its file lies (below the root) and what it shows."""

    path: str
    split: str
    scene: Scene


@dataclass(frozen=True)
class Written:
    """The result of ``write_sample``."""

    root: Path
    written: int
    skipped: int


def sample_clips(parameters: SampleParameters) -> Iterator[Clip]:
    """All clips of these parameters, in the order of the table; nothing is drawn yet."""
    for split in SPLITS:
        for index in range(parameters.count(split)):
            relation = parameters.classes[index % len(parameters.classes)]
            scene = draw_scene(parameters, relation, split=split, index=index)
            yield Clip(f"{split}/{relation}/{split}_{index:05d}.mp4", split, scene)


def _claim(root: Path, parameters: SampleParameters) -> None:
    """Mark the folder as one with these parameters, or raise the reason why that is impossible."""
    wanted = {"generator": _GENERATOR, **parameters.to_dict()}
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root} is a file: give a folder for the sample data set")
    if (root / MANIFEST).exists():
        found = {**_OLDER, **_read_json(root)}
        other = [f"{k}={found.get(k)} (asked: {v})" for k, v in wanted.items() if found.get(k) != v]
        if other:
            raise DatasetError(
                f"{root} contains a sample data set with {', '.join(other)}: "
                "give another folder, or delete this one"
            )
    elif root.exists() and any(place.name != LOCK for place in root.iterdir()):
        raise DatasetError(
            f"{root} is not empty and contains no sample data set (no {MANIFEST}): give another "
            "folder"
        )
    else:
        write_text(root / MANIFEST, json_text(wanted, indent=2) + "\n")


def _read_json(root: Path) -> dict:
    try:
        found = parse_json((root / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{root} contains no sample data set (no {MANIFEST}): make one with "
            f"python data/sample/prepare.py --root {root}"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{root / MANIFEST} cannot be read ({error}): delete the folder"
        ) from None
    if not isinstance(found, dict):
        raise DatasetError(f"{root / MANIFEST} is not a sample manifest: delete the folder")
    return found


def _row(clip: Clip) -> dict[str, str | int | float]:
    scene = clip.scene
    row: dict[str, str | int | float] = {"path": clip.path, "split": clip.split}
    row |= {"class": scene.relation, "distance": round(scene.distance, 3)}
    row["texture_seed"] = scene.texture_seed
    for letter, body in zip("ab", scene.bodies, strict=True):
        row |= {f"{letter}_{key}": value for key, value in asdict(body).items()}
    return row


def _write_table(root: Path, clips: list[Clip]) -> None:
    rows = [_row(clip) for clip in clips]
    heads = [list(row) for row in rows[:1]]
    write_text(root / TABLE, map(csv_line, chain(heads, (row.values() for row in rows))))


def _body(row: dict[str, str], letter: str) -> Body:
    types = {field.name: field.type for field in fields(Body)}
    values = {name: kind(row[f"{letter}_{name}"]) for name, kind in types.items()}  # type: ignore
    return Body(**values)


def read_sample(root: str | Path) -> tuple[SampleParameters, list[Clip]]:
    """The parameters and clips of a written sample data set, from its manifest.

    Raises:
        DatasetError: the folder holds no finished sample data set.
    """
    root = Path(root)
    found = _read_json(root)
    try:
        parameters = SampleParameters.from_dict({**_OLDER, **found})
        with (root / TABLE).open(newline="", encoding="utf-8") as file:
            return parameters, [_clip(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise DatasetError(
            f"{root} is unfinished (no {TABLE}): write it again, which continues the work"
        ) from None
    except (LookupError, TypeError, ValueError, csv.Error, OSError) as error:
        raise DatasetError(
            f"{MANIFEST} and {TABLE} in {root} are not those of a sample data set "
            f"({type(error).__name__}: {error}): delete the folder and write it again"
        ) from error


def _clip(row: dict[str, str]) -> Clip:
    bodies = (_body(row, "a"), _body(row, "b"))
    scene = Scene(row["class"], bodies, int(row["texture_seed"]))
    return Clip(row["path"], row["split"], scene)


def _encode(batch: list[Clip], root: Path, parameters: SampleParameters) -> int:
    for clip in batch:
        encode_scene(clip.scene, root / clip.path, parameters=parameters)
    return len(batch)


def _batches(clips: list[Clip]) -> Iterator[list[Clip]]:
    iterator = iter(clips)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def write_sample(
    root: str | Path,
    *,
    parameters: SampleParameters | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write the sample data set; finished files are kept, so an interrupted run can continue.

    Args:
        root: folder to write into: empty, new, or holding the same parameters.
        parameters: what to make; the defaults of ``SampleParameters`` if None.
        workers: processes that draw and encode; 0 works in this process, None takes all cores.
        progress: called with (clips there, clips in all) as the work goes on.

    Raises:
        DatasetError: the folder holds other parameters or something else, or a process was killed.
    """
    root, parameters = Path(root), parameters or SampleParameters()
    _claim(root, parameters)
    clips = list(sample_clips(parameters))
    missing = [clip for clip in clips if not (root / clip.path).is_file()]
    done, skipped = len(clips) - len(missing), len(clips) - len(missing)
    work = partial(_encode, root=root, parameters=parameters)
    workers = usable_cores() if workers is None else workers
    # spawn, not fork: forking a process that runs threads (torch, decord) can dead-lock.
    pool = (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
        if workers > 0 and len(missing) > _BATCH
        else nullcontext()
    )
    try:
        with pool as executor:
            for count in (executor.map if executor else map)(work, _batches(missing)):
                done += count
                if progress:
                    progress(done, len(clips))
    except BrokenProcessPool as error:
        raise DatasetError(
            f"a process that wrote clips into {root} was killed, as the system does when memory "
            "runs out: start the command again with fewer --workers, which continues the work"
        ) from error
    if progress and not missing:
        progress(done, len(clips))
    _write_table(root, clips)
    return Written(root, len(missing), skipped)
