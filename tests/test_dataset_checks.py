"""What looks wrong in numbers: each fault is found where it was put, and clean data raise no suspicion."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like

from dygro_ros.layout import JOINT_NAMES
from training.dataset_checks import Finding, check_numbers
from training.episode_record import EpisodeRecord

SWAPPED = (JOINT_NAMES[1], JOINT_NAMES[0], *JOINT_NAMES[2:])


def clean() -> list[EpisodeRecord]:
    return [dual_arm(seed, 80) for seed in range(3)]


def with_proprio(change: object) -> list[EpisodeRecord]:
    records = clean()
    proprio = records[1].proprio.copy()
    change(proprio)  # type: ignore[operator]
    records[1] = replace(records[1], proprio=proprio)
    return records


def only(findings: list[Finding], kind: str) -> str:
    assert [finding.kind for finding in findings] == [kind]
    assert not findings[0].sure
    return findings[0].text


def test_clean_data_raise_no_suspicion() -> None:
    assert check_numbers(clean()) == []


def test_a_jump_is_found_with_its_place() -> None:
    def jump(proprio: np.ndarray) -> None:
        proprio[30:, 2] -= np.float32(0.3 * 2.967) * np.sign(proprio[30, 2] + 1.5)

    text = only(check_numbers(with_proprio(jump)), "jump")
    assert text.startswith("proprio left_joint3 steps by more than 25% of its range 1 times")
    assert "episode 1, frame 30: " in text and "wraps" not in text


def test_an_angle_that_wraps_is_told_from_a_fault() -> None:
    records = []
    for seed in range(2):
        record = libero_like(seed, 40)
        proprio = np.zeros((40, 8), np.float32)
        proprio[:, 3] = 3.1 * np.where(np.arange(40) // 5 % 2, 1, -1)
        proprio[:, 0] = np.linspace(0, 1, 40)
        records.append(replace(record, proprio=proprio))
    text = only(check_numbers(records), "jump")
    assert text.startswith("proprio ee_rx") and "14 times" in text
    assert text.endswith("most change only their sign: an angle that wraps?")


def test_grippers_and_steps_may_change_at_once() -> None:
    records = with_proprio(lambda proprio: proprio[:, 6].__setitem__(slice(10, 40), 1.0))
    assert check_numbers(records) == []
    # LIBERO's actions are steps: each may be anything.
    steady = replace(libero_like(0, 40), proprio=np.linspace(0, 1, 40 * 8, dtype=np.float32).reshape(40, 8))
    assert check_numbers([steady]) == []


def test_idle_stretches_are_found_from_one_second_on() -> None:
    def stand(frames: int) -> list[EpisodeRecord]:
        return with_proprio(lambda proprio: proprio.__setitem__(slice(40, 41 + frames), proprio[40]))

    found = [finding for finding in check_numbers(stand(30)) if finding.kind == "idle"]
    assert only(found, "idle").startswith(
        "1 stretches of 1 s or more without a motion, 12% of all frames; the"
    )
    assert "longest 1.2 s, episode 1, frames 40 to 70" in found[0].text
    assert not [finding for finding in check_numbers(stand(20)) if finding.kind == "idle"]


def test_degrees_and_values_beyond_the_limits_are_found() -> None:
    records = [
        replace(record, proprio=np.rad2deg(record.proprio), action=record.action) for record in clean()
    ]
    texts = [finding.text for finding in check_numbers(records) if finding.kind == "limits"]
    assert any(
        "proprio left_joint1 spans" in text and "degrees instead of radians?" in text for text in texts
    )
    records = [replace(record, proprio=record.proprio[:, ::-1]) for record in clean()]
    texts = [finding.text for finding in check_numbers(records) if finding.kind == "limits"]
    assert texts and all("another order of joints, another zero?" in text for text in texts)


@pytest.mark.parametrize("kind", ["proprio", "action"])
def test_our_joints_in_another_order_are_named(kind: str) -> None:
    records = [replace(record, **{f"{kind}_names": SWAPPED}) for record in clean()]
    findings = [finding for finding in check_numbers(records) if finding.kind == "joint order"]
    assert findings[0].text.startswith(
        f"{kind} has our joints in another order, from column 0 on (left_joint2"
    )
    assert findings[1].text == "proprio and action have the same names in two orders"
