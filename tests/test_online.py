from dataclasses import replace

import numpy as np
import pytest
import torch
from online_fixtures import CONFIG, FakeEngine, demonstrations, records, training
from stage_two_fixtures import CHUNK, random_episode

from dygro_ros.errors import CheckpointError
from sim2real.seeds import SeedPurpose, purpose_of
from training.episodes import EpisodeRequest
from training.online import warmup_success


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


def test_training_episodes_end_at_the_run_s_limit_and_validation_s_at_the_world_s(tmp_path):
    engine = FakeEngine()
    training(tmp_path, engine, config=replace(CONFIG, step_limit=77)).run(demonstrations(), resume=False)
    limits = {(request.mode, request.step_limit) for request in engine.requests}
    assert limits == {("base", 77), ("perturb", 77), ("sample", 77), ("mean", None)}


def test_the_warm_up_s_first_line_tells_what_random_residuals_do(tmp_path):
    engine = FakeEngine()
    training(tmp_path, engine).run(demonstrations(), resume=False)
    first = records(tmp_path, "warmup")[0]
    assert first.pop("step") == 0
    kinds = {name.partition("/")[0] for name in first}
    assert kinds == {"no_residual", "small_residual", "large_residual"}
    assert all(0.0 <= rate <= 1.0 for rate in first.values())


def test_success_is_told_apart_by_the_residual_s_size():
    def outcome(mode, scale, success, task="place_empty_cup"):
        episode = random_episode(np.random.default_rng(0), success=success)
        return EpisodeRequest(task, 0, mode, noise_scale=scale), episode

    ran = [
        outcome("base", 0.0, True),
        outcome("base", 0.0, True),
        outcome("perturb", 0.1, True),
        outcome("perturb", 0.1, False),
        outcome("perturb", 0.3, False),
        outcome("perturb", 0.2, True, "pick_dual_bottles"),
    ]
    assert warmup_success(*zip(*ran, strict=True)) == {
        "no_residual/place_empty_cup": 1.0,
        "small_residual/place_empty_cup": 0.5,
        "large_residual/place_empty_cup": 0.0,
        "large_residual/pick_dual_bottles": 1.0,
    }


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
