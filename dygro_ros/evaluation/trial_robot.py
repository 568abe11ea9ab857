"""What an evaluation needs of a robot, real or simulated. Knows neither middleware nor simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dygro_ros.evaluation.plan import PlannedTrial, PolicyPlan, TaskPlan


@dataclass(frozen=True)
class RobotStatus:
    """How the robot is, as an operator needs to know it."""

    ready: bool = False
    """Whether a trial can begin now."""
    waits_for: str = ""
    """Why not."""
    asks_home: bool = False
    """Whether the arms wait for the operator's word to go home: near a person nothing moves unasked."""
    running: bool = False
    """Whether the policy moves the arms."""
    stopped: str = ""
    """Why the arms have stopped by themselves and latched it; empty while they have not."""
    over: bool = False
    """Whether the trial has ended by itself: in simulation, by success or at the step limit."""
    succeeded: bool | None = None
    """What the simulation says of it; None where a person judges."""
    health: tuple[tuple[str, str, str], ...] = ()
    """Each part's name, level (ok, warn, error) and a sentence."""


class TrialRobot(Protocol):
    """Makes ready for a trial, runs it, and stops it; calls return soon, and `status` tells what became."""

    def prepare(self, trial: PlannedTrial, task: TaskPlan, policy: PolicyPlan) -> None:
        """Begin to make ready: load the policy, lay the objects where that is possible, ask to go home."""

    def home(self) -> None:
        """Let the arms go home, for which `prepare` asks."""

    def begin(self, recording: Path) -> None:
        """Record into this folder from now on, and let the policy move the arms.

        Raises:
            UserError: The robot refuses, or the recording cannot be written; nothing moves.
        """

    def stop(self) -> None:
        """Bring the arms to rest; whatever happens, whenever it is called, from any thread."""

    def reset(self) -> None:
        """Leave a stop that the arms have latched.

        Raises:
            UserError: The robot refuses, or does not answer.
        """

    def end(self) -> None:
        """Bring the arms to rest and close the recording, if there is one.

        Raises:
            UserError: The recording could not be completed; the arms are stopped all the same.
        """

    def status(self) -> RobotStatus:
        """Return how the robot is."""
