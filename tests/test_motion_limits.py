"""The motion limiter: what it sends never breaks a limit, follows a feasible target, and stops at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygro_ros.errors import UserError
from dygro_ros.motion_limits import MotionLimiter, MotionLimits

JOINTS = 3
LIMITS = MotionLimits(
    lower=np.array([-2.0, 0.0, 0.0]),
    upper=np.array([2.0, 3.0, 1.0]),
    velocity=np.array([3.0, 1.0, 4.0]),
    acceleration=np.array([15.0, 4.0, 40.0]),
    jerk=np.array([300.0, 80.0, 2000.0]),
)
PERIOD_S = 0.01
HOME = np.array([0.5, 1.0, 0.5])


def assert_within_limits(start: np.ndarray, sent: np.ndarray, limits: MotionLimits, period_s: float) -> None:
    """Positions (T, N) sent after a rest at `start` keep every limit of their backward differences."""
    position = np.vstack([start] * 3 + [sent])
    assert np.isfinite(position).all()
    assert (position >= limits.lower).all() and (position <= limits.upper).all()
    for name in ("velocity", "acceleration", "jerk"):
        position = np.diff(position, axis=0) / period_s
        # Three divisions by the period magnify rounding.
        assert (np.abs(position) <= getattr(limits, name) * (1 + 1e-6)).all(), name


def follow(targets: np.ndarray, velocities: np.ndarray | None = None) -> np.ndarray:
    limiter = MotionLimiter(LIMITS, PERIOD_S, targets[0])
    rates = np.zeros_like(targets) if velocities is None else velocities
    return np.array([limiter.follow(t, v) for t, v in zip(targets, rates, strict=True)])


def test_a_target_within_the_limits_is_followed_without_lag() -> None:
    time = np.arange(0, 4, PERIOD_S)[:, None]
    start = np.minimum(time / 1.0, 1.0) ** 2
    targets = HOME + start * np.array([0.5, 0.1, 0.2]) * np.sin(2 * np.pi * 0.5 * time)
    velocities = np.vstack([np.zeros((1, JOINTS)), np.diff(targets, axis=0) / PERIOD_S])
    assert np.abs(follow(targets, velocities) - targets).max() < 2e-3


def test_a_step_is_reached_soon_and_hardly_passed() -> None:
    targets = np.repeat([HOME, HOME + np.array([1.0, 0.5, 0.3])], [5, 200], axis=0)
    sent = follow(targets)
    assert_within_limits(HOME, sent, LIMITS, PERIOD_S)
    assert np.abs(sent[-1] - targets[-1]).max() < 1e-6
    assert (sent.max(axis=0) - targets[-1]).max() < 0.01


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    hold=st.sampled_from([1, 3, 10, 40]),
    brakes=st.booleans(),
    period_s=st.sampled_from([0.002, 0.004, 0.01, 0.02]),
)
def test_no_stream_of_targets_breaks_a_limit(seed: int, hold: int, brakes: bool, period_s: float) -> None:
    rng = np.random.default_rng(seed)
    limits = MotionLimits(
        lower=-rng.uniform(0.1, 3, JOINTS),
        upper=rng.uniform(0.1, 3, JOINTS),
        velocity=rng.uniform(0.2, 6, JOINTS),
        acceleration=rng.uniform(1, 40, JOINTS),
        jerk=rng.uniform(20, 3000, JOINTS),
    )
    limiter = MotionLimiter(limits, period_s, np.zeros(JOINTS))
    sent = []
    for _ in range(120 // hold + 1):
        target = rng.uniform(1.5 * limits.lower, 1.5 * limits.upper)
        velocity = rng.normal(0, 3, JOINTS)
        for _ in range(hold):
            stop = brakes and rng.random() < 0.1
            sent.append(limiter.brake() if stop else limiter.follow(target, velocity))
    while not limiter.resting:
        sent.append(limiter.brake())
    assert_within_limits(np.zeros(JOINTS), np.array(sent), limits, period_s)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_braking_ends_at_rest_within_the_time_that_the_limits_promise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limiter = MotionLimiter(LIMITS, PERIOD_S, HOME)
    for _ in range(int(rng.integers(1, 60))):
        limiter.follow(rng.uniform(LIMITS.lower, LIMITS.upper))
    steps = 0
    while not limiter.resting:
        limiter.brake()
        steps += 1
    assert steps * PERIOD_S <= limiter.longest_stop_s
    rest = limiter.position
    assert np.array_equal(limiter.brake(), rest)


def test_nearer_bounds_hold_the_motion_back() -> None:
    limiter = MotionLimiter(LIMITS, PERIOD_S, HOME)
    near = HOME + 0.05
    sent = np.array([limiter.follow(LIMITS.upper, upper=near) for _ in range(100)])
    assert (sent <= near + 1e-9).all()
    np.testing.assert_allclose(sent[-1], near, atol=1e-4)


def test_a_start_outside_the_limits_is_brought_inside_and_nonsense_is_refused() -> None:
    assert np.array_equal(MotionLimiter(LIMITS, PERIOD_S, HOME + 9).position, LIMITS.upper)
    with pytest.raises(UserError, match="start position must be 3 finite values"):
        MotionLimiter(LIMITS, PERIOD_S, np.array([0.0, np.nan, 0.0]))
    with pytest.raises(UserError, match="period must be above 0 s, got 0"):
        MotionLimiter(LIMITS, 0.0, HOME)
    with pytest.raises(UserError, match="limit jerk must be above 0"):
        MotionLimits(LIMITS.lower, LIMITS.upper, LIMITS.velocity, LIMITS.acceleration, 0 * LIMITS.jerk)
