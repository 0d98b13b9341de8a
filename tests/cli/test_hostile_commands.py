"""Every command that takes a checkpoint refuses hostile ones in one sentence, time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_no_code_from_files import commands
from tests.inference.networks import NAMES
from tests.models.hostile_files import OTHERS, declared
from tests.videos import write_video

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEGABYTES = 1.0, 100
FILES = {
    "width": declared("options.width=0"),
    "frames": declared("preprocessing.frames=0"),
    "expanded": OTHERS["expanded"],
    "instructions": OTHERS["instructions"],
}
# The first file is what the command's own start costs: no checkpoint at all.
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
    print("=====", file=sys.stderr, flush=True)
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


@pytest.mark.parametrize("command", sorted(commands(Path(), Path())))
def test_every_command_refuses_them(command: str, place: Path, tmp_path: Path) -> None:
    files = [place / "empty.ckpt", place / "empty.ckpt"]
    files += [next((place / name).iterdir()) for name in FILES]
    runs = [commands(place, file)[command] for file in files]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", PROGRAM, str(tmp_path / "runs.json"), str(tmp_path / "out.json")]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    sentences = done.stderr.split("=====")
    found = json.loads((tmp_path / "out.json").read_text())
    own_time, own_memory = found[1][1], found[1][2]
    for file, (code, used, memory), text in zip(files, found, sentences, strict=False):
        assert code in (1, 2), file
        assert str(file) in text, text
        if file.name != "empty.ckpt":
            assert used - own_time < SECONDS, (file, used, own_time)
            assert memory - own_memory < 1024 * MEGABYTES, (file, memory, own_memory)
