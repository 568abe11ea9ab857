"""Worker processes of this machine: each builds once what runs its jobs, then gets one job at a time.

Knows neither episodes nor policies. Processes are spawned, not forked: an OpenGL context or a thread pool of
ONNX Runtime does not survive a fork. They end when their pipe closes, also when the parent was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, TypeVar

from dygro_ros.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

_END_TIMEOUT_S = 5.0


class WorkerError(UserError):
    """A worker process ended before its work; what was finished is kept."""


class WorkerPool(Generic[Job, Result]):
    """A fixed number of worker processes."""

    def __init__(self, make_worker: Callable[[], Callable[[Job], Result]], workers: int) -> None:
        """Start the processes.

        Args:
            make_worker: Called once in each process (picklable); returns what runs one job. A `UserError` in
                either comes back to the caller; a defect's traceback is on the worker's stderr.
            workers: How many.

        Raises:
            UserError: `workers` is below 1.
        """
        if workers < 1:
            raise UserError(f"workers must be at least 1, got {workers}")
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, BaseProcess] = {}
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make_worker), daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process

    def broadcast(self, job: Job) -> None:
        """Have every worker run this job once; what it returns is dropped.

        Raises:
            UserError: A worker raised it, or (WorkerError) ended.
        """
        for connection in self._processes:
            self._send(connection, job, "a job for all workers")
        for connection in self._processes:
            self._receive(connection, "a job for all workers")

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[int, Result]]:
        """Run the jobs and yield (index of the job, result) as each is finished.

        A pool whose iteration was given up can only be closed.

        Raises:
            UserError: A worker raised it, or (WorkerError) ended; the message names the job by `str`.
        """
        pending = enumerate(jobs)
        current: dict[Connection, tuple[int, Job]] = {}

        def feed(connection: Connection) -> None:
            upcoming = next(pending, None)
            if upcoming is not None:
                current[connection] = upcoming
                self._send(connection, upcoming[1], str(upcoming[1]))

        for connection in self._processes:
            feed(connection)
        while current:
            for ready in wait(list(current)):
                assert isinstance(ready, Connection)
                index, job = current.pop(ready)
                result = self._receive(ready, str(job))
                feed(ready)
                yield index, result

    def _send(self, connection: Connection, job: Job, name: str) -> None:
        try:
            connection.send(job)
        except OSError as error:
            raise self._ended(connection, name) from error

    def _receive(self, connection: Connection, name: str) -> Any:
        try:
            kind, value = connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended(connection, name) from error
        if kind == "user error":
            raise UserError(value)
        return value

    def _ended(self, connection: Connection, name: str) -> WorkerError:
        process = self._processes[connection]
        process.join(timeout=_END_TIMEOUT_S)
        return WorkerError(
            f"a worker process ended with exit code {process.exitcode} on {name}: what was finished is kept, "
            "and the run can go on from there"
        )

    def close(self) -> None:
        """Let the workers end; terminate those that do not."""
        for connection in self._processes:
            connection.close()
        for process in self._processes.values():
            process.join(timeout=_END_TIMEOUT_S)
            if process.is_alive():
                process.terminate()

    def __enter__(self) -> WorkerPool[Job, Result]:
        """Return the pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pool."""
        self.close()


def _serve(connection: Connection, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
    """Run jobs from the pipe until it closes; a user's error goes back through it, a defect ends this."""
    run: Callable[[Any], Any] | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            job = connection.recv()
            try:
                run = run or make_worker()
                answer: tuple[str, Any] = ("result", run(job))
            except UserError as error:
                answer = ("user error", str(error))
            connection.send(answer)
