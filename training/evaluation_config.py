"""How many episodes evaluate a run, and on which seeds."""

from __future__ import annotations

from dataclasses import dataclass

from sim2real.seeds import MAX_RUN_SEED, SEED_BLOCKS, SeedPurpose
from training.option_checks import check_range


@dataclass(frozen=True)
class EvaluationConfig:
    """The evaluation at the end of a run, on seeds that no training touches."""

    episodes: int = 100
    """Episodes a task."""
    seed: int = 0
    """Evaluation seed: episode i starts from simulator seed 100000 x (1 + seed) + i."""

    def check(self) -> None:
        """Refuse episodes beyond the seeds that are set aside for evaluation.

        Raises:
            UserError: There is no episode, or one has no seed.
        """
        check_range("--evaluation.episodes", self.episodes, 1, SEED_BLOCKS[SeedPurpose.EVALUATION].per_run)
        check_range("--evaluation.seed", self.seed, 0, MAX_RUN_SEED)
