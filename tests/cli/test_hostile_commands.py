"""Every command that takes a checkpoint refuses hostile ones in one sentence, time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_no_code_from_files import commands
from tests.inference.networks import NAMES
from tests.small_data import FLAGS
from tests.videos import write_video
from tests.weights.hostile_files import OTHERS, declared

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEGABYTES = 1.0, 50  # measured beside other work: at most 0.6 s and 10 MB
FILES = {
    "width": declared("options.width=0"),
    "frames": declared("preprocessing.frames=0"),
    "expanded": OTHERS["expanded"],
    "instructions": OTHERS["instructions"],
}
# An empty file, the second time, is what the command's own start costs.
PROGRAM = """\
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
from videonl.cli.main import main
found = []
for argv in json.load(open(sys.argv[1])):
    start = time.process_time()
    code = main(argv)
    used = time.process_time() - start
    found.append([code, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
    print("=====")
json.dump(found, open(sys.argv[2], "w"))
"""


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


QUICK = ("predict", "convert", "fit --resume", "fit --model.pretrained")
EVERY = tuple(sorted(every(Path("nowhere"), Path())))


@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["quick", "every"]
)
def test_commands_refuse_them(names: tuple[str, ...], place: Path, tmp_path: Path) -> None:
    empty = place / "empty.ckpt"
    files = [empty, empty, *(next((place / name).iterdir()) for name in FILES)]
    runs = [every(place, file)[name] for name in names for file in files]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    line = [sys.executable, "-c", PROGRAM, str(tmp_path / "runs.json"), str(tmp_path / "out.json")]
    done = subprocess.run(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    sentences = iter(done.stdout.split("====="))
    found = iter(json.loads((tmp_path / "out.json").read_text()))
    for name in names:
        own_time, own_memory = 0.0, 0
        for file in files:
            (code, used, memory), text = next(found), next(sentences)
            assert code in (1, 2), (name, file)
            assert str(file) in text, (name, text)
            if file == empty:
                own_time, own_memory = used, memory
                continue
            assert used - own_time < SECONDS, (name, file, used, own_time)
            assert memory - own_memory < 1024 * MEGABYTES, (name, file, memory, own_memory)
