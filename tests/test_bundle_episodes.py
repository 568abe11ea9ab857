"""Episodes of a bundle: open-loop chunks, pictures at chunk boundaries, the same result on any worker."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from policy_fixtures import CHUNK, cameras, contract, make_bundle
from scripted_cell import STEP_LIMIT, ScriptedCell, ScriptedWorker

from dygro_ros.bundle import Bundle
from dygro_ros.errors import BundleError, UserError
from dygro_ros.inference import OnnxPolicy
from sim2real.bundle_episodes import (
    Contestant,
    EpisodeJob,
    cell_for,
    cell_interface,
    run_episode,
    run_episodes,
)
from sim2real.cell.randomization import CLEAN
from sim2real.worker_pool import WorkerError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("episodes") / "bundle")


def contestants(bundle: Bundle) -> tuple[Contestant, ...]:
    return Contestant(bundle.path), Contestant(bundle.path, "base_chunk")


def without_times(result: object) -> object:
    return dataclasses.replace(result, inference_s=0.0, duration_s=0.0, frames=())  # type: ignore[type-var]


def test_an_episode_ends_at_success_or_at_the_limit(bundle: Bundle) -> None:
    policy, seen = OnnxPolicy(bundle), set()
    for seed in range(12):
        found = run_episode(ScriptedCell(), policy, "chunk", EpisodeJob(0, "lift", seed))
        assert found.steps == STEP_LIMIT or found.success
        assert len(found.top_experts) == -(-found.steps // CHUNK)
        assert set(found.top_experts) == {0}
        assert found.mean_gates == pytest.approx((0.75, 0.25, 0.0))
        assert found.instruction == f"lift {seed}"
        seen.add(found.success)
    assert seen == {True, False}


def test_pictures_are_taken_at_chunk_boundaries_only(bundle: Bundle) -> None:
    cell = ScriptedCell()
    found = run_episode(cell, OnnxPolicy(bundle), "chunk", EpisodeJob(0, "lift", 1))
    assert cell.pictures == -(-found.steps // CHUNK)
    assert found.frames == ()


def test_the_base_chunk_is_another_policy(bundle: Bundle) -> None:
    policy = OnnxPolicy(bundle)
    jobs = [EpisodeJob(0, "lift", seed) for seed in range(12)]
    full = [run_episode(ScriptedCell(), policy, "chunk", job).success for job in jobs]
    base = [run_episode(ScriptedCell(), policy, "base_chunk", job).success for job in jobs]
    assert sum(full) > sum(base)


def test_a_film_shows_the_first_and_the_last_picture(bundle: Bundle) -> None:
    found = run_episode(ScriptedCell(), OnnxPolicy(bundle), "chunk", EpisodeJob(0, "lift", 1, film=True))
    assert len(found.frames) > 3
    assert found.frames[0].shape == (16, 16, 3)


def test_any_number_of_workers_gives_the_same_episodes(bundle: Bundle) -> None:
    jobs = [EpisodeJob(index, "lift", seed) for seed in range(4) for index in range(2)]
    worker = ScriptedWorker(contestants(bundle))
    one = {r.job: without_times(r) for r in run_episodes(jobs, worker, 1)}
    three = {r.job: without_times(r) for r in run_episodes(jobs, worker, 3)}
    assert one == three
    assert set(one) == set(jobs)


def test_no_jobs_start_no_worker() -> None:
    def refuse() -> None:
        raise AssertionError("started")

    assert list(run_episodes([], refuse, 2)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_users_error_comes_back_from_a_worker(bundle: Bundle, workers: int) -> None:
    jobs = [EpisodeJob(0, "lift", seed) for seed in range(4)]
    with pytest.raises(UserError, match="seed 2 is bewitched"):
        list(run_episodes(jobs, ScriptedWorker(contestants(bundle), fails_on=2), workers))


def test_a_worker_that_dies_is_noticed(bundle: Bundle) -> None:
    jobs = [EpisodeJob(0, "lift", seed) for seed in range(4)]
    with pytest.raises(WorkerError, match="exit code 9 on task lift, seed 2"):
        list(run_episodes(jobs, ScriptedWorker(contestants(bundle), dies_on=2), 2))


def test_no_workers_are_refused(bundle: Bundle) -> None:
    with pytest.raises(UserError, match="at least 1, got 0"):
        list(run_episodes([EpisodeJob(0, "lift", 1)], ScriptedWorker(contestants(bundle)), 0))


def test_the_cell_is_what_the_bundle_asks_for(tmp_path: Path, bundle: Bundle) -> None:
    cell = cell_for(bundle, CLEAN, "seen")
    assert cell.image_size == 16
    assert cell.cameras == ("head_camera",)
    wrong = tuple(camera.model_copy(update={"name": "left_camera"}) for camera in cameras())
    other = make_bundle(tmp_path / "other", cameras=wrong)
    with pytest.raises(BundleError, match=r"cameras\[0\].name is \"left_camera\".*head_camera"):
        cell_for(other, CLEAN, "seen")
    slow = contract().action.model_copy(update={"rate_hz": 10.0})
    with pytest.raises(BundleError, match=r"action\.rate_hz is 10\.0, but the robot has 25\.0"):
        cell_for(make_bundle(tmp_path / "slow", action=slow), CLEAN, "seen")


def test_the_real_cell_gives_what_its_interface_says(bundle: Bundle) -> None:
    cell = cell_for(bundle, CLEAN, "seen")
    cell.reset("place_empty_cup", 3)
    images = cell.images()
    cell.close()
    stated = cell_interface(16, cell.cameras)
    assert images.shape == (len(stated.cameras), 16, 16, 3)
    assert images.dtype == np.uint8
    assert cell.proprio().shape == (len(stated.joints),)
