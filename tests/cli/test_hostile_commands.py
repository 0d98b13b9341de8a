"""Every command that takes a checkpoint refuses hostile ones in one sentence, time and memory."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.cli.test_no_code_from_files import commands
from tests.inference.networks import NAMES
from tests.small_data import FLAGS
from tests.videos import write_video
from tests.weights.hostile_files import OTHERS, declared
from videonl.cli.main import main

SECONDS, MEGABYTES = 1.0, 50  # measured beside other work: at most 0.6 s and 10 MB
FILES = {
    "width": declared("options.width=0"),
    "frames": declared("preprocessing.frames=0"),
    "expanded": OTHERS["expanded"],
    "instructions": OTHERS["instructions"],
}
PEAK = Path("/proc/self/clear_refs")  # Linux: "5" begins the peak of memory anew


def peak() -> int:
    """The most memory of this process in kB since the last call; 0 where the system is silent."""
    if not PEAK.exists():
        return 0
    (line,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    PEAK.write_text("5", encoding="utf-8")
    return int(line)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    for split in ("train", "val", "test"):
        for name in NAMES:
            for number in range(2):
                write_video(place / f"data/{split}/{name}/{number}.mp4", 12)
    for name, make in FILES.items():
        (place / name).mkdir()
        make(place / name)
    (place / "empty.ckpt").touch()
    return place


def every(place: Path, file: Path) -> dict[str, list[str]]:
    """Every command that reads a checkpoint, also by way of another file or as one of several."""
    data, more = str(place / "data"), ["--model.pretrained", str(file)]
    sweep = place / f"{file.parent.name}.yaml"
    if place.is_dir():
        sweep.write_text(json.dumps({"entries": {"a": {"checkpoint": str(file)}}}), "utf-8")
    return {
        **commands(place, file),
        "compare --sweep": ["compare", "--no-speed", "--sweep", str(sweep)],
        "compare NAME=": ["compare", "--no-speed", f"a={file}", "tiny_i3d"],
        "cross": ["cross", data, "--folds", "2", "--out", "crossed", *FLAGS, *more],
    }


QUICK = ("predict", "convert", "fit --resume")
EVERY = tuple(sorted(every(Path("nowhere"), Path())))


@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["quick", "every"]
)
def test_commands_refuse_them(
    names: tuple[str, ...],
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = place / "empty.ckpt"
    # The empty file, the second time, is what the command's own start costs.
    files = [empty, empty, *(next((place / name).iterdir()) for name in FILES)]
    for name in names:
        own_time, own_memory = 0.0, 0
        for file in files:
            peak()
            start = time.process_time()
            code = main(every(place, file)[name])
            used, memory = time.process_time() - start, peak()
            text = "".join(capsys.readouterr())
            assert "Traceback" not in text
            assert code in (1, 2), (name, file)
            assert str(file) in text, (name, text)
            if file == empty:
                own_time, own_memory = used, memory
                continue
            assert used - own_time < SECONDS, (name, file, used, own_time)
            assert memory - own_memory < 1024 * MEGABYTES, (name, file, memory, own_memory)
