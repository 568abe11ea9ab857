"""Position, velocity, acceleration and jerk of what is sent to the arms, bounded from what was last SENT.

The limiter follows a moving target without lag while that is within the limits, and otherwise as fast as they
allow. What makes it safe is one rule: a step is taken only if, after it, braking at once would keep every
limit until the joint rests. Braking is a fixed function of the state, so when nothing else is allowed the
next step of that braking is, by induction from a start at rest. Time is discrete: velocities and so on are
backward differences of the positions sent, which is what a driver or a recording sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError

Array = NDArray[np.float64]

# Shares of braking mixed into the wanted step, tried in this order.
_BRAKING_SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
# Rounding must not turn a limit that is just kept into one that is broken.
_SLACK = 1e-9


@dataclass(frozen=True)
class MotionLimits:
    """Limits of N joints; N-vectors in joint units [rad; fraction open for grippers], read-only.

    Attributes:
        lower: Least position.
        upper: Largest position.
        velocity: Largest speed [unit/s].
        acceleration: Largest acceleration [unit/s^2].
        jerk: Largest jerk [unit/s^3].
    """

    lower: Array
    upper: Array
    velocity: Array
    acceleration: Array
    jerk: Array

    def __post_init__(self) -> None:
        """Check shapes and signs.

        Raises:
            UserError: A vector has another length, or a limit is not positive and finite.
        """
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.shape != np.shape(self.lower):
                raise UserError(f"limit {name} must have one value a joint, got shape {values.shape}")
            if not np.isfinite(values).all():
                raise UserError(f"limit {name} must be finite, got {values.tolist()}")
            if name not in ("lower", "upper") and not (values > 0).all():
                raise UserError(f"limit {name} must be above 0, got {values.tolist()}")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if not (self.lower < self.upper).all():
            raise UserError("limit lower must be below limit upper at every joint")

    @property
    def joints(self) -> int:
        """N."""
        return len(self.lower)

    def longest_stop_s(self, period_s: float) -> float:
        """Return the time that the slowest stop of any joint takes [s], at one command each `period_s`.

        An acceleration at its limit is taken back while the speed still grows to its own limit, the opposite
        one is built up, held, and taken back: v/a + 2 a/j, or without a phase at full acceleration
        a/j + 2 sqrt(v/j). Each of the four phases may end in the middle of a period.
        """
        build_s = self.acceleration / self.jerk
        held_s = np.maximum(self.velocity / self.acceleration - build_s, 0.0)
        down_s = np.minimum(build_s, np.sqrt(self.velocity / self.jerk))
        return float((build_s + held_s + 2 * down_s).max()) + 4 * period_s

    def of(self, index: NDArray[np.intp]) -> MotionLimits:
        """Return the limits of some joints."""
        return MotionLimits(
            self.lower[index],
            self.upper[index],
            self.velocity[index],
            self.acceleration[index],
            self.jerk[index],
        )


class MotionLimiter:
    """State of what was last sent, and the next position that the limits allow.

    Attributes:
        position: Last position sent, (N,).
        velocity: Its backward difference [unit/s], (N,).
        acceleration: The second one [unit/s^2], (N,).
        longest_stop_s: No stop takes longer [s].
    """

    def __init__(self, limits: MotionLimits, period_s: float, position: Array) -> None:
        """Start at rest.

        Args:
            limits: Limits of the joints.
            period_s: Time between two positions sent [s].
            position: Where the joints are, (N,); brought into the limits.

        Raises:
            UserError: The period is not positive, or the position has another shape or is not finite.
        """
        if not 0 < period_s < math.inf:
            raise UserError(f"period must be above 0 s, got {period_s:g}")
        self.limits = limits
        self.period_s = period_s
        self.longest_stop_s = limits.longest_stop_s(period_s)
        self.seed(position)

    def seed(self, position: Array) -> None:
        """Start again at rest from a measured position, (N,)."""
        position = np.asarray(position, dtype=np.float64)
        if position.shape != (self.limits.joints,) or not np.isfinite(position).all():
            raise UserError(
                f"start position must be {self.limits.joints} finite values, got {position.tolist()}"
            )
        self.position = np.clip(position, self.limits.lower, self.limits.upper)
        self.velocity = np.zeros(self.limits.joints)
        self.acceleration = np.zeros(self.limits.joints)

    @property
    def resting(self) -> bool:
        """Whether nothing moves."""
        return not (self.velocity.any() or self.acceleration.any())

    def follow(
        self,
        target: Array,
        velocity: Array | float = 0.0,
        *,
        speed: Array | None = None,
        lower: Array | None = None,
        upper: Array | None = None,
    ) -> Array:
        """Take one step towards a target and return the position to send, (N,).

        Args:
            target: Wanted position, (N,), finite; brought into the limits.
            velocity: Velocity of the target itself [unit/s]: with it a moving target is followed without lag.
            speed: Go no faster on the way than this [unit/s], (N,).
            lower: Nearer bounds of this step, such as what may lie between sent and measured positions; kept
                unless braking itself would leave them.
            upper: The same, above.
        """
        limits = self.limits
        low = limits.lower if lower is None else np.maximum(lower, limits.lower)
        high = limits.upper if upper is None else np.minimum(upper, limits.upper)
        top = limits.velocity if speed is None else np.minimum(speed, limits.velocity)
        wanted = self._towards(np.clip(target, low, high), np.asarray(velocity, dtype=np.float64), top)
        near = np.flatnonzero(~self._far_from_limits(wanted, low, high))
        if len(near):
            wanted[near] = self._allowed(wanted[near], near, low[near], high[near])
        return self._take(wanted)

    def brake(self) -> Array:
        """Take one step of the fastest stop and return the position to send, (N,)."""
        return self._take(_reaching(-self.velocity, self.acceleration, self.limits, self.period_s))

    def _take(self, acceleration: Array) -> Array:
        self.acceleration = acceleration
        self.velocity = self.velocity + acceleration * self.period_s
        # Rounding leaves a residue of a stop; a joint that rests must rest exactly.
        still = (np.abs(self.velocity) < _SLACK) & (np.abs(self.acceleration) < _SLACK)
        self.velocity[still] = 0.0
        self.acceleration[still] = 0.0
        self.position = np.clip(
            self.position + self.velocity * self.period_s, self.limits.lower, self.limits.upper
        )
        return self.position.copy()

    def _towards(self, target: Array, velocity: Array, top: Array) -> Array:
        """Return the acceleration that follows the target, within the limits of acceleration and jerk."""
        limits, dt = self.limits, self.period_s
        # Where the target was one period ago: what is left when both have moved on.
        error = target - velocity * dt - self.position
        # An acceleration towards it has to be taken back first; the way until then is gone.
        approach = self.velocity - velocity
        back_s = np.abs(self.acceleration) / limits.jerk
        gone = approach * back_s + self.acceleration * back_s**2 / 3
        error = np.where(self.acceleration * error > 0, error - gone, error)
        distance = np.abs(error)
        # Speed from which a stop needs this distance: jerk-limited, with or without a phase at full
        # acceleration.
        bend = limits.acceleration**2 / (2 * limits.jerk)
        speed = np.where(
            distance <= 4 * bend * limits.acceleration / limits.jerk,
            np.cbrt(distance**2 * limits.jerk),
            np.sqrt(bend**2 + 2 * limits.acceleration * distance) - bend,
        )
        speed = np.minimum(distance / (3 * dt), speed)
        wanted = np.clip(velocity + np.sign(error) * speed, -top, top)
        return _reaching(wanted - self.velocity, self.acceleration, limits, dt)

    def _far_from_limits(self, acceleration: Array, low: Array, high: Array) -> NDArray[np.bool_]:
        """Return which joints come near no limit, (N,): a bound on the way to rest, cheaper than the way."""
        limits, dt = self.limits, self.period_s
        velocity = self.velocity + acceleration * dt
        # Speed when the acceleration has been taken back, and the way until then and from there to rest.
        back_s = np.abs(acceleration) / limits.jerk + dt
        peak = np.abs(velocity) + np.abs(acceleration) * back_s
        stop_s = peak / limits.acceleration + 2 * limits.acceleration / limits.jerk + 2 * dt
        way = peak * (back_s + stop_s)
        position = self.position + velocity * dt
        far: NDArray[np.bool_] = (
            (peak <= limits.velocity) & (position - way >= low) & (position + way <= high)
        )
        return far

    def _allowed(self, wanted: Array, joints: NDArray[np.intp], low: Array, high: Array) -> Array:
        """Return the accelerations nearest to those wanted after which braking keeps every limit, (k,)."""
        limits, dt = self.limits.of(joints), self.period_s
        velocity, acceleration = self.velocity[joints], self.acceleration[joints]
        brake = _reaching(-velocity, acceleration, limits, dt)
        options = wanted + _BRAKING_SHARES[:, None] * (brake - wanted)
        # Both ends keep the limits of acceleration and jerk, so what lies between them does.
        fits = np.ones(options.shape, dtype=bool)
        acceleration = options
        velocity = velocity + acceleration * dt
        position = self.position[joints] + velocity * dt
        for _ in range(math.ceil(self.longest_stop_s / dt)):
            fits &= np.abs(velocity) <= limits.velocity * (1 + _SLACK)
            fits &= (position >= low - _SLACK) & (position <= high + _SLACK)
            if not (velocity.any() or acceleration.any()):
                break
            acceleration = _reaching(-velocity, acceleration, limits, dt)
            velocity = velocity + acceleration * dt
            position = position + velocity * dt
            still = (np.abs(velocity) < _SLACK) & (np.abs(acceleration) < _SLACK)
            velocity = np.where(still, 0.0, velocity)
            acceleration = np.where(still, 0.0, acceleration)
        fits[-1] = True  # braking at once: by induction, unless the nearer bounds have moved
        nearest: Array = options[fits.argmax(axis=0), np.arange(len(joints))]
        return nearest


def _reaching(change: Array, acceleration: Array, limits: MotionLimits, period_s: float) -> Array:
    """Return the next acceleration on the fastest way to a change of velocity that ends without any.

    Accelerations m, m-1, ..., 1 in units of jerk x period change the velocity by m (m + 1) / 2 units.
    """
    unit = limits.jerk * period_s
    steps = (np.sqrt(1 + 8 * np.abs(change) / (unit * period_s)) - 1) / 2
    wanted = np.sign(change) * np.minimum(steps * unit, limits.acceleration)
    # The last step: what is left, if acceleration can be taken back at once after it.
    last = change / period_s
    final = (np.abs(last) <= np.minimum(unit, limits.acceleration)) & (np.abs(last - acceleration) <= unit)
    wanted = np.where(final, last, wanted)
    reached: Array = np.clip(wanted, acceleration - unit, acceleration + unit)
    return reached
