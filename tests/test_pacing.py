"""How often the policy looks again: at a chunk's end where answers are quick, often where they are slow."""

import pytest

from dygro_ros.pacing import Pacing, PacingConfig

CONFIG = PacingConfig(chunk_s=0.4, period_s=0.04, interval_s=0.06, whole_within_s=0.05)


def pacing(*ages_s: float, config: PacingConfig = CONFIG) -> Pacing:
    found = Pacing(config)
    for age_s in ages_s:
        found.answered(age_s)
    return found


def test_before_enough_is_known_it_looks_often() -> None:
    assert pacing(0.01, 0.01).interval_s == 0.06


def test_quick_answers_play_chunks_whole_and_one_slow_one_changes_nothing() -> None:
    assert pacing(0.01, 0.02, 0.01).interval_s == pytest.approx(0.38)
    assert pacing(0.01, 0.02, 0.01, 3600.0, 0.02).whole


def test_slow_answers_look_often_and_it_goes_back() -> None:
    found = pacing(*[0.12] * 9)
    assert found.interval_s == 0.06
    for _ in range(5):
        found.answered(0.01)
    assert found.whole


def test_it_can_be_switched_off() -> None:
    never = PacingConfig(chunk_s=0.4, period_s=0.04, interval_s=0.06, whole_within_s=0.0)
    assert not pacing(0.01, 0.01, 0.01, config=never).whole
