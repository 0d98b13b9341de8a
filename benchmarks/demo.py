"""Run the demo as a person would, with several seeds, and keep what it measured.

python benchmarks/demo.py --seeds 0 1 2        writes benchmarks/results/demo.json

Seeds that the file holds already and that are not run again stay in it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from videonl.escapes import json_text
from videonl.files import write_text

RESULT = Path(__file__).parent / "results" / "demo.json"


def run_demo(seed: int, out: Path) -> dict[str, Any]:
    """One demo in a process of its own: what it wrote, and the seconds from start to end."""
    command = [sys.executable, "-m", "videonl.cli.main", "demo"]
    start = time.perf_counter()
    subprocess.run([*command, "--seed", str(seed), "--out", str(out)], check=True)
    seconds = round(time.perf_counter() - start, 1)
    facts = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    return {"seed": seed, "wall_seconds": seconds, "load_average": os.getloadavg(), **facts}


def main() -> None:
    """Run the seeds one after the other; the data set is written by the first only."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/demo_benchmark"))
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    held = json.loads(given.result.read_text())["runs"] if given.result.is_file() else []
    runs = [run for run in held if run["seed"] not in given.seeds]
    for seed in given.seeds:
        runs.append(run_demo(seed, given.out / f"seed{seed}"))
        runs.sort(key=lambda run: run["seed"])
        write_text(given.result, json_text({"runs": runs}, indent=1) + "\n")
    for run in runs:
        scores = {name: run["networks"][name]["top1"]["value"] for name in run["networks"]}
        print(f"seed {run['seed']}: {run['wall_seconds']:.0f} s, {scores}")


if __name__ == "__main__":
    main()
