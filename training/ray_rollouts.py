"""Rollouts by Ray: the same workers as `LocalProcesses`, as actors on as many machines as the cluster has.

A request goes to one idle actor at a time and carries everything that its episode depends on, so number and
place of the actors change nothing. The episode of an actor that ends, or that takes too long, is run again by
another one; nothing is waited for without a limit.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from dygro_ros.errors import UserError
from sim2real.worker_pool import WorkerError
from training.episodes import Episode, EpisodeRequest
from training.frozen_base import export_frozen_base
from training.ray_node import Answer, BaseFiles, answered, check_versions, node_name, result_of, versions
from training.ray_session import RayConfig, import_ray, reason_of
from training.rollouts import Progress, RolloutSpec, RolloutWorker, Weights

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentWeights:
    """Residual weights in Ray's object store; whoever has this version need not fetch them."""

    version: int
    weights: Any
    """Ray's reference to them."""


class RolloutActor:
    """What runs in an actor: a simulator and a policy copy."""

    def prepare(self, spec: RolloutSpec, files: BaseFiles, expected: dict[str, str]) -> Answer:
        """Check the node, load the policy and open the simulator; answers the node's name.

        Args:
            spec: The rollouts; its folder is of the machine of the run and not read here.
            files: What that folder holds.
            expected: The versions of the machine of the run.
        """

        def load() -> str:
            check_versions(expected)
            with files.unpacked() as folder:
                self._work = RolloutWorker(replace(spec, base_policy=folder))()
            self._version = 0
            return node_name()

        return answered(load)

    def run(self, request: EpisodeRequest, sent: SentWeights) -> Answer:
        """Answer the request's episode with these weights."""

        def work() -> Episode | None:
            if sent.version != self._version:
                weights = import_ray().get(sent.weights)
                # Copies: torch warns of arrays that it may not write to, as those in the store are.
                self._work({name: value.copy() for name, value in weights.items()})
                self._version = sent.version
            return self._work(request)

        return answered(work)


@dataclass(frozen=True)
class _Call:
    """What an actor is at: getting ready (no index), or a request."""

    actor: Any
    deadline: float
    limit: str
    index: int | None = None


class RayWorkers:
    """Rollout workers as Ray actors, inside a `RaySession`."""

    def __init__(self, spec: RolloutSpec, workers: int, config: RayConfig | None = None) -> None:
        """Start the actors, one logical CPU each, over all machines of the cluster.

        Args:
            spec: What they run.
            workers: How many.
            config: Limits and retries.

        Raises:
            UserError: `workers` is below 1, they need more GPUs than there are, or a node has other versions
                than this machine.
            WorkerError: Not all of them could be started within the limit.
        """
        if workers < 1:
            raise UserError(f"workers must be at least 1, got {workers}")
        self._ray = import_ray()
        self._config = config or RayConfig()
        self._check_gpus(workers)
        os.environ.setdefault("MUJOCO_GL", "egl")
        export_frozen_base(spec.base_policy)
        self._spec = self._ray.put(spec)
        self._files = self._ray.put(BaseFiles.read(spec.base_policy, graph=True))
        self._expected = versions()
        variables = {name: os.environ[name] for name in ("MUJOCO_GL",)} | {"OMP_NUM_THREADS": "1"}
        self._actor_class = self._ray.remote(
            num_cpus=1,
            num_gpus=self._config.worker_gpus,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": variables},
        )(RolloutActor)
        self._calls: dict[Any, _Call] = {}
        self._idle: list[Any] = []
        self._nodes: dict[Any, str] = {}
        self._version = 0
        self._last_reason = "none was started"
        try:
            for _ in range(workers):
                self._start_actor()
            while self._calls:
                if (ended := self._next_answer()[1]) is not None:
                    raise WorkerError(self._too_few(workers, ended))
        except BaseException:
            self.close()
            raise

    def collect(
        self, requests: Sequence[EpisodeRequest], weights: Weights, progress: Progress | None = None
    ) -> list[Episode]:
        """Run the requests; see `RolloutEngine.collect`. After an error the engine can only be closed.

        Raises:
            WorkerError: An episode's workers ended as often as is allowed, or no worker is left; the message
                holds request, node and reason.
            UserError: A worker raised it.
        """
        self._version += 1
        sent = SentWeights(self._version, self._ray.put(weights))
        waiting = deque(range(len(requests)))
        failures: Counter[int] = Counter()
        results: dict[int, Episode] = {}
        while len(results) < len(requests):
            while self._idle and waiting:
                self._submit(self._idle.pop(0), waiting.popleft(), requests, sent)
            if not self._calls:
                raise WorkerError(f"no rollout worker is left; of the last one: {self._last_reason}")
            call, ended, value = self._next_answer()
            if call.index is None:
                continue
            if ended is None:
                episode = _own_memory(value)
                results[call.index] = episode
                if progress is not None:
                    progress(episode)
                continue
            failures[call.index] += 1
            if failures[call.index] > self._config.retries:
                raise WorkerError(
                    f"{failures[call.index]} workers in turn ended on {requests[call.index]}, the last one "
                    f"{ended}: what was finished is kept, and the run can go on from there"
                )
            waiting.appendleft(call.index)
            self._start_actor()
        return [results[index] for index in range(len(requests))]

    def _submit(self, actor: Any, index: int, requests: Sequence[EpisodeRequest], sent: SentWeights) -> None:
        limit = self._config.episode_limit_s
        self._calls[actor.run.remote(requests[index], sent)] = _Call(
            actor, time.monotonic() + limit, f"{limit:g} s (--ray.episode-limit-s)", index
        )

    def _start_actor(self) -> None:
        actor = self._actor_class.remote()
        limit = self._config.start_limit_s
        self._calls[actor.prepare.remote(self._spec, self._files, self._expected)] = _Call(
            actor, time.monotonic() + limit, f"{limit:g} s (--ray.start-limit-s)"
        )

    def _next_answer(self) -> tuple[_Call, str | None, Any]:
        """Wait for a call's end; returns (call, why its actor ended or None, result).

        Raises:
            UserError: The actor raised it.
        """
        earliest = min(call.deadline for call in self._calls.values())
        ready, _ = self._ray.wait(list(self._calls), timeout=max(0.0, earliest - time.monotonic()))
        if not ready:
            reference = next(r for r, call in self._calls.items() if call.deadline == earliest)
            call = self._calls.pop(reference)
            self._ray.kill(call.actor)
            return call, self._ended(call, f"gave no answer within {call.limit}"), None
        call = self._calls.pop(ready[0])
        try:
            answer = self._ray.get(ready[0], timeout=self._config.episode_limit_s)
        except self._ray.exceptions.RayTaskError:
            raise  # a defect, with its traceback
        except self._ray.exceptions.RayError as error:
            self._ray.kill(call.actor)
            return call, self._ended(call, reason_of(error)), None
        self._idle.append(call.actor)
        value = result_of(answer)
        if call.index is None:
            self._nodes[call.actor] = value
        return call, None, value

    def _ended(self, call: _Call, reason: str) -> str:
        node = self._nodes.pop(call.actor, None)
        self._last_reason = f"{'before it had started' if node is None else f'on node {node}'}: {reason}"
        _LOG.warning("a rollout worker ended %s", self._last_reason)
        return self._last_reason

    def _check_gpus(self, workers: int) -> None:
        """Refuse what Ray would wait for in vain."""
        each = self._config.worker_gpus
        needed, there = workers * each, self._ray.cluster_resources().get("GPU", 0.0)
        if needed > there:
            raise UserError(
                f"--workers {workers} with --ray.worker-gpus {each:g} need {needed:g} GPUs, "
                f"the cluster has {there:g}: lower one of them, or add a machine by ray start "
                "--address=HOST:PORT"
            )

    def _too_few(self, workers: int, reason: str) -> str:
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        return (
            f"{len(self._idle)} of {workers} rollout workers have started, one ended {reason}; each needs a "
            f"CPU and the cluster has {cpus}: lower --workers, or add a machine by ray start "
            "--address=HOST:PORT"
        )

    def close(self) -> None:
        """End the actors."""
        for actor in [*self._idle, *(call.actor for call in self._calls.values())]:
            self._ray.kill(actor)
        self._idle, self._calls = [], {}


def _own_memory(episode: Episode) -> Episode:
    """Return the episode in memory of its own: Ray's store keeps what is shown of it, and lets none write."""
    values = {field.name: getattr(episode, field.name) for field in fields(Episode)}
    return Episode(**{n: v.copy() if isinstance(v, np.ndarray) else v for n, v in values.items()})
