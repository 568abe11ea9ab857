"""Frames of RoboTwin's websocket evaluation: what comes through, and what never becomes a frame."""

from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from robotwin_client import decode, encode, frame

from sim2real.robotwin import wire
from sim2real.robotwin.wire import WireError, read_frame, read_message, refusal, reply


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)])
def test_arrays_come_through_both_ways(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).random(shape) * 100).astype(dtype)
    for found in (
        read_message(encode({"payload": {"a": [array]}}))["payload"]["a"][0],
        decode(reply(read_frame(frame("infer", {})), {"a": np.asarray(array)}))["payload"]["a"],
    ):
        assert found.dtype == array.dtype and found.shape == shape
        np.testing.assert_array_equal(found, array)


def test_numpys_numbers_come_through() -> None:
    sent = {"a": np.float32(0.5), "b": np.int64(-3), "c": np.bool_(True), "shape": (240, 320)}
    assert read_message(encode(sent)) == {"a": 0.5, "b": -3, "c": True, "shape": [240, 320]}


def test_a_request_keeps_its_entries_and_its_answer_repeats_them() -> None:
    sent = frame("infer", {"observation": {}}, trial_id="t", action_case_id="c", step=7, repeat_index=2)
    found = read_frame(read_message(encode(sent)))
    assert found.model_dump() == sent
    answered = decode(reply(found, {"actions": []}))
    assert answered["message_type"] == "infer_result" and answered["payload"] == {"actions": []}
    for name in ("message_id", "evaluation_id", "trial_id", "action_case_id", "step", "repeat_index"):
        assert answered[name] == sent[name]


def test_a_refusal_repeats_what_could_be_read() -> None:
    answered = decode(refusal({"message_id": "m", "evaluation_id": 3, "step": "x"}, "invalid_frame", "why"))
    assert (answered["message_type"], answered["message_id"], answered["evaluation_id"]) == ("error", "m", "")
    assert answered["payload"] == {"code": "invalid_frame", "message": "why", "details": {}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a msgpack map, got 0 bytes"),
        (b"\xc1", "expected a msgpack map"),
        (b"\x91" * 5000, "expected a msgpack map"),
        (b"\xdf\xff\xff\xff\xff", "expected a msgpack map"),
        (b"\xd4\x01\x00", "expected a msgpack map"),
        (msgpack.packb({"a": 1}) + b"x", "expected a msgpack map"),
        (msgpack.packb([1]), "expected a msgpack map, got a list"),
        (encode({"a": 1 + 2j}), "numbers must be real"),
        (encode({"a": np.array(["text"])}), "type must be one of numbers, got '<U4'"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        read_message(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({b"type": "|O", b"kind": b"O"}, "must be one of numbers, got '|O'"),
        ({b"type": "no type"}, "must be one of numbers, got 'no type'"),
        ({b"type": [["a", "<f4"]], b"kind": b"V"}, "must have a type and data"),
        ({b"data": "text"}, "must have a type and data"),
        ({b"shape": [2, 2]}, r"shape \[2, 2\] cannot have 12 bytes"),
        ({b"shape": [-1, -3]}, "cannot have 12 bytes"),
        ({b"shape": [3.0]}, "cannot have 12 bytes"),
        ({b"shape": 3}, "cannot have 12 bytes"),
        ({b"shape": [3] + [1] * 8}, "cannot have 12 bytes"),
        ({b"shape": [1 << 62, 1 << 62]}, "cannot have 12 bytes"),
    ],
)
def test_what_is_no_array_is_refused(changes: dict[bytes, Any], message: str) -> None:
    array = {**msgpack_numpy.encode(np.zeros(3, np.float32)), **changes}
    with pytest.raises(WireError, match=message):
        read_message(msgpack.packb({"a": array}))


def test_what_claims_to_be_pickled_is_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode({"a": np.array([print], dtype=object)})
    monkeypatch.setattr("pickle.loads", lambda *_: pytest.fail("unpickled"))
    with pytest.raises(WireError, match="an array must have a type"):
        read_message(data)


def test_a_message_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_MESSAGE_BYTES", 10)
    with pytest.raises(WireError, match=r"may have 10 bytes, got \d\d"):
        read_message(encode({"a": "bcdefghij"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"message_type": "dance"}, "message_type must be one of hello, .*, got 'dance'"),
        ({"message_type": None}, "got None"),
        ({"message_type": ["infer"]}, r"got \['infer'\]"),
        ({"evaluation_id": None}, "the envelope of 'infer': evaluation_id"),
        ({"trial_id": "t" * 600}, "trial_id"),
        ({"step": "first"}, "step"),
        ({"payload": [1]}, "payload"),
        ({"mood": "good"}, "mood"),
    ],
)
def test_an_envelope_that_is_wrong_is_refused_by_its_entry(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WireError, match=message):
        read_frame({**frame("infer", {}), **changes})


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = read_message(data)
    except WireError as error:
        assert str(error)
    else:
        assert isinstance(message, dict)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists)))
def test_any_map_is_a_request_or_refused(message: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        read_frame(message)
    with pytest.raises(WireError):
        read_frame({**frame("infer", {}), "payload": {}, "message_id": None, **message, "extra": 1})
