"""Frames between two processes: JSON values and numpy arrays, nothing that is ever run as code.

A frame is `MARK`, the length of a JSON header, the header, and the raw bytes of the arrays that it lists.
Knows neither pipes nor processes. A foreign interpreter imports it too: it needs the standard library and
numpy alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MARK = b"DYL1"
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAY_BYTES = 1 << 28
MAX_ARRAYS = 64
MAX_DIMENSIONS = 8
DTYPES = ("bool", "uint8", "uint16", "int32", "int64", "float32", "float64")
_PREFIX = struct.Struct("<4sI")

Values = dict[str, Any]
"""What JSON can say, and numpy arrays, by name."""


class FrameError(ValueError):
    """Bytes are not a frame of this protocol, or a value cannot be sent in one."""


def encode_frame(kind: str, values: Mapping[str, Any], **header: Any) -> list[bytes | memoryview]:
    """Return the frame's pieces, in the order in which they are to be written.

    Args:
        kind: "hello", "call", "result", "refusal" or "failure".
        values: Arrays of a dtype in `DTYPES`; anything else must be JSON.
        **header: Further entries of the header.

    Raises:
        FrameError: A value is neither, or too large.
    """
    arrays = {name: np.asarray(v, order="C") for name, v in values.items() if isinstance(v, np.ndarray)}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES or array.dtype.byteorder == ">":
            raise FrameError(f"array {name!r} must be of {', '.join(DTYPES)}, got {array.dtype}")
    header |= {
        "kind": kind,
        "values": {name: value for name, value in values.items() if name not in arrays},
        "arrays": [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()],
    }
    _check_arrays(header["arrays"])
    try:
        text = json.dumps(header, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise FrameError(f"a value of {sorted(values)} is neither JSON nor an array: {error}") from error
    if len(text) > MAX_HEADER_BYTES:
        raise FrameError(f"a header may have {MAX_HEADER_BYTES} bytes, got {len(text)}")
    return [_PREFIX.pack(MARK, len(text)), text, *(array.reshape(-1).data for array in arrays.values())]


def read_frame(read: Callable[[int], bytes | bytearray]) -> tuple[dict[str, Any], Values]:
    """Read one frame and return its header and its values; arrays are writable and own their memory.

    Args:
        read: Returns exactly as many bytes as asked for.

    Raises:
        FrameError: What came is no frame.
    """
    prefix = bytes(read(_PREFIX.size))
    mark, size = _PREFIX.unpack(prefix)
    if mark != MARK or size > MAX_HEADER_BYTES:
        raise FrameError(f"expected a frame, which begins with {MARK!r}, got {prefix!r}")
    try:
        header = json.loads(bytes(read(size)))
        listed, values, _ = header["arrays"], dict(header["values"]), header["kind"]
        _check_arrays(listed)
        for name, dtype, shape in listed:
            array = np.empty(shape, dtype)
            if array.size:
                array.reshape(-1).view(np.uint8)[:] = np.frombuffer(read(array.nbytes), np.uint8)
            values[name] = array
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(f"a frame's header is damaged: {error!r}") from error
    return header, values


def _check_arrays(listed: Any) -> None:
    """Refuse what would need too much memory, or is no list of (name, dtype, shape); raises FrameError."""
    if not isinstance(listed, list) or len(listed) > MAX_ARRAYS:
        raise FrameError(f"a frame holds a list of at most {MAX_ARRAYS} arrays")
    total = 0
    for name, dtype, shape in listed:
        known = isinstance(name, str) and dtype in DTYPES
        if not known or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise FrameError(f"array {name!r} has an unknown dtype {dtype!r} or a wrong shape {shape!r}")
        size = np.dtype(dtype).itemsize
        for length in shape:
            size *= length
        total += size
    if total > MAX_ARRAY_BYTES:
        raise FrameError(f"a frame's arrays may have {MAX_ARRAY_BYTES} bytes, got {total}")
