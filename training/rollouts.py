"""Rollout engines: (task, seed) requests in, episodes of latents out.

`RolloutEngine` is the interface; `LocalProcesses` runs worker processes on this machine. A request's episode
is the same whichever worker runs it: one frame is inferred at a time, and exploration noise comes from the
request's own seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.inference import Provider
from models.action_space import ActionSpace
from models.residual import ResidualConfig, ResidualPolicy, sample_coefficients
from sim2real.worker_pool import WorkerPool
from sim2real.world import Simulation, World
from training.episodes import Episode, EpisodeRequest
from training.frozen_base import FrozenBase, export_frozen_base
from training.stage_one import load_action_space, load_config, residual_of_sizes

Weights = dict[str, NDArray[np.float32]]
Progress = Callable[[Episode], None]
Watch = Callable[[NDArray[np.uint8]], None]


@dataclass(frozen=True)
class RolloutSpec:
    """Everything a worker needs to build its simulator and policy."""

    base_policy: Path
    """Folder of the frozen Stage I policy."""
    residual: ResidualConfig
    world: World
    """Where episodes are run."""
    provider: Provider = "cpu"
    """What runs the frozen policy."""


class RolloutEngine(Protocol):
    """Something that runs episodes."""

    def collect(
        self, requests: Sequence[EpisodeRequest], weights: Weights, progress: Progress | None = None
    ) -> list[Episode]:
        """Run the requests with these residual weights; episodes come back in the order of the requests."""

    def close(self) -> None:
        """Stop the workers."""


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return a batch of one in torch's own memory: numpy's alignment would change the last bit."""
    return torch.tensor(array).unsqueeze(0)


def _residual_coefficients(
    request: EpisodeRequest,
    residual: ResidualPolicy,
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    noise: NDArray[np.float32],
) -> tuple[torch.Tensor, float]:
    """Return coefficients (1, C) and their log-density for one frame, by the request's mode."""
    drawn = _tensor(noise)
    if request.mode == "base":
        return torch.zeros_like(drawn), 0.0
    if request.mode == "perturb":
        return torch.tanh(request.noise_scale * drawn), 0.0
    out = residual(*inputs)
    if request.mode == "mean":
        return torch.tanh(out.mean), 0.0
    if request.mode != "sample":
        raise ValueError(f"mode must be sample, mean, base or perturb, got {request.mode!r}")
    coefficients, log_prob = sample_coefficients(out, drawn)
    return coefficients, float(log_prob)


@torch.inference_mode()
def run_episode(
    simulation: Simulation,
    frozen: FrozenBase,
    space: ActionSpace,
    residual: ResidualPolicy,
    request: EpisodeRequest,
    task: int,
    watch: Watch | None = None,
) -> Episode:
    """Run one episode of the task with this id: each chunk open loop, looking again at its end.

    `watch` is given what the policy sees, before each chunk.

    Raises:
        UserError: The task is done before the first step: there is nothing to act on.
    """
    simulation.reset(request.task, request.seed, companion=request.companion)
    if simulation.succeeded:
        raise UserError(
            f"the episode of {request.task} with seed {request.seed} must begin with the task undone, "
            "found it done before the first step"
        )
    limit = min(simulation.step_limit, request.step_limit or simulation.step_limit)
    rng = np.random.default_rng([request.noise_seed, request.seed])
    instruction = frozen.codec.encode(simulation.instruction)
    rows: dict[str, list[Any]] = {
        name: []
        for name in (
            "latent", "features", "base", "privileged", "executed", "coefficients", "log_prob", "valid"
        )
    }  # fmt: skip
    drift: NDArray[np.float32] | None = None
    while not simulation.succeeded and simulation.step_count < limit:
        proprio = simulation.proprio()
        images = simulation.images()
        if watch is not None:
            watch(images)
        latent, base, features = (
            answer.astype(np.float16) for answer in frozen(images, instruction, proprio)
        )
        noise = rng.standard_normal(residual.coefficients, dtype=np.float32)
        if drift is not None:
            keep = np.float32(request.noise_persistence)
            noise = keep * drift + np.sqrt(np.float32(1.0) - keep * keep) * noise
        drift = noise
        # The replay keeps half precision: acting on the rounded inputs makes replayed densities exact.
        inputs = (_tensor(latent).float(), _tensor(base).float(), _tensor(features).float())
        coefficients, log_prob = _residual_coefficients(request, residual, inputs, noise)
        executed = residual.compose(inputs[1], coefficients)
        joints = space.to_joints(executed, _tensor(proprio))[0].numpy()
        rows["latent"].append(latent)
        rows["features"].append(features)
        rows["base"].append(base)
        rows["privileged"].append(simulation.privileged_state())
        rows["executed"].append(executed[0].numpy())
        rows["coefficients"].append(coefficients[0].numpy())
        rows["log_prob"].append(np.float32(log_prob))
        start = simulation.step_count
        for action in joints:
            if simulation.step(action) or simulation.step_count >= limit:
                break
        rows["valid"].append(np.int16(simulation.step_count - start))
    return Episode(
        task=task,
        seed=request.seed,
        success=bool(simulation.succeeded),
        steps=simulation.step_count,
        online=True,
        **{name: np.stack(values) for name, values in rows.items()},
    )


@dataclass(frozen=True)
class Player:
    """A policy in a simulation of its own."""

    simulation: Simulation
    tasks: Sequence[str]
    frozen: FrozenBase
    space: ActionSpace
    residual: ResidualPolicy

    def load(self, weights: Weights) -> None:
        """Take these weights for the residual."""
        self.residual.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})

    def play(self, request: EpisodeRequest, watch: Watch | None = None) -> Episode:
        """Run one episode; see `run_episode`."""
        task = self.tasks.index(request.task)
        return run_episode(self.simulation, self.frozen, self.space, self.residual, request, task, watch)


def open_player(spec: RolloutSpec) -> Player:
    """Load the frozen base and open a simulation, in a process of its own: torch gets one thread."""
    torch.set_num_threads(1)
    # The policy itself runs in ONNX Runtime: its weights are not loaded a second time.
    folder, world = spec.base_policy, spec.world
    sizes, space = load_config(folder), load_action_space(folder)
    frozen = FrozenBase(folder, spec.provider)
    residual = residual_of_sizes(sizes, spec.residual, world)
    simulation = world.open(image_size=sizes.image_size, cameras=sizes.cameras)
    return Player(simulation, world.tasks, frozen, space, residual)


@dataclass(frozen=True)
class RolloutWorker:
    """Builds, inside a worker process, what takes weights and runs requests."""

    spec: RolloutSpec

    def __call__(self) -> Callable[[EpisodeRequest | Weights], Episode | None]:
        """Load the frozen base and open a simulation."""
        player = open_player(self.spec)

        def work(job: EpisodeRequest | Weights) -> Episode | None:
            if isinstance(job, EpisodeRequest):
                return player.play(job)
            player.load(job)
            return None

        return work


class LocalProcesses:
    """Workers as processes of this machine, each with its own simulator, renderer and policy copy."""

    def __init__(self, spec: RolloutSpec, workers: int) -> None:
        """Start the workers (spawned, one computing thread each)."""
        os.environ.setdefault("MUJOCO_GL", "egl")
        export_frozen_base(spec.base_policy)
        self._pool: WorkerPool[EpisodeRequest | Weights, Episode | None]
        self._pool = WorkerPool(RolloutWorker(spec), workers)

    def collect(
        self, requests: Sequence[EpisodeRequest], weights: Weights, progress: Progress | None = None
    ) -> list[Episode]:
        """Run the requests; see `RolloutEngine.collect`.

        Raises:
            WorkerError: A worker died; the message holds its exit code.
        """
        self._pool.broadcast(weights)
        results: dict[int, Episode] = {}
        for index, episode in self._pool.run(requests):
            assert episode is not None
            results[index] = episode
            if progress is not None:
                progress(episode)
        return [results[index] for index in range(len(requests))]

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()


def to_weights(residual: ResidualPolicy) -> Weights:
    """Return a residual policy's weights as arrays that travel to workers."""
    return {name: value.detach().cpu().numpy().copy() for name, value in residual.state_dict().items()}
