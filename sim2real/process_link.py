"""A link to a server process in another Python interpreter, with other versions of the same libraries.

Frames (`process_frames`) go over the child's standard input and output; nothing listens. The child's program
calls `process_server.serve`. It ends when we do, however we end.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from dygro_ros.errors import UserError
from sim2real.process_frames import FrameError, Values, encode_frame, read_frame

_LAST_LINES = 12
_END_LIMIT_S = 5.0


class LinkError(UserError):
    """The process at the other end ended, was too slow or spoke otherwise; the link is of no further use."""


class RemoteError(LinkError):
    """The process at the other end ended of an error of its own.

    Attributes:
        kind: Name of the error's type there.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message, kind)  # both, or it cannot be pickled on its way out of a worker process
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


class ProcessLink:
    """Our end: starts the process and calls its methods, one at a time."""

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        start_limit_s: float = 120.0,
        call_limit_s: float = 120.0,
    ) -> None:
        """Start the process and wait until it says that it is ready.

        Args:
            command: The foreign interpreter and its arguments; its program calls `serve`.
            name: What messages call the process.
            environment: Its environment variables; None hands on ours.
            start_limit_s: How long it may take until it is ready [s].
            call_limit_s: How long a call may take that names no limit of its own [s].

        Raises:
            LinkError: It cannot be started, ended (the message has its exit code and last lines), was too
                slow or speaks otherwise.
            RemoteError: It told why it cannot serve.
            UserError: It refused, for a reason that the user can mend.
        """
        self.name = name
        self._call_limit_s = call_limit_s
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._half_line = b""
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=None if environment is None else dict(environment),
                bufsize=0,
                start_new_session=True,  # Ctrl-C in the terminal is for us; it ends when we do
            )
        except OSError as error:
            raise LinkError(f"the {name} process cannot be started by {command[0]}: {error}") from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._messages = self._process.stderr.fileno()
        for descriptor in (self._input, self._output, self._messages):
            os.set_blocking(descriptor, False)
        self._answer("its start", time.monotonic() + start_limit_s, "hello")

    @property
    def pid(self) -> int:
        """Process id of the other end."""
        return self._process.pid

    def call(self, method: str, /, *, limit_s: float | None = None, **params: Any) -> Values:
        """Call a method of the server and return its result.

        Args:
            method: Name of the handler.
            limit_s: How long it may take [s]; None takes the link's own limit.
            **params: Its arguments: JSON values and arrays.

        Raises:
            FrameError: An argument cannot be sent.
            UserError: The server refused the call; the link can be used further.
            LinkError: See the class.
        """
        where = f"the call {method!r}"
        if self._process.stdin is None or self._process.stdin.closed:
            raise LinkError(f"the {self.name} process was closed before {where}")
        pieces = encode_frame("call", params, method=method)
        limit_s = self._call_limit_s if limit_s is None else limit_s
        deadline = time.monotonic() + limit_s
        self._write(b"".join(pieces), where, deadline)
        return self._answer(where, deadline, "result")

    def _write(self, data: bytes, where: str, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._input, selectors.EVENT_WRITE, where, deadline)
            try:
                rest = rest[os.write(self._input, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise self._ended(where) from error

    def _read(self, size: int, where: str, deadline: float) -> bytearray:
        data = bytearray()
        while len(data) < size:
            self._wait(self._output, selectors.EVENT_READ, where, deadline)
            piece = os.read(self._output, min(size - len(data), 1 << 20))
            if not piece:
                raise self._ended(where)
            data += piece
        return data

    def _wait(self, descriptor: int, event: int, where: str, deadline: float) -> None:
        """Wait for one pipe while emptying standard error, which would else fill and stop the process."""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            selector.register(self._messages, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                if self._messages in ready and not self._drain():
                    selector.unregister(self._messages)
                if descriptor in ready:
                    return
                if time.monotonic() >= deadline:
                    self._kill()
                    raise LinkError(
                        f"the {self.name} process did not finish {where} in time and was ended" + self._said()
                    )

    def _drain(self) -> bool:
        """Keep what standard error holds; return False once it has ended."""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._messages, 1 << 16):
                *lines, self._half_line = (self._half_line + piece).split(b"\n")
                self._half_line = self._half_line[-2000:]
                self._last_lines += [line.decode("utf-8", "replace") for line in lines]
            return False
        return True

    def _answer(self, where: str, deadline: float, expected: str) -> Values:
        try:
            header, values = read_frame(lambda size: self._read(size, where, deadline))
            kind = header["kind"]
            if kind not in (expected, "refusal", "failure"):
                raise FrameError(f"expected a frame of kind {expected!r}, got {kind!r}")
        except FrameError as error:
            self._kill()
            raise LinkError(
                f"the {self.name} process does not speak our protocol at {where}: {error}"
            ) from error
        if kind == "refusal":
            if expected == "hello":
                self.close()
            raise UserError(values["message"])
        if kind == "failure":
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_LIMIT_S)  # it writes its traceback first
            self.close()
            raise RemoteError(
                f"the {self.name} process failed at {where}: {values['error']}: {values['message']}"
                + self._said(),
                values["error"],
            )
        return values

    def _ended(self, where: str) -> LinkError:
        self.close()
        code = self._process.returncode
        return LinkError(f"the {self.name} process ended with exit code {code} at {where}" + self._said())

    def _said(self) -> str:
        lines = [*self._last_lines, self._half_line.decode("utf-8", "replace")]
        text = "\n".join(line for line in lines if line.strip())
        return f"; its last lines:\n{text}" if text else "; it said nothing"

    def _kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process: its input closes; one that goes on is killed. May be called again."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        if self._process.stdin.closed:
            return
        self._process.stdin.close()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._drain()
        self._process.stdout.close()
        self._process.stderr.close()

    def __enter__(self) -> ProcessLink:
        """Return the link."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()
