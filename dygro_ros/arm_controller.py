"""What is sent to both arms at each tick of the control loop: the only place that decides it.

A state machine around the chunk schedule, the watchdog and the motion limiter. It reads no clock and knows no
middleware: the arm bridge, the in-process runtime and the tests call `tick` at the control rate and hand in
what arrived in between. Both arms are one command: it is sent whole or not at all.

    waiting -> holding -> running | homing -> holding        stop, fault, any mode -> stopping -> stopped
    stopped -> (reset: explicit, fresh state, no motion) -> holding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from dygro_ros.chunk_schedule import ChunkSchedule, ScheduleConfig, Verdict
from dygro_ros.errors import CommandRejected, NotAllowed
from dygro_ros.motion_limits import MotionLimiter, MotionLimits
from dygro_ros.watchdog import AgeLimits, Lateness, Level, Watchdog

Array = NDArray[np.float64]

# The home pose is reached from this near [rad; fraction open].
HOME_REACHED = 1e-3
# A cause, as `Command` gives it.
NO_CHUNK = "no chunk is left"
# In refusals for want of something that may come in a moment.
NEEDS_FRESH = "needs fresh"


class Mode(Enum):
    """What the controller does."""

    WAITING = "waiting"
    """Not all measured joints are known: nothing is sent."""
    HOLDING = "holding"
    """At rest and ready."""
    RUNNING = "running"
    """Follows the policy's chunks; decelerates and holds while a source is late or no chunk is left."""
    HOMING = "homing"
    """On the way to the home pose."""
    STOPPING = "stopping"
    """Decelerates; ends in STOPPED."""
    STOPPED = "stopped"
    """Latched: holds until an explicit reset."""


@dataclass(frozen=True)
class ControllerConfig:
    """How the arms may be moved; N-vectors in the order of `joint_names`."""

    joint_names: tuple[str, ...]
    limits: MotionLimits
    schedule: ScheduleConfig
    ages: dict[str, AgeLimits]
    """By source: each arm's name, camera, policy, operator (where one is required)."""
    arm_of_joint: tuple[str, ...]
    """Name of the arm that each joint belongs to: the source of its measured position."""
    period_s: float
    """Time of one tick [s]."""
    tracking: Array
    """Largest distance that a command may have from the measured position, (N,)."""
    tracking_fault: Array
    """Distance of what was sent to what is measured that is a fault, (N,)."""
    home: Array
    """Home pose, (N,)."""
    home_velocity: Array
    """Speed on the way there [unit/s], (N,)."""
    rest_velocity: Array
    """Measured speed below which a joint counts as resting at a reset [unit/s], (N,)."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in order."""
        return tuple(dict.fromkeys(self.arm_of_joint))


@dataclass(frozen=True)
class Command:
    """One tick's outcome."""

    position: Array
    """To send, (N,)."""
    mode: Mode
    cause: str
    """Why the arms do not follow the policy; empty where they do, or where nobody asked them to."""
    remaining_s: float
    """Time until the newest chunk ends [s]; 0 without one."""


class ArmController:
    """State of both arms; see the module."""

    def __init__(self, config: ControllerConfig, now_s: float) -> None:
        """Wait for the first measured joints."""
        self.config = config
        self.mode = Mode.WAITING
        self.fault = ""
        self.watchdog = Watchdog(config.ages, now_s)
        self.schedule = ChunkSchedule(config.schedule)
        count = len(config.joint_names)
        self._in_order = list(range(len(config.joint_names)))
        self.measured = np.full(count, np.nan)
        self._measured_velocity = np.full(count, np.inf)
        self._measured_s = dict.fromkeys(config.arms, -np.inf)
        arm_of_joint = np.array(config.arm_of_joint)
        self._joints_of = {arm: np.flatnonzero(arm_of_joint == arm) for arm in config.arms}
        self._limiter: MotionLimiter | None = None
        self._home_speed = config.home_velocity

    def heard(self, source: str, now_s: float) -> None:
        """Note that a source other than an arm was heard."""
        self.watchdog.heard(source, now_s)

    def measure(self, arm: str, position: Sequence[float] | Array, now_s: float) -> None:
        """Take one arm's measured joints, in the order of its joints.

        Raises:
            CommandRejected: Another number of values, or one that is not finite; the old ones stay.
        """
        index = self._joints_of[arm]
        values = np.asarray(position, dtype=np.float64)
        if values.shape != index.shape or not np.isfinite(values).all():
            raise CommandRejected(
                f"{arm}: expected {len(index)} finite measured joints, got {values.tolist()}"
            )
        passed_s = now_s - self._measured_s[arm]
        if passed_s > 0:
            self._measured_velocity[index] = (values - self.measured[index]) / passed_s
        self.measured[index] = values
        self._measured_s[arm] = now_s
        self.watchdog.heard(arm, now_s)

    def offer(
        self,
        names: Sequence[str],
        chunk: Array,
        base_chunk: Array,
        observed_s: float,
        now_s: float,
    ) -> Verdict:
        """Take a chunk for both arms, whole or not at all.

        Args:
            names: Joint names of its columns, in any order.
            chunk: (h, N) joint units.
            base_chunk: The same without residual.
            observed_s: When the observation was taken, on the controller's clock.
            now_s: Now.

        Raises:
            CommandRejected: Wrong names or shape, or a value not finite or out of range; names the joint.
        """
        order = self._order(names)
        values = []
        for what, array in (("chunk", chunk), ("base chunk", base_chunk)):
            found = np.asarray(array, dtype=np.float64)
            if found.ndim != 2 or found.shape[1] != len(order) or len(found) == 0:
                raise CommandRejected(f"{what} must have shape (h, {len(order)}), got {found.shape}")
            found = found[:, order]
            limits = self.config.limits
            wrong = ~(np.isfinite(found) & (found >= limits.lower) & (found <= limits.upper))
            if wrong.any():
                step, joint = (int(i) for i in np.argwhere(wrong)[0])
                raise CommandRejected(
                    f"{what}: {self.config.joint_names[joint]} of step {step} must lie in "
                    f"{limits.lower[joint]:g} .. {limits.upper[joint]:g}, got {found[step, joint]:g}"
                )
            values.append(found)
        if values[0].shape != values[1].shape:
            raise CommandRejected(
                f"chunk and base chunk must have one length, got {len(values[0])} and {len(values[1])}"
            )
        return self.schedule.offer(values[0], values[1], observed_s, now_s)

    def _order(self, names: Sequence[str]) -> list[int]:
        wanted = self.config.joint_names
        if tuple(names) == wanted:
            return self._in_order
        if sorted(names) != sorted(wanted):
            missing = [name for name in wanted if name not in names]
            unknown = [name for name in names if name not in wanted]
            raise CommandRejected(
                f"chunk must name each joint once: missing {', '.join(missing) or 'none'}, "
                f"unknown or repeated {', '.join(unknown) or 'some'}"
            )
        positions = {name: column for column, name in enumerate(names)}
        return [positions[name] for name in wanted]

    def use_residual(self, on: bool, now_s: float) -> None:
        """Play chunks with their residual from the next tick on, or the base policy's alone."""
        self.schedule.use_residual(on, now_s)

    def stop(self, reason: str) -> None:
        """Decelerate and latch; the first reason is kept."""
        if self.mode not in (Mode.STOPPING, Mode.STOPPED):
            self.fault = reason
            self.mode = Mode.STOPPED if self._limiter is None else Mode.STOPPING

    def reset(self, now_s: float) -> None:
        """Leave the latched stop.

        Raises:
            NotAllowed: Not stopped yet, an arm is not heard, or a joint still moves.
        """
        self._require(Mode.STOPPED, self.config.arms, now_s, "reset")
        moving = np.abs(self._measured_velocity) > self.config.rest_velocity
        if moving.any():
            joint = int(np.argmax(moving))
            raise NotAllowed(
                f"reset needs arms at rest, {self.config.joint_names[joint]} moves at "
                f"{self._measured_velocity[joint]:.3g} a second"
            )
        self._seed()
        self.fault = ""
        self.mode = Mode.HOLDING

    def run(self, now_s: float) -> None:
        """Follow the policy from now on.

        Raises:
            NotAllowed: Not holding, or a source is late.
        """
        self._require(Mode.HOLDING, self._sources(Mode.RUNNING), now_s, "run")
        # What the policy saw before it was asked to run may be another scene.
        self.schedule.clear(self._moved().position, not_before_s=now_s)
        self.mode = Mode.RUNNING

    def hold(self) -> None:
        """Decelerate and hold, ready to run again."""
        if self.mode in (Mode.RUNNING, Mode.HOMING):
            self.mode = Mode.HOLDING

    def home(self, now_s: float) -> None:
        """Go to the home pose, slowly.

        Raises:
            NotAllowed: Not holding, or an arm is late.
        """
        self._require(Mode.HOLDING, self._sources(Mode.HOMING), now_s, "home")
        distance = np.abs(self.config.home - self._moved().position)
        # All joints arrive together, and none goes faster than it may.
        duration_s = max(float((distance / self.config.home_velocity).max()), self.config.period_s)
        self._home_speed = np.maximum(distance / duration_s, HOME_REACHED)
        self.mode = Mode.HOMING

    def tick(self, now_s: float) -> Command | None:
        """Return the command of this tick, or None while the measured joints are not known."""
        if self._limiter is None:
            if not np.isfinite(self.measured).all():
                return None
            self._seed()
            if self.mode is Mode.WAITING:
                self.mode = Mode.HOLDING
        limiter = self._moved()
        late = self.lateness(now_s)
        self._look_for_faults(late, limiter)
        remaining_s, cause = 0.0, self.fault
        if self.mode is Mode.RUNNING:
            remaining_s, cause = self._run_step(now_s, late, limiter)
        elif self.mode is Mode.HOMING:
            cause = self._home_step(late, limiter)
        else:
            limiter.brake()
            if self.mode is Mode.STOPPING and limiter.resting:
                self.mode = Mode.STOPPED
        return Command(limiter.position.copy(), self.mode, cause, remaining_s)

    def _run_step(self, now_s: float, late: Lateness, limiter: MotionLimiter) -> tuple[float, str]:
        target = self.schedule.target(now_s)
        if late.level < Level.STOP and target is not None:
            near = self.config.tracking
            limiter.follow(
                target.position, target.velocity, lower=self.measured - near, upper=self.measured + near
            )
            return target.remaining_s, ""
        limiter.brake()
        if limiter.resting:
            # What comes next starts from here, not from where an old chunk would be by now.
            self.schedule.clear(limiter.position)
        return 0.0, str(late) if late.level >= Level.STOP else NO_CHUNK

    def _home_step(self, late: Lateness, limiter: MotionLimiter) -> str:
        if late.level >= Level.STOP:
            limiter.brake()
            return str(late)
        near = self.config.tracking
        limiter.follow(
            self.config.home,
            speed=self._home_speed,
            lower=self.measured - near,
            upper=self.measured + near,
        )
        if limiter.resting and (np.abs(self.config.home - limiter.position) < HOME_REACHED).all():
            self.mode = Mode.HOLDING
        return ""

    def _look_for_faults(self, late: Lateness, limiter: MotionLimiter) -> None:
        if late.level is Level.FAULT:
            self.stop(str(late))
        beyond = np.abs(limiter.position - self.measured) > self.config.tracking_fault
        if beyond.any():
            joint = int(np.argmax(beyond))
            self.stop(
                f"{self.config.joint_names[joint]} is at {self.measured[joint]:.3f}, "
                f"{limiter.position[joint]:.3f} was sent"
            )

    def lateness(self, now_s: float) -> Lateness:
        """Return the worst of the sources that the mode depends on."""
        return self.watchdog.latest(now_s, self._sources(self.mode))

    def _sources(self, mode: Mode) -> tuple[str, ...]:
        """Return what must be heard in a mode: all of it for the policy, arms and operator to go home."""
        if mode is Mode.RUNNING:
            return tuple(self.config.ages)
        operator = ("operator",) if mode is Mode.HOMING and "operator" in self.config.ages else ()
        return (*self.config.arms, *operator)

    def _require(self, mode: Mode, sources: Sequence[str], now_s: float, what: str) -> None:
        if self.mode is not mode:
            raise NotAllowed(f"{what} needs mode {mode.value}, the arms are {self.mode.value}")
        late = self.watchdog.latest(now_s, sources)
        if late.level >= Level.STOP:
            raise NotAllowed(f"{what} {NEEDS_FRESH} {late.source}: {late}")

    def _seed(self) -> None:
        if self._limiter is None:
            self._limiter = MotionLimiter(self.config.limits, self.config.period_s, self.measured)
        else:
            self._limiter.seed(self.measured)
        self.schedule.clear(self._limiter.position)

    def _moved(self) -> MotionLimiter:
        if self._limiter is None:
            raise NotAllowed("the measured joints are not known yet")
        return self._limiter
