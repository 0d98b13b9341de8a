"""A trained run as a small committed file: half-precision matrices, its description, a card.

python benchmarks/commit_checkpoint.py RUN NAME.safetensors --root DIR --title WORDS --data WORDS

Tests the file that it wrote on the folder's test split; the card holds that figure and the file's
hash.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from videonl.cli.main import main as videonl
from videonl.files import sha256
from videonl.video import Preprocessing

CARD = """\
# {title}

| | |
|---|---|
| file | `{file}`, {kilobytes} KB, sha256 `{hash}` |
| network | `{network}`, {classes} classes: {names} |
| trained on | {data} |
| accuracy | video top-1 {accuracy}, {views} |
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
        views=f"{shown['clips']} × {shown['crops']} views",
        clip=f"{viewed.frames} frames of {height}×{width}, {viewed.shown_steps}",
    )


def main() -> None:
    """Convert, halve, test, describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a training, or its checkpoint")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--root", type=Path, required=True, help="the data set it is tested on")
    parser.add_argument("--split", default="test")
    parser.add_argument("--title", required=True, help="of the card")
    parser.add_argument("--data", required=True, help="what it was trained on, in words")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    target = arguments.target
    with tempfile.TemporaryDirectory() as folder:
        whole, result = Path(folder) / "whole.safetensors", Path(folder) / "test.json"
        test = ["train", "test", "--checkpoint", str(target), "--data.root", str(arguments.root)]
        if code := videonl(["convert", str(arguments.run), str(whole)]):
            raise SystemExit(code)
        halve(whole, target)
        if code := videonl([*test, "--split", arguments.split, "--json", str(result)]):
            raise SystemExit(code)
        text = card(target, result, title=arguments.title, data=arguments.data)
    target.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
