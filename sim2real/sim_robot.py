"""The work cell as a robot that does not wait: it moves in real time, whatever the policy is doing.

Commands and pictures pass through delay lines, so that a slow camera, network or drive can be tried. Knows no
middleware and no clock of its own: `advance_to` is called with the time by whoever has one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.layout import CONTROL_RATE_HZ
from sim2real.cell.scene import TIMESTEP_S
from sim2real.cell.work_cell import HOME, WorkCell

# Two physics steps: commands at 125 Hz are each seen.
PHYSICS_STEPS = 2
PERIOD_S = PHYSICS_STEPS * TIMESTEP_S
# A command this far from the home pose is one to move [rad; fraction open].
MOVES = 0.01
# The first command after a reset must be this near to the home pose [rad; fraction open].
ENGAGES = 0.05
# Further behind than this, time is dropped: a robot that stood still does not hurry [s].
MOST_BEHIND_S = 0.1


@dataclass(frozen=True)
class Picture:
    """What the cameras saw."""

    taken_s: float
    """On the caller's clock [s]."""
    images: NDArray[np.uint8]
    """(V, H, W, 3) RGB."""


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode stands."""

    task: str
    seed: int
    success: bool
    over: bool
    """Succeeded, or out of time."""
    elapsed_s: float
    """Simulated time since the arms were first told to move [s]."""


class SimRobot:
    """One cell in real time."""

    def __init__(
        self,
        cell: WorkCell,
        *,
        camera_rate_hz: float,
        camera_delay_s: float = 0.0,
        command_delay_s: float = 0.0,
    ) -> None:
        """Prepare; `reset` starts an episode.

        Args:
            cell: The cell; nobody else may step it.
            camera_rate_hz: Pictures a second.
            camera_delay_s: Time from a picture to its arrival [s].
            command_delay_s: Time from a command to its drive [s], beside that of the randomisation.

        Raises:
            UserError: A rate or delay makes no sense.
        """
        if not 0 < camera_rate_hz <= 1 / PERIOD_S:
            raise UserError(
                f"camera_rate_hz must be above 0 and at most {1 / PERIOD_S:g}, got {camera_rate_hz:g}"
            )
        for name, delay_s in (("camera_delay_s", camera_delay_s), ("command_delay_s", command_delay_s)):
            if not 0 <= delay_s <= 2:
                raise UserError(f"{name} must lie in 0 .. 2 s, got {delay_s:g}")
        self.cell = cell
        self._camera_period_s = 1 / camera_rate_hz
        self._camera_delay_s, self._command_delay_s = camera_delay_s, command_delay_s
        self._task, self._seed = "", 0

    def reset(self, task: str, seed: int, now_s: float) -> None:
        """Start an episode; its time limit runs from the first command to move on.

        Raises:
            UserError: Unknown task or negative seed.
        """
        self.cell.reset(task, seed)
        self._task, self._seed = task, seed
        self._now_s = now_s
        self._next_picture_s = now_s
        self._target = HOME.copy()
        self._commands: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._pictures: deque[Picture] = deque()
        self._engaged = False
        self._begun_s: float | None = None
        self._ended: EpisodeResult | None = None

    @property
    def result(self) -> EpisodeResult:
        """How the episode stands; once over, how it ended."""
        return self._ended or self._standing()

    def _standing(self) -> EpisodeResult:
        begun_s = self._now_s if self._begun_s is None else self._begun_s
        elapsed_s = self._now_s - begun_s
        out_of_time = elapsed_s >= self.cell.step_limit / CONTROL_RATE_HZ
        over = self.cell.succeeded or out_of_time
        return EpisodeResult(self._task, self._seed, self.cell.succeeded, over, elapsed_s)

    def command(self, target: NDArray[np.float64], now_s: float) -> None:
        """Take drive targets, (14,) joint units, that arrive at `now_s`.

        After a reset the drives are off until a command agrees with where the arms are: whoever still
        commands the last episode's pose must not sweep the table.
        """
        if not self._engaged and np.abs(target - HOME).max() > ENGAGES:
            return
        self._engaged = True
        delay_s = self._command_delay_s + self.cell.draw.latency_steps / CONTROL_RATE_HZ
        self._commands.append((now_s + delay_s, np.array(target, dtype=np.float64)))

    def advance_to(self, now_s: float) -> list[Picture]:
        """Simulate until `now_s` and return the pictures that have arrived by then."""
        if now_s - self._now_s > MOST_BEHIND_S:
            self._now_s = now_s - MOST_BEHIND_S
        while self._now_s + PERIOD_S <= now_s:
            while self._commands and self._commands[0][0] <= self._now_s:
                self._target = self._commands.popleft()[1]
            if self._begun_s is None and np.abs(self._target - HOME).max() > MOVES:
                self._begun_s = self._now_s
            self.cell.drive(self._target, PHYSICS_STEPS)
            self._now_s += PERIOD_S
            if self._ended is None and self._standing().over:
                self._ended = self._standing()
            if self._now_s >= self._next_picture_s:
                self._pictures.append(Picture(self._now_s, self.cell.images()))
                behind = int((self._now_s - self._next_picture_s) / self._camera_period_s)
                self._next_picture_s += (behind + 1) * self._camera_period_s
        arrived = []
        while self._pictures and self._pictures[0].taken_s + self._camera_delay_s <= now_s:
            arrived.append(self._pictures.popleft())
        return arrived

    def measured(self) -> NDArray[np.float64]:
        """Return the measured joints, (14,) joint units."""
        return self.cell.proprio().astype(np.float64)
