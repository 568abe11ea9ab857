"""Which part of which action chunk is due now: alignment by time, seams, and the end of what is known.

A chunk belongs to the moment its observation was taken: its action k is the command of the control step that
begins k periods after that moment. So a chunk that arrives late loses the steps that have passed, without any
estimate of a delay. Between actions the target moves on straight lines through the middles of their steps,
which has the timing of a policy that holds each action for its whole step, and no jumps.

Times are seconds of one monotonic clock that the caller owns; nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError

Array = NDArray[np.float64]
Fusion = Literal["blend", "ensemble"]


class Verdict(Enum):
    """What became of a chunk that was offered."""

    ACCEPTED = "accepted"
    LATE = "late"
    """Its last step had already passed."""
    SUPERSEDED = "superseded"
    """A chunk of the same or a later observation is already here."""
    FROM_THE_FUTURE = "from the future"
    """Its observation has not been made yet: two clocks disagree."""


@dataclass(frozen=True)
class ScheduleConfig:
    """How chunks become one motion."""

    period_s: float
    """Time of one action of a chunk [s]."""
    fusion: Fusion = "blend"
    """blend: the newest chunk takes over within `blend_s`; ensemble: weighted mean of all (ACT)."""
    blend_s: float = 0.08
    """Time in which a new chunk takes over [s]."""
    ensemble_decay: float = 0.1
    """ACT's m (arXiv 2304.13705): the i-th oldest chunk weighs exp(-m i)."""
    ensemble_size: int = 8
    """Chunks kept at most."""
    future_tolerance_s: float = 0.005
    """An observation may seem to be this much in the future [s]."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: A number makes no sense; names it.
        """
        for name, low in (("period_s", 0.0), ("blend_s", 0.0), ("future_tolerance_s", 0.0)):
            value = getattr(self, name)
            if not (value > low or (name != "period_s" and value == low)) or value > 10:
                raise UserError(f"schedule.{name} must be a time up to 10 s, got {value:g}")
        if self.fusion not in ("blend", "ensemble"):
            raise UserError(f"schedule.fusion must be blend or ensemble, got {self.fusion!r}")
        if self.ensemble_size < 1:
            raise UserError(f"schedule.ensemble_size must be at least 1, got {self.ensemble_size}")


@dataclass(frozen=True)
class Target:
    """What is due now."""

    position: Array
    """(N,) joint units."""
    velocity: Array
    """(N,) units/s."""
    remaining_s: float
    """Time until the newest chunk ends [s]."""


@dataclass(frozen=True)
class _Seam:
    """What the motion lacked of the new chunk's at the moment it took over."""

    begun_s: float
    position: Array
    velocity: Array


@dataclass(frozen=True)
class _Entry:
    observed_s: float
    chunk: Array
    base_chunk: Array

    def ends_s(self, period_s: float) -> float:
        return self.observed_s + len(self.chunk) * period_s


class ChunkSchedule:
    """Chunks that are still of use, and the target that follows from them."""

    def __init__(self, config: ScheduleConfig) -> None:
        """Begin without any chunk."""
        self.config = config
        self._entries: list[_Entry] = []
        self._seam: _Seam | None = None
        self._rest: Array | None = None
        self._newest_s = -np.inf
        self._residual = True

    @property
    def residual(self) -> bool:
        """Whether chunks are played with their residual."""
        return self._residual

    def use_residual(self, on: bool, now_s: float) -> None:
        """Play chunks with their residual from now on, or their base chunks; no jump either way."""
        before = self._moving(now_s)
        self._residual = on
        self._begin_seam(before, now_s)

    def clear(self, position: Array, not_before_s: float = -np.inf) -> None:
        """Forget all chunks; the next one takes over from `position`, (N,), where the arms rest.

        Args:
            position: Where the next motion begins, (N,).
            not_before_s: Only observations taken later than this count from now on.
        """
        self._entries = []
        self._seam = None
        self._newest_s = max(self._newest_s, not_before_s)
        self._rest = np.array(position, dtype=np.float64)

    def offer(self, chunk: Array, base_chunk: Array, observed_s: float, now_s: float) -> Verdict:
        """Take a chunk, or say why not.

        Args:
            chunk: With residual, (h, N) joint units, finite and within limits (the caller has checked).
            base_chunk: Without it, same shape.
            observed_s: When its observation was taken.
            now_s: Now, on the same clock.
        """
        if observed_s > now_s + self.config.future_tolerance_s:
            return Verdict.FROM_THE_FUTURE
        if observed_s <= self._newest_s:
            return Verdict.SUPERSEDED
        entry = _Entry(observed_s, np.array(chunk, np.float64), np.array(base_chunk, np.float64))
        if now_s >= entry.ends_s(self.config.period_s):
            return Verdict.LATE
        before = self._moving(now_s)
        self._newest_s = observed_s
        keep = self.config.ensemble_size if self.config.fusion == "ensemble" else 1
        self._entries = [*self._entries, entry][-keep:]
        self._begin_seam(before, now_s)
        return Verdict.ACCEPTED

    def _begin_seam(self, before: tuple[Array, Array] | None, now_s: float) -> None:
        if before is not None and self._entries:
            position, velocity = self._fused(now_s)
            self._seam = _Seam(now_s, before[0] - position, before[1] - velocity)

    def target(self, now_s: float) -> Target | None:
        """Return what is due at `now_s`, or None where no chunk reaches that far.

        The last action stays due for one more period: where chunks are played whole, the next one comes
        as this one ends.
        """
        if not self._entries:
            return None
        remaining_s = self._entries[-1].ends_s(self.config.period_s) - now_s
        if remaining_s <= -self.config.period_s:
            return None
        position, velocity = self._seamless(now_s)
        return Target(position, velocity, max(remaining_s, 0.0))

    def _moving(self, now_s: float) -> tuple[Array, Array] | None:
        """Return where the motion is and how it moves, before a new chunk."""
        if self._entries:
            return self._seamless(now_s)
        return None if self._rest is None else (self._rest, np.zeros_like(self._rest))

    def _seamless(self, now_s: float) -> tuple[Array, Array]:
        """Return the fused motion with what is left of the last seam.

        What was lacking fades out smoothly, so that neither position nor velocity jumps, however soon one
        chunk follows another.
        """
        position, velocity = self._fused(now_s)
        seam, duration_s = self._seam, self.config.blend_s
        if seam is None or now_s - seam.begun_s >= duration_s:
            return position, velocity
        passed_s = now_s - seam.begun_s
        share = passed_s / duration_s
        left = 1 - share * share * (3 - 2 * share)
        slope = -6 * share * (1 - share) / duration_s
        lacking = seam.position + passed_s * seam.velocity
        return position + left * lacking, velocity + left * seam.velocity + slope * lacking

    def _fused(self, now_s: float) -> tuple[Array, Array]:
        """Return the weighted mean of the chunks that reach now, or the newest where none does."""
        alive = [entry for entry in self._entries if now_s < entry.ends_s(self.config.period_s)]
        alive = alive or self._entries[-1:]
        weights = np.exp(-self.config.ensemble_decay * np.arange(len(alive)))
        weights /= weights.sum()
        parts = [self._at(entry, now_s) for entry in alive]
        return (
            np.sum([w * p for w, (p, _) in zip(weights, parts, strict=True)], axis=0),
            np.sum([w * v for w, (_, v) in zip(weights, parts, strict=True)], axis=0),
        )

    def _at(self, entry: _Entry, now_s: float) -> tuple[Array, Array]:
        """Return position and velocity of one chunk; it rests before its first and after its last middle."""
        actions = entry.chunk if self._residual else entry.base_chunk
        steps = (now_s - entry.observed_s) / self.config.period_s - 0.5
        last = len(actions) - 1
        if steps <= 0 or steps >= last:
            position = actions[0 if steps <= 0 else last]
            return position, np.zeros_like(position)
        index = int(steps)
        difference = actions[index + 1] - actions[index]
        return actions[index] + (steps - index) * difference, difference / self.config.period_s
