from dataclasses import replace

import numpy as np
import pytest
import torch
from rollout_fixtures import NETWORK, RESIDUAL, Counting, CountingWorld
from stage_one_fixtures import dual_arm_space

from dygro_ros.errors import UserError
from dygro_ros.layout import INSTRUCTION_BYTES
from models.action_space import ActionSpace
from models.base_policy import BasePolicy
from models.residual import sample_coefficients
from sim2real.cell.world import CellWorld
from sim2real.seeds import SeedPurpose, seeds_for
from sim2real.worker_pool import WorkerError
from training import stage_one
from training.episodes import ARRAY_FIELDS, EpisodeRequest
from training.frozen_base import FrozenBase, export_frozen_base
from training.rollouts import LocalProcesses, RolloutSpec, RolloutWorker, run_episode, to_weights
from training.stage_one import build_residual, load_base_policy, save_base_policy


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    policy = BasePolicy(NETWORK, dual_arm_space(0.2))
    save_base_policy(folder, policy)
    return RolloutSpec(folder, RESIDUAL, CellWorld())


@pytest.fixture(scope="module")
def counting_base(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("counting_base")
    network = replace(NETWORK, actions=2, proprio=3, cameras=2)
    space = ActionSpace(np.ones(2), np.zeros(3), np.ones(3), CountingWorld.layout)
    save_base_policy(folder, BasePolicy(network, space))
    export_frozen_base(folder)
    return folder


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(1)
    policy = build_residual(BasePolicy(NETWORK, dual_arm_space()), RESIDUAL, CellWorld())
    torch.nn.init.normal_(policy.experts.weights[-1], std=0.1)
    return policy


@pytest.fixture(scope="module")
def requests():
    seeds = seeds_for(SeedPurpose.TESTS, 0, 0, 2)
    modes = ("sample", "mean", "base", "perturb")
    tasks = ("place_empty_cup", "pick_dual_bottles")
    return [
        EpisodeRequest(task=task, seed=seed, mode=mode, noise_seed=4, noise_scale=0.5)
        for seed in seeds
        for task in tasks
        for mode in modes
    ]


@pytest.fixture(scope="module")
def episodes(spec, residual, requests):
    engine = LocalProcesses(spec, 2)
    try:
        return engine.collect(requests, to_weights(residual))
    finally:
        engine.close()


def test_one_worker_and_two_give_the_same_episodes(spec, residual, requests, episodes):
    engine = LocalProcesses(spec, 1)
    try:
        alone = engine.collect(list(reversed(requests)), to_weights(residual))[::-1]
    finally:
        engine.close()
    for one, two in zip(episodes, alone, strict=True):
        for name in ARRAY_FIELDS:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_a_policy_with_wrist_cameras_gets_their_pictures(spec, tmp_path):
    torch.manual_seed(0)
    base = BasePolicy(replace(NETWORK, cameras=3), dual_arm_space(0.2))
    save_base_policy(tmp_path, base)
    engine = LocalProcesses(replace(spec, base_policy=tmp_path), 1)
    seed = seeds_for(SeedPurpose.TESTS, 0, 0, 1)[0]
    requests = [EpisodeRequest(task="pick_dual_bottles", seed=seed, mode="base")]
    try:
        (episode,) = engine.collect(requests, to_weights(build_residual(base, RESIDUAL, CellWorld())))
    finally:
        engine.close()
    assert episode.steps == episode.valid.sum() > 0


def test_episodes_come_back_in_the_order_of_the_requests(requests, episodes):
    assert [episode.seed for episode in episodes] == [request.seed for request in requests]
    assert all(episode.steps == episode.valid.sum() for episode in episodes)


def test_modes_do_what_they_say(requests, episodes):
    by_mode = {request.mode: episode for request, episode in zip(requests, episodes, strict=True)}
    assert not by_mode["base"].coefficients.any()
    assert by_mode["perturb"].coefficients.any() and not by_mode["perturb"].log_prob.any()
    assert by_mode["mean"].coefficients.any() and not by_mode["mean"].log_prob.any()
    assert by_mode["sample"].log_prob.all()


def test_recorded_densities_can_be_recomputed(residual, requests, episodes):
    episode = next(e for r, e in zip(requests, episodes, strict=True) if r.mode == "sample")
    parts = (
        torch.from_numpy(getattr(episode, name).astype(np.float32)) for name in ("latent", "base", "features")
    )
    with torch.no_grad():
        out = residual(*parts)
        noise = (torch.atanh(torch.from_numpy(episode.coefficients)) - out.mean) / out.std
        _, log_prob = sample_coefficients(out, noise)
    np.testing.assert_allclose(log_prob.numpy(), episode.log_prob, rtol=1e-3, atol=1e-2)


def test_a_dead_worker_is_reported(spec, residual, requests):
    engine = LocalProcesses(spec, 1)
    try:
        next(iter(engine._pool._processes.values())).kill()
        with pytest.raises(WorkerError, match="exit code -9"):
            engine.collect(requests[:1], to_weights(residual))
    finally:
        engine.close()


def test_persistent_noise_is_one_offset_for_the_episode(spec, residual):
    engine = LocalProcesses(spec, 1)
    seed = seeds_for(SeedPurpose.TESTS, 0, 0, 1)[0]
    kept, fresh = (
        EpisodeRequest("place_empty_cup", seed, "perturb", noise_scale=0.3, noise_persistence=persistence)
        for persistence in (1.0, 0.0)
    )
    try:
        kept, fresh = engine.collect([kept, fresh], to_weights(residual))
    finally:
        engine.close()
    assert np.ptp(kept.coefficients, axis=0).max() == 0.0
    assert np.ptp(fresh.coefficients, axis=0).min() > 0.0


def test_a_worker_reads_no_second_copy_of_the_policy(spec, monkeypatch):
    export_frozen_base(spec.base_policy)
    monkeypatch.setattr(stage_one, "load_file", lambda _: pytest.fail("all weights were read"))
    assert callable(RolloutWorker(replace(spec, world=CountingWorld()))())


def test_rollouts_see_what_the_torch_policy_computes(spec):
    export_frozen_base(spec.base_policy)
    rng = np.random.default_rng(0)
    size = NETWORK.image_size
    images = rng.integers(0, 256, (NETWORK.cameras, size, size, 3), dtype=np.uint8)
    instruction = rng.integers(0, 128, INSTRUCTION_BYTES, dtype=np.uint8)
    proprio = rng.normal(size=14).astype(np.float32)
    policy = load_base_policy(spec.base_policy)
    with torch.inference_mode():
        stage = policy.encode(*(torch.tensor(a).unsqueeze(0) for a in (images, instruction, proprio)))
        expected = (stage.z_mean.flatten(1), policy.base_chunk(stage.z_mean), stage.task_features)
    answers = FrozenBase(spec.base_policy)(images, instruction, proprio)
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted[0].numpy(), atol=1e-4)


def test_an_episode_that_begins_done_is_refused_by_name():
    class Done(Counting):
        def reset(self, task, seed, *, companion=None):
            super().reset(task, seed, companion=companion)
            self.succeeded = True

    torch.manual_seed(0)
    world = CountingWorld()
    network = replace(NETWORK, actions=2, proprio=3, cameras=2)
    base = BasePolicy(network, ActionSpace(np.ones(2), np.zeros(3), np.ones(3), world.layout))
    residual = build_residual(base, RESIDUAL, world)
    request = EpisodeRequest("count_on", 7, "mean")
    with pytest.raises(UserError, match=r"episode of count_on with seed 7 must begin with the task undone"):
        run_episode(Done(32, 2), None, base.action_space, residual, request, 1)


class IdleWorld(CountingWorld):
    """Nothing is ever done in it."""

    def open(self, *, image_size, cameras):
        class Idle(Counting):
            def step(self, action):
                return super().step(np.zeros_like(action))

        return Idle(image_size, cameras)


@pytest.mark.parametrize(("limit", "steps"), [(None, 40), (13, 13), (60, 40)])
def test_an_episode_ends_at_the_request_s_limit_or_the_world_s(counting_base, limit, steps):
    work = RolloutWorker(RolloutSpec(counting_base, RESIDUAL, IdleWorld()))()
    episode = work(EpisodeRequest("count_on", 7, "base", step_limit=limit))
    assert (episode.success, episode.steps, episode.valid.sum()) == (False, steps, steps)


def test_a_world_with_other_actions_and_proprioception_runs_the_same_way(counting_base):
    world = CountingWorld()
    base = load_base_policy(counting_base)
    engine = LocalProcesses(RolloutSpec(counting_base, RESIDUAL, world), 1)
    try:
        (episode,) = engine.collect(
            [EpisodeRequest("count_on", 0, "perturb", noise_scale=0.9)],
            to_weights(build_residual(base, RESIDUAL, world)),
        )
    finally:
        engine.close()
    assert episode.task == 1
    assert episode.executed.shape[1:] == (NETWORK.chunk, 2) and episode.privileged.shape[1:] == (7,)
    assert episode.steps == episode.valid.sum()
