import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dygro_ros.errors import UserError
from sim2real.worker_pool import WorkerError, WorkerPool


@dataclass(frozen=True)
class Multiplier:
    """A worker that multiplies by what it was last told in a tuple, and fails as asked."""

    def __call__(self) -> Callable[[int | tuple[int]], int]:
        factor = [1]

        def work(job: int | tuple[int]) -> int:
            if isinstance(job, tuple):
                factor[0] = job[0]
            elif job == 13:
                raise UserError("13 brings bad luck")
            elif job == 99:
                os._exit(7)
            return 0 if isinstance(job, tuple) else factor[0] * job

        return work


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_done_by_workers_that_keep_what_they_were_told(workers: int) -> None:
    with WorkerPool(Multiplier(), workers) as pool:
        assert dict(pool.run(range(10))) == {number: number for number in range(10)}
        pool.broadcast((5,))
        assert dict(pool.run(range(10))) == {number: 5 * number for number in range(10)}


def test_failures_come_back() -> None:
    with WorkerPool(Multiplier(), 2) as pool, pytest.raises(UserError, match="bad luck"):
        list(pool.run([13]))
    with WorkerPool(Multiplier(), 2) as pool, pytest.raises(WorkerError, match="exit code 7 on 99"):
        list(pool.run([1, 99]))
    with pytest.raises(UserError, match="at least 1, got 0"):
        WorkerPool(Multiplier(), 0)


def test_closing_ends_the_processes() -> None:
    pool = WorkerPool(Multiplier(), 2)
    list(pool.run([1]))
    processes = list(pool._processes.values())
    pool.close()
    assert all(process.exitcode == 0 for process in processes)
