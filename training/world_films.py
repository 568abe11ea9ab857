"""Film strips of an evaluation in a world: chosen episodes of the policy run again, seen by its first camera.

On one machine an episode of our simulations comes again to the last bit. Where one does not (the evaluation
ran on processors of another kind, or the simulator promises less), its film would show something else than
what was counted: it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim2real.film import FilmStrip, choose_episodes, pick_frames, save_contact_sheet
from sim2real.worker_pool import WorkerPool
from training.episodes import EpisodeRequest
from training.frozen_base import export_frozen_base
from training.monitor import progress_bar
from training.rollouts import RolloutSpec, Weights, open_player

FILMS_PER_TASK = 3


@dataclass(frozen=True)
class FilmWorker:
    """Builds, inside a worker process, what films episodes."""

    spec: RolloutSpec
    weights: Weights
    """The policy's residual."""
    executes_residual: bool
    """Whether that is executed, as in the evaluation."""

    def __call__(self) -> Callable[[EpisodeRequest], FilmStrip]:
        """Load the policy and open a simulation."""
        player = open_player(self.spec)
        player.load(self.weights)

        def film(request: EpisodeRequest) -> FilmStrip:
            seen: list[NDArray[np.uint8]] = []
            episode = player.play(request, watch=lambda images: seen.append(images[0]))
            seen.append(player.simulation.images()[0])
            frames = tuple(pick_frames(seen))
            told = player.simulation.instruction
            return FilmStrip(request.task, request.seed, episode.success, episode.steps, told, frames)

        return film


def film_in_world(
    results: Mapping[str, Any],
    worker: FilmWorker,
    out: Path,
    *,
    workers: int,
    per_task: int = FILMS_PER_TASK,
) -> tuple[int, int]:
    """Run chosen episodes of the policy again on this machine, and write their contact sheet.

    Args:
        results: What results.json holds.
        worker: What films the evaluated policy.
        out: The contact sheet (PNG); an earlier one is replaced, or deleted if no episode came again.
        workers: Processes.
        per_task: Films of each task, failures first.

    Returns:
        How many films there are, and how many are left out, whose episodes did not end as they had.

    Raises:
        UserError: A worker ended.
    """
    mode = "mean" if worker.executes_residual else "base"
    chosen = choose_episodes(results["episodes"], per_task)
    chosen.sort(key=lambda record: results["plan"]["tasks"].index(record["task"]))
    jobs = [EpisodeRequest(record["task"], record["seed"], mode) for record in chosen]
    export_frozen_base(worker.spec.base_policy)
    films: dict[int, FilmStrip] = {}
    with WorkerPool(worker, min(workers, len(jobs))) as pool, progress_bar() as bar:
        shown = bar.add_task("films", total=len(jobs), status="")
        for index, strip in pool.run(jobs):
            films[index] = strip
            bar.advance(shown)
    strips = [
        films[index]
        for index, record in enumerate(chosen)
        if (films[index].success, films[index].steps) == (record["success"], record["steps"])
    ]
    out.unlink(missing_ok=True)
    if strips:
        save_contact_sheet(strips, out)
    return len(strips), len(chosen) - len(strips)
