"""What came of the trials that RoboTwin's evaluation client reported: per task, with an interval.

The client takes only seeds on which RoboTwin's expert succeeds, from 100000 x (1 + its seed) on. Which ones
it passed over follows from those that it reported, once it has finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dygro_ros.errors import UserError
from dygro_ros.evaluation.statistics import wilson_interval
from dygro_ros.whole_file import write_json
from sim2real.seeds import SEED_BLOCKS, SeedPurpose

SEEDS_OF_A_RUN = SEED_BLOCKS[SeedPurpose.EVALUATION].per_run


class Trials:
    """Outcomes by task and seed, written to a file after each one."""

    def __init__(self, bundle: str, fingerprint: str, out: Path | None) -> None:
        """Begin without outcomes.

        Args:
            bundle: The policy, for the file.
            fingerprint: The bundle's.
            out: File to write; None for none.

        Raises:
            UserError: The file exists, or its folder does not.
        """
        if out is not None and (out.exists() or not out.parent.is_dir()):
            problem = "exists already" if out.exists() else f"lies in no folder: mkdir -p {out.parent}"
            raise UserError(f"the file for the results, {out}, {problem}")
        self._head = {"bundle": bundle, "fingerprint": fingerprint}
        self._out = out
        self._outcomes: dict[str, dict[int, bool]] = {}

    def record(self, task: str, seed: int, success: bool) -> str:
        """Keep one outcome and return a line about its task; the same trial told again replaces itself."""
        outcomes = self._outcomes.setdefault(task, {})
        outcomes[seed] = success
        if self._out is not None:
            write_json(self._out, {**self._head, "tasks": self.summary()})
        done = "succeeded" if success else "failed"
        return f"{task}, seed {seed}: {done}; {sum(outcomes.values())} of {len(outcomes)} so far"

    def summary(self) -> dict[str, Any]:
        """Return, by task, the outcomes, their rate with Wilson's interval, and the seeds passed over."""
        return {task: _summary(outcomes) for task, outcomes in sorted(self._outcomes.items())}

    def lines(self) -> list[str]:
        """Return the summary as text, a line a task."""
        lines = []
        for task, found in self.summary().items():
            low, high = found["interval"]
            lines.append(
                f"{task}: {found['successes']} of {found['trials']} "
                f"({100 * found['successes'] / found['trials']:.1f} %, 95 % interval {100 * low:.1f} .. "
                f"{100 * high:.1f}); seeds passed over: "
                f"{', '.join(map(str, found['seeds_passed_over'])) or 'none'}"
            )
        return lines


def _summary(outcomes: dict[int, bool]) -> dict[str, Any]:
    runs = {seed // SEEDS_OF_A_RUN for seed in outcomes}
    passed_over = []
    for run in sorted(runs):
        last = max(seed for seed in outcomes if seed // SEEDS_OF_A_RUN == run)
        passed_over += [seed for seed in range(run * SEEDS_OF_A_RUN, last) if seed not in outcomes]
    successes = sum(outcomes.values())
    return {
        "episodes": {str(seed): success for seed, success in sorted(outcomes.items())},
        "successes": successes,
        "trials": len(outcomes),
        "interval": list(wilson_interval(successes, len(outcomes))),
        "seeds_passed_over": passed_over,
    }
