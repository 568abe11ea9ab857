import numpy as np
import pytest

from sim2real.process_frames import MARK, FrameError, encode_frame, read_frame


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": np.zeros(2, dtype=object)}, "array 'a' must be of bool, uint8"),
        ({"a": np.zeros(2, dtype=">f4")}, "array 'a' must be of bool, uint8"),
        ({"a": np.float32(1)}, "neither JSON nor an array"),
        ({"a": float("nan")}, "neither JSON nor an array"),
        ({"a": np.broadcast_to(np.uint8(0), (1 << 15, 1 << 15))}, "may have 268435456 bytes"),
        ({"a": "x" * (1 << 20)}, "a header may have 1048576 bytes"),
        ({f"a{i}": np.zeros(1) for i in range(65)}, "at most 64 arrays"),
    ],
)
def test_what_cannot_be_sent_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(FrameError, match=message):
        encode_frame("call", values)


def frame(header: bytes, mark: bytes = MARK) -> bytes:
    return mark + len(header).to_bytes(4, "little") + header


@pytest.mark.parametrize(
    "data",
    [
        frame(b"{}", mark=b"HTTP"),
        MARK + b"\xff\xff\xff\xff",
        frame(b"not JSON"),
        frame(b'{"kind": "call", "values": {}}'),
        frame(b'{"arrays": [], "values": {}}'),
        frame(b'{"kind": "call", "values": {}, "arrays": [["a", "object", [1]]]}'),
        frame(b'{"kind": "call", "values": {}, "arrays": [["a", "uint8", [-1]]]}'),
        frame(b'{"kind": "call", "values": {}, "arrays": [["a", "uint8", [99999999999]]]}'),
    ],
)
def test_a_damaged_frame_is_refused(data: bytes) -> None:
    rest = memoryview(data)

    def read(size: int) -> bytes:
        nonlocal rest
        piece, rest = rest[:size], rest[size:]
        return bytes(piece)

    with pytest.raises(FrameError):
        read_frame(read)
