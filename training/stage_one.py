"""Between the stages: keep and load the frozen Stage I policy, build its residual, encode demonstrations.

Demonstrations become Stage II episodes of latents; images are not needed after this.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from dygro_ros.errors import CheckpointError, DataError
from dygro_ros.instruction_codec import BYTES, InstructionCodec
from dygro_ros.whole_file import write_bytes
from models.action_space import ActionSpace
from models.base_policy import BasePolicy, PolicyConfig
from models.residual import ResidualConfig, ResidualPolicy
from sim2real.world import World
from training.episode_file import EpisodeRecord
from training.episodes import Episode
from training.policy_folder import NO_NETWORK, config_of, config_values

CONFIG_FILE = "stage_one.json"
WEIGHTS_FILE = "stage_one.safetensors"


def save_base_policy(folder: Path, policy: BasePolicy, codec: InstructionCodec = BYTES) -> None:
    """Write the policy's tokenizer, configuration and weights; each file beside, then renamed.

    The weights come last: where they are, Stage I is done and the rest is there too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in codec.files.items():
        write_bytes(folder / name, content)
    config = folder / f"{CONFIG_FILE}.tmp"
    config.write_text(json.dumps(config_values(policy.config), indent=1) + "\n", encoding="utf-8")
    os.replace(config, folder / CONFIG_FILE)
    weights = folder / f"{WEIGHTS_FILE}.tmp"
    save_file({name: value.contiguous() for name, value in policy.state_dict().items()}, weights)
    # Its files are for their owner alone, and colleagues share bases by --base-run.
    weights.chmod(stat.S_IMODE((folder / CONFIG_FILE).stat().st_mode))
    os.replace(weights, folder / WEIGHTS_FILE)


def load_config(folder: Path) -> PolicyConfig:
    """Return the sizes of the policy in a folder.

    Raises:
        CheckpointError: A file is missing, or `stage_one.json` is damaged or describes no policy.
    """
    config_path = folder / CONFIG_FILE
    for path in (config_path, folder / WEIGHTS_FILE):
        if not path.is_file():
            raise CheckpointError(f"no Stage I policy in {folder}: expected the file {path.name}")
    try:
        values = json.loads(config_path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object, found {type(values).__name__}")
        return config_of(values)
    except ValueError as error:
        raise CheckpointError(f"{config_path} does not describe a Stage I policy: {error}") from error
    except NO_NETWORK as error:
        raise CheckpointError(f"{config_path} does not describe a Stage I policy: {error!r}") from error


def load_base_policy(folder: Path) -> BasePolicy:
    """Return the frozen policy in evaluation mode.

    Raises:
        CheckpointError: A file is missing or damaged, the configuration is no policy's, or the weights do not
            fit it.
    """
    config, weights_path = load_config(folder), folder / WEIGHTS_FILE
    try:
        policy = BasePolicy(config, ActionSpace.blank(config.actions, config.proprio))
    except (RuntimeError, ValueError, *NO_NETWORK) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} describes no network: {error!r}") from error
    try:
        policy.load_state_dict(load_file(weights_path))
    except SafetensorError as error:
        raise CheckpointError(
            f"{weights_path} is damaged ({error}): copy it again, or delete it and go on with its run by "
            "--resume, which makes it anew"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(f"{weights_path} does not fit {CONFIG_FILE}: {error}") from error
    return policy.eval().requires_grad_(False)


def load_action_space(folder: Path) -> ActionSpace:
    """Return the policy's action space alone, without reading the other weights.

    Raises:
        CheckpointError: A file is missing, or the tensors do not fit the configuration.
    """
    config, weights_path = load_config(folder), folder / WEIGHTS_FILE
    space = ActionSpace.blank(config.actions, config.proprio)
    try:
        with safe_open(weights_path, framework="pt") as weights:
            tensors = {name: weights.get_tensor(f"action_space.{name}") for name in space.state_dict()}
        space.load_state_dict(tensors)
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{weights_path} does not fit {CONFIG_FILE}: {error}") from error
    return space


def build_residual(policy: BasePolicy, config: ResidualConfig, world: World) -> ResidualPolicy:
    """Return a fresh residual policy with the sizes of this Stage I policy, for the tasks of this world."""
    return residual_of_sizes(policy.config, config, world)


def residual_of_sizes(sizes: PolicyConfig, config: ResidualConfig, world: World) -> ResidualPolicy:
    """Return a fresh residual policy for Stage I policies of these sizes, for the tasks of this world."""
    return ResidualPolicy(
        config,
        latent_size=sizes.z_tokens * sizes.z_dim,
        feature_size=sizes.width,
        chunk=sizes.chunk,
        actions=world.layout.size,
        tasks=len(world.tasks),
        grippers=world.layout.grippers,
    )


@torch.inference_mode()
def encode_demonstrations(
    policy: BasePolicy,
    demonstrations: Iterable[EpisodeRecord],
    *,
    tasks: Sequence[str],
    coefficients: int,
    batch: int = 64,
    codec: InstructionCodec = BYTES,
) -> Iterator[Episode]:
    """Yield each demonstration as up to h successful Stage II episodes, one for each chunk offset.

    Offset k starts at frame k and steps by h frames, so every frame becomes a chunk's first frame once.

    Args:
        policy: The frozen Stage I policy, on any device.
        demonstrations: Successful recordings, T frames each.
        tasks: Every task of their world, in the order of the ids.
        coefficients: C of the residual policy; demonstrations have none, so theirs are NaN.
        batch: Frames encoded together.
        codec: How the policy reads instructions.

    Raises:
        DataError: A recording holds no simulator state, which the critics are configured to see, or is of
            another task.
    """
    for demonstration in demonstrations:
        if demonstration.privileged is None or demonstration.task is None:
            raise DataError(
                f"demonstration of {demonstration.task} with seed {demonstration.seed} holds no "
                "simulator/privileged_state and task: Stage II needs both"
            )
        if demonstration.task not in tasks:
            raise DataError(
                f"demonstration with seed {demonstration.seed} is of the task {demonstration.task!r}, "
                f"expected one of {', '.join(tasks)}"
            )
        task = tasks.index(demonstration.task)
        yield from _encode(policy, demonstration, task, demonstration.privileged, coefficients, batch, codec)


def _encode(
    policy: BasePolicy,
    demonstration: EpisodeRecord,
    task: int,
    privileged: NDArray[np.float32],
    coefficients: int,
    batch: int,
    codec: InstructionCodec,
) -> Iterator[Episode]:
    frames = len(demonstration.proprio)
    horizon = policy.config.chunk
    device = policy.action_space.scale.device
    instruction = torch.from_numpy(codec.encode(demonstration.instructions[0])).unsqueeze(0).to(device)
    proprio = torch.from_numpy(np.asarray(demonstration.proprio, dtype=np.float32)).to(device)
    steps = np.minimum(np.arange(frames)[:, None] + np.arange(horizon), frames - 1)
    chunks = torch.from_numpy(np.asarray(demonstration.action, dtype=np.float32)[steps]).to(device)
    executed = policy.action_space.normalise(chunks, proprio).cpu().numpy()
    latents, features, bases = [], [], []
    for start in range(0, frames, batch):
        rows = slice(start, min(start + batch, frames))
        images = torch.from_numpy(np.ascontiguousarray(demonstration.images[rows])).to(device)
        encoded = policy.encode(images, instruction.expand(len(images), -1), proprio[rows])
        latents.append(encoded.z_mean.flatten(1).half().cpu().numpy())
        features.append(encoded.task_features.half().cpu().numpy())
        bases.append(policy.base_chunk(encoded.z_mean).half().cpu().numpy())
    latent, feature, base = (np.concatenate(parts) for parts in (latents, features, bases))
    for offset in range(min(horizon, frames)):
        index = np.arange(offset, frames, horizon)
        yield Episode(
            task=task,
            seed=-1 if demonstration.seed is None else demonstration.seed,
            success=True,
            steps=frames - offset,
            online=False,
            latent=latent[index],
            features=feature[index],
            base=base[index],
            privileged=privileged[index].astype(np.float32),
            executed=executed[index],
            coefficients=np.full((len(index), coefficients), np.nan, dtype=np.float32),
            log_prob=np.zeros(len(index), dtype=np.float32),
            valid=np.minimum(frames - index, horizon).astype(np.int16),
        )
