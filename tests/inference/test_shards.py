"""Many processes: who does what, the merger, and what a killed process leaves behind."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference.networks import write_checkpoint
from videonl import Predictor
from videonl.cli.main import main
from videonl.inference import Clip, Failure, Prediction
from videonl.shards import Shard

FILES = [f"{number:03d}.mp4" for number in range(11)]
Capture = pytest.CaptureFixture[str]


class Part:
    """Processes of ``videonl predict``, whose network takes no time.

    Attributes:
        done: files after which the process is stopped; None: it ends by itself.
        fail: files that cannot be read.
    """

    done: int | None = None
    fail: tuple[str, ...] = ()

    def predict_many(self, videos: Iterable[str], **_: Any) -> Iterator[Prediction | Failure]:
        for number, path in enumerate(videos):
            if number == self.done:
                raise KeyboardInterrupt
            yield Failure(path, "broken") if path in self.fail else prediction(path)

    def write(
        self,
        shard: str,
        *,
        done: int | None = None,
        fail: tuple[str, ...] = (),
        resume: bool = True,
        files: list[str] = FILES,
        views: str = "1x1",
    ) -> int:
        """What a process writes that is stopped after ``done`` of its files; its exit code."""
        self.done, self.fail = done, fail
        words = ["predict", *files, "--checkpoint", "model.safetensors", "--no-isolate", "--quiet"]
        words += ["--device", "cpu", "--views", views, "--json", "out.jsonl", "--shard", shard]
        return main([*words, *["--resume"] * resume])


def prediction(path: str) -> Prediction:
    return Prediction(path, ("a", "b"), (0.75, 0.25), (Clip((0,), (0.0,), 1),), {}, {})


def paths(file: str = "out.jsonl") -> list[str]:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["path"] for line in lines[1:]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def part(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """In a folder with eleven files."""
    monkeypatch.chdir(tmp_path)
    for file in (checkpoint, checkpoint.with_suffix(".json")):
        (tmp_path / file.name).symlink_to(file)
    for name in FILES:
        (tmp_path / name).touch()
    found = Part()
    monkeypatch.setattr(Predictor, "predict_many", lambda _, *a, **k: found.predict_many(*a, **k))
    return found


def merged(capsys: Capture) -> tuple[int, str, str]:
    """Exit code, standard output and errors of ``videonl merge``."""
    capsys.readouterr()
    code = main(["merge", "out.jsonl"])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_every_file_belongs_to_exactly_one_part(size: int) -> None:
    parts = [Shard(rank, size).of(FILES) for rank in range(size)]
    assert sorted(path for part in parts for path in part) == FILES


def test_one_process_of_torchrun_is_a_process_of_its_own(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    words = ["predict", *FILES, "--checkpoint", "model.safetensors", "--no-isolate", "--quiet"]
    assert main([*words, "--device", "cpu", "--json", "out.jsonl"]) == 0
    assert paths() == FILES


def test_a_kill_costs_at_most_the_half_written_line(part: Part, capsys: Capture) -> None:
    assert part.write("0/2", done=4) == 130
    file = Path("out.00000.jsonl")
    file.write_bytes(file.read_bytes()[:-7])  # killed within the fourth line
    assert part.write("0/2") == part.write("1/2") == 0
    assert merged(capsys) == (0, "11 videos: out.jsonl\n", "")
    assert paths() == FILES


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (4, 1)])
def test_going_on_with_another_number_of_processes(
    part: Part, sizes: tuple[int, int], capsys: Capture
) -> None:
    before, after = sizes
    for rank in range(before):
        part.write(f"{rank}/{before}", done=2)
    for rank in range(after):
        assert part.write(f"{rank}/{after}") == 0
    assert merged(capsys) == (0, "11 videos: out.jsonl\n", "")
    assert paths() == FILES


def test_merge_says_what_is_missing_and_what_failed(part: Part, capsys: Capture) -> None:
    part.write("0/3", done=2, fail=("003.mp4",))
    part.write("1/3")
    code, out, errors = merged(capsys)
    assert (code, out) == (1, "5 videos: out.jsonl\n")
    assert "process 2 wrote no result file" in errors
    assert "no result yet: 5 videos" in errors
    assert "1 video could not be classified:\n  003.mp4: broken\n" in errors
    part.write("0/3")  # tries the failure again, and goes on
    part.write("2/3")
    assert merged(capsys) == (0, "11 videos: out.jsonl\n", "")


def test_a_line_that_stands_twice_counts_once(part: Part, capsys: Capture) -> None:
    part.write("0/2")
    part.write("1/2")
    with Path("out.00001.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(prediction("000.mp4").result()) + "\n")
        file.write(json.dumps({"path": "002.mp4", "error": "an old failure"}) + "\n")
    code, out, errors = merged(capsys)
    assert (code, out) == (0, "11 videos: out.jsonl\n")
    assert errors.startswith("left out: 1 repeated line")
    assert paths() == FILES


def test_results_of_another_run_are_refused(part: Part, capsys: Capture) -> None:
    code, _, errors = merged(capsys)
    assert code == 2
    assert "no result files" in errors
    part.write("0/2")
    assert part.write("1/2", views="10x3") == 2
    assert "another checkpoint or protocol" in capsys.readouterr().err
    part.write("1/2", files=FILES[:-1], resume=False)
    assert "different sets of files" in merged(capsys)[2]
    Path("out.00001.jsonl").write_text("notes\n", encoding="utf-8")
    assert "not a result file" in merged(capsys)[2]


def test_old_files_of_a_larger_set_are_removed_by_one_process_each(part: Part) -> None:
    def left() -> list[str]:
        return sorted(path.name for path in Path().glob("out.*.jsonl"))

    for rank in range(5):
        part.write(f"{rank}/5", done=1)
    part.write("1/2", resume=False)
    assert left() == [f"out.{rank:05d}.jsonl" for rank in (0, 1, 2, 4)]
    part.write("0/2", resume=False)
    assert left() == ["out.00000.jsonl", "out.00001.jsonl"]


def test_a_file_that_is_not_ours_is_not_overwritten(part: Part, capsys: Capture) -> None:
    notes = Path("out.00000.jsonl")
    notes.write_text("dear diary\n", encoding="utf-8")
    assert part.write("0/2") == 2
    assert "not" in capsys.readouterr().err
    assert notes.read_text(encoding="utf-8") == "dear diary\n"


def test_a_csv_of_the_merged_is_whole_or_not_there(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    part.write("0/1", fail=("003.mp4",))
    Path("out.csv").write_text("old", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("videonl.inference.shards.CsvRows.row", broken)
        assert main(["merge", "out.jsonl", "--csv", "out.csv"]) == 130
    assert Path("out.csv").read_text(encoding="utf-8") == "old"
    assert main(["merge", "out.jsonl", "--csv", "out.csv"]) == 1
    rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["path"] for row in rows[:-1]] == [name for name in FILES if name != "003.mp4"]
    assert list(rows[0].values())[2:] == ["1x1", "", "a", "0.750000", "b", "0.250000"]
    assert (rows[-1]["path"], rows[-1]["error"], rows[-1]["class_1"]) == ("003.mp4", "broken", "")


def broken(*_: object, **__: object) -> str:
    raise KeyboardInterrupt
