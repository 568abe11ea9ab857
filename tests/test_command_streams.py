"""Promise 10, on a few of the streams that benchmarks/command_streams.py runs by the hundred thousand."""

import numpy as np
import pytest

from benchmarks.command_streams import Robot, beyond_limits, run_stream
from dygro_ros.arm_controller import Mode
from dygro_ros.robot_profile import read_profile

CONFIG = read_profile("piper").arm_bridge.controller()


@pytest.mark.parametrize("block", range(4))
def test_promise_10_no_stream_of_faults_breaks_a_limit(block: int) -> None:
    wrong = {seed: found for seed in range(25 * block, 25 * block + 25) if (found := run_stream(seed))}
    assert wrong == {}


def test_the_streams_move_the_arms_and_latch_stops() -> None:
    """A stream in which nothing happens proves nothing."""
    modes, moved = set(), 0.0
    for seed in range(10):
        robot = Robot(CONFIG, rng := np.random.default_rng(seed))
        robot.tick()
        robot.ask("run")
        for _ in range(150):
            if rng.random() < 0.3:
                robot.happen("chunk")
            robot.tick()
            modes.add(robot.controller.mode)
        robot.happen("stop")
        for _ in range(30):
            robot.tick()
        modes.add(robot.controller.mode)
        moved = max(moved, float(np.ptp(np.array(robot.lives[0]), axis=0).max()))
    assert {Mode.RUNNING, Mode.STOPPED} <= modes and moved > 0.3


@pytest.mark.parametrize(
    ("bump", "name"),
    [
        (0.05, "velocity"),
        (0.004, "acceleration"),
        (0.0012, "jerk"),
        (3.0, "position"),
        (np.nan, "not finite"),
        (0.0005, ""),
    ],
)
def test_what_breaks_a_limit_is_seen(bump: float, name: str) -> None:
    """One joint that jumps for one period, in an otherwise resting robot."""
    sent = [CONFIG.home.copy() for _ in range(80)]
    sent[40][0] += bump
    assert beyond_limits(sent, CONFIG.limits, CONFIG.period_s) == name
