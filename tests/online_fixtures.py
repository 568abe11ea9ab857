"""What tests of the online loop share: small methods, an engine without a simulator, a run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import torch
from stage_two_fixtures import CHUNK, LATENT, PRIVILEGED, SMALL, random_episode, small_residual

from models.critics import CriticConfig
from sim2real.cell.tasks import TASKS
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


def training(folder, engine, kind="dygro", config=CONFIG, learner=None):
    return OnlineTraining(
        config,
        learner or method(kind),
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


def records(folder, log="online"):
    return [json.loads(line) for line in (folder / f"{log}.jsonl").read_text().splitlines()]
