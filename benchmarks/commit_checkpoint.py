"""A trained run as a small committed file: half-precision matrices, its description, a card.

python benchmarks/commit_checkpoint.py NAME.safetensors --root DIR --run RUN --title W --data W

Tests the file on the folder's test split; the card holds that figure and the file's hash, and
benchmarks/results/checkpoint_NAME.json the test. Without --run it only tests again a file that is
there.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from videonl.cli.main import main as videonl
from videonl.escapes import json_text
from videonl.files import sha256, write_text
from videonl.video import Preprocessing

RESULTS = Path(__file__).parent / "results"
CARD = """\
# {title}

| | |
|---|---|
| file | `{file}`, {kilobytes} KB, sha256 `{hash}` |
| network | `{network}`, {classes} classes: {names} |
| trained on | {data} |
| accuracy | video top-1 {accuracy}, {views} ([the test]({test})) |
| clip | {clip} |
| numbers | matrices in half precision, the rest in single |
| licence | as the project's, Apache-2.0 |
| not for | anything but videos of this kind: it knows these classes only |
"""


def halve(source: Path, target: Path) -> None:
    """Matrices and kernels in half precision; vectors (norms, whose range is wide) as they are."""
    with safe_open(source, "pt") as file:
        about = json.loads(file.metadata()["videonl"])
    about["provenance"]["licence"] = "Apache-2.0"
    tensors = {k: v.half() if v.dim() > 1 else v for k, v in load_file(source).items()}
    save_file(tensors, target, metadata={"videonl": json.dumps(about, sort_keys=True)})
    target.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    target.chmod(0o644)


def card(target: Path, result: Path, *, title: str, data: str) -> str:
    """What the file is and what it does, from the JSON of its test."""
    found = json.loads(result.read_text(encoding="utf-8"))
    about = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    scores, shown = found["scores"], found["protocol"]
    low, high = scores["video_top1_wilson95"]
    viewed = Preprocessing.from_dict(about["preprocessing"])
    height, width = viewed.view_size
    return CARD.format(
        title=title,
        file=target.name,
        kilobytes=round(target.stat().st_size / 1000),
        hash=sha256(target),
        network=about["model"]["name"],
        classes=len(about["class_names"]),
        names=", ".join(about["class_names"]),
        data=data,
        accuracy=f"{100 * scores['video_top1']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
        f"of {scores['videos']} {shown['split']} videos",
        test=f"../benchmarks/results/{test_file(target).name}",
        views=f"{shown['clips']} × {shown['crops']} views",
        clip=f"{viewed.frames} frames of {height}×{width}, {viewed.shown_steps}",
    )


def keep(target: Path, result: Path) -> None:
    """Write what the card's figure rests on: benchmarks/results/checkpoint_NAME.json."""
    found = json.loads(result.read_text(encoding="utf-8"))
    about = {"file": target.name, "sha256": sha256(target), "data": Path(found["data"]).name}
    kept = ("model", "protocol", "scores", "per_class", "confusion", "cost", "environment")
    content = json_text(about | {key: found[key] for key in kept}, indent=1)
    write_text(test_file(target), content + "\n")


def test_file(target: Path) -> Path:
    """Where the test of a committed file is kept."""
    return RESULTS / f"checkpoint_{target.stem}.json"


def main() -> None:
    """Convert, halve, test, describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="the .safetensors file")
    parser.add_argument("--root", type=Path, required=True, help="the data set it is tested on")
    parser.add_argument("--split", default="test")
    parser.add_argument("--run", type=Path, help="write it: of this training, or its checkpoint")
    parser.add_argument("--title", help="of the card that is written with it")
    parser.add_argument("--data", help="what it was trained on, in words")
    arguments = parser.parse_args()
    if arguments.run and not (arguments.title and arguments.data):
        parser.error("--run needs --title and --data, for the card")
    torch.set_num_threads(1)
    target = arguments.target
    with tempfile.TemporaryDirectory() as folder:
        whole, result = Path(folder) / "whole.safetensors", Path(folder) / "test.json"
        test = ["train", "test", "--checkpoint", str(target), "--data.root", str(arguments.root)]
        if arguments.run:
            if code := videonl(["convert", str(arguments.run), str(whole)]):
                raise SystemExit(code)
            halve(whole, target)
        if code := videonl([*test, "--split", arguments.split, "--json", str(result)]):
            raise SystemExit(code)
        keep(target, result)
        if arguments.run:
            text = card(target, result, title=arguments.title, data=arguments.data)
            write_text(target.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
