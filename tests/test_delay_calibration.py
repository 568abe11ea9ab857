"""How late a picture shows a command: on pictures made up, and in the simulated cell."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygro_ros.delay_calibration import (
    CELL_LAG_S,
    PERIOD_S,
    CalibrationError,
    judged,
    lag_of_joint,
    lag_of_pictures,
)
from dygro_ros.layout import JOINT_NAMES
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import HOME, WorkCell
from sim2real.sim_robot import PERIOD_S as TICK_S
from sim2real.sim_robot import SimRobot

PERIODS = 6
WITHIN_S = 0.005


def swing(times_s: np.ndarray) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * times_s / PERIOD_S)


def seen(times_s: np.ndarray, angle: np.ndarray, seed: int, noise: float = 2.0) -> np.ndarray:
    """Return grey values of an edge that moves over a texture, brighter or darker than it."""
    rng = np.random.default_rng(seed)
    texture = rng.uniform(0, 255, 60)
    place = np.linspace(-0.2, 0.2, 60)
    behind = 1 / (1 + np.exp((place[np.newaxis] - angle[:, np.newaxis]) / 0.01))
    pictures = texture + (128 - texture) * behind + rng.normal(0, noise, (len(times_s), 60))
    still = rng.uniform(0, 255, 1000) + rng.normal(0, noise, (len(times_s), 1000))
    return np.concatenate([pictures, still], axis=1)


@given(delay_s=st.floats(0, 0.4), seed=st.integers(0, 99), rate_hz=st.sampled_from([15.0, 30.0, 60.0]))
@settings(max_examples=20)
def test_a_delay_is_found(delay_s: float, seed: int, rate_hz: float) -> None:
    command_s = np.arange(0, (PERIODS + 0.1) * PERIOD_S, 0.01)
    picture_s = np.arange(0, (PERIODS + 0.1) * PERIOD_S, 1 / rate_hz)
    picture_s = picture_s + np.random.default_rng(seed).uniform(-0.003, 0.003, len(picture_s))
    pictures = seen(picture_s, swing(picture_s - delay_s), seed)
    lag = lag_of_pictures(command_s, swing(command_s), picture_s, pictures, PERIOD_S)
    assert lag.delay_s == pytest.approx(delay_s, abs=WITHIN_S)
    assert lag.error_s < 2 * WITHIN_S


def test_a_measured_joints_lag_is_found() -> None:
    times_s = np.arange(0, PERIODS * PERIOD_S, 0.01)
    lag_s = lag_of_joint(times_s, swing(times_s) + 1.0, times_s, 0.9 * swing(times_s - 0.047), PERIOD_S)
    assert lag_s == pytest.approx(0.047, abs=1e-4)


def test_what_cannot_be_judged_is_refused() -> None:
    times_s = np.arange(0, PERIODS * PERIOD_S, 1 / 30)
    still = seen(times_s, np.zeros_like(times_s), 0)
    with pytest.raises(CalibrationError, match=r"0 pixels move with the joint.*is the arm in view"):
        lag_of_pictures(times_s, swing(times_s), times_s, still, PERIOD_S)
    # Each pixel swings in a phase of its own.
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    restless = 128 + 50 * np.sin(2 * np.pi * times_s[:, np.newaxis] / PERIOD_S + phases)
    with pytest.raises(CalibrationError, match="does not move with the joint"):
        lag_of_pictures(times_s, swing(times_s), times_s, restless, PERIOD_S)
    short = times_s[times_s < 2.5 * PERIOD_S]
    with pytest.raises(CalibrationError, match=r"at least three periods of 1\.69 s are needed, got 2"):
        lag_of_pictures(short, swing(short), short, seen(short, swing(short), 0), PERIOD_S)


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2])
def test_the_delay_of_the_cell_is_found(delay_s: float) -> None:
    cell = WorkCell(RandomizationConfig.from_name("clean"), image_size=96, wrist_cameras=False)
    robot = SimRobot(cell, camera_rate_hz=30.0, command_delay_s=delay_s)
    joint = JOINT_NAMES.index("left_joint1")
    times_s = TICK_S * np.arange(-round(2.0 / TICK_S), round((PERIODS + 0.1) * PERIOD_S / TICK_S))
    robot.reset("place_empty_cup", 1, times_s[0])
    joints, picture_s, pictures = [], [], []
    for now_s in times_s:
        target = HOME.copy()
        # It grows before it counts, as the tool's does.
        target[joint] += swing(now_s) * np.clip(now_s + 2.0, 0.0, 1.0)
        robot.command(target, now_s)
        for picture in robot.advance_to(now_s + 1e-6):
            if now_s >= 0.0:
                picture_s.append(picture.taken_s)
                pictures.append(judged(picture.images[0]).ravel().astype(np.float64))
        joints.append(robot.measured()[joint])
    cell.close()
    joints, times_s = joints[-np.count_nonzero(times_s >= 0.0) :], times_s[times_s >= 0.0]
    lag = lag_of_pictures(times_s, swing(times_s), np.array(picture_s), np.array(pictures), PERIOD_S)
    assert lag.delay_s == pytest.approx(CELL_LAG_S + delay_s, abs=WITHIN_S)
    joint_s = lag_of_joint(times_s, swing(times_s), times_s, np.array(joints), PERIOD_S)
    # A command is heeded at the next two physics steps.
    assert joint_s == pytest.approx(CELL_LAG_S + delay_s, abs=TICK_S / 2)


def test_the_delay_is_noted_and_nothing_else_changes(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")
    from dygro_ros.errors import UserError
    from dygro_ros.nodes.calibrate_delay import note

    source = Path(__file__).resolve().parents[1] / "config" / "sim.yaml"
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        source.read_text().replace("loop_delay_s: 0.0", "loop_delay_s: 0.0  # measured in May")
    )
    note(profile, 0.0834)
    expected = source.read_text().replace("loop_delay_s: 0.0", "loop_delay_s: 0.083  # measured in May")
    assert profile.read_text() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    profile.write_text("arm_bridge:\n")
    with pytest.raises(UserError, match=r"mine\.yaml must have one line loop_delay_s: to note 0\.083 in"):
        note(profile, 0.0834)
