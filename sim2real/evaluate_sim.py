"""Run policy bundles in the simulated work cell and say how good they are, with intervals.

    python -m sim2real.evaluate_sim BUNDLE --base-chunk --out runs/evaluation

Runs the bundle (ONNX Runtime), not the torch model, on seeds that no training may use. Every finished episode
goes to a ledger at once: the same command goes on where a kill stopped it, and gives the same result for any
number of workers.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import mujoco
import numpy as np
import onnxruntime
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import DataError, RunFolderError, UserError, run_main, unknown_name
from dygro_ros.evaluation.ledger import JsonLinesLedger
from dygro_ros.inference import Provider, probe
from dygro_ros.whole_file import write_json
from sim2real.bundle_episodes import Contestant, EpisodeJob, EpisodeResult, SimulatedCellWorker, run_episodes
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS
from sim2real.evaluation_summary import (
    BASE,
    POLICY,
    Entry,
    entry_of,
    episode_key,
    episode_record,
    gate_sentence,
    result_table,
    summarise,
)
from sim2real.seeds import SeedPurpose, seeds_for

PLAN_FILE, LEDGER_FILE, RESULTS_FILE = "plan.json", "episodes.jsonl", "results.json"
FILMS_FILE, REPORT_FILE = "films.png", "report.html"
OUR_FILES = (PLAN_FILE, LEDGER_FILE, RESULTS_FILE, FILMS_FILE, REPORT_FILE)

MakeWorker = Callable[[], Callable[[EpisodeJob], EpisodeResult]]


@dataclass(frozen=True)
class EvaluateSim:
    """Run a policy bundle in the simulated work cell."""

    bundle: Annotated[Path, tyro.conf.Positional]
    """Policy bundle to evaluate."""
    out: Path
    """Folder for ledger, results, films and report."""
    base: Path | None = None
    """Another bundle to compare with, on the same episodes."""
    base_chunk: bool = False
    """Compare with the same bundle's base chunk: the base policy without its residual."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks to run; all for all four."""
    episodes: int = 100
    """Episodes of each task."""
    evaluation_seed: int = 0
    """Which block of evaluation seeds (0..999)."""
    randomization: str = "clean"
    """Domain randomisation: clean or randomized."""
    instructions: Literal["seen", "unseen"] = "seen"
    """Instruction templates: those of the demonstrations, or new ones."""
    workers: int = 2
    """Processes; the result is the same for any number."""
    provider: Provider = "cpu"
    """What runs the bundles; a bundle in bfloat16 needs a GPU's."""
    run: Path | None = None
    """Run folder of the training, for its curves in the report."""
    films_per_task: int = 3
    """Film strips of each task, failures first; 0 for none."""
    report: bool = True
    """Write film strips and the HTML report."""
    overwrite: bool = False
    """Replace another evaluation in `out`; one with the same plan goes on in any case."""


@dataclass(frozen=True)
class Evaluation:
    """What is run: contestants, tasks and seeds, checked."""

    entries: tuple[Entry, ...]
    contestants: tuple[Contestant, ...]
    tasks: tuple[str, ...]
    seeds: range
    randomization_name: str
    randomization: RandomizationConfig
    instructions: str
    provider: Provider

    def jobs(self) -> list[EpisodeJob]:
        """Return every episode; contestants and tasks take turns, so that a part says something too."""
        return [
            EpisodeJob(contestant, task, seed)
            for seed in self.seeds
            for task in self.tasks
            for contestant in range(len(self.contestants))
        ]

    def worker(self) -> SimulatedCellWorker:
        """Return what builds, inside a worker process, what runs the jobs."""
        return SimulatedCellWorker(self.contestants, self.randomization, self.instructions, self.provider)

    def plan(self) -> dict[str, Any]:
        """Return what decides the episodes, as plain JSON values."""
        return {
            "contestants": [asdict(entry) for entry in self.entries],
            "tasks": list(self.tasks),
            "first_seed": self.seeds.start,
            "episodes": len(self.seeds),
            "randomization": self.randomization_name,
            "randomization_keys": asdict(self.randomization),
            "instructions": self.instructions,
            "provider": self.provider,
            "software": {
                "mujoco": mujoco.__version__,
                "numpy": np.__version__,
                "onnxruntime": onnxruntime.__version__,
                "python": platform.python_version(),
                "work_cell": _source_fingerprint(),
            },
        }


def _source_fingerprint() -> str:
    """Return a hash of the code that decides an episode: one ledger must not mix two versions of the cell."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in (*sorted((here / "cell").glob("*.py")), here / "bundle_episodes.py"):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def prepare(options: EvaluateSim) -> Evaluation:
    """Check the command line and the bundles.

    Raises:
        UserError: An option is unknown, out of range or contradicts another; a bundle is damaged; or
            (DependencyError) the provider is not installed.
    """
    probe(options.provider)
    if options.base is not None and options.base_chunk:
        raise UserError("--base and --base-chunk exclude each other: there is one base to compare with")
    for name in ("episodes", "workers"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.films_per_task < 0:
        raise UserError(f"--films-per-task must not be negative, got {options.films_per_task}")
    if options.run is not None and not options.run.is_dir():
        raise RunFolderError(f"--run {options.run}: expected the run folder of a training, found none")
    tasks = TASKS if "all" in options.tasks else tuple(dict.fromkeys(options.tasks))
    for task in tasks:
        if task not in TASKS:
            raise unknown_name("task", task, ("all", *TASKS), "--tasks")
    if not tasks:
        raise UserError(f"--tasks must name a task: all, {', '.join(TASKS)}")
    bundle = read_bundle(options.bundle)
    entries = [entry_of(POLICY, bundle, "chunk")]
    contestants = [Contestant(options.bundle)]
    if options.base_chunk:
        entries.append(entry_of(BASE, bundle, "base_chunk"))
        contestants.append(Contestant(options.bundle, "base_chunk"))
    elif options.base is not None:
        entries.append(entry_of(BASE, read_bundle(options.base), "chunk"))
        contestants.append(Contestant(options.base))
    if len(entries) == 2 and (entries[0].bundle, entries[0].output) == (entries[1].bundle, entries[1].output):
        raise UserError(f"--base {options.base} is the bundle under evaluation itself: say --base-chunk")
    return Evaluation(
        entries=tuple(entries),
        contestants=tuple(contestants),
        tasks=tasks,
        seeds=seeds_for(SeedPurpose.EVALUATION, options.evaluation_seed, 0, options.episodes),
        randomization_name=options.randomization,
        randomization=RandomizationConfig.from_name(options.randomization),
        instructions=options.instructions,
        provider=options.provider,
    )


def claim_folder(out: Path, plan: dict[str, Any], *, overwrite: bool) -> None:
    """Make `out` this plan's folder, or go on in it.

    Raises:
        RunFolderError: It holds another plan's evaluation, or something that is no evaluation.
    """
    source = out / PLAN_FILE
    if source.is_file():
        try:
            found = json.loads(source.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{source} is not JSON: {error}") from error
        if found == plan:
            return
        if not overwrite:
            field = next(key for key in {**plan, **found} if plan.get(key) != found.get(key))
            raise RunFolderError(
                f"{out} holds another evaluation ({field} was {json.dumps(found.get(field))}, now "
                f"{json.dumps(plan.get(field))}): choose another folder or say --overwrite"
            )
        for name in OUR_FILES:
            (out / name).unlink(missing_ok=True)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out} exists and is no evaluation of ours: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(source, plan)


def evaluate(
    evaluation: Evaluation,
    out: Path,
    *,
    workers: int,
    overwrite: bool = False,
    make_worker: MakeWorker | None = None,
    command: str = "",
    show: bool = True,
) -> dict[str, Any]:
    """Run what is missing in the folder's ledger and write its results.

    Args:
        evaluation: Contestants, tasks and seeds.
        out: The evaluation's folder.
        workers: Processes.
        overwrite: Replace another evaluation in `out`.
        make_worker: Builds what runs the episodes in a worker process; the simulated cell by default.
        command: The command line, for the results.
        show: Draw a progress bar.

    Returns:
        What results.json holds: `sim2real.evaluation_summary.summarise`, `command`, `plan` and `episodes`.
    """
    plan = evaluation.plan()
    claim_folder(out, plan, overwrite=overwrite)
    if make_worker is None:
        make_worker = evaluation.worker()
    jobs = evaluation.jobs()
    entries = evaluation.entries
    keys = [
        (entries[job.contestant].bundle, entries[job.contestant].output, job.task, job.seed) for job in jobs
    ]
    with JsonLinesLedger(out / LEDGER_FILE) as ledger:
        done = {episode_key(record): record for record in ledger.records}
        missing = [job for job, key in zip(jobs, keys, strict=True) if key not in done]
        with _progress_bar() if show else nullcontext() as bar:
            finished = len(jobs) - len(missing)
            shown = bar.add_task("episodes", total=len(jobs), completed=finished) if bar else None
            for result in run_episodes(missing, make_worker, workers):
                record = episode_record(entries[result.job.contestant], result)
                ledger.append(record)
                done[episode_key(record)] = record
                if bar and shown is not None:
                    bar.advance(shown)
    episodes = [done[key] for key in keys]
    results = {
        "command": command,
        "plan": plan,
        **summarise(entries, episodes),
        "episodes": episodes,
    }
    write_json(out / RESULTS_FILE, results)
    return results


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


def run(options: EvaluateSim, arguments: Sequence[str]) -> int:
    """Evaluate, print and report."""
    if platform.system() == "Linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    evaluation = prepare(options)
    command = shlex.join(["python", "-m", "sim2real.evaluate_sim", *arguments])
    results = evaluate(
        evaluation, options.out, workers=options.workers, overwrite=options.overwrite, command=command
    )
    console = Console()
    console.print(result_table(results))
    console.print(gate_sentence(results))
    if options.report:
        # Imported late: matplotlib and pillow take longer to load than the cell.
        from sim2real.film import film_evaluation
        from sim2real.report import write_report

        films, page = options.out / FILMS_FILE, options.out / REPORT_FILE
        if options.films_per_task:
            count = options.films_per_task
            film_evaluation(evaluation, results, films, per_task=count, workers=options.workers)
        write_report(results, page, films=films if films.exists() else None, run=options.run)
        console.print(f"Report: {page}", soft_wrap=True)
    return 0


def main() -> int:
    """Parse the command line and evaluate."""
    return run(tyro.cli(EvaluateSim), sys.argv[1:])


if __name__ == "__main__":
    run_main(main)
