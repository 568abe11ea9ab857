"""The end of Stage I: with the encoder frozen, every frame is encoded once and the head alone learns on.

Most of a joint step is vision, but most of the steps are needed by the head (the arms' inverse kinematics and
timing). On stored latents a head's step costs a twentieth, and z is already precise by then. The head still
sees samples of p(z | o), so what the information bottleneck hid stays hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.base_policy import BasePolicy
from models.latent import sample_latent
from training.dataset import Batch, FrameDataset
from training.monitor import check_finite

ENCODING_BATCH = 64
AVERAGE_DECAY = 0.998


@dataclass(frozen=True)
class HeadRefinementConfig:
    """How the head goes on learning on frozen latents."""

    steps: int = 4000
    """Gradient steps; 0 leaves the head as joint training made it."""
    batch_size: int = 64
    """Frames a step."""
    learning_rate: float = 2e-3
    """Peak rate of AdamW, after a warm-up of 100 steps, then down by a cosine."""
    weight_decay: float = 1e-2
    """Decay of the head's weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    log_every: int = 100
    """Steps between records (means over them)."""


@dataclass(frozen=True)
class EncodedFrames:
    """What the frozen encoder makes of all N frames.

    Attributes:
        mean: Mean of z, shape (N, Z, D).
        log_variance: Shape (N, Z, D).
        target: Normalised chunks, shape (N, h, A).
        mask: 1 where a step lies inside its episode, shape (N, h).
    """

    mean: Tensor
    log_variance: Tensor
    target: Tensor
    mask: Tensor


@torch.no_grad()
def encode_frames(
    policy: BasePolicy, dataset: FrameDataset, advance: Callable[[int], None] = lambda _: None
) -> EncodedFrames:
    """Encode all frames as deployment will, without augmentation and in full precision.

    Args:
        policy: In evaluation mode.
        dataset: Demonstrations.
        advance: Called with the number of frames just encoded.
    """
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    device = policy.action_space.scale.device
    for batch in dataset.in_order(ENCODING_BATCH):
        batch = Batch(*(None if part is None else part.to(device) for part in batch))
        stage = policy.encode(batch.images, batch.instruction, batch.proprio)
        target = policy.action_space.normalise(batch.chunk, batch.proprio)
        parts.append((stage.z_mean.cpu(), stage.z_logvar.cpu(), target.cpu(), batch.mask.cpu()))
        advance(len(target))
    return EncodedFrames(*(torch.cat(column) for column in zip(*parts, strict=True)))


def refine_head(
    config: HeadRefinementConfig,
    policy: BasePolicy,
    frames: EncodedFrames,
    *,
    seed: int,
    record: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None,
) -> None:
    """Train the policy's head in place; it ends as the moving average of its weights.

    The result follows from arguments and seed alone, so an interrupted refinement is simply done again.

    Args:
        config: How to learn.
        policy: Its head is trained, nothing else.
        frames: Of the same policy's encoder.
        seed: Fixes order and noise.
        record: Called with (steps done, mean metrics).

    Raises:
        NotFiniteError: The loss is not finite.
    """
    head = policy.head.requires_grad_(True)
    parameters = list(head.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    average = [parameter.detach().clone() for parameter in parameters]
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):  # the flow head draws from the global generator
        torch.manual_seed(seed)
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = _rate(config, step)
            rows = torch.randint(len(frames.mask), (config.batch_size,))
            z = sample_latent(frames.mean[rows], frames.log_variance[rows])
            loss = head.loss(z, frames.target[rows], frames.mask[rows])
            losses.append(loss.item())
            check_finite(step, {"head_loss": losses[-1]})
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
            optimizer.step()
            decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1.0 - decay)
            if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                record(step + 1, {"head_loss": sum(losses) / len(losses)})
                losses.clear()
    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
    head.requires_grad_(False)


def _rate(config: HeadRefinementConfig, step: int) -> float:
    warm = min(1.0, (step + 1) / 100)
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / config.steps)))
