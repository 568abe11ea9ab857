"""The control loop: on the grid of its period, whatever a call takes; nothing waits in real time here."""

import os
import threading
from collections.abc import Callable

import pytest

from dygro_ros.control_loop import ControlLoop


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 5.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def calls_of(count: int, during: Callable[[Time, int], None] = lambda time, index: None) -> list[float]:
    time, calls = Time(), []

    def tick(now_s: float) -> None:
        calls.append(now_s)
        during(time, len(calls))
        if len(calls) == count:
            loop.stop()

    loop = ControlLoop(tick, 0.01, clock=time.clock, sleep=time.sleep)
    loop.run()
    return calls


def test_calls_come_at_the_period() -> None:
    assert calls_of(4) == pytest.approx([5.0, 5.01, 5.02, 5.03])


def test_a_slow_call_is_not_made_up_for() -> None:
    def slow(time: Time, index: int) -> None:
        time.now_s += 0.025 if index == 2 else 0.001

    assert calls_of(4, slow) == pytest.approx([5.0, 5.01, 5.04, 5.05])


def test_lateness_is_known() -> None:
    time = Time()
    loop = ControlLoop(lambda now_s: loop.stop(), 0.01, clock=time.clock, sleep=time.sleep)
    loop.run()
    assert loop.lateness_s() == [0.0]


def test_what_finishes_runs_in_the_same_thread_even_after_an_error() -> None:
    done = []

    def tick(now_s: float) -> None:
        raise ZeroDivisionError

    loop = ControlLoop(tick, 0.01, finish=lambda: done.append(True))
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert done == [True] and not loop.running


def test_what_prepares_is_done_in_the_loops_own_thread_once_it_has_started() -> None:
    done: list[str] = []
    loop = ControlLoop(
        lambda now_s: done.append("call"), 0.001, prepare=lambda: done.append(threading.current_thread().name)
    )
    loop.start()
    assert done[0] == "control"
    loop.stop()
    assert "control" not in done[1:]


def test_a_loop_in_a_thread_starts_and_stops() -> None:
    loop = ControlLoop(lambda now_s: None, 0.001)
    loop.start()
    assert loop.running
    loop.stop()
    assert not loop.running


@pytest.mark.parametrize(
    ("priority", "permitted", "scheduling"),
    [
        (0, True, "ordinary"),
        (40, True, "SCHED_FIFO 40"),
        (40, False, "ordinary: real-time priority 40 is not permitted, dygro-doctor tells how it can be"),
    ],
)
def test_the_loops_own_thread_asks_for_its_priority_and_says_what_it_got(
    monkeypatch: pytest.MonkeyPatch, priority: int, permitted: bool, scheduling: str
) -> None:
    asked: list[tuple[str, int, int]] = []

    def set_scheduler(which: int, policy: int, parameters: os.sched_param) -> None:
        asked.append((threading.current_thread().name, policy, parameters.sched_priority))
        if not permitted:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", set_scheduler)
    loop = ControlLoop(lambda now_s: None, 0.01, priority=priority)
    loop.start()
    assert loop.scheduling == scheduling
    loop.stop()
    assert asked == ([("control", os.SCHED_FIFO, 40)] if priority else [])
