"""The robot side's promises about motion, one test each, on a fake clock and a fake arm."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygro_ros.arm_controller import (
    ArmController,
    Command,
    ControllerConfig,
    Mode,
)
from dygro_ros.chunk_schedule import ScheduleConfig, Verdict
from dygro_ros.errors import CommandRejected, NotAllowed
from dygro_ros.motion_limits import MotionLimits
from dygro_ros.watchdog import AgeLimits

NAMES = ("left_a", "left_b", "right_a", "right_b")
TICK_S = 0.01
STEP_S = 0.04
HOME = np.array([0.1, 0.2, -0.1, -0.2])
AGE = AgeLimits(0.05, 0.08, 0.5)
CONFIG = ControllerConfig(
    joint_names=NAMES,
    limits=MotionLimits(
        lower=np.full(4, -2.0),
        upper=np.full(4, 2.0),
        velocity=np.full(4, 2.0),
        acceleration=np.full(4, 40.0),
        jerk=np.full(4, 2000.0),
    ),
    schedule=ScheduleConfig(period_s=STEP_S),
    ages={"left": AGE, "right": AGE, "camera": AGE, "policy": AGE, "operator": AGE},
    arm_of_joint=("left", "left", "right", "right"),
    period_s=TICK_S,
    tracking=np.full(4, 0.3),
    tracking_fault=np.full(4, 0.5),
    home=HOME,
    home_velocity=np.full(4, 0.3),
    rest_velocity=np.full(4, 0.02),
)
OTHERS = ("camera", "policy", "operator")
HOLD_WITHIN_S = 0.2


class Robot:
    """A controller with arms that follow at once, and a clock that the test moves."""

    def __init__(self, config: ControllerConfig = CONFIG) -> None:
        self.now_s = 100.0
        self.controller = ArmController(config, self.now_s)
        self.position = np.zeros(4)
        self.silent: set[str] = set()
        self.blocked = False
        self.sent: list[np.ndarray] = []
        self.starts: list[tuple[int, np.ndarray]] = [(0, self.position)]
        """Places in `sent` from which on a motion began anew, at rest, at the measured position."""

    def tick(self, count: int = 1) -> Command:
        command = None
        for _ in range(count):
            self.now_s += TICK_S
            for source in OTHERS:
                if source not in self.silent:
                    self.controller.heard(source, self.now_s)
            for arm, joints in (("left", self.position[:2]), ("right", self.position[2:])):
                if arm not in self.silent:
                    self.controller.measure(arm, joints, self.now_s)
            command = self.controller.tick(self.now_s)
            if command is not None:
                self.sent.append(command.position)
                if not self.blocked:
                    self.position = command.position.copy()
        assert command is not None
        return command

    def offer(self, chunk: np.ndarray, age_s: float = 0.0, names: tuple[str, ...] = NAMES) -> Verdict:
        return self.controller.offer(names, chunk, 0.5 * chunk, self.now_s - age_s, self.now_s)

    def running(self) -> Robot:
        self.tick(2)
        self.run()
        # What was seen before `run` does not count; the tests' chunks may be this old.
        self.tick(60)
        return self

    def run(self) -> None:
        self.controller.run(self.now_s)

    def home(self) -> None:
        self.controller.home(self.now_s)

    def reset(self) -> None:
        self.controller.reset(self.now_s)
        self.starts.append((len(self.sent), self.position.copy()))

    def moves(self) -> bool:
        return bool(np.ptp(np.array(self.sent[-2:]), axis=0).any())


def assert_within_limits(start: np.ndarray, sent: np.ndarray, limits: MotionLimits) -> None:
    """Positions (T, N) sent after a rest at `start` keep every limit of their backward differences."""
    assert (sent >= limits.lower).all() and (sent <= limits.upper).all()
    differences = np.vstack([start] * 3 + [sent])
    for name in ("velocity", "acceleration", "jerk"):
        differences = np.diff(differences, axis=0) / TICK_S
        # Three divisions by the period magnify rounding.
        assert (np.abs(differences) <= getattr(limits, name) * (1 + 1e-6)).all(), name


def ramp(to: float, steps: int = 10) -> np.ndarray:
    return np.linspace(0, to, steps)[:, None] * np.array([1.0, 0.5, -1.0, 0.2])


def test_promise_1_an_unfit_chunk_rejects_the_whole_command() -> None:
    robot = Robot().running()
    good = ramp(0.3)
    for spoil, words in (
        ((3, 1, np.nan), "left_b of step 3 must lie in -2 .. 2, got nan"),
        ((9, 2, np.inf), "right_a of step 9"),
        ((0, 3, 2.01), "right_b of step 0 must lie in -2 .. 2, got 2.01"),
    ):
        chunk = good.copy()
        chunk[spoil[0], spoil[1]] = spoil[2]
        with pytest.raises(CommandRejected, match=words.replace("..", r"\.\.")):
            robot.offer(chunk)
    with pytest.raises(CommandRejected, match=r"shape \(h, 4\), got \(10, 3\)"):
        robot.offer(good[:, :3])
    with pytest.raises(CommandRejected, match="missing right_b, unknown or repeated right_c"):
        robot.offer(good, names=(*NAMES[:3], "right_c"))
    with pytest.raises(CommandRejected, match="left: expected 2 finite measured joints"):
        robot.controller.measure("left", [np.nan, 0.0], robot.now_s)
    assert not robot.tick().position.any()  # nothing of all that was used


def test_joints_are_reordered_by_name() -> None:
    one, other = Robot().running(), Robot().running()
    one.offer(ramp(0.3))
    shuffled = [2, 0, 3, 1]
    other.offer(ramp(0.3)[:, shuffled], names=tuple(NAMES[i] for i in shuffled))
    assert np.array_equal(one.tick(20).position, other.tick(20).position)


def test_promise_2_commands_stay_near_what_is_measured() -> None:
    robot = Robot().running()
    robot.blocked = True
    for _ in range(60):
        robot.offer(np.full((10, 4), 1.5))
        robot.tick()
    assert np.abs(np.array(robot.sent)).max() <= 0.3 + 1e-6
    assert robot.controller.mode is Mode.RUNNING


@pytest.mark.parametrize("source", [*OTHERS, "left", "right"])
def test_promise_3_each_silence_warns_stops_and_latches(source: str) -> None:
    robot = Robot().running()
    robot.offer(ramp(1.0))
    robot.tick(10)
    assert robot.moves()
    robot.silent.add(source)
    for _ in range(round(HOLD_WITHIN_S / TICK_S)):
        command = robot.tick()
        if robot.controller.mode is Mode.RUNNING:
            robot.offer(ramp(1.0))
    assert not robot.moves()
    assert command.cause.startswith(source)
    command = robot.tick(60)
    assert robot.controller.mode is Mode.STOPPED
    assert source in robot.controller.fault
    robot.silent.clear()
    assert robot.tick(60).mode is Mode.STOPPED  # coming back is not enough


def test_promise_4_the_rest_of_a_chunk_is_played_then_the_arms_decelerate() -> None:
    robot = Robot().running()
    robot.offer(ramp(0.4))
    for _ in range(40):
        command = robot.tick()
    np.testing.assert_allclose(command.position, ramp(0.4)[-1], atol=0.02)
    command = robot.tick(20)
    assert not robot.moves() and command.cause == "no chunk is left"
    assert command.mode is Mode.RUNNING  # the next chunk goes on from here
    robot.offer(robot.position + np.zeros((10, 4)) + 0.1)
    robot.tick(30)
    np.testing.assert_allclose(robot.position, ramp(0.4)[-1] + 0.1, atol=0.01)


def test_promise_4_a_late_chunk_loses_the_steps_that_have_passed() -> None:
    robot = Robot().running()
    assert robot.offer(ramp(0.1), age_s=0.45) is Verdict.LATE
    assert robot.offer(ramp(0.1), age_s=0.2) is Verdict.ACCEPTED
    command = robot.tick(19)
    assert command.remaining_s == pytest.approx(0.01)
    np.testing.assert_allclose(command.position, ramp(0.1)[-1], atol=0.005)


def test_promise_5_no_jump_at_start_seam_or_resume() -> None:
    robot = Robot()
    robot.position = np.array([0.5, -0.4, 0.3, 0.2])
    first = robot.tick().position
    np.testing.assert_array_equal(first, robot.position)
    robot.running()
    for to in (0.5, -0.5, 0.4):
        robot.offer(ramp(to) + 0.1)
        robot.tick(7)
    robot.controller.stop("test")
    robot.tick(60)
    robot.blocked = True
    robot.position = robot.position + 0.2  # somebody moved the arms, and holds them
    robot.tick(20)
    robot.reset()
    there = robot.position.copy()
    np.testing.assert_allclose(robot.tick().position, there, atol=1e-9)
    moved = np.array(robot.sent[:-1])
    speed = np.abs(np.diff(moved, axis=0)) / TICK_S
    assert speed.max() <= 2.0 + 1e-6


def test_promise_6_one_arm_failing_stops_both() -> None:
    robot = Robot().running()
    robot.offer(ramp(1.0))
    robot.tick(10)
    robot.silent.add("right")
    robot.tick(20)
    assert not robot.moves()


def test_promise_6_either_arm_failing_ends_the_way_home() -> None:
    for arm in ("left", "right"):
        robot = Robot()
        robot.position = np.array([1.0, -1.0, 0.5, 0.5])
        robot.tick(2)
        robot.home()
        robot.tick(20)
        assert robot.moves()
        robot.silent.add(arm)
        robot.tick(20)
        assert not robot.moves()


def test_promise_7_a_stop_latches_until_an_explicit_reset_at_rest() -> None:
    robot = Robot().running()
    robot.offer(ramp(1.0))
    robot.tick(10)
    robot.controller.stop("operator")
    with pytest.raises(NotAllowed, match="reset needs mode stopped, the arms are stopping"):
        robot.reset()
    robot.tick(40)
    assert robot.controller.mode is Mode.STOPPED
    for _ in range(30):
        robot.offer(ramp(1.0))
        robot.tick()
    assert not robot.moves()
    with pytest.raises(NotAllowed, match="run needs mode holding"):
        robot.run()
    robot.position = robot.position + 0.01
    robot.tick()
    with pytest.raises(NotAllowed, match="reset needs arms at rest, left_a moves"):
        robot.reset()
    robot.tick(2)
    robot.silent.add("left")
    robot.tick(10)
    with pytest.raises(NotAllowed, match="reset needs fresh left"):
        robot.reset()
    robot.silent.clear()
    robot.tick(2)
    robot.reset()
    assert robot.controller.mode is Mode.HOLDING and robot.controller.fault == ""


def test_promise_9_the_residual_is_off_within_a_tick() -> None:
    robot, other = Robot().running(), Robot().running()
    for one in (robot, other):
        one.offer(np.full((10, 4), 0.04))
        one.tick(15)
    np.testing.assert_allclose(robot.position, 0.04, atol=0.002)
    robot.controller.use_residual(False, robot.now_s)
    assert (robot.tick().position < other.tick().position).all()
    robot.tick(19)
    np.testing.assert_allclose(robot.position, 0.02, atol=0.001)


def test_homing_is_slow_and_ends_at_the_home_pose() -> None:
    robot = Robot()
    robot.position = np.array([1.0, -1.0, 0.5, 0.5])
    robot.tick(2)
    robot.home()
    robot.tick(600)
    assert robot.controller.mode is Mode.HOLDING
    np.testing.assert_allclose(robot.position, HOME, atol=1e-3)
    assert np.abs(np.diff(np.array(robot.sent), axis=0)).max() <= 0.3 * TICK_S * 1.3


def test_an_arm_that_does_not_follow_is_a_fault() -> None:
    robot = Robot(replace(CONFIG, tracking_fault=np.full(4, 0.25))).running()
    robot.blocked = True
    for _ in range(60):
        robot.offer(np.full((10, 4), 1.5))
        robot.tick()
    assert robot.controller.mode is Mode.STOPPED
    assert "was sent" in robot.controller.fault


def test_nothing_is_sent_before_both_arms_are_known() -> None:
    controller = ArmController(CONFIG, 0.0)
    controller.measure("left", [0.0, 0.0], 0.0)
    assert controller.tick(0.01) is None
    controller.measure("right", [0.0, 0.0], 0.01)
    assert controller.tick(0.02) is not None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_promise_10_no_stream_of_faults_breaks_a_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    robot = Robot().running()
    for _ in range(250):
        event = rng.random()
        if event < 0.15:
            chunk = rng.uniform(-2.2, 2.2, (int(rng.integers(1, 12)), 4))
            if rng.random() < 0.2:
                chunk[0, 0] = rng.choice([np.nan, np.inf, -np.inf])
            names = NAMES if rng.random() < 0.9 else tuple(rng.permutation(NAMES))
            with contextlib.suppress(CommandRejected):
                robot.offer(chunk, age_s=float(rng.uniform(-0.1, 0.5)), names=names)
        elif event < 0.2:
            robot.silent ^= {str(rng.choice([*OTHERS, "left", "right"]))}
        elif event < 0.22:
            robot.controller.stop("chaos")
        elif event < 0.3:
            for ask in (robot.reset, robot.run, robot.home):
                with contextlib.suppress(NotAllowed):
                    ask()
        elif event < 0.33:
            robot.blocked = not robot.blocked
        elif event < 0.35:
            robot.controller.hold()
        robot.tick(int(rng.integers(1, 4)))
    sent = np.array(robot.sent)
    assert np.isfinite(sent).all()
    for (begin, start), (end, _) in itertools.pairwise([*robot.starts, (len(sent), robot.position)]):
        assert_within_limits(start, sent[begin:end], CONFIG.limits)
