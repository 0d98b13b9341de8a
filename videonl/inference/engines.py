"""The backend that computes a network: PyTorch, or OpenVINO on a CPU (the extra ``openvino``).

OpenVINO gets the graph that ``videonl export`` captures, with fixed clips and a free batch. The
converted network is stored in the user's cache under the hash of its weights, its structure, the
clip and the versions, so each is converted once; before its first use in a process, its output for
a clip is compared with PyTorch's float32. Where they differ, or OpenVINO cannot compute the
network, one sentence says so and PyTorch is used.
"""

import copy
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videonl import __version__
from videonl.errors import VideoNLError, one_line, taking_clips
from videonl.files import cache_folder
from videonl.inference.export_formats import difference_of, set_forms, trace
from videonl.kernels import cpu_multiplies_bf16

ENGINES = ("torch", "openvino")
PRECISIONS = ("32", "bf16")
# Largest difference from PyTorch's float32 that counts as rounding, relative to the largest value.
BOUNDS = {"32": 1e-4, "bf16": 5e-2}


class TorchEngine:
    """PyTorch, in float32 or under bfloat16 autocast.

    Attributes:
        about: what results say of it; nothing for float32.
    """

    def __init__(self, precision: str = "32") -> None:
        self.precision = precision
        self.about: dict[str, object] = {} if precision == "32" else {"precision": precision}

    def __call__(self, network: nn.Module, clips: Tensor) -> Any:
        """The output of a network for normalised clips (B, 3, T, H, W): tensors in float32.

        Raises:
            VideoNLError: the network cannot take clips of this size.
        """
        with taking_clips(clips.shape):
            if self.precision == "32":
                return network(clips)
            with torch.autocast(clips.device.type, torch.bfloat16):
                answer = network(clips)
        return answer.float() if isinstance(answer, Tensor) else answer


class OpenVINOEngine:
    """OpenVINO with as many threads as torch has; serves several threads at once.

    Args:
        precision: of :data:`PRECISIONS`.
        say: called with a sentence if PyTorch has to be used.

    Raises:
        VideoNLError: the package is missing.
    """

    def __init__(self, precision: str = "32", *, say: Callable[[str], None]) -> None:
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        can = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in can:
            say("this CPU does not compute in bf16: OpenVINO computes in float32")
            precision = "32"
        self.precision, self._say = precision, say
        self._made: dict[tuple[nn.Module, torch.Size], Any] = {}
        self._lock = threading.Lock()
        self.about: dict[str, object] = {"engine": f"openvino {self._openvino.__version__}"}
        self.about |= TorchEngine(precision).about

    def __call__(self, network: nn.Module, clips: Tensor) -> Any:
        """As ``TorchEngine``; converts and compares where the clips have a new size."""
        key = (network, clips.shape[1:])
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(network, clips)
        made = self._made[key]
        return network(clips) if made is None else answer_of(made, clips)

    def _make(self, network: nn.Module, clips: Tensor) -> Any:
        """The compiled network; None if PyTorch has to be used."""
        with torch.inference_mode(False), torch.no_grad():
            clip = clips[:1].clone(memory_format=torch.contiguous_format)
            expected = network(clip)
            try:
                for fresh in (False, True):  # what an older, equal-looking network left behind
                    made = self._compile(self._converted(network, clip, fresh=fresh))
                    difference = difference_of(answer_of(made, clip), expected)
                    if difference <= BOUNDS[self.precision]:
                        return made
                reason = (
                    f"its output differs from PyTorch's by {difference:.1e} of the largest value "
                    f"(allowed: {BOUNDS[self.precision]:.0e})"
                )
            except Exception as error:  # both libraries raise whatever their operators do
                reason = one_line(error)
        self._say(f"OpenVINO cannot compute this network, so PyTorch does: {reason}")
        self.about.clear()
        return None

    def _compile(self, model: Any) -> Any:
        """Compile for low latency, on threads that leave cores to other programs."""
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(model, "CPU", settings)

    def _converted(self, network: nn.Module, clip: Tensor, *, fresh: bool) -> Any:
        """The network converted to OpenVINO, from the cache unless it has to be ``fresh``."""
        base = cache_folder()
        version = self._openvino.__version__
        place = base and base / "openvino" / fingerprint(network, clip.shape[1:], version)
        if place is not None and not fresh:
            try:
                return self._core.read_model(place / "network.xml")
            except RuntimeError:
                pass  # it is not there, or not whole
        twin = copy.deepcopy(network)
        set_forms(twin, "onnx")  # which OpenVINO computes, too
        program = trace(twin, clip.repeat(2, *(1,) * (clip.dim() - 1)), frames_too=False)
        model = self._openvino.convert_model(program)
        model.reshape([-1, *clip.shape[1:]])
        if place is not None:
            try:
                self._keep(model, place)
            except (OSError, RuntimeError) as error:
                self._say(f"the converted network cannot be stored for the next time: {error}")
        return model

    def _keep(self, model: Any, place: Path) -> None:
        """Write a folder under a temporary name and rename it when it is complete."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=place.parent) as part:
            made = Path(part) / "network"
            self._openvino.save_model(model, made / "network.xml", compress_to_fp16=False)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(made, place)


Engine = TorchEngine | OpenVINOEngine


def import_openvino() -> Any:
    """The package, without the companion package that reports every import to its maker.

    Raises:
        VideoNLError: it is missing.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise VideoNLError(
            f"--engine openvino needs the package openvino ({error}): "
            "pip install 'videonl[openvino]'"
        ) from error
    return openvino


def make_engine(
    name: str, *, precision: str, device: torch.device, say: Callable[[str], None]
) -> Engine:
    """An engine by name.

    Args:
        name: of :data:`ENGINES`.
        precision: of :data:`PRECISIONS`.
        device: of the network.
        say: called with sentences for the user.

    Raises:
        VideoNLError: an unknown name or precision, a missing package, an unsupported device.
    """
    for option, value, known in (("engine", name, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise VideoNLError(f"--{option} {value}: use one of {', '.join(known)}")
    if name == "openvino":
        if device.type != "cpu":
            raise VideoNLError(f"--engine openvino computes on the CPU, not on {device}")
        return OpenVINOEngine(precision, say=say)
    if precision == "bf16" and device.type == "cpu" and not cpu_multiplies_bf16():
        say("bf16 is slower than float32 on this CPU: it has no AMX that torch can use")
    return TorchEngine(precision)


def answer_of(made: Any, clips: Tensor) -> Tensor:
    """The output of a compiled network; each call has its own request, so threads do not mix."""
    return torch.from_numpy(made.create_infer_request().infer([clips.contiguous().numpy()])[0])


def fingerprint(network: nn.Module, clip: torch.Size, version: str) -> str:
    """A hash of everything that determines a converted network, see the head of this file."""
    config = getattr(network, "config", None)
    facts = (str(network), config, tuple(clip), __version__, torch.__version__, version)
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass"))
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
