"""Which task the next online episode takes, and which seed (paper 4.2, difficulty-aware sampling)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TaskSamplingConfig:
    """Difficulty-aware sampling: P(task) proportional to exp(max(0, target - success) / temperature)."""

    target: float = 0.95
    """Success rate above which a task counts as solved."""
    temperature: float = 0.8
    """Smaller: under-solved tasks get a larger share; `inf` samples uniformly."""
    momentum: float = 0.98
    """Weight of the past in the moving average of success, per episode."""


class TaskSampler:
    """Moving average of success per task, and a draw of tasks from it."""

    def __init__(self, config: TaskSamplingConfig, tasks: Sequence[str]) -> None:
        self.config = config
        self.tasks = tuple(tasks)
        self.success = dict.fromkeys(self.tasks, 0.5)

    def probabilities(self) -> dict[str, float]:
        """Return P(task), summing to 1."""
        weights = {
            task: math.exp(max(0.0, self.config.target - rate) / self.config.temperature)
            for task, rate in self.success.items()
        }
        total = sum(weights.values())
        return {task: weight / total for task, weight in weights.items()}

    def draw(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw tasks for `count` episodes."""
        chances = self.probabilities()
        picks = rng.choice(len(self.tasks), size=count, p=[chances[task] for task in self.tasks])
        return [self.tasks[pick] for pick in picks]

    def record(self, task: str, success: bool) -> None:
        """Move the task's average towards one episode's outcome."""
        keep = self.config.momentum
        self.success[task] = keep * self.success[task] + (1.0 - keep) * float(success)
