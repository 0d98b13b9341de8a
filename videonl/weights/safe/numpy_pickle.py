"""Tensors from a Caffe2 ``.pkl`` (Python 2 or 3), by a reader that knows only six names.

The usual ``pickle.load(encoding="latin1")`` runs any program that somebody put into the file. Here
an array is a shape, a dtype and bytes that must agree before anything is allocated.
"""

import math
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from videonl.errors import CheckpointError
from videonl.weights.safe.pickle_machine import Call, Converter, Name, Persistent, read_pickle

ARRAY_NAMES = frozenset(
    f"{module}.{name}"
    for package in ("numpy.core", "numpy._core")  # NumPy 1 and 2
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),  # from protocol 5 on
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # how Python 3 writes bytes into an old protocol
    )
)
# Floats, integers, booleans; an object array could hold anything.
DTYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
MAX_DIMENSIONS = 8


def read_arrays(stream: IO[bytes], source: str, *, size: int = 0) -> Any:
    """The content of a pickle of arrays (as tensors), numbers, text and containers.

    Args:
        stream: bytes in memory or a mapped file, at the start of the pickle.
        source: what to call the file in messages.
        size: bytes of the file.

    Raises:
        CheckpointError: anything else, or an array whose size differs from its bytes.
    """

    def allow(name: Name) -> bool:
        if name.module in ("torch._utils", "torch.storage"):
            raise CheckpointError(
                f"{source} was written by pickle.dump, in which tensors are programs; load it "
                "where it was made and write it with torch.save"
            )
        return str(name) in ARRAY_NAMES

    return _Resolver(source).convert(read_pickle(stream, allow=allow, source=source, size=size))


def to_tensor(array: np.ndarray) -> Tensor:
    """A tensor with its own memory, in the machine's byte order."""
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        native = native.astype(np.int64)
    return torch.from_numpy(native)


class _Resolver(Converter):
    """Turns the calls that make arrays into tensors; anything else is refused."""

    def made(self, value: Call | Name | Persistent) -> Any:
        """The tensor, number or bytes that a call makes."""
        if isinstance(value, Call):
            function = value.function
            if function.name == "_reconstruct" and value.state is not None:
                return self.array(value)
            if function.name == "scalar" and len(value.arguments) == 2:
                dtype = self.dtype(value.arguments[0])
                return self.filled(dtype, (), value.arguments[1]).item()
            if function.name == "_frombuffer" and len(value.arguments) == 4:
                data, dtype, shape, order = value.arguments
                order = "F" if order == "F" else "C"
                return to_tensor(self.filled(self.dtype(dtype), shape, data, order=order))
            if function.name == "encode":
                return self.data(value)
        used = str(value.function if isinstance(value, Call) else value)[:80]
        raise CheckpointError(
            f"{self.source}: the pickle uses {used} in an unknown way; the file is refused"
        )

    def array(self, call: Call) -> Tensor:
        """A tensor from numpy's state: (version, shape, dtype, Fortran order, bytes)."""
        state = call.state
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise CheckpointError(f"{self.source}: an array is malformed; the file is refused")
        shape, dtype, fortran, data = state[-4:]
        return to_tensor(self.filled(self.dtype(dtype), shape, data, order="F" if fortran else "C"))

    def filled(self, dtype: np.dtype, shape: Any, data: Any, *, order: Any = "C") -> np.ndarray:
        """An array over bytes, after their number was checked against shape and dtype."""
        plain = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS
        if not plain or not all(type(size) is int and size >= 0 for size in shape):
            raise CheckpointError(
                f"{self.source}: an array of shape {str(shape)[:80]}; the file is refused"
            )
        content = self.data(data)
        needed = math.prod(shape) * dtype.itemsize
        if len(content) != needed:
            raise CheckpointError(
                f"{self.source}: an array of shape {shape} needs {needed} bytes, but the file "
                f"contains {len(content)} for it; it is damaged or hostile"
            )
        return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)

    def dtype(self, value: Any) -> np.dtype:
        """The dtype of a call such as ``numpy.dtype('f4', 0, 1)`` with a byte order as state."""
        if not isinstance(value, Call) or str(value.function) != "numpy.dtype":
            raise CheckpointError(
                f"{self.source}: an array without a valid dtype; the file is refused"
            )
        code = value.arguments[0] if value.arguments else None
        if isinstance(code, bytes):
            code = code.decode("latin1")
        order: Any = (
            value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "|"
        )
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if not isinstance(code, str) or code not in DTYPES or order not in ("<", ">", "|", "="):
            raise CheckpointError(
                f"{self.source}: an array of dtype {code!r}; a checkpoint contains only numbers, "
                "so the file is refused"
            )
        found = np.dtype(code)
        return found if order in ("|", "=") else found.newbyteorder(order)

    def data(self, value: Any) -> bytes:
        """Bytes, as Python 2 (a str), Python 3 or ``_codecs.encode(text, "latin1")`` wrote them."""
        if isinstance(value, Call) and str(value.function) == "_codecs.encode":
            text, *codec = value.arguments
            if codec in ([], ["latin1"], ["latin-1"]) and isinstance(text, str):
                value = text
        if isinstance(value, str):
            try:
                return value.encode("latin1")
            except UnicodeEncodeError:
                pass
        if isinstance(value, bytes):
            return value
        raise CheckpointError(
            f"{self.source}: the data of an array are not bytes; the file is refused"
        )
