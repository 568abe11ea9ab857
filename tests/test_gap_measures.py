"""What recordings tell of a robot, on motions and pictures whose truth is known."""

import cv2
import numpy as np
import pytest

from dygro_ros.errors import DataError
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import HOME, WorkCell
from sim2real.gap_measures import (
    ARM_COLUMNS,
    PICTURE_MEASURES,
    Motion,
    following,
    held,
    motion_of,
    picture_measures,
    pictures_of_the_cell,
    read_trial,
    same_commands_in_the_cell,
)


def swing(seconds: float = 3.0) -> Motion:
    """Command a slow swing of both arms at 125 Hz; measured: exactly that, at once."""
    times_s = np.arange(0, seconds, 0.008)
    joints = np.tile(HOME, (len(times_s), 1)).astype(np.float64)
    joints[:, ARM_COLUMNS] += 0.25 * np.sin(2 * np.pi * times_s / 1.7)[:, None]
    return Motion(times_s, joints, times_s, joints)


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2, 0.5])
def test_a_known_delay_and_a_known_error_are_found(delay_s: float) -> None:
    motion = swing()
    measured = motion.commanded.copy()
    measured[:, 2] += 0.01  # one joint that is off by its calibration
    found = following(Motion(motion.commanded_s, motion.commanded, motion.measured_s + delay_s, measured))
    assert found is not None
    assert found[0] == pytest.approx(delay_s, abs=0.009)
    assert found[1][2] == pytest.approx(0.01, abs=0.005) and np.delete(found[1], 2).max() < 0.005


def test_arms_that_hardly_move_tell_nothing() -> None:
    motion = swing()
    still = np.tile(motion.commanded[:1], (len(motion.commanded), 1))
    assert following(Motion(motion.commanded_s, still, motion.measured_s, still)) is None
    assert following(swing(0.3)) is None


def test_a_drive_keeps_its_last_command() -> None:
    times_s, values = np.array([0.0, 1.0, 2.0]), np.array([[10.0], [11.0], [12.0]])
    assert held(times_s, values, np.array([-1.0, 0.0, 0.9, 1.0, 5.0])).ravel().tolist() == [
        10,
        10,
        10,
        11,
        12,
    ]


def test_times_begin_at_zero_whatever_the_clock() -> None:
    joints = np.zeros(14)
    motion = motion_of([(1e9 + 0.5, joints), (1e9 + 1.0, joints)], [(1e9 + 0.25, joints)])
    assert motion.commanded_s.tolist() == [0.25, 0.75] and motion.measured_s.tolist() == [0.0]


def test_each_picture_measure_sees_what_it_is_named_for() -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(60, 190, (48, 48, 3), dtype=np.uint8), (128, 128))
    before = dict(zip(PICTURE_MEASURES, picture_measures(picture), strict=True))

    def after(changed: np.ndarray) -> dict[str, float]:
        return dict(zip(PICTURE_MEASURES, picture_measures(changed), strict=True))

    dark = after(picture // 2)
    assert dark["brightness"] < 0.6 * before["brightness"] and dark["contrast"] < 0.6 * before["contrast"]
    assert dark["red share"] == pytest.approx(before["red share"], abs=0.01)
    warm = picture.astype(np.float32) * (1.2, 1.0, 0.7)
    found = after(warm.clip(0, 255).astype(np.uint8))
    assert found["red share"] > 1.1 * before["red share"] and found["blue share"] < 0.9 * before["blue share"]
    blurred = after(cv2.GaussianBlur(picture, (0, 0), 4))
    assert blurred["sharpness"] < 0.5 * before["sharpness"]


def test_the_cells_arms_follow_the_same_commands_with_their_own_delay() -> None:
    delays = {}
    for name, latency in (("clean", {0}), ("randomized", {0, 1, 2})):
        cell = WorkCell(RandomizationConfig.from_name(name), image_size=16)
        for seed in range(5):
            found = following(same_commands_in_the_cell(swing(), cell, "place_empty_cup", seed))
            assert found is not None and cell.draw.latency_steps in latency
            delays.setdefault((name, cell.draw.latency_steps), []).append(found[0])
        cell.close()
    lag_s = np.mean(delays["clean", 0])
    assert 0.03 < lag_s < 0.07 and np.ptp(delays["clean", 0]) < 0.005
    for (name, steps), found in delays.items():
        assert name == "clean" or np.mean(found) == pytest.approx(lag_s + 0.04 * steps, abs=0.03)


def test_pictures_of_the_cell_vary_as_the_randomisation_says() -> None:
    seeds = range(6)
    clean = pictures_of_the_cell(RandomizationConfig.from_name("clean"), "place_empty_cup", seeds, 64)
    drawn = pictures_of_the_cell(RandomizationConfig.from_name("randomized"), "place_empty_cup", seeds, 64)
    assert clean.shape == drawn.shape == (6, len(PICTURE_MEASURES))
    assert (np.ptp(drawn, axis=0) > 3 * np.ptp(clean, axis=0)).all()


def test_what_is_no_recording_is_said(tmp_path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_trial(tmp_path / "nothing.mcap")
    (tmp_path / "text.mcap").write_text("no recording")
    with pytest.raises(DataError, match="is not a whole recording"):
        read_trial(tmp_path / "text.mcap")
