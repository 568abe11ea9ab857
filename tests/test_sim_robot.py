"""The simulated robot: time passes whatever the policy does, and delays are what they say."""

import numpy as np
import pytest

from dygro_ros.errors import UserError
from sim2real.cell.work_cell import HOME, WorkCell
from sim2real.sim_robot import MOST_BEHIND_S, PERIOD_S, SimRobot


@pytest.fixture(scope="module")
def cell() -> WorkCell:
    return WorkCell(image_size=16)


def robot(cell: WorkCell, **delays: float) -> SimRobot:
    found = SimRobot(cell, camera_rate_hz=25.0, **delays)
    found.reset("place_empty_cup", 3, 100.0)
    return found


def engaged(cell: WorkCell, **delays: float) -> SimRobot:
    found = robot(cell, **delays)
    found.command(HOME, 100.0)
    return found


def moved() -> np.ndarray:
    target = HOME.copy()
    target[1] += 0.2
    return target


def test_the_cell_in_small_steps_is_the_cell_in_control_steps(cell: WorkCell) -> None:
    """Ten physics steps at once or five times two: the same, up to the drives' speed limit within a step."""
    cell.reset("place_empty_cup", 3)
    near = HOME.copy()
    near[1] += 0.03
    for _ in range(25):
        cell.step(near)
    whole = cell.proprio()
    cell.reset("place_empty_cup", 3)
    for _ in range(125):
        cell.drive(near, 2)
    assert cell.step_count == 25
    np.testing.assert_allclose(cell.proprio(), whole, atol=1e-3)
    with pytest.raises(UserError, match="physics_steps must divide 10, got 3"):
        cell.drive(near, 3)


def test_pictures_come_at_their_rate_and_after_their_delay(cell: WorkCell) -> None:
    waiting = robot(cell, camera_delay_s=0.1)
    arrived = []
    for tick in range(1, 126):
        now_s = 100.0 + tick * PERIOD_S
        arrived += [(now_s - picture.taken_s, picture) for picture in waiting.advance_to(now_s + 1e-9)]
    assert 20 <= len(arrived) <= 25  # one second at 25 Hz, less those under way
    assert all(0.1 - 1e-6 <= age_s <= 0.1 + PERIOD_S + 1e-6 for age_s, _ in arrived)
    assert arrived[0][1].images.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("delay_s", [0.0, 0.2])
def test_a_command_moves_the_arm_after_its_delay(cell: WorkCell, delay_s: float) -> None:
    waiting = engaged(cell, command_delay_s=delay_s)
    waiting.advance_to(100.1)
    start = waiting.measured()
    waiting.command(moved(), 100.1)
    seen_s = None
    for tick in range(60):
        now_s = 100.1 + tick * PERIOD_S
        waiting.advance_to(now_s + 1e-9)
        if seen_s is None and abs(waiting.measured()[1] - start[1]) > 0.005:
            seen_s = now_s - 100.1
    assert seen_s is not None and delay_s <= seen_s <= delay_s + 0.06


def test_an_episode_ends_by_its_time_from_the_first_motion_on(cell: WorkCell) -> None:
    waiting = engaged(cell)
    waiting.advance_to(100.05)
    assert not waiting.result.over and waiting.result.elapsed_s == 0.0
    waiting.command(moved(), 100.05)
    now_s = 100.05
    while now_s < 100.05 + cell.step_limit / 25 + 0.1:
        assert not waiting.result.over or now_s > 100.0 + cell.step_limit / 25
        now_s += 0.05
        waiting.advance_to(now_s)
    assert waiting.result.over and not waiting.result.success


def test_time_that_was_slept_through_is_dropped(cell: WorkCell) -> None:
    waiting = engaged(cell)
    waiting.command(moved(), 100.0)
    waiting.advance_to(100.0 + 10 * MOST_BEHIND_S)
    assert waiting.result.elapsed_s <= MOST_BEHIND_S


def test_a_command_for_the_last_episodes_pose_does_not_sweep_the_table(cell: WorkCell) -> None:
    waiting = robot(cell)
    start = waiting.measured()
    waiting.command(moved(), 100.0)
    waiting.advance_to(100.4)
    np.testing.assert_allclose(waiting.measured(), start, atol=2e-3)


def test_what_makes_no_sense_is_refused(cell: WorkCell) -> None:
    with pytest.raises(UserError, match="camera_rate_hz must be above 0 and at most 125, got 0"):
        SimRobot(cell, camera_rate_hz=0.0)
    with pytest.raises(UserError, match=r"command_delay_s must lie in 0 \.\. 2 s, got -1"):
        SimRobot(cell, camera_rate_hz=30.0, command_delay_s=-1.0)
