"""Batches arrive where shared memory is as small as Docker's, or not there at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import mostly_slow
from tests.small_data import write_small_data

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """\
import sys
from videonl.data import VideoDataModule
if __name__ == "__main__":
    data = VideoDataModule(sys.argv[1], frames=8, stride=1, short_side=128, crop=128, batch_size=2,
        num_workers=1, decoder="pyav")
    data.setup("fit")
    for batch in data.train_dataloader():
        print(*batch["video"].shape, batch["video"].dtype)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system of its own"
)
@pytest.mark.parametrize("size", mostly_slow(["1m", "4k"], quick=["4k"]))
def test_a_small_shared_memory(size: str, tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data", train=3)
    (tmp_path / "program.py").write_text(PROGRAM)
    mounted = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    line = ["unshare", "-m", "sh", "-c", mounted, "sh"]
    if subprocess.run([*line, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    done = subprocess.run(
        [*line, sys.executable, str(tmp_path / "program.py"), str(data)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == ["2 1 8 128 128 3 torch.uint8"] * 3
    assert ("--shm-size" in done.stderr) == (size == "4k")
