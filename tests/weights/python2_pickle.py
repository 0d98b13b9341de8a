"""A pickle as Python 2's cPickle writes it (protocol 2): byte strings, numpy's old names.

The official checkpoints are such files. Python 3 cannot write one, so the operations are put
down one by one; only arrays, numbers, texts and dicts of those.
"""

import pickle
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = {np.dtype("float32"): b"f4", np.dtype("float64"): b"f8", np.dtype("int64"): b"i8"}


def dump(value: Mapping[str, Any]) -> bytes:
    """The whole file."""
    return pickle.PROTO + b"\x02" + operations(value) + pickle.STOP


def operations(value: Any) -> bytes:
    """What puts a value on the stack."""
    if isinstance(value, Mapping):
        pairs = b"".join(operations(k) + operations(v) for k, v in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS
    if isinstance(value, str):
        return text(value.encode("latin1"))
    if isinstance(value, np.ndarray):
        return array(value)
    if isinstance(value, np.generic):
        made = named("numpy.core.multiarray", "scalar")
        data = text(value.tobytes())
        return made + dtype(value.dtype) + data + pickle.TUPLE2 + pickle.REDUCE
    if isinstance(value, int):
        return pickle.BININT + struct.pack("<i", value)
    raise TypeError(f"{type(value).__name__} is not written")


def text(data: bytes) -> bytes:
    """A Python 2 ``str``."""
    if len(data) < 256:
        return pickle.SHORT_BINSTRING + bytes([len(data)]) + data
    return pickle.BINSTRING + struct.pack("<i", len(data)) + data


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def dtype(kind: np.dtype[Any]) -> bytes:
    """``dtype('f4', 0, 1)`` and its state: little-endian."""
    made = named("numpy", "dtype") + text(DTYPES[kind]) + operations(0) + operations(1)
    state = operations(3) + text(b"<") + 3 * pickle.NONE
    state += operations(-1) + operations(-1) + operations(0)
    return (
        made + (pickle.TUPLE3 + pickle.REDUCE + pickle.MARK) + (state + pickle.TUPLE + pickle.BUILD)
    )


def array(value: np.ndarray) -> bytes:
    """``_reconstruct(ndarray, (0,), 'b')`` and its state: version, shape, dtype, order, data."""
    made = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray")
    made += operations(0) + pickle.TUPLE1 + text(b"b") + pickle.TUPLE3 + pickle.REDUCE
    shape = pickle.MARK + b"".join(operations(size) for size in value.shape) + pickle.TUPLE
    state = pickle.MARK + operations(1) + shape + dtype(value.dtype) + pickle.NEWFALSE
    return made + state + text(np.ascontiguousarray(value).tobytes()) + pickle.TUPLE + pickle.BUILD
