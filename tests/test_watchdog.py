"""Watchdog: each source's age apart, in the order warn, stop, fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dygro_ros.errors import UserError
from dygro_ros.watchdog import AgeLimits, Level, Watchdog

LIMITS = {"camera": AgeLimits(0.1, 0.2, 1.0), "policy": AgeLimits(0.05, 0.1, 0.5)}


@pytest.mark.parametrize(
    ("age_s", "level"),
    [(0.0, Level.FRESH), (0.1, Level.FRESH), (0.11, Level.WARN), (0.21, Level.STOP), (1.1, Level.FAULT)],
)
def test_levels_follow_the_age(age_s: float, level: Level) -> None:
    assert LIMITS["camera"].level(age_s) is level


def test_the_worst_source_is_named_while_the_other_is_fed() -> None:
    watchdog = Watchdog(LIMITS, 0.0)
    for step in range(60):
        watchdog.heard("camera", 0.01 * step)
    late = watchdog.latest(0.6)
    assert (late.level, late.source) == (Level.FAULT, "policy")
    assert str(late) == "policy 600 ms old"
    watchdog.heard("policy", 0.6)
    assert watchdog.latest(0.6).level is Level.FRESH


@given(ages=st.tuples(st.floats(0, 2), st.floats(0, 2)))
def test_no_source_hides_another(ages: tuple[float, float]) -> None:
    watchdog = Watchdog(LIMITS, 0.0)
    for source, age_s in zip(LIMITS, ages, strict=True):
        watchdog.heard(source, 10.0 - age_s)
    levels = [LIMITS[s].level(watchdog.age_s(s, 10.0)) for s in LIMITS]
    assert watchdog.latest(10.0).level == max(levels)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"positive and growing, got warn_s 0\.2, stop_s 0\.1"):
        AgeLimits(0.2, 0.1, 1.0)
    with pytest.raises(UserError, match=r"unknown source .camra. .did you mean .camera."):
        Watchdog(LIMITS, 0.0).heard("camra", 0.0)
    with pytest.raises(UserError, match="at least one source"):
        Watchdog({}, 0.0)
