"""``videonl doctor``: which versions are installed, what is missing, how to install it."""

import platform
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from videonl import __version__
from videonl.cli.main import make_parser
from videonl.shares import counted

REQUIRED = (
    "torch",
    "torchvision",
    "pytorchvideo",
    "av",
    "lightning",
    "jsonargparse",
    "rich",
    "matplotlib",
    "jinja2",
    "safetensors",
    "tensorboard",
    "numpy",
)
OPTIONAL = {"decord": "PyAV decodes instead"}
MALICIOUS = {("lightning", "2.6.2"), ("lightning", "2.6.3")}  # GHSA-w37p-236h-pfx3


def _state(name: str) -> tuple[str, str | None]:
    """(version or 'missing', problem or None) of an installed package."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return "missing", f"{name} is missing: pip install {name}"
    if (name, found) in MALICIOUS:
        return found, f"{name} {found} is a malicious release: remove it, change your credentials"
    try:
        import_module(name)
    except Exception as error:  # a broken install raises anything, OSError and RuntimeError too
        return found, f"{name} {found} does not import ({error}): install it again"
    return found, None


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"{len(names)} × {names[0]}"
    return "none, the CPU is used"


def _forms() -> list[str]:
    """How this machine computes the pairwise sum of a block after res3, 32 frames of 224²."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from videonl.kernels import explain
    from videonl.layers import AFFINITIES, NonLocalBlock

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,)
    lines = []
    for name in AFFINITIES:
        for dtype in dtypes:
            with FakeTensorMode(), torch.device(device):
                block = NonLocalBlock(512, affinity=name)
                op = block.operands(torch.empty(1, 512, 16, 28, 28, dtype=dtype))
                kind = f"{name}, {str(dtype).removeprefix('torch.')}"
                lines += [f"{kind:<28}{line}" for line in explain(op)]
    return lines


def main(argv: Sequence[str]) -> int:
    """Print the versions; the exit code is 1 if a required package is missing or broken."""
    parser = make_parser("videonl doctor", "Print versions and what is missing.")
    parser.parse_args(argv)
    print(f"{'videonl':<14}{__version__}")
    print(f"{'python':<14}{platform.python_version()} on {platform.system()} {platform.machine()}")
    problems = []
    for name in REQUIRED:
        found, problem = _state(name)
        print(f"{name:<14}{found}")
        problems += [problem] if problem else []
    for name, instead in OPTIONAL.items():
        found, problem = _state(name)
        print(f"{name:<14}{f'not usable ({instead})' if problem else found}")
    if not any(text.startswith("torch ") for text in problems):
        print(f"{'accelerator':<14}{_accelerator()}")
        print("implementations of the non-local sum at 512 x 16x28x28, the preferred one first:")
        print("\n".join(f"  {line}" for line in _forms()))
    for problem in problems:
        print(f"problem: {problem}")
    print(counted(len(problems), "problem") if problems else "no problems found")
    return 1 if problems else 0
