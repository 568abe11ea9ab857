import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_two_fixtures import CHUNK, LATENT, PRIVILEGED, SMALL, random_episode, small_residual

from dygro_ros.errors import CheckpointError
from models.critics import CriticConfig
from sim2real.cell.tasks import TASKS
from sim2real.seeds import SeedPurpose, purpose_of
from training.episodes import RewardConfig
from training.methods.dygro import DygroConfig
from training.methods.off_policy import OffPolicyConfig, OffPolicyMethod
from training.methods.ppo import PpoConfig, PpoMethod
from training.online import OnlineConfig, OnlineTraining

CONFIG = OnlineConfig(
    environment_steps=1_200,
    episodes=6,
    warmup_episodes=10,
    checkpoint_every=2,
    validate_every=3,
    validation_episodes=2,
)
LEARNER = DygroConfig(
    residual=SMALL,
    critic=CriticConfig(members=2, width=16, blocks=1, token_width=8, queries=2),
    batch=16,
    bf16=False,
)


class FakeEngine:
    """Episodes that depend on the request and on the weights, as real ones do; may die after some calls."""

    def __init__(self, dies_after=None):
        self.calls = 0
        self.dies_after = dies_after
        self.requests = []

    def collect(self, requests, weights, progress=None):
        self.calls += 1
        if self.dies_after is not None and self.calls > self.dies_after:
            raise KeyboardInterrupt
        self.requests += requests
        checksum = int(abs(float(sum(value.astype(np.float64).sum() for value in weights.values()))) * 1e6)
        episodes = []
        for request in requests:
            rng = np.random.default_rng([request.seed, checksum])
            episode = random_episode(
                rng,
                task=TASKS.index(request.task),
                chunks=int(rng.integers(2, 6)),
                last=CHUNK,
                success=bool(rng.random() < 0.5),
                seed=request.seed,
            )
            episodes.append(episode)
            if progress:
                progress(episode)
        return episodes

    def close(self):
        pass


def method(kind):
    torch.manual_seed(0)
    if kind == "ppo":
        config = replace(PpoConfig(), residual=SMALL, minibatch=16)
        return PpoMethod(config, RewardConfig(), small_residual(), privileged_size=PRIVILEGED, seed=0)
    config = OffPolicyConfig(
        learner=LEARNER,
        offline_capacity=100,
        online_capacity=120,
        warmup_critic_updates=8,
        warmup_actor_updates=4,
    )
    return OffPolicyMethod(
        config, RewardConfig(), small_residual(), latent_size=LATENT, privileged_size=PRIVILEGED, seed=0
    )


def training(folder, engine, kind="dygro", config=CONFIG):
    return OnlineTraining(
        config,
        method(kind),
        engine,
        folder,
        tasks=TASKS,
        known_tasks=TASKS,
        seed=3,
        fingerprint={"method": kind, "seed": 3},
    )


def demonstrations():
    rng = np.random.default_rng(9)
    return [random_episode(rng, task=i % 4) for i in range(8)]


def records(folder):
    return [json.loads(line) for line in (folder / "online.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["dygro", "ppo"])
@pytest.mark.parametrize("dies_after", [0, 1, 4, 7])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, kind, dies_after):
    whole = training(tmp_path / "whole", FakeEngine(), kind)
    whole.run(demonstrations(), resume=False)
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "cut", FakeEngine(dies_after), kind).run(demonstrations(), resume=False)
    resumed = training(tmp_path / "cut", FakeEngine(), kind)
    resumed.run(demonstrations(), resume=True)
    assert records(tmp_path / "whole") == records(tmp_path / "cut")
    for name, module in whole.method.modules().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, resumed.method.modules()[name].state_dict()[key]), (name, key)


def test_seeds_are_online_seeds_and_never_repeat(tmp_path):
    engine = FakeEngine()
    training(tmp_path, engine, config=replace(CONFIG, validate_every=0)).run(demonstrations(), resume=False)
    seeds = [request.seed for request in engine.requests]
    assert len(set(seeds)) == len(seeds)
    assert {purpose_of(seed) for seed in seeds} == {SeedPurpose.ONLINE}


def test_validation_seeds_are_not_training_seeds(tmp_path):
    engine = FakeEngine()
    training(tmp_path, engine).run(demonstrations(), resume=False)
    validated = {request.seed for request in engine.requests if request.mode == "mean"}
    assert validated
    assert validated.isdisjoint(request.seed for request in engine.requests if request.mode != "mean")


def test_the_budget_counts_warm_up_steps(tmp_path):
    run = training(tmp_path, FakeEngine())
    run.run(demonstrations(), resume=False)
    assert CONFIG.environment_steps <= run.environment_steps < CONFIG.environment_steps + 6 * 5 * CHUNK
    assert records(tmp_path)[-1]["environment_steps"] == run.environment_steps


@pytest.mark.parametrize(("kind", "expected"), [("dygro", "warmup_episodes"), ("ppo", "episodes")])
def test_only_methods_that_use_them_run_all_warm_up_episodes(tmp_path, kind, expected):
    engine = FakeEngine()
    training(tmp_path, engine, kind).run(demonstrations(), resume=False)
    modes = [request.mode for request in engine.requests]
    assert modes.count("perturb") + modes.count("base") == getattr(CONFIG, expected)


def test_another_configuration_cannot_resume(tmp_path):
    training(tmp_path, FakeEngine()).run(demonstrations(), resume=False)
    other = training(tmp_path, FakeEngine())
    other.fingerprint = {"method": "dygro", "seed": 4}
    with pytest.raises(CheckpointError, match="seed"):
        other.run(demonstrations(), resume=True)
