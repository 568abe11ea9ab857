"""One Stage II episode: what is kept of it (latents, never images), its rewards and its returns.

Knows nothing of networks, simulators or replay.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class RewardConfig:
    """The paper's sparse reward (section 3) and its discount."""

    success: float = 1.0
    """Reward of the control step in which the task succeeds."""
    step: float = -0.01
    """Reward of every other control step."""
    gamma: float = 0.997
    """Discount of one control step (0.97 a chunk of ten)."""

    @property
    def failure_value(self) -> float:
        """Value of never succeeding: the step penalty for ever. A time-out ends with it.

        Without it a time-out would look better than a slow success, because the penalties stop there.
        """
        return self.step / (1.0 - self.gamma)


@dataclass(frozen=True)
class EpisodeRequest:
    """One episode to run: (task, seed) fixes the scene, `mode` and `noise_seed` the exploration."""

    task: str
    seed: int
    mode: str = "sample"
    """sample: draw from the residual policy; mean: its mode; base: no residual; perturb: random residual."""
    noise_seed: int = 0
    noise_scale: float = 0.0
    """perturb: deviation of the random coefficients before the tanh."""
    noise_persistence: float = 0.0
    """Correlation of the noise from chunk to chunk: 0 draws afresh, 1 keeps one offset for the episode."""
    companion: str | None = None
    step_limit: int | None = None
    """Control steps after which the episode has failed, where that is before the world's own limit."""


@dataclass(frozen=True)
class Episode:
    """An episode seen at its chunk boundaries; n chunks.

    Attributes:
        task: Index of the task: supervision of the contrastive loss and sampling only.
        seed: Simulator seed.
        success: Whether the task was done before the step limit.
        steps: Control steps executed.
        online: False for demonstrations.
        latent: z's mean, flattened, (n, Z x D) float16.
        features: Frozen features for the task embedding, (n, F) float16.
        base: Normalised base chunk, (n, h, A) float16.
        privileged: Simulator state for critics, (n, P) float32.
        executed: Normalised executed chunk, (n, h, A) float32.
        coefficients: Tanh-squashed residual coefficients, (n, C) float32; NaN in demonstrations.
        log_prob: Log-density of the coefficients when sampled, (n,) float32; 0 where not sampled.
        valid: Control steps executed of each chunk, (n,) int16: h but for the last.
    """

    task: int
    seed: int
    success: bool
    steps: int
    online: bool
    latent: Array
    features: Array
    base: Array
    privileged: Array
    executed: Array
    coefficients: Array
    log_prob: Array
    valid: Array

    @property
    def chunks(self) -> int:
        """Number of chunks, n."""
        return len(self.valid)


ARRAY_FIELDS = tuple(field.name for field in fields(Episode) if field.type == "Array")


def chunk_rewards(
    valid: NDArray[np.int16], success: bool, reward: RewardConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the h-step rewards r^(h) (Eq. 13) and the discounts of the next state's value.

    The last chunk's discount is 0: success and time-out are both terminal, and a time-out adds the failure
    value, so the value of a failed episode is the failure value at every one of its chunks.

    Args:
        valid: Control steps executed of each chunk, (n,).
        success: Whether the last executed step succeeded.
        reward: Rewards and discount.

    Returns:
        Rewards (n,) and next-value discounts (n,).
    """
    rewards = np.empty(len(valid), dtype=np.float32)
    discounts = np.empty(len(valid), dtype=np.float32)
    gamma = reward.gamma
    for index, steps in enumerate(valid):
        rewards[index] = reward.step * (1.0 - gamma ** int(steps)) / (1.0 - gamma)
        discounts[index] = gamma ** int(steps)
    last = int(valid[-1])
    if success:
        rewards[-1] += (reward.success - reward.step) * gamma ** (last - 1)
    else:
        rewards[-1] += reward.failure_value * gamma**last
    discounts[-1] = 0.0
    return rewards, discounts


def monte_carlo_returns(rewards: NDArray[np.float32], discounts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return G_t = r_t + discount_t G_{t+1} at each chunk, (n,): V^mu of Eq. 14."""
    returns = np.empty_like(rewards)
    following = 0.0
    for index in range(len(rewards) - 1, -1, -1):
        following = float(rewards[index]) + float(discounts[index]) * following
        returns[index] = following
    return returns
