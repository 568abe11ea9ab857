import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from ray_fixtures import DIES_ALWAYS, DIES_ONCE, STOPS_ONCE, TroubledWorld, small_ray
from rollout_fixtures import NETWORK, RESIDUAL, CountingWorld
from stage_one_fixtures import dual_arm_space

from dygro_ros.errors import UserError
from models.action_space import ActionSpace
from models.base_policy import BasePolicy
from sim2real.cell.world import CellWorld
from sim2real.seeds import SeedPurpose, seeds_for
from sim2real.worker_pool import WorkerError
from training.episodes import ARRAY_FIELDS, EpisodeRequest
from training.ray_rollouts import RayWorkers
from training.ray_session import RayConfig
from training.rollouts import LocalProcesses, RolloutSpec, to_weights
from training.stage_one import build_residual, save_base_policy


@pytest.fixture(scope="module")
def ray():
    with small_ray() as session:
        yield session


def residual_for(base, world):
    torch.manual_seed(1)
    residual = build_residual(base, RESIDUAL, world)
    torch.nn.init.normal_(residual.experts.weights[-1], std=0.1)
    return residual


def rollouts_of(folder, network, space, world):
    """Return a specification and weights."""
    torch.manual_seed(0)
    base = BasePolicy(network, space)
    save_base_policy(folder, base)
    return RolloutSpec(folder, RESIDUAL, world), to_weights(residual_for(base, world))


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    return rollouts_of(tmp_path_factory.mktemp("cell"), NETWORK, dual_arm_space(0.2), CellWorld())


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    network = replace(NETWORK, actions=2, proprio=3)
    space = ActionSpace(np.ones(2), np.zeros(3), np.ones(3), CountingWorld.layout)
    return rollouts_of(tmp_path_factory.mktemp("counting"), network, space, CountingWorld())


def collected(engine, *arguments):
    try:
        return engine.collect(*arguments)
    finally:
        engine.close()


def assert_equal(episodes, others):
    for one, other in zip(episodes, others, strict=True):
        assert (one.task, one.seed, one.success, one.steps) == (
            other.task,
            other.seed,
            other.success,
            other.steps,
        )
        for name in ARRAY_FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_one_two_and_four_workers_give_the_episodes_of_local_processes(ray, cell, tmp_path):
    spec, weights = cell
    requests = [
        EpisodeRequest(task=task, seed=seed, mode=mode, noise_seed=4, noise_scale=0.5)
        for seed in seeds_for(SeedPurpose.TESTS, 0, 0, 2)
        for task in ("place_empty_cup", "pick_dual_bottles")
        for mode in ("sample", "perturb")
    ]
    local = collected(LocalProcesses(spec, 1), requests, weights)
    for workers in (1, 2, 4):
        folder = tmp_path / str(workers)
        shutil.copytree(spec.base_policy, folder)
        engine = RayWorkers(replace(spec, base_policy=folder), workers)
        shutil.rmtree(folder)  # no node has the folder of the run
        seen = []
        assert_equal(local, collected(engine, requests, weights, seen.append))
        assert sorted(episode.seed for episode in seen) == sorted(request.seed for request in requests)


def test_episodes_are_of_the_weights_of_each_call_and_lost_ones_are_run_again(
    ray, counting, tmp_path, caplog
):
    spec, weights = counting
    others = {name: value + 0.1 for name, value in weights.items()}
    requests = [EpisodeRequest("count", seed, "mean") for seed in range(3)]
    troubled = [EpisodeRequest("count_on", seed, "mean") for seed in (DIES_ONCE, STOPS_ONCE)]
    engine = RayWorkers(
        replace(spec, world=TroubledWorld(str(tmp_path))), 2, RayConfig(episode_limit_s=12.0, retries=1)
    )
    try:
        first = engine.collect(requests, weights)
        other = engine.collect(requests, others)
        # Its workers are new ones: they get the weights of this call too.
        again = engine.collect([*troubled, *requests], weights)
        assert_equal(first, again[2:])
        assert_equal(engine.collect(troubled, weights), again[:2])
        assert [episode.task for episode in again] == [1, 1, 0, 0, 0]
        assert not np.array_equal(first[0].coefficients, other[0].coefficients)
        assert first[0].coefficients.flags.writeable
        lost = [
            message for message in caplog.messages if message.startswith("a rollout worker ended on node ")
        ]
        assert len(lost) == 2
        assert any("SYSTEM_ERROR" in message for message in lost)
        assert any("no answer within 12 s (--ray.episode-limit-s)" in message for message in lost)
        with pytest.raises(
            WorkerError, match=r"2 workers in turn ended on .*'count_on', seed=3.* on node \S+: SYSTEM_ERROR"
        ):
            engine.collect([EpisodeRequest("count_on", DIES_ALWAYS, "mean")], weights)
    finally:
        engine.close()


def test_workers_that_do_not_start_in_time_are_an_error(ray, counting):
    spec, _ = counting
    with pytest.raises(WorkerError, match=r"0 of 1 rollout workers.*start-limit-s.*the cluster has 4"):
        RayWorkers(spec, 1, RayConfig(start_limit_s=0.1))
    with pytest.raises(UserError, match="at least 1, got 0"):
        RayWorkers(spec, 0)


def test_more_gpus_than_there_are_are_refused_at_once(ray, counting):
    spec, _ = counting
    with pytest.raises(
        UserError, match=r"--workers 3 with --ray\.worker-gpus 64 need 192 GPUs, the cluster has \d+:"
    ):
        RayWorkers(spec, 3, RayConfig(worker_gpus=64.0))
