"""How often the policy looks again.

A policy that was trained to play its chunks whole does best when they are played whole, and much worse when
they are cut short: what it leaves for a chunk's end never happens. That needs answers that come within about
one action of the picture. Where they come later, part of each chunk has passed on arrival, and looking often,
with all chunks that reach the moment averaged (ensembling), loses least (docs/robot_results.md).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

# Ages remembered: some seconds, and enough that one odd age changes nothing.
AGES_KEPT = 9
AGES_NEEDED = 3


@dataclass(frozen=True)
class PacingConfig:
    """When to look again."""

    chunk_s: float
    """Time that a chunk covers [s]."""
    period_s: float
    """Time of one action [s]."""
    interval_s: float
    """Shortest time between two pictures that are answered, where chunks cannot be played whole [s]."""
    whole_within_s: float
    """Chunks are played whole where answers are no older than this on arrival [s]; 0: never."""


class Pacing:
    """Measures how old answers are, and says when the next picture is to be answered."""

    def __init__(self, config: PacingConfig) -> None:
        """Begin without a measured age: look often."""
        self._config = config
        self._ages_s: deque[float] = deque(maxlen=AGES_KEPT)

    def answered(self, age_s: float) -> None:
        """Note how old an answer's picture was when the answer was ready [s]."""
        self._ages_s.append(age_s)

    @property
    def whole(self) -> bool:
        """Whether chunks are played whole."""
        enough = len(self._ages_s) >= AGES_NEEDED
        return enough and median(self._ages_s) <= self._config.whole_within_s

    @property
    def interval_s(self) -> float:
        """Time from an answered picture to the next [s]: half an action before the chunk ends, or soon."""
        config = self._config
        return config.chunk_s - config.period_s / 2 if self.whole else config.interval_s
