"""Capturing a network as a graph; writing and running the two formats of an exported one."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from videonl.errors import VideoNLError, one_line
from videonl.escapes import json_text
from videonl.layers import NonLocalBlock, affinity_name

METADATA = "videonl.json"  # of a torch.export file
SMALLEST = 1e-6  # outputs below are compared as if they were this large

# Affinities whose fast form the file holds; all forms are exact. ONNX has no binary search, so the
# concatenation is written with the N x M matrix there.
SUMS = frozenset({"gaussian", "embedded_gaussian", "dot_product"})
FAST = {"onnx": SUMS, "torch-export": SUMS | {"concatenation"}}


def difference_of(answer: Tensor, expected: Any) -> float:
    """The largest difference, relative to the largest value; infinite if the shapes differ."""
    if not isinstance(expected, Tensor) or answer.shape != expected.shape:
        return float("inf")
    if not bool(answer.isfinite().all()):
        return float("inf")
    scale = max(float(expected.abs().max()), SMALLEST)
    return float((answer - expected).abs().max()) / scale


def set_forms(net: nn.Module, format: str) -> dict[str, str]:
    """Choose the form of every block that can be exported; other affinities: the reference."""
    forms = {}
    for name, module in net.named_modules():
        if isinstance(module, NonLocalBlock):
            fast = affinity_name(module.affinity) in FAST[format]
            form = "fast" if fast else "reference"
            module.implementation = forms[name.removesuffix(".non_local")] = form
    return forms


def trace(net: nn.Module, clip: Tensor, *, frames_too: bool) -> torch.export.ExportedProgram:
    """The network as a graph with a free batch and, if asked for, a free number of frames.

    Of its origin in code, which files would keep, the places on this machine's disk are left out.

    Raises:
        VideoNLError: it cannot be captured.
    """
    free = torch.export.Dim.DYNAMIC
    sizes = {0: free, 2: free} if frames_too else {0: free}
    try:
        with torch.no_grad():
            program = torch.export.export(net, (clip,), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # torch.export raises whatever the network's operators do
        raise VideoNLError(f"the network cannot be exported: {one_line(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def write_program(
    program: torch.export.ExportedProgram, stream: IO[bytes], about: Mapping[str, str]
) -> None:
    """Write a ``.pt2`` with the metadata as its extra file ``videonl.json``."""
    texts = {METADATA: json_text(dict(about), ascii=True)}
    with _quiet():
        torch.export.save(program, stream, extra_files=texts)


def run_program(path: Path, clips: list[Tensor]) -> list[Tensor]:
    """Load a ``.pt2`` and run it on each batch of clips.

    Raises:
        VideoNLError: it fails for one of them, for instance because its sizes became fixed.
    """
    try:
        module = torch.export.load(path).module()
        with torch.no_grad():
            return [module(clip) for clip in clips]
    except (AssertionError, RuntimeError) as error:
        raise VideoNLError(f"the exported program does not run: {one_line(error)}") from error


def write_onnx(
    program: torch.export.ExportedProgram, stream: IO[bytes], about: Mapping[str, str]
) -> None:
    """Write an ONNX file with input ``clips``, output ``logits`` and the metadata as properties.

    Raises:
        VideoNLError: an operator has no counterpart in ONNX.
    """
    import onnx

    with _quiet():
        try:
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["clips"], output_names=["logits"]
            )
        except Exception as error:  # the exporter raises many kinds
            text = f"the network cannot be written as ONNX: {one_line(error)}"
            raise VideoNLError(text) from error
    assert made is not None
    model = made.model_proto
    _name_sizes(model.graph)
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model)
    onnx.save_model(model, stream)


def run_onnx(path: Path, clips: list[Tensor]) -> list[Tensor]:
    """Run an ONNX file on each batch of clips with onnxruntime on the CPU.

    Raises:
        VideoNLError: onnxruntime cannot run it.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return [torch.from_numpy(session.run(None, {name: clip.numpy()})[0]) for clip in clips]
    except Exception as error:  # onnxruntime's own kinds of errors have no common class
        raise VideoNLError(f"onnxruntime cannot run the file: {one_line(error)}") from error


def _name_sizes(graph: Any) -> None:
    """Name the dynamic sizes ``batch`` and ``frames``; drop the sizes noted in between."""
    sizes = graph.input[0].type.tensor_type.shape.dim
    names = {
        sizes[place].dim_param: name
        for place, name in ((0, "batch"), (2, "frames"))
        if sizes[place].dim_param
    }
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = names.get(size.dim_param, size.dim_param)
    del graph.value_info[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's progress on standard output and in warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
