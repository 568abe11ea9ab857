"""Where a run's frozen policy lies and Stage II runs: in this process, on this machine or on a cluster's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from dygro_ros.instruction_codec import InstructionCodec
from models.base_policy import BasePolicy
from sim2real.robotwin.world import RobotwinWorld
from sim2real.world import World
from training.base_preset import codec_for
from training.config import TrainConfig
from training.method import Method
from training.methods.off_policy import OffPolicyMethod
from training.methods.ppo import PpoMethod
from training.policy_folder import codec_in
from training.ray_learner import RemoteMethod
from training.ray_node import BaseFiles
from training.ray_rollouts import RayWorkers
from training.ray_session import RaySession
from training.rollouts import LocalProcesses, RolloutEngine, RolloutSpec
from training.stage_one import build_residual, load_base_policy, load_config

STAGE_ONE = "stage_one"


def base_folder(config: TrainConfig) -> Path:
    """Return where the frozen Stage I policy lies."""
    return (config.base_run or config.run) / STAGE_ONE


def codec_of_run(config: TrainConfig) -> InstructionCodec:
    """Return how the run's policy reads instructions: as its base run's does, or as its preset's.

    Raises:
        UserError: The tokenizer is missing; the message holds the command that fetches it.
        CheckpointError: It is missing in the base run.
    """
    if config.base_run is not None:
        folder = base_folder(config)
        return codec_in(folder, load_config(folder))
    return codec_for(config.network, config.backbone)


def rollout_spec(config: TrainConfig, folder: Path, world: World | None = None) -> RolloutSpec:
    """Return what workers need to run the frozen policy of this folder with a residual of the run's shape.

    Args:
        config: The run's configuration.
        folder: The policy's folder.
        world: Another world than the run's, such as one with evaluation's rules for seeds.

    Raises:
        DataError: The book of seeds is missing, damaged or of another configuration.
    """
    world = world or config.simulated_world
    if isinstance(world, RobotwinWorld):
        world = world.carrying_its_book()  # a worker may be on a machine without the file
    return RolloutSpec(folder, config.residual, world, provider=config.device)


def build_method(config: TrainConfig, base: BasePolicy) -> Method:
    """Return a fresh Stage II method."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        world = config.simulated_world
        size = world.privileged_size
        actor = build_residual(base, config.residual, world)
        if config.method == "ppo":
            return PpoMethod(config.ppo, config.online.reward, actor, privileged_size=size, seed=config.seed)
        return OffPolicyMethod(
            config.off_policy,
            config.online.reward,
            actor,
            latent_size=base.config.z_tokens * base.config.z_dim,
            privileged_size=size,
            seed=config.seed,
            chunk_features=world.chunk_features(base.action_space, base.config.chunk),
            name=config.method,
        )


@dataclass(frozen=True)
class MethodBuilder:
    """Makes the run's Stage II method on any machine."""

    config: TrainConfig
    base: BaseFiles

    def __call__(self) -> Method:
        """Return a fresh method; each call gives the same."""
        with self.base.unpacked() as folder:
            return build_method(self.config, load_base_policy(folder))


def engine_for(config: TrainConfig, folder: Path, world: World | None = None) -> RolloutEngine:
    """Return what runs episodes of the frozen policy of this folder, where the configuration wants it.

    Args:
        config: The run's configuration.
        folder: The policy's folder.
        world: See `rollout_spec`.

    Raises:
        DataError: The book of seeds is missing, damaged or of another configuration.
    """
    spec = rollout_spec(config, folder, world)
    if config.rollouts == "ray":
        return RayWorkers(spec, config.workers, config.ray)
    return LocalProcesses(spec, config.workers)


@contextmanager
def on_ray(config: TrainConfig) -> Iterator[None]:
    """Hold the connection to Ray, if the configuration uses it."""
    if not config.uses_ray:
        yield
        return
    # Room for the learner in any case; what is not asked for costs nothing.
    with RaySession(config.ray, cpus=config.workers + 1):
        yield


@contextmanager
def placed(config: TrainConfig, base: BasePolicy) -> Iterator[tuple[Method, RolloutEngine]]:
    """Give the Stage II method and the rollout engine, where the configuration wants them."""
    folder = base_folder(config)
    with ExitStack() as stack:
        stack.enter_context(on_ray(config))
        method: Method
        if config.learner == "ray":
            remote = RemoteMethod(MethodBuilder(config, BaseFiles.read(folder, graph=False)), config.ray)
            stack.callback(remote.close)
            method = remote
        else:
            method = build_method(config, base)
        engine = engine_for(config, folder)
        stack.callback(engine.close)
        yield method, engine
