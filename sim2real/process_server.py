"""The far end of a link (`process_link`): answers calls that come over standard input.

Runs in another Python interpreter, so it needs only the standard library and numpy (Python 3.10 or newer).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dygro_ros.errors import UserError, unknown_name
from sim2real.process_frames import Values, encode_frame, read_frame

Handler = Callable[..., Mapping[str, Any]]


def serve(prepare: Callable[[], Mapping[str, Handler]]) -> None:
    """Answer calls from the other side until it closes its end.

    Both pipes are taken before `prepare` imports anything foreign: what a library prints goes to standard
    error from then on, and what it asks of standard input finds an end of file.

    A handler's `UserError` goes back as a refusal and the next call is awaited; any other error goes back
    too, by type and message, and ends this process with its traceback. So does the other side's end, also in
    the middle of a call.

    Args:
        prepare: Imports what is foreign, builds what is needed and returns the handlers by name. A handler
            takes the call's arguments by keyword and returns JSON values and arrays by name.
    """
    frames_in, frames_out = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with, args=(frames_in,), daemon=True).start()
    source = os.fdopen(frames_in, "rb")

    def send(kind: str, values: Mapping[str, Any]) -> None:
        rest = memoryview(b"".join(encode_frame(kind, values)))
        while rest:
            rest = rest[os.write(frames_out, rest) :]

    def answered(kind: str, work: Callable[[], Mapping[str, Any]]) -> bool:
        try:
            send(kind, work())
        except UserError as error:
            send("refusal", {"message": str(error)})
            return False
        except BaseException as error:
            send("failure", {"error": type(error).__name__, "message": str(error)})
            raise
        return True

    handlers: dict[str, Handler] = {}

    def begin() -> Mapping[str, Any]:
        handlers.update(prepare())
        return {}

    def read(size: int) -> bytes:
        data = source.read(size)
        if len(data) < size:
            raise EOFError
        return data

    if not answered("hello", begin):
        return
    with contextlib.suppress(EOFError):
        while True:
            header, params = read_frame(read)
            method = header["method"]
            answered("result", partial(_call, handlers, method, params))


def _call(handlers: Mapping[str, Handler], method: str, params: Values) -> Mapping[str, Any]:
    if method not in handlers:
        raise unknown_name("method", method, sorted(handlers))
    return handlers[method](**params)


def _end_with(descriptor: int) -> None:
    """End this process as soon as the pipe's other end is closed, whatever it is doing."""
    watch = select.poll()
    watch.register(descriptor, 0)  # reports only that the other side has hung up
    watch.poll()
    os._exit(0)
