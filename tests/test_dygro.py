import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_two_fixtures import LATENT, PRIVILEGED, SMALL, TASK_COUNT, random_episode, small_residual

from models.critics import CriticConfig
from models.residual import ResidualConfig
from training.episodes import RewardConfig
from training.methods.dygro import DygroConfig, DygroLearner
from training.monitor import NotFiniteError
from training.replay import ReplayBuffer

REWARD = RewardConfig()
CONFIG = DygroConfig(
    residual=SMALL,
    critic=CriticConfig(members=3, width=32, blocks=1, token_width=8, queries=2),
    batch=32,
    bf16=False,
    critic_learning_rate=1e-3,
    actor_learning_rate=1e-3,
)


def learner(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    return DygroLearner(
        config,
        REWARD,
        small_residual(config.residual),
        latent_size=LATENT,
        privileged_size=PRIVILEGED,
        seed=seed,
    )


def buffer(count=40, seed=0):
    rng = np.random.default_rng(seed)
    replay = ReplayBuffer(1000, REWARD)
    replay.add(random_episode(rng, task=i % TASK_COUNT, success=i % 2 == 0) for i in range(count))
    return replay


def test_one_batch_of_terminal_transitions_is_fitted():
    replay = ReplayBuffer(100, REWARD)
    rng = np.random.default_rng(0)
    replay.add(random_episode(rng, chunks=1, success=i % 2 == 0) for i in range(32))
    batch = replay.take(np.arange(32))
    agent = learner(replace(CONFIG, calibration_weight=0.0))
    agent.fit_scaler(batch)
    for _ in range(300):
        metrics = agent.critic_update(batch)
    assert metrics["td_loss"] < 0.02


def test_targets_stay_between_failure_and_success():
    agent = learner()
    for parameter in agent.targets.parameters():
        torch.nn.init.constant_(parameter, 3.0)  # absurdly optimistic
    metrics = agent.critic_update(buffer().sample(32, np.random.default_rng(0)))
    assert REWARD.failure_value <= metrics["target"] <= REWARD.success


@pytest.mark.parametrize("aggregation", ["min", "mean", "min_of_two"])
def test_aggregation(aggregation):
    agent = learner(replace(CONFIG, target_aggregation=aggregation))
    values = torch.tensor([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]])
    joined = agent._aggregate(values)
    if aggregation == "min":
        assert joined.tolist() == [1.0, 3.0]
    elif aggregation == "mean":
        assert joined.tolist() == [2.0, 4.0]
    else:
        assert joined[0] in (1.0, 2.0) and joined[1] in (3.0, 4.0)


def test_the_actor_climbs_a_known_value():
    """With critics replaced by -(first joint's end - 0.05)^2 the mean residual must go there."""
    agent = learner(
        replace(CONFIG, anchor_weight=0.0, temperature_initial=1e-6, temperature_learning_rate=0.0)
    )

    class Known(torch.nn.Module):
        def forward(self, state, base, chunk):
            return -((chunk[:, -1, 0] - 0.05) ** 2).unsqueeze(0) * 100

    agent.targets = Known()
    replay = buffer()
    replay.columns["base"][:] = 0.0
    for _ in range(300):
        batch = replay.sample(64, np.random.default_rng(1))
        agent.actor_update(batch)
    chunk, _ = agent.actor.deterministic(batch.latent, batch.base, batch.features)
    assert chunk[:, -1, 0].mean().item() == pytest.approx(0.05, abs=0.015)


def test_the_actor_step_leaves_critics_and_targets_alone():
    agent = learner()
    before = [p.clone() for p in (*agent.critics.parameters(), *agent.targets.parameters())]
    agent.actor_update(buffer().sample(32, np.random.default_rng(0)))
    after = [*agent.critics.parameters(), *agent.targets.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.requires_grad for p in agent.critics.parameters())
    assert not any(p.requires_grad for p in agent.targets.parameters())


def test_the_task_embedding_learns_the_tasks():
    replay = buffer(200)
    # Features that carry the task, as frozen features of the instruction do.
    replay.columns["features"][:] *= 0.1
    replay.columns["features"][np.arange(1000), replay.columns["task"]] += 3.0
    agent = learner(replace(CONFIG, contrastive_weight=1.0))
    rng = np.random.default_rng(0)
    for _ in range(150):
        metrics = agent.actor_update(replay.sample(64, rng))
    assert metrics["task_accuracy"] > 0.95


def test_the_balance_term_spreads_the_load():
    def entropy(weight):
        agent = learner(replace(CONFIG, balance_weight=weight, contrastive_weight=0.0))
        with torch.no_grad():
            agent.actor.router.bias[0] = 3.0  # nearly collapsed on the first expert
        rng = np.random.default_rng(0)
        for _ in range(200):
            metrics = agent.actor_update(buffer().sample(64, rng))
        return metrics["gate_entropy"]

    assert entropy(1.0) > max(entropy(0.0), 1.2)


@pytest.mark.parametrize("calibration", ["expectation", "logsumexp"])
def test_calibration_lowers_proposals_but_not_below_the_returns(calibration):
    replay = buffer()
    batch = replay.take(np.arange(64))
    agent = learner(replace(CONFIG, calibration=calibration, calibration_weight=5.0))
    agent.fit_scaler(batch)
    gap = []
    for _ in range(60):
        gap.append(agent.critic_update(batch)["calibration"])
    assert gap[-1] < gap[0]


def test_the_temperature_rises_when_the_policy_is_too_narrow():
    learned = replace(CONFIG, residual=replace(SMALL, learn_std=True), temperature_learning_rate=1e-2)
    wide = learner(replace(learned, target_std=0.5))
    narrow = learner(replace(learned, target_std=0.03))
    batch = buffer().sample(32, np.random.default_rng(0))
    for _ in range(5):
        wide.actor_update(batch)
        narrow.actor_update(batch)
    start = math.log(CONFIG.temperature_initial)
    assert wide.log_temperature.item() > start > narrow.log_temperature.item()


def test_a_fixed_deviation_stays_and_leaves_the_temperature_alone():
    agent = learner(replace(CONFIG, temperature_learning_rate=1e-2))
    batch = buffer().sample(32, np.random.default_rng(0))
    metrics = agent.actor_update(batch)
    assert metrics["std"] == pytest.approx(SMALL.std_initial)
    assert agent.log_temperature.item() == pytest.approx(math.log(CONFIG.temperature_initial))


def test_the_anchor_holds_the_actor_at_what_was_executed():
    """Against a steep slope the actor ends where slope and anchor balance: at the executed residual."""
    replay = buffer()
    replay.columns["coefficients"][:] = 0.2

    class Slope(torch.nn.Module):
        def forward(self, state, base, chunk):
            return (chunk - base).sum((1, 2)).unsqueeze(0)

    def goes_to(weight):
        agent = learner(replace(CONFIG, anchor_weight=weight, actor_learning_rate=3e-3))
        agent.targets = Slope()
        batch = replay.sample(64, np.random.default_rng(1))
        for _ in range(200):
            agent.actor_update(batch)
        return torch.tanh(agent.actor(batch.latent, batch.base, batch.features).mean).mean().item()

    assert goes_to(1000.0) == pytest.approx(0.2, abs=0.03)
    assert goes_to(0.0) > 0.5


def test_demonstrations_anchor_nothing():
    replay = buffer()
    replay.columns["coefficients"][:] = np.nan
    metrics = learner(replace(CONFIG, anchor_weight=1e6)).actor_update(replay.take(np.arange(32)))
    assert metrics["actor_loss"] == metrics["actor_loss"]
    assert metrics["actor_gradient"] < 1e3


def test_the_target_is_a_mixture_of_return_and_bootstrap():
    batch = buffer().take(np.arange(64))

    def target(weight):
        return learner(replace(CONFIG, return_weight=weight)).critic_update(batch)["target"]

    assert target(1.0) == pytest.approx(batch.returns.mean().item())
    assert target(0.25) == pytest.approx(0.25 * target(1.0) + 0.75 * target(0.0), abs=1e-5)


def test_critics_are_shown_the_features_of_the_chunk():
    class Sum:
        size = 1

        def __call__(self, privileged, chunk):
            return chunk.sum((1, 2)).unsqueeze(1)

    torch.manual_seed(0)
    agent = DygroLearner(
        CONFIG, REWARD, small_residual(SMALL), latent_size=LATENT, privileged_size=PRIVILEGED, seed=0,
        chunk_features=Sum(),
    )  # fmt: skip
    seen = []
    agent.targets.forward = lambda state, base, chunk: seen.append((state, chunk)) or chunk.sum((1, 2))[None]
    agent.actor_update(buffer().take(np.arange(8)))
    state, chunk = seen[0]
    assert torch.equal(state[:, -1], chunk.sum((1, 2)))
    assert state.shape == (8, PRIVILEGED + 1)


def test_a_pessimistic_actor_stays_where_critics_agree():
    """Two critics that agree at 0 and disagree ever more away from it, one of them wildly optimistic."""

    class Disagreeing(torch.nn.Module):
        def forward(self, state, base, chunk):
            away = chunk[:, -1, 0]
            return torch.stack([3.0 * away, -2.0 * away])

    def goes_to(pessimism):
        agent = learner(replace(CONFIG, actor_pessimism=pessimism, anchor_weight=0.0))
        agent.targets = Disagreeing()
        replay = buffer()
        replay.columns["base"][:] = 0.0
        batch = replay.sample(64, np.random.default_rng(1))
        for _ in range(150):
            agent.actor_update(batch)
        chunk, _ = agent.actor.deterministic(batch.latent, batch.base, batch.features)
        return chunk[:, -1, 0].abs().mean().item()

    assert goes_to(0.0) > 0.05
    assert goes_to(1.0) < 0.5 * goes_to(0.0)


def test_the_average_trails_the_actor():
    agent = learner(replace(CONFIG, actor_average=0.9))
    agent.actor_update(buffer().sample(32, np.random.default_rng(0)))
    actor, average = agent.actor.experts.biases[-1], agent.average.experts.biases[-1]
    torch.testing.assert_close(average, 0.1 * actor)
    assert actor.abs().sum() > 0


def test_one_expert_has_no_routing_losses():
    single = replace(CONFIG, residual=ResidualConfig(experts=1, top_m=1, width=16, hidden_layers=1))
    agent = learner(single)
    agent.actor_update(buffer().sample(32, np.random.default_rng(0)))
    assert agent.actor.prototypes.grad is None or agent.actor.prototypes.grad.abs().sum() == 0


def test_a_nan_gradient_is_named():
    agent = learner()
    replay = buffer()
    replay.columns["privileged"][:] = np.nan
    with pytest.raises(NotFiniteError, match="critic gradient"):
        agent.critic_update(replay.sample(32, np.random.default_rng(0)))
