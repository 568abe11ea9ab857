"""The chunk schedule: alignment by time, seams without jumps, and the end of what is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dygro_ros.chunk_schedule import ChunkSchedule, ScheduleConfig, Verdict
from dygro_ros.errors import UserError

PERIOD_S = 0.04
PLAIN = ScheduleConfig(period_s=PERIOD_S, blend_s=0.0)


def ramp(start: float, steps: int = 10) -> np.ndarray:
    """Two joints; action k is start + k."""
    return np.repeat(start + np.arange(steps, dtype=float)[:, None], 2, axis=1)


def schedule(config: ScheduleConfig = PLAIN) -> ChunkSchedule:
    found = ChunkSchedule(config)
    found.clear(np.zeros(2))
    return found


def offer(plan: ChunkSchedule, chunk: np.ndarray, observed_s: float, now_s: float) -> Verdict:
    return plan.offer(chunk, chunk - 0.5, observed_s, now_s)


def test_nothing_is_due_before_the_first_chunk_and_after_the_last() -> None:
    plan = schedule()
    assert plan.target(0.0) is None
    assert offer(plan, ramp(0), 0.0, 0.0) is Verdict.ACCEPTED
    last = plan.target(0.42)
    assert last is not None and last.remaining_s == 0.0
    np.testing.assert_array_equal(last.position, ramp(0)[-1])
    assert not last.velocity.any()
    assert plan.target(0.441) is None


def test_each_action_is_due_in_the_middle_of_its_step() -> None:
    plan = schedule()
    offer(plan, ramp(5), 1.0, 1.0)
    for k in range(10):
        target = plan.target(1.0 + (k + 0.5) * PERIOD_S)
        assert target is not None
        np.testing.assert_allclose(target.position, 5 + k)
        assert target.remaining_s == pytest.approx((9.5 - k) * PERIOD_S)


def test_a_late_chunk_loses_the_steps_that_have_passed() -> None:
    plan = schedule()
    offer(plan, ramp(0), 0.0, 0.13)
    target = plan.target(0.14)
    assert target is not None
    np.testing.assert_allclose(target.position, 3.0)
    np.testing.assert_allclose(target.velocity, 25.0)


def test_what_cannot_be_used_is_refused_and_changes_nothing() -> None:
    plan = schedule()
    assert offer(plan, ramp(0), 0.0, 0.1) is Verdict.ACCEPTED
    assert offer(plan, ramp(50), 0.0, 0.1) is Verdict.SUPERSEDED
    assert offer(plan, ramp(50), -0.1, 0.1) is Verdict.SUPERSEDED
    assert offer(plan, ramp(50), 0.2, 0.1) is Verdict.FROM_THE_FUTURE
    assert offer(plan, ramp(50), 0.05, 0.45) is Verdict.LATE
    target = plan.target(0.1)
    assert target is not None
    np.testing.assert_allclose(target.position, 2.0)


@given(
    arrivals=st.lists(st.floats(0.001, 0.39), min_size=1, max_size=8),
    fusion=st.sampled_from(["blend", "ensemble"]),
    delay_s=st.floats(0.0, 0.2),
)
def test_neither_position_nor_velocity_jumps_when_a_chunk_takes_over(
    arrivals: list[float], fusion: str, delay_s: float
) -> None:
    rng = np.random.default_rng(len(arrivals))
    plan = schedule(ScheduleConfig(period_s=PERIOD_S, fusion=fusion))
    now_s, chunk = 0.0, ramp(0)
    offer(plan, chunk, now_s, now_s)
    for pause_s in arrivals:
        now_s += min(pause_s, 0.35 - delay_s)
        before = plan.target(now_s)
        assert offer(plan, rng.normal(size=(10, 2)), now_s - delay_s, now_s) in (
            Verdict.ACCEPTED,
            Verdict.SUPERSEDED,
        )
        after = plan.target(now_s)
        assert before is not None and after is not None
        np.testing.assert_allclose(after.position, before.position, atol=1e-9)
        np.testing.assert_allclose(after.velocity, before.velocity, atol=1e-6)


def test_the_residual_is_switched_off_and_on_without_a_jump() -> None:
    plan = schedule(ScheduleConfig(period_s=PERIOD_S, blend_s=0.04))
    offer(plan, ramp(5), 0.0, 0.0)
    for on, later in ((False, -0.5), (True, 0.0)):
        now_s = 0.14 if not on else 0.22
        before = plan.target(now_s)
        plan.use_residual(on, now_s)
        after, settled = plan.target(now_s), plan.target(now_s + 0.04)
        assert before is not None and after is not None and settled is not None
        np.testing.assert_allclose(after.position, before.position, atol=1e-9)
        np.testing.assert_allclose(settled.position, 5 + (now_s + 0.02) / PERIOD_S + later)


def test_the_first_chunk_starts_where_the_arms_rest() -> None:
    plan = schedule(ScheduleConfig(period_s=PERIOD_S, blend_s=0.1))
    plan.clear(np.array([-1.0, 2.0]))
    offer(plan, ramp(5), 0.0, 0.0)
    first, later = plan.target(0.0), plan.target(0.14)
    assert first is not None and later is not None
    np.testing.assert_allclose(first.position, [-1.0, 2.0])
    np.testing.assert_allclose(first.velocity, 0.0, atol=1e-9)
    np.testing.assert_allclose(later.position, 8.0)


def test_an_ensemble_weighs_older_chunks_more() -> None:
    config = ScheduleConfig(period_s=PERIOD_S, fusion="ensemble", blend_s=0.0, ensemble_decay=np.log(3))
    plan = schedule(config)
    offer(plan, ramp(0), 0.0, 0.0)
    offer(plan, ramp(0), 0.04, 0.04)  # says one less at each moment
    target = plan.target(0.14)
    assert target is not None
    np.testing.assert_allclose(target.position, 0.75 * 3 + 0.25 * 2)


def test_a_number_that_makes_no_sense_is_named() -> None:
    with pytest.raises(UserError, match=r"schedule\.period_s must be a time up to 10 s, got 0"):
        ScheduleConfig(period_s=0.0)
    with pytest.raises(UserError, match=r"schedule\.ensemble_size must be at least 1"):
        ScheduleConfig(period_s=0.04, ensemble_size=0)
