"""Frames of RoboTwin's websocket evaluation, July 2026: msgpack maps with numpy arrays inside.

The envelope is that of XPolicyLab's client (`message_type`, `message_id`, `evaluation_id`, `action_case_id`,
`trial_id`, `repeat_index`, `step`, `sent_at`, `payload`); arrays are maps of the binary keys nd, type, kind,
shape and data, as the package msgpack-numpy writes them. That package is not used to read: it unpickles what
calls itself an array of objects. Knows no policy and no socket.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, get_args

import msgpack
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dygro_ros.errors import UserError
from dygro_ros.manifest import first_reason

# Three cameras of 640 x 480 with depth are 11 MB.
MAX_MESSAGE_BYTES = 64 << 20
MAX_DIMENSIONS = 8
_KINDS = "biuf"
_NUMBERS = re.compile(r"[<>|=]?[biuf][1248]")  # numpy evaluates some of what else it is given

Request = Literal["hello", "prepare_case", "reset", "infer", "trial_end", "heartbeat", "close"]
REPLIES: Mapping[str, str] = {
    "hello": "hello_ack",
    "prepare_case": "prepare_case_ack",
    "reset": "reset_result",
    "infer": "infer_result",
    "trial_end": "trial_end_ack",
    "heartbeat": "heartbeat_ack",
}
Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class WireError(UserError):
    """A message is not a frame of this protocol."""


class UnknownMessageError(WireError):
    """A message's type is none of this protocol."""


class Frame(BaseModel):
    """One request of an evaluation client."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message_type: Request
    message_id: Name
    evaluation_id: Name
    action_case_id: Name | None = None
    trial_id: Name | None = None
    repeat_index: int | None = None
    step: int = 0
    sent_at: str = ""
    payload: dict[str, Any] = Field(default_factory=dict)


def read_message(data: bytes) -> dict[str, Any]:
    """Return a message's map; its arrays are read-only views of `data`.

    Raises:
        WireError: Not msgpack, not a map, or an array that is damaged or not of numbers.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message may have {MAX_MESSAGE_BYTES} bytes, got {len(data)}")
    try:
        message = msgpack.unpackb(data, raw=False, object_hook=_decoded, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"expected a msgpack map, got {len(data)} bytes that are none ({error})") from error
    if not isinstance(message, dict):
        raise WireError(f"expected a msgpack map, got a {type(message).__name__}")
    return message


def read_frame(message: Mapping[str, Any]) -> Frame:
    """Return a message as a request.

    Raises:
        UnknownMessageError: There is no such type of message.
        WireError: An entry is missing, unknown, or of another type; names it.
    """
    kind = message.get("message_type")
    if not isinstance(kind, str) or kind not in get_args(Request):
        expected = ", ".join(get_args(Request))
        raise UnknownMessageError(f"message_type must be one of {expected}, got {reprlib.repr(kind)}")
    try:
        # The client leaves out or sends as nil what it has not.
        return Frame(**{name: value for name, value in message.items() if value is not None})
    except (ValidationError, TypeError) as error:
        reason = first_reason(error) if isinstance(error, ValidationError) else str(error)
        raise WireError(f"the envelope of {kind!r}: {reason}") from error


def reply(frame: Frame, payload: Mapping[str, Any]) -> bytes:
    """Return the answer to a request, encoded."""
    return _encoded(REPLIES[frame.message_type], frame.model_dump(), payload)


def refusal(message: Mapping[str, Any], code: str, sentence: str) -> bytes:
    """Return a refusal of a message, encoded.

    Args:
        message: What was received, or as much of it as could be read.
        code: One of the protocol's: invalid_frame, unknown_message_type, infer_failed, reset_failed.
        sentence: Why.
    """
    return _encoded("error", message, {"code": code, "message": sentence, "details": {}})


def _encoded(kind: str, request: Mapping[str, Any], payload: Mapping[str, Any]) -> bytes:
    def text(name: str) -> str | None:
        value = request.get(name)
        return value if isinstance(value, str) else None

    step, repeat = request.get("step"), request.get("repeat_index")
    envelope = {
        "message_type": kind,
        "evaluation_id": text("evaluation_id") or "",
        "action_case_id": text("action_case_id"),
        "trial_id": text("trial_id"),
        "repeat_index": repeat if isinstance(repeat, int) else None,
        "step": step if isinstance(step, int) else 0,
        "sent_at": datetime.now(timezone.utc).isoformat(),
        "message_id": text("message_id") or "",
        "payload": dict(payload),
    }
    data: bytes = msgpack.packb(envelope, default=_plain, use_bin_type=True)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        data = np.ascontiguousarray(value).tobytes()
        return {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape, b"data": data}
    raise TypeError(f"a message cannot hold a {type(value).__name__}")


def _decoded(node: dict[Any, Any]) -> Any:
    """Return what a map stands for: itself, an array or a number."""
    if b"nd" not in node:
        if b"complex" in node:
            raise WireError("numbers must be real, got a complex one")
        return node
    kind, data = node.get(b"type"), node.get(b"data")
    if not isinstance(kind, str) or not isinstance(data, bytes):
        got = f"{reprlib.repr(kind)} and {type(data).__name__}"
        raise WireError(f"an array must have a type and data, got {got}")
    if not _NUMBERS.fullmatch(kind):
        raise WireError(f"an array's type must be one of numbers, got {reprlib.repr(kind)}")
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise WireError(f"an array's type must be one of numbers, got {kind!r}") from error
    shape = node.get(b"shape", ()) if node[b"nd"] else ()
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > MAX_DIMENSIONS
        or not all(type(length) is int and 0 <= length <= MAX_MESSAGE_BYTES for length in shape)
        or math.prod(shape) * dtype.itemsize != len(data)
    ):
        raise WireError(f"an array of {kind} and shape {reprlib.repr(shape)} cannot have {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if node[b"nd"] else array[()]
