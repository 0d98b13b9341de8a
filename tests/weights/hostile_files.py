"""Checkpoints as a stranger may write them: small files that ask for much. Made here, by code."""

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.cli.checkpoints import write_ckpt
from videonl.models import create_model
from videonl.weights import load_checkpoint, save_checkpoint

Maker = Callable[[Path], Path]
HUGE = 10**9


def nest(width: int = 10, depth: int = 15) -> list[Any]:
    """A list that holds one list ten times, which holds one list ten times, and so on."""
    inner: list[Any] = [1]
    for _ in range(depth):
        inner = [inner] * width
    return inner


# Hyper-parameter -> values that no network has, by "section.key".
DECLARED: dict[str, list[Any]] = {
    "num_classes": [HUGE, 10**30, 0, -1, "x", 2.5, True],
    "options.width": [20_000, HUGE, 10**30, 0, -3, "x", [8], float("nan")],
    "options.layers": [[HUGE], [1, 1, 10**6], "x", [0], [], 7, nest()],
    "options.depth": [HUGE, "x"],
    "options.strides": [[0, 0, 0], "x", [1]],
    "options.stem_kernel": [[3, HUGE, HUGE], [3, 5], "xyz", [0, 0, 0]],
    "options.pool1_stride": [[0, 0, 0], "x"],
    "options.inflation": [7, {"res9": "3x1x1"}, "4x4x4", {"res2": 7}],
    "options.non_local": [{"res4": [HUGE]}, {"res9": [0]}, 7, {"res4": "x"}],
    "options.non_local_options": [{"inner_channels": HUGE}, {"affinity": 7}, 7, {"norm": 7}],
    "options.non_local_groups": [{"res4": 0}, {"res4": "x"}],
    "options.dropout": ["x", 7, float("inf")],
    "options.preset": [7, "x" * 10**5, nest()],
    "options.head_window": [[0, 0], "x"],
    "options.norm_eps": ["x", -1],
    "options.unknown": [1],
    "preprocessing.frames": [HUGE, 10**30, 0, -1, "x", 2.5, None, [8]],
    "preprocessing.stride": [HUGE, 0, "x"],
    "preprocessing.short_side": [10**6, 0, "x", 8192],
    "preprocessing.crop": [10**6, 0, "x"],
    "preprocessing.mean": [[0.45], [0.45] * 4, "abc", [float("nan")] * 3, None],
    "preprocessing.std": [[0.0] * 3, [0.2], [-1.0] * 3, [float("inf")] * 3, 7],
    "preprocessing.fps": [0, -1, float("nan"), "x", 10**9],
    "preprocessing.more": [nest(), "x" * 10**5],
    "class_names": [["a"], "abc", [1, 2, 3], ["a", "b", ""], {"a": 1}, ["x" * 10**5] * 3, nest()],
    "preprocessing": [7, "x", [1]],
    "options": [7, "x", [1]],
    "provenance": [nest(), torch.zeros(3), "x" * 10**5],
    "licence": [nest()],
    "name": [7, "x" * 10**5, None, "no_such_network"],
}
CASES = [f"{key}={number}" for key, values in DECLARED.items() for number in range(len(values))]
NESTS = [
    f"{key}={number}"
    for key, values in DECLARED.items()
    for number, value in enumerate(values)
    if isinstance(value, list) and value and type(value[0]) is list
]


def declared(case: str) -> Maker:
    """A checkpoint of ours with one entry changed; ``case`` is one of ``CASES``."""
    key, _, number = case.partition("=")
    value = DECLARED[key][int(number)]
    section, _, entry = key.rpartition(".")

    def change(content: dict[str, Any]) -> None:
        about = content["hyper_parameters"]
        (about[section] if section else about)[entry] = value

    return lambda folder: write_ckpt(folder / "declared.ckpt", change)


def changed(change: Callable[[dict[str, Any]], object]) -> Maker:
    return lambda folder: write_ckpt(folder / "changed.ckpt", change)


def expanded(content: dict[str, Any]) -> None:
    """2 GB of one number: the tensor has stride 0."""
    state = content["state_dict"]
    state["net.stem.conv.weight"] = torch.zeros(1).expand(2**29)


def overlapping(content: dict[str, Any]) -> None:
    """Every tensor of a thousand is the whole of one storage of a megabyte."""
    flat = torch.zeros(2**18)
    for number in range(1000):
        content["state_dict"][f"net.extra{number}"] = flat.view(2**9, 2**9)


def stretched(content: dict[str, Any]) -> None:
    """A window of 1 moves over 10,000 numbers: a hundred million of them."""
    content["state_dict"]["net.extra"] = torch.zeros(20_000).as_strided((10_000, 10_000), (1, 1))


def instructions(folder: Path) -> Path:
    """Five million instructions."""
    path = folder / "weights.pkl"
    path.write_bytes(b"\x80\x02]" + b"K\x01a" * 2_500_000 + b".")
    return path


def instructions_in_zip(folder: Path) -> Path:
    path = folder / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02]" + b"K\x01a" * 2_500_000 + b".")
    return path


def many_entries(folder: Path) -> Path:
    """An archive of 200,000 empty entries."""
    directory, local = bytearray(), b"PK\x03\x04" + bytes(26)
    for number in range(200_000):
        name = b"a/data/%06d" % number
        head = struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), *[0] * 6
        )
        directory += head + name
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), len(local), 0
    )
    path = folder / "weights.pth"
    path.write_bytes(local + bytes(directory) + end)
    return path


def deep(folder: Path) -> Path:
    path = folder / "weights.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".")
    return path


def circle(folder: Path) -> Path:
    """A list that holds itself."""
    path = folder / "weights.pkl"
    path.write_bytes(b"\x80\x02]q\x00h\x00a.")
    return path


def bomb(folder: Path) -> Path:
    """A gigabyte of zeros, compressed."""
    path = folder / "weights.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"a": 1}, 2))
        with archive.open("a/data/0", "w") as stream:
            for _ in range(64):
                stream.write(bytes(2**20))
    return path


def header(text: bytes) -> Maker:
    """A safetensors file with such a header."""

    def make(folder: Path) -> Path:
        path = folder / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
        return path

    return make


def sidecar(text: str) -> Maker:
    """A good safetensors file beside a sidecar with such a text."""

    def make(folder: Path) -> Path:
        save_checkpoint(load_checkpoint(write_ckpt(folder / "a.ckpt")), folder / "b.safetensors")
        (folder / "b.json").write_text(text)
        return folder / "b.safetensors"

    return make


PYSLOWFAST = (
    (r"stem\.conv", "s1.pathway0_stem.conv"),
    (r"stem\.norm", "s1.pathway0_stem.bn"),
    (r"^res(\d)\.(\d+)\.", r"s\1.pathway0_res\2."),
    (r"shortcut\.conv", "branch1"),
    (r"shortcut\.norm", "branch1_bn"),
    (r"\.conv_([abc])\.", r".branch2.\1."),
    (r"\.norm_([abc])\.", r".branch2.\1_bn."),
)


def pyslowfast(change: Callable[[dict[str, Any]], object]) -> Maker:
    """A small C2D by a publisher's keys, changed."""

    def make(folder: Path) -> Path:
        state = {}
        for key, value in create_model("c2d_r50", num_classes=3, width=2).state_dict().items():
            for pattern, theirs in PYSLOWFAST:
                key = re.sub(pattern, theirs, key)
            state[key] = value
        content: dict[str, Any] = {"model_state": state}
        change(content)
        torch.save(content, folder / "weights.pyth")
        return folder / "weights.pyth"

    return make


def wide_stem(content: dict[str, Any]) -> None:
    """A first convolution of 60,000 channels, everything else small."""
    content["model_state"]["s1.pathway0_stem.conv.weight"] = torch.zeros(60_000, 3, 1, 1, 1)


def one_array_often(folder: Path) -> Path:
    """A Caffe2 pickle that names one array of a megabyte 20,000 times."""
    array = np.zeros(2**18, "f4")
    path = folder / "weights.pkl"
    path.write_bytes(pickle.dumps({"blobs": {f"conv{n}_w": array for n in range(20_000)}}, 2))
    return path


def laughs() -> str:
    """A YAML text whose last line means billions of values."""
    lines = [
        "a0: &a0 [1]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)),
    ]
    return "\n".join([*lines, "DATA: {MEAN: [*a19, *a19, *a19]}", "NONLOCAL: *a19"])


def shared_nest(folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save({"state_dict": {"a": torch.zeros(2)}, "meta": nest()}, path)
    return path


OTHERS: dict[str, Maker] = {
    "expanded": changed(expanded),
    "overlapping": changed(overlapping),
    "stretched": changed(stretched),
    "instructions": instructions,
    "instructions in a zip": instructions_in_zip,
    "entries": many_entries,
    "deep": deep,
    "circle": circle,
    "bomb": bomb,
    "header of gigabytes": header(b"{" + b" " * 10**7 + b"}"),
    "header of brackets": header(b'{"a":' + b"[" * 10**6),
    "header of objects": header(b'{"a":[' + b"{}," * 2 * 10**6 + b"{}]}"),
    "header of dimensions": header(
        json.dumps({"a": {"dtype": "F32", "shape": [1] * 10**5, "data_offsets": [0, 4]}}).encode()
    ),
    "header of digits": header(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10**6 + b"]}}"),
    "sidecar of objects": sidecar('{"model":[' + "{}," * 5 * 10**6 + "{}]}"),
    "sidecar of brackets": sidecar("[" * 10**6),
    "sidecar of digits": sidecar('{"model":' + "9" * 10**6 + "}"),
    "sidecar of a list": sidecar("[]"),
    "wide stem": pyslowfast(wide_stem),
    "frames of cfg": pyslowfast(
        lambda content: content.update(cfg=f"DATA: {{NUM_FRAMES: {HUGE}}}")
    ),
    "laughs of cfg": pyslowfast(lambda content: content.update(cfg=laughs())),
    "one array often": one_array_often,
    "shared nest": shared_nest,
    "no state": changed(lambda content: content.update(state_dict=7)),
    "numbers for keys": changed(lambda content: content["state_dict"].update({7: torch.zeros(1)})),
    "other weights": changed(
        lambda content: content["state_dict"].update({"net.stem.conv.weight": torch.zeros(2, 2)})
    ),
}
