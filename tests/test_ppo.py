from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_two_fixtures import ACTIONS, CHUNK, FEATURES, LATENT, PRIVILEGED, small_residual

from models.residual import ResidualConfig, sample_coefficients
from training.episodes import Episode, RewardConfig
from training.methods.ppo import PpoConfig, PpoLearner, generalised_advantages

RESIDUAL = ResidualConfig(experts=1, top_m=1, width=16, hidden_layers=1, std_initial=0.4)


def test_advantages_are_returns_minus_values_when_lambda_is_one():
    rewards, discounts = np.array([0.1, 0.2, 1.0]), np.array([0.9, 0.9, 0.0])
    values = np.array([0.5, -0.3, 0.7])
    returns = [0.1 + 0.9 * (0.2 + 0.9 * 1.0), 0.2 + 0.9 * 1.0, 1.0]
    advantages = generalised_advantages(rewards, discounts, values, 1.0)
    np.testing.assert_allclose(advantages, np.array(returns) - values, rtol=1e-6)


def test_advantages_are_td_errors_when_lambda_is_zero():
    advantages = generalised_advantages(np.array([0.0, 1.0]), np.array([0.9, 0.0]), np.array([0.2, 0.4]), 0.0)
    np.testing.assert_allclose(advantages, [0.9 * 0.4 - 0.2, 0.6], rtol=1e-6)


def bandit_episodes(actor, count, seed):
    """One-chunk episodes that succeed where the first coefficient is above 0."""
    generator = torch.Generator().manual_seed(seed)
    episodes = []
    for _ in range(count):
        latent = torch.randn(1, LATENT, generator=generator).half().float()
        features = torch.randn(1, FEATURES, generator=generator).half().float()
        base = torch.zeros(1, CHUNK, ACTIONS)
        with torch.no_grad():
            out = actor(latent, base, features)
            noise = torch.randn(1, actor.coefficients, generator=generator)
            coefficients, log_prob = sample_coefficients(out, noise)
        episodes.append(
            Episode(
                task=0, seed=0, success=bool(coefficients[0, 0] > 0), steps=CHUNK, online=True,
                latent=latent.numpy().astype(np.float16), features=features.numpy().astype(np.float16),
                base=base.numpy().astype(np.float16),
                privileged=np.zeros((1, PRIVILEGED), np.float32), executed=base.numpy(),
                coefficients=coefficients.numpy(), log_prob=log_prob.numpy(),
                valid=np.array([CHUNK], np.int16),
            )
        )  # fmt: skip
    return episodes


def test_it_learns_a_bandit():
    torch.manual_seed(0)
    actor = small_residual(RESIDUAL)
    learner = PpoLearner(
        # A network of test size sees 16 inputs where the real one sees 256: it needs a larger rate.
        replace(PpoConfig(), minibatch=64, learning_rate=3e-4),
        RewardConfig(),
        actor,
        privileged_size=PRIVILEGED,
        seed=0,
    )
    learner.fit_scaler(bandit_episodes(actor, 10, 0))
    rates = []
    for iteration in range(25):
        episodes = bandit_episodes(actor, 128, iteration)
        rates.append(np.mean([episode.success for episode in episodes]))
        metrics = learner.update(episodes)
    assert rates[0] < 0.65 and rates[-1] > 0.85
    assert metrics["kl"] < 0.2


def test_the_first_ratio_is_one():
    torch.manual_seed(0)
    actor = small_residual(RESIDUAL)
    config = replace(PpoConfig(), epochs=1, minibatch=10_000, learning_rate=0.0)
    learner = PpoLearner(config, RewardConfig(), actor, privileged_size=PRIVILEGED, seed=0)
    metrics = learner.update(bandit_episodes(actor, 64, 0))
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-4)
