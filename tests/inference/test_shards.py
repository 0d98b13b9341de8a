"""Many processes: who does what, the merger, and what a killed process leaves behind."""

import json
from pathlib import Path

import pytest

from videonl.errors import VideoNLError
from videonl.inference import Clip, Failure, Prediction, Shard
from videonl.inference.shards import (
    about_set,
    done_by_others,
    merge,
    remove_old,
    shard_files,
    shard_of_torchrun,
    shard_path,
)
from videonl.inference.writers import JsonLinesWriter

RUN: dict[str, object] = {"model": {"name": "tiny", "sha256": "0"}, "protocol": {"views": "1x1"}}
FILES = [f"{number:03d}.mp4" for number in range(11)]


def prediction(path: str) -> Prediction:
    return Prediction(path, ("a", "b"), (0.75, 0.25), (Clip((0,), (0.0,), 1),), {}, {})


def write_part(
    out: Path, shard: Shard, *, done: int | None = None, fail: tuple[str, ...] = ()
) -> None:
    """What a process writes that is killed after ``done`` of its files."""
    about = about_set(shard, FILES, failed_inputs=0)
    own = shard_path(out, shard.rank)
    writer = JsonLinesWriter(own, run=RUN, resume=True, about=about)
    writer.done |= done_by_others(out, shard.rank, run=RUN)
    todo = [path for path in shard.of(FILES) if path not in writer.done]
    for path in todo[:done]:
        if path in fail:
            writer.fail(Failure(path, "broken"))
        else:
            writer.add(prediction(path))
    writer.close()


def paths(file: Path) -> list[str]:
    return [json.loads(line)["path"] for line in file.read_text(encoding="utf-8").splitlines()[1:]]


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_every_file_belongs_to_exactly_one_part(size: int) -> None:
    parts = [Shard(rank, size).of(FILES) for rank in range(size)]
    assert sorted(path for part in parts for path in part) == FILES


def test_a_part_by_torchruns_variables() -> None:
    words = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert shard_of_torchrun(words) == Shard(3, 4)
    assert shard_of_torchrun({**words, "WORLD_SIZE": "1", "RANK": "0"}) is None
    assert shard_of_torchrun({}) is None
    with pytest.raises(VideoNLError, match="RANK/SIZE"):
        Shard(2, 2)


def test_a_kill_costs_at_most_the_half_written_line(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write_part(out, Shard(0, 2), done=4)
    file = shard_path(out, 0)
    file.write_bytes(file.read_bytes()[:-7])  # killed within the fourth line
    write_part(out, Shard(0, 2))
    write_part(out, Shard(1, 2))
    found = merge(out)
    assert (found.predictions, found.missing, found.repeated) == (11, 0, 0)
    assert paths(out) == FILES


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (4, 1)])
def test_going_on_with_another_number_of_processes(tmp_path: Path, sizes: tuple[int, int]) -> None:
    out = tmp_path / "out.jsonl"
    before, after = sizes
    for rank in range(before):
        write_part(out, Shard(rank, before), done=2)
    for rank in range(after):
        write_part(out, Shard(rank, after))
    found = merge(out)
    assert (found.predictions, found.missing, found.repeated) == (11, 0, 0)
    assert paths(out) == FILES


def test_merge_says_what_is_missing_and_what_failed(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write_part(out, Shard(0, 3), done=2, fail=("003.mp4",))
    write_part(out, Shard(1, 3))
    found = merge(out)
    assert found.ranks_missing == [2]
    assert found.failures == {"003.mp4": "broken"}
    assert found.missing == 11 - found.predictions - 1
    write_part(out, Shard(0, 3))  # tries the failure again, and goes on
    write_part(out, Shard(2, 3))
    found = merge(out)
    assert (found.predictions, found.missing, found.failures) == (11, 0, {})


def test_a_line_that_stands_twice_counts_once(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write_part(out, Shard(0, 2))
    write_part(out, Shard(1, 2))
    with shard_path(out, 1).open("a") as file:
        file.write(json.dumps(prediction("000.mp4").result()) + "\n")
        file.write(json.dumps({"path": "002.mp4", "error": "an old failure"}) + "\n")
    found = merge(out)
    assert (found.predictions, found.repeated, found.failures) == (11, 1, {})
    assert paths(out) == FILES


def test_results_of_another_run_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(VideoNLError, match="no result files"):
        merge(out)
    write_part(out, Shard(0, 2))
    other = {**RUN, "protocol": {"views": "10x3"}}
    with pytest.raises(VideoNLError, match="another checkpoint or protocol"):
        done_by_others(out, 1, run=other)
    about = about_set(Shard(1, 2), FILES[:-1], failed_inputs=0)
    JsonLinesWriter(shard_path(out, 1), run=RUN, about=about).close()
    with pytest.raises(VideoNLError, match="another set of files"):
        merge(out)
    shard_path(out, 1).write_text("notes\n")
    with pytest.raises(VideoNLError, match="not a result file"):
        merge(out)


def test_old_files_of_a_larger_set_are_removed_by_one_process_each(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for rank in range(5):
        write_part(out, Shard(rank, 5), done=1)
    remove_old(out, Shard(1, 2))
    assert list(shard_files(out)) == [0, 1, 2, 4]
    remove_old(out, Shard(0, 2))
    assert list(shard_files(out)) == [0, 1]


def test_a_file_that_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text("dear diary\n")
    with pytest.raises(VideoNLError, match="not an output of videonl"):
        JsonLinesWriter(notes, run=RUN, resume=True)
    assert notes.read_text() == "dear diary\n"
