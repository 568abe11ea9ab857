"""Base and trained policy on a world's evaluation episodes, run as rollouts are: by workers, resumable.

For worlds that the robot side does not know, such as LIBERO: there is no bundle, the policies are those of
the run's folder. The cell's policies are evaluated as bundles, by `sim2real.evaluate_sim`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from dygro_ros.errors import RunFolderError
from dygro_ros.evaluation.ledger import JsonLinesLedger
from dygro_ros.whole_file import write_json
from sim2real.evaluation_summary import by_task, compare, rate
from training.episodes import Episode, EpisodeRequest
from training.monitor import progress_bar
from training.rollouts import RolloutEngine, Weights

LEDGER_FILE, RESULTS_FILE = "episodes.jsonl", "results.json"


@dataclass(frozen=True)
class Contestant:
    """A policy to evaluate.

    Attributes:
        role: "base" or "policy".
        method: Training method, for tables.
        environment_steps: Online control steps behind it.
        open_engine: Starts what runs its episodes.
        weights: Its residual.
        executes_residual: Whether that is executed; False executes the frozen policy's chunks alone.
    """

    role: str
    method: str
    environment_steps: int
    open_engine: Callable[[], RolloutEngine]
    weights: Weights
    executes_residual: bool


@dataclass(frozen=True)
class WorldEvaluation:
    """What is run.

    Attributes:
        contestants: The policy and its base.
        tasks: Tasks to run.
        known_tasks: Every task of the world, in the order of the ids that episodes have.
        seeds: Evaluation seeds of each task, as many for each, the same for each contestant.
        training_seed: For the records.
        commit: Commit of the code with which the evaluation begins, for the records.
        identity: What else decides the episodes, as JSON values, also which seeds were passed over: a folder
            that holds episodes of another identity is refused.
    """

    contestants: tuple[Contestant, ...]
    tasks: tuple[str, ...]
    known_tasks: tuple[str, ...]
    seeds: Mapping[str, Sequence[int]]
    training_seed: int
    commit: str
    identity: Mapping[str, Any]

    def episodes(self) -> list[tuple[str, int]]:
        """Return every task's and seed's turn, task by task within a turn."""
        rows = zip(*(self.seeds[task] for task in self.tasks), strict=True)
        return [turn for row in rows for turn in zip(self.tasks, row, strict=True)]

    def plan(self) -> dict[str, Any]:
        """Return what decides the episodes."""
        return {
            "contestants": [[c.role, c.method, c.environment_steps] for c in self.contestants],
            "tasks": list(self.tasks),
            "first_seed": min(seed for _, seed in self.episodes()),
            "episodes": len(self.seeds[self.tasks[0]]),
            **self.identity,
        }


def evaluate_in_world(evaluation: WorldEvaluation, out: Path) -> dict[str, Any]:
    """Run the episodes that the folder's ledger lacks; write and return its results.

    Args:
        evaluation: What to run.
        out: Folder of the ledger and of results.json.

    Returns:
        `plan`, `contestants`, `records`, `rates`, `paired_differences` as `sim2real.evaluate_sim` has them,
        and `episodes`.

    Raises:
        RunFolderError: The folder holds episodes of another evaluation.
    """
    out.mkdir(parents=True, exist_ok=True)
    plan = evaluation.plan()
    with JsonLinesLedger(out / LEDGER_FILE) as ledger, progress_bar() as bar:
        if not ledger.records:
            ledger.append({"plan": plan, "commit": evaluation.commit})
        elif ledger.records[0].get("plan") != plan:
            found = ledger.records[0].get("plan")
            raise RunFolderError(
                f"{out} holds another evaluation: expected {plan}, found {found}; remove it, or choose "
                "another folder"
            )
        for contestant in evaluation.contestants:
            _run(evaluation, contestant, ledger, bar)
        head, *records = ledger.records
    # That of the first episode, however often the evaluation was resumed.
    begun = replace(evaluation, commit=head.get("commit", evaluation.commit))
    results = {"plan": plan, **_summarise(begun, records), "episodes": records}
    write_json(out / RESULTS_FILE, results)
    return results


def _run(evaluation: WorldEvaluation, contestant: Contestant, ledger: JsonLinesLedger, bar: Progress) -> None:
    done = {(r["task"], r["seed"]) for r in ledger.records[1:] if r["role"] == contestant.role}
    everything = evaluation.episodes()
    shown = bar.add_task(
        f"evaluation: {contestant.method}", total=len(everything), completed=len(done), status=""
    )
    mode = "mean" if contestant.executes_residual else "base"
    requests = [EpisodeRequest(task, seed, mode) for task, seed in everything if (task, seed) not in done]
    if not requests:
        return

    def note(episode: Episode) -> None:
        ledger.append(
            {
                "role": contestant.role,
                "method": contestant.method,
                "task": evaluation.known_tasks[episode.task],
                "seed": episode.seed,
                "success": episode.success,
                "steps": episode.steps,
            }
        )
        bar.advance(shown)

    engine = contestant.open_engine()
    try:
        engine.collect(requests, contestant.weights, note)
    finally:
        engine.close()


def _summarise(evaluation: WorldEvaluation, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    records = []
    for contestant in evaluation.contestants:
        tasks = by_task(episodes, contestant.role)
        rates[contestant.role] = {task: rate(tasks[task]) for task in evaluation.tasks}
        rates[contestant.role]["all"] = rate([record for found in tasks.values() for record in found])
        records += [
            {
                "method": contestant.method,
                "training_seed": evaluation.training_seed,
                "task": task,
                "successes": rates[contestant.role][task]["successes"],
                "episodes": rates[contestant.role][task]["episodes"],
                "environment_steps": contestant.environment_steps,
                "commit": evaluation.commit,
            }
            for task in evaluation.tasks
        ]
    differences = {
        name: {**found._asdict(), "interval": list(found.interval)}
        for name, found in compare(episodes).items()
    }
    return {
        "contestants": [
            {
                "role": contestant.role,
                "method": contestant.method,
                "training_seed": evaluation.training_seed,
                "environment_steps": contestant.environment_steps,
                "commit": evaluation.commit,
            }
            for contestant in evaluation.contestants
        ],
        "records": records,
        "rates": rates,
        "paired_differences": differences,
    }
