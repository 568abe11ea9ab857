"""Stage II: the online loop that every method shares (Algorithm 1, lines 12-39).

Collect warm-up episodes, warm up, then iterate: draw tasks by difficulty, run episodes, learn. A checkpoint
holds everything but the episodes, which are kept as shards: a run killed at any moment and resumed
is the same run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress, TaskID

from sim2real.seeds import SEED_BLOCKS, SeedPurpose, seeds_for
from training.checkpoint import has_state, load_state, save_state
from training.episodes import Episode, EpisodeRequest, RewardConfig
from training.method import Method, capture, restore
from training.monitor import MetricLog, check_finite_tensors, progress_bar
from training.option_checks import check_range
from training.rollouts import RolloutEngine, to_weights
from training.samplers import TaskSampler, TaskSamplingConfig
from training.shards import load_episodes, save_episodes, shard_path

# Validation episodes come from the end of a run's online seeds, behind any that training can reach.
VALIDATION_START = 900_000


@dataclass(frozen=True)
class OnlineConfig:
    """Budget and rhythm of Stage II."""

    environment_steps: int = 2_000_000
    """Control steps after which training ends; warm-up included, validation not."""
    episodes: int = 256
    """Episodes of one iteration."""
    warmup_episodes: int = 4_000
    """Episodes before the first update: an eighth by the base policy alone, others with random residuals."""
    warmup_noise: float = 0.3
    """Largest deviation (before the tanh) of those random residuals; each episode draws its own below it."""
    step_limit: int | None = None
    """Control steps after which a training episode has failed, warm-up included (unset: the world's limit,
    which validation and evaluation keep). What follows a miss teaches little and fills the replay."""
    checkpoint_every: int = 10
    """Iterations between checkpoints."""
    validate_every: int = 20
    """Iterations between validations of the averaged policy (0: never)."""
    validation_episodes: int = 25
    """Episodes a task of one validation, on seeds of their own."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    sampling: TaskSamplingConfig = field(default_factory=TaskSamplingConfig)

    def check(self) -> None:
        """Refuse episodes beyond the seeds that are set aside for them; `option_ranges` has all else.

        Raises:
            UserError: There is no episode, or one has no seed.
        """
        check_range("--online.warmup-episodes", self.warmup_episodes, 1, VALIDATION_START)
        if self.validate_every:
            seeds = SEED_BLOCKS[SeedPurpose.ONLINE].per_run - VALIDATION_START
            check_range("--online.validation-episodes", self.validation_episodes, 1, seeds)


class OnlineTraining:
    """One Stage II run in one folder."""

    def __init__(
        self,
        config: OnlineConfig,
        method: Method,
        engine: RolloutEngine,
        folder: Path,
        *,
        tasks: Sequence[str],
        known_tasks: Sequence[str],
        seed: int,
        fingerprint: Mapping[str, Any],
    ) -> None:
        """Prepare a run.

        Args:
            config: Budget and rhythm.
            method: What learns.
            engine: What runs episodes.
            folder: Where checkpoints, shards and logs go.
            tasks: Training tasks.
            known_tasks: Every task of the world, in the order of the ids that episodes have.
            seed: Training seed: of task draws, simulator seeds and exploration.
            fingerprint: Resolved configuration that a checkpoint must match to be resumed.
        """
        self.config = config
        self.method = method
        self.engine = engine
        self.folder = folder
        self.seed = seed
        self.known_tasks = known_tasks
        self.fingerprint = fingerprint
        self.sampler = TaskSampler(config.sampling, tasks)
        self.rng = np.random.default_rng(seed)
        self.iteration = 0
        self.episodes_started = 0
        self.environment_steps = 0

    @property
    def checkpoint(self) -> Path:
        """Folder of the newest checkpoint."""
        return self.folder / "checkpoint"

    def run(self, offline: Iterable[Episode], *, resume: bool) -> None:
        """Train until the budget of control steps is used.

        Args:
            offline: Demonstrations as episodes of latents.
            resume: Continue from the checkpoint, if there is one.
        """
        self.method.load_offline(offline)
        if resume and has_state(self.checkpoint):
            self._restore()
        with (
            MetricLog(self.folder, "online", resume_step=max(0, self.iteration - 1)) as log,
            progress_bar() as bar,
        ):
            if self.iteration == 0:
                self._warm_up(bar)
                self.iteration = 1
                self._save()
            total = self.config.environment_steps
            task = bar.add_task(f"online ({self.method.name})", total=total, status="")
            bar.update(task, completed=self.environment_steps)
            while self.environment_steps < total:
                self._iterate(log, bar, task)
            self._save()

    def _requests(self, count: int, modes: Sequence[str], noise: Sequence[float]) -> list[EpisodeRequest]:
        names = self.sampler.draw(count, self.rng)
        seeds = seeds_for(SeedPurpose.ONLINE, self.seed, self.episodes_started, count)
        self.episodes_started += count
        return [
            EpisodeRequest(
                task=name,
                seed=seed,
                mode=mode,
                noise_seed=self.seed,
                noise_scale=scale,
                noise_persistence=self.method.noise_persistence,
                step_limit=self.config.step_limit,
            )
            for name, seed, mode, scale in zip(names, seeds, modes, noise, strict=True)
        ]

    def _warm_up(self, bar: Progress) -> None:
        # A method that learns from its own samples only gets one iteration's worth, to see ranges of states.
        own_only = not self.method.uses_warmup_episodes
        count = self.config.episodes if own_only else self.config.warmup_episodes
        modes = ["base" if index % 8 == 0 else "perturb" for index in range(count)]
        noise = self.rng.uniform(0.05, self.config.warmup_noise, count).tolist()
        requests = self._requests(count, modes, noise)
        task = bar.add_task("warm-up episodes", total=count, status="")
        episodes = self.engine.collect(requests, to_weights(self.method.actor), lambda _: bar.advance(task))
        self._account(episodes, [request.mode == "base" for request in requests])
        save_episodes(shard_path(self.folder, 0), episodes)
        self.method.load_online(episodes)
        updates = bar.add_task("warm-up updates", total=self.method.warmup_updates, status="")
        # A line in the log for each of about fifty stretches, in a log of its own.
        stretch = max(1, self.method.warmup_updates // 50)
        gathered: list[Mapping[str, float]] = []
        with MetricLog(self.folder, "warmup") as log:
            log.write(0, warmup_success(requests, episodes))

            def tick(metrics: Mapping[str, float]) -> None:
                gathered.append(metrics)
                bar.advance(updates)
                if len(gathered) % stretch == 0:
                    log.write(len(gathered), _means(gathered[-stretch:]))

            self.method.warm_up(tick)

    def _iterate(self, log: MetricLog, bar: Progress, task: TaskID) -> None:
        count = self.config.episodes
        requests = self._requests(count, ["sample"] * count, [0.0] * count)
        fresh = self.engine.collect(requests, to_weights(self.method.actor))
        save_episodes(shard_path(self.folder, self.iteration), fresh)
        self._account(fresh, [True] * count)
        metrics = self.method.learn(fresh)
        check_finite_tensors(self.iteration, self.method.actor.named_parameters(), "actor parameter")
        metrics |= {f"success/{name}": rate for name, rate in self.sampler.success.items()}
        metrics |= {f"probability/{name}": chance for name, chance in self.sampler.probabilities().items()}
        metrics["episode_success"] = float(np.mean([episode.success for episode in fresh]))
        metrics["environment_steps"] = float(self.environment_steps)
        metrics["episodes"] = float(self.episodes_started)
        if self.config.validate_every and self.iteration % self.config.validate_every == 0:
            metrics |= self.validate()
        log.write(self.iteration, metrics)
        average = float(np.mean(list(self.sampler.success.values())))
        bar.update(task, completed=self.environment_steps, status=f"success {average:.2f}")
        self.iteration += 1
        if self.iteration % self.config.checkpoint_every == 0:
            self._save()

    def validate(self, mode: str = "mean") -> dict[str, float]:
        """Return the success rates of the averaged policy on validation seeds, by task and overall."""
        count = self.config.validation_episodes
        seeds = seeds_for(SeedPurpose.ONLINE, self.seed, VALIDATION_START, count)
        requests = [
            EpisodeRequest(task=task, seed=seed, mode=mode) for task in self.sampler.tasks for seed in seeds
        ]
        episodes = self.engine.collect(requests, to_weights(self.method.average))
        rates = {
            f"validation/{task}": float(
                np.mean([e.success for e in episodes if self.known_tasks[e.task] == task])
            )
            for task in self.sampler.tasks
        }
        return rates | {"validation/average": float(np.mean(list(rates.values())))}

    def _account(self, episodes: Sequence[Episode], judged: Sequence[bool]) -> None:
        """Count steps; record success where the episode says something about the policy."""
        for episode, judge in zip(episodes, judged, strict=True):
            self.environment_steps += episode.steps
            if judge:
                self.sampler.record(self.known_tasks[episode.task], episode.success)

    def _save(self) -> None:
        tensors, method = capture(self.method)
        scalars = {
            "method": method,
            "rng": self.rng.bit_generator.state,
            "success": self.sampler.success,
            "iteration": self.iteration,
            "episodes_started": self.episodes_started,
            "environment_steps": self.environment_steps,
        }
        save_state(self.checkpoint, tensors, scalars, fingerprint=self.fingerprint)

    def _restore(self) -> None:
        tensors, scalars = load_state(self.checkpoint, fingerprint=self.fingerprint)
        restore(self.method, tensors, scalars["method"])
        self.rng.bit_generator.state = scalars["rng"]
        self.sampler.success = dict(scalars["success"])
        self.iteration = int(scalars["iteration"])
        self.episodes_started = int(scalars["episodes_started"])
        self.environment_steps = int(scalars["environment_steps"])
        for iteration in range(self.iteration):
            self.method.load_online(load_episodes(shard_path(self.folder, iteration)))


def warmup_success(requests: Sequence[EpisodeRequest], episodes: Sequence[Episode]) -> dict[str, float]:
    """Return success rates of warm-up episodes by task: without, with small and with large random residuals.

    Where large ones change nothing the residual cannot reach what decides, and critics learn nothing from it.
    Small and large are below and above the median deviation; a kind without an episode has no entry.
    """
    drawn = [request.noise_scale for request in requests if request.mode == "perturb"]
    middle = float(np.median(drawn)) if drawn else 0.0
    found: dict[str, list[bool]] = {}
    for request, episode in zip(requests, episodes, strict=True):
        size = "large" if request.noise_scale > middle else "small"
        kind = "no_residual" if request.mode == "base" else f"{size}_residual"
        found.setdefault(f"{kind}/{request.task}", []).append(episode.success)
    return {name: float(np.mean(outcomes)) for name, outcomes in sorted(found.items())}


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for record in records for name in record}
    return {name: float(np.mean([r[name] for r in records if name in r])) for name in sorted(names)}
