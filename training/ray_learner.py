"""The Stage II learner on a node of its own: a proxy behind `Method`, so that the online loop does not know.

The actor holds the method with its buffers. The proxy holds the same method without episodes, as a mirror:
its policies follow after every answer, all of its state when a checkpoint asks. State travels as plain
arrays, episodes through Ray's object store. Nothing is waited for without a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.residual import ResidualPolicy
from sim2real.worker_pool import WorkerError
from training.episodes import Episode
from training.method import Method, capture, restore
from training.ray_node import Answer, answered, check_versions, node_name, result_of, versions
from training.ray_session import RayConfig, import_ray, reason_of
from training.rollouts import Weights, to_weights

# Demonstrations are encoded while they are sent: so many wait in memory.
_EPISODES_AT_ONCE = 64


class LearnerActor:
    """What runs in the actor: the method, built there."""

    def prepare(self, build: Callable[[], Method], threads: int, expected: dict[str, str]) -> Answer:
        """Check the node and build the method; answers the node's name.

        Args:
            build: Makes the method.
            threads: Computing threads; their number decides the last bits.
            expected: The versions of the machine of the run.
        """

        def load() -> str:
            check_versions(expected)
            torch.set_num_threads(threads)
            self._method = build()
            return node_name()

        return answered(load)

    def load_offline(self, batches: Sequence[Any]) -> Answer:
        """Take demonstrations, given as references to lists of episodes."""
        return answered(lambda: self._method.load_offline(_episodes(batches)))

    def load_online(self, batches: Sequence[Any]) -> Answer:
        """Take episodes, given as references to lists of them, without learning yet."""
        return answered(lambda: self._method.load_online(_episodes(batches)))

    def warm_up(self) -> Answer:
        """Warm up; answers (metrics of every update, policies)."""

        def work() -> tuple[list[Mapping[str, float]], tuple[Weights, Weights]]:
            metrics: list[Mapping[str, float]] = []
            self._method.warm_up(metrics.append)
            return metrics, self._policies()

        return answered(work)

    def learn(self, batches: Sequence[Any]) -> Answer:
        """Learn from an iteration's episodes; answers (metrics, policies)."""
        return answered(lambda: (self._method.learn(list(_episodes(batches))), self._policies()))

    def capture(self) -> Answer:
        """Answer (nested arrays, scalars) of everything but the episodes."""

        def work() -> tuple[dict[str, Any], dict[str, Any]]:
            tensors, scalars = capture(self._method)
            return to_arrays(tensors), scalars

        return answered(work)

    def restore(self, arrays: Mapping[str, Any], scalars: Mapping[str, Any]) -> Answer:
        """Put back what `capture` answered."""
        return answered(lambda: restore(self._method, to_tensors(arrays), scalars))

    def _policies(self) -> tuple[Weights, Weights]:
        return to_weights(self._method.actor), to_weights(self._method.average)


class RemoteMethod:
    """A method that learns in a Ray actor; see `training.method.Method`."""

    def __init__(
        self, build: Callable[[], Method], config: RayConfig | None = None, threads: int | None = None
    ) -> None:
        """Build the method here and in an actor.

        Args:
            build: Makes the method, the same one at each call; it travels to the actor.
            config: Limits.
            threads: Computing threads of the learner; None: as many as torch uses here.

        Raises:
            WorkerError: No node has taken the learner within the limit.
            UserError: The node has other versions than this machine.
        """
        self._ray = import_ray()
        self._config = config or RayConfig()
        self._mirror = build()
        self._stale = False
        self._who = "the learner"
        threads = threads or torch.get_num_threads()
        self._actor = self._ray.remote(num_cpus=1)(LearnerActor).remote()
        node = self._call("prepare", build, threads, versions(), start=True)
        self._who = f"the learner on node {node}"

    def _call(self, name: str, *arguments: Any, start: bool = False) -> Any:
        option = "start_limit_s" if start else "learner_limit_s"
        limit = getattr(self._config, option)
        reference = getattr(self._actor, name).remote(*arguments)
        try:
            return result_of(self._ray.get(reference, timeout=limit))
        except self._ray.exceptions.RayTaskError:
            raise  # a defect, with its traceback
        except self._ray.exceptions.GetTimeoutError as error:
            self.close()
            raise WorkerError(
                f"{self._who} did not finish {name} within {limit:g} s "
                f"(--ray.{option.replace('_', '-')}): the run can go on from its last checkpoint"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise WorkerError(
                f"{self._who} ended during {name}: {reason_of(error)}; the run can go on from its last "
                "checkpoint"
            ) from error

    @property
    def name(self) -> str:
        """Name of the method."""
        return self._mirror.name

    @property
    def actor(self) -> ResidualPolicy:
        """The policy that explores."""
        return self._mirror.actor

    @property
    def average(self) -> ResidualPolicy:
        """The policy that is evaluated and exported."""
        return self._mirror.average

    @property
    def noise_persistence(self) -> float:
        """Correlation of exploration noise from chunk to chunk."""
        return self._mirror.noise_persistence

    @property
    def uses_warmup_episodes(self) -> bool:
        """Whether it learns from episodes of the base policy and of random residuals."""
        return self._mirror.uses_warmup_episodes

    @property
    def warmup_updates(self) -> int:
        """Calls of `tick` that `warm_up` makes."""
        return self._mirror.warmup_updates

    def load_offline(self, episodes: Iterable[Episode]) -> None:
        """Send the demonstrations."""
        self._call("load_offline", self._sent(episodes))

    def load_online(self, episodes: Iterable[Episode]) -> None:
        """Send episodes."""
        self._call("load_online", self._sent(episodes))

    def warm_up(self, tick: Callable[[Mapping[str, float]], None]) -> None:
        """Warm up there; `tick` hears of the updates when all are done."""
        metrics, policies = self._call("warm_up")
        self._follow(policies)
        for values in metrics:
            tick(values)

    def learn(self, fresh: Sequence[Episode]) -> dict[str, float]:
        """Learn there from an iteration's episodes."""
        metrics, policies = self._call("learn", self._sent(fresh))
        self._follow(policies)
        return metrics

    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights."""
        return self._current().modules()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers."""
        return self._current().optimizers()

    def tensors(self) -> dict[str, Tensor]:
        """Loose tensors."""
        return self._current().tensors()

    def scalars(self) -> dict[str, Any]:
        """JSON-able state."""
        return self._current().scalars()

    def restore(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore loose tensors and scalars; sends them on with the weights and optimisers loaded before."""
        self._mirror.restore(tensors, scalars)
        state, own = capture(self._mirror)
        self._call("restore", to_arrays(state), own)
        self._stale = False

    def close(self) -> None:
        """End the learner."""
        self._ray.kill(self._actor)

    def _sent(self, episodes: Iterable[Episode]) -> list[Any]:
        """Return references to lists of episodes."""
        source = iter(episodes)
        return [self._ray.put(batch) for batch in iter(lambda: list(islice(source, _EPISODES_AT_ONCE)), [])]

    def _follow(self, policies: tuple[Weights, Weights]) -> None:
        self._stale = True
        for policy, weights in zip((self._mirror.actor, self._mirror.average), policies, strict=True):
            policy.load_state_dict(to_tensors(weights))

    def _current(self) -> Method:
        """Return the mirror with the learner's present state."""
        if self._stale:
            arrays, scalars = self._call("capture")
            restore(self._mirror, to_tensors(arrays), scalars)
            self._stale = False
        return self._mirror


def to_arrays(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tensors as nested arrays."""
    return {
        name: to_arrays(value) if isinstance(value, Mapping) else value.detach().cpu().numpy().copy()
        for name, value in tree.items()
    }


def to_tensors(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested arrays as nested tensors, in torch's own memory."""
    return {
        name: to_tensors(value) if isinstance(value, Mapping) else torch.tensor(np.asarray(value))
        for name, value in tree.items()
    }


def _episodes(batches: Sequence[Any]) -> Iterator[Episode]:
    """Yield the episodes behind references, one list in memory at a time."""
    ray = import_ray()
    for reference in batches:
        yield from ray.get(reference)
