"""What actions and measurements tell together: mixed up columns, late commands, constant offsets."""

from dataclasses import replace

import numpy as np
from dataset_fixtures import dual_arm, libero_like

from training.action_checks import check_actions
from training.episode_record import EpisodeRecord


def clean() -> list[EpisodeRecord]:
    return [dual_arm(seed, 80) for seed in range(3)]


def libero_motion(delay: int) -> EpisodeRecord:
    """The hand goes where its steps say; `delay` -1: the measurement after the step stands beside it."""
    rng = np.random.default_rng(1)
    steps = np.repeat(rng.uniform(-1, 1, (24, 3)), 5, axis=0)
    position = np.concatenate([np.zeros((1, 3)), np.cumsum(0.01 * steps, axis=0)])
    seen = position[1:] if delay == -1 else position[:-1]
    record = libero_like(0, 120)
    action, proprio = record.action * np.float32(0.01), record.proprio * np.float32(1e-4)
    action[:, :3], proprio[:, :3] = steps, seen
    return replace(record, action=action, proprio=proprio)


def test_clean_data_raise_no_suspicion() -> None:
    assert check_actions(clean()) == []
    assert check_actions([libero_motion(0)]) == []
    assert check_actions([dual_arm(0, 4)]) == []
    for seed in range(12):  # chance makes some delay the best: it must not be believed
        assert check_actions([libero_like(seed, 100)]) == []


def test_two_columns_of_action_that_are_exchanged_are_named() -> None:
    order = [0, 4, 2, 3, 1, *range(5, 14)]
    found = check_actions([replace(record, action=record.action[:, order]) for record in clean()])
    assert [finding.kind for finding in found] == ["joint order"]
    assert "action left_joint2 follows proprio left_joint5" in found[0].text
    assert "action left_joint5 follows proprio left_joint2" in found[0].text


def test_a_command_after_its_motion_is_found() -> None:
    late = [replace(record, action=np.roll(record.action, 5, axis=0)) for record in clean()]
    found = check_actions([replace(r, action=r.action[5:], proprio=r.proprio[5:], cameras=(),
                                   images=np.zeros((75, 0, 0, 0, 3), np.uint8)) for r in late])  # fmt: skip
    assert [finding.kind for finding in found] == ["offset in time"]
    assert "what was measured 3 frames BEFORE it" in found[0].text


def test_an_action_that_is_the_measurement_itself_is_found() -> None:
    found = check_actions([replace(record, action=record.proprio) for record in clean()])
    assert [finding.kind for finding in found] == ["offset in time"]
    assert "equals what was measured in its own frame" in found[0].text


def test_another_zero_of_a_joint_is_found_and_noise_is_not() -> None:
    def shifted(offset: float, noise: float) -> list[EpisodeRecord]:
        rng = np.random.default_rng(0)
        records = []
        for record in clean():
            action = record.action.copy()
            action[:, 9] += offset + noise * rng.standard_normal(80)
            records.append(replace(record, action=action))
        return records

    found = check_actions(shifted(0.4, 0.01))
    assert [finding.kind for finding in found] == ["offset"]
    assert found[0].text.startswith("action right_joint3 lies +0.4 beside what is measured")
    assert check_actions(shifted(0.05, 0.01)) == []
    assert check_actions(shifted(0.4, 1.0)) == []


def test_steps_that_stand_beside_their_outcome_are_found() -> None:
    found = check_actions([libero_motion(-1)])
    assert [finding.kind for finding in found] == ["offset in time"]
    assert "the motion 1 frames BEFORE them" in found[0].text


def test_an_episode_shorter_than_the_delay_is_passed_over() -> None:
    """Commands lead by four frames; three frames have no partner among them."""
    slow = [dual_arm(seed, 80) for seed in range(2)]
    led = [
        replace(record, action=np.concatenate([record.proprio[4:], record.proprio[-4:]])) for record in slow
    ]
    short = replace(dual_arm(5, 3), action=dual_arm(5, 7).proprio[4:])
    assert check_actions([*led, short]) == check_actions(led) == []
