"""Films of a world's evaluation: chosen episodes again, left out where they do not end as was counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rollout_fixtures import NETWORK, RESIDUAL, CountingWorld

from models.action_space import ActionLayout, ActionSpace
from models.base_policy import BasePolicy
from sim2real.film import FRAME_PX, FilmStrip, contact_sheet
from training.episodes import EpisodeRequest
from training.frozen_base import export_frozen_base
from training.rollouts import RolloutSpec, RolloutWorker, to_weights
from training.stage_one import build_residual, load_base_policy, save_base_policy
from training.world_films import FilmWorker, film_in_world

TASKS = ["count_on", "count"]
LARGE = replace(RESIDUAL, alpha=0.9)


class SlowWorld(CountingWorld):
    """One in which an episode takes several chunks."""

    layout = ActionLayout((-0.1, -1.0), (0.1, 1.0), grippers=(1,))


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> FilmWorker:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    space = ActionSpace(np.ones(2), np.zeros(3), np.ones(3), SlowWorld.layout)
    save_base_policy(folder, BasePolicy(replace(NETWORK, actions=2, proprio=3, cameras=2), space))
    export_frozen_base(folder)
    world = SlowWorld()
    residual = build_residual(load_base_policy(folder), LARGE, world)
    torch.nn.init.normal_(residual.experts.weights[-1], std=0.5)
    return FilmWorker(RolloutSpec(folder, LARGE, world), to_weights(residual), executes_residual=True)


@pytest.fixture(scope="module")
def results(worker: FilmWorker) -> dict[str, Any]:
    """Return what results.json holds of two episodes a task, run as an evaluation runs them."""
    work = RolloutWorker(worker.spec)()
    work(worker.weights)
    episodes = []
    for task in reversed(TASKS):
        for seed in (5, 4):
            episode = work(EpisodeRequest(task, seed, "mean"))
            assert episode is not None
            episodes.append(
                {
                    "role": "policy",
                    "task": task,
                    "seed": seed,
                    "success": episode.success,
                    "steps": episode.steps,
                }
            )
    return {"plan": {"tasks": TASKS}, "episodes": episodes}


def test_films_are_of_the_counted_episodes_in_the_order_of_the_tasks(
    worker: FilmWorker, results: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "films.png"
    assert film_in_world(results, worker, out, workers=2, per_task=2) == (4, 0)
    with Image.open(out) as sheet:
        picture = np.asarray(sheet)
    film = worker()
    strips = [film(EpisodeRequest(task, seed, "mean")) for task in TASKS for seed in (4, 5)]
    np.testing.assert_array_equal(picture, np.asarray(contact_sheet(strips)))
    assert [path.name for path in tmp_path.iterdir()] == ["films.png"]


def test_a_film_shows_the_first_camera_before_each_chunk_and_at_the_end(worker: FilmWorker) -> None:
    strip = worker()(EpisodeRequest("count", 4, "mean"))
    shown = [int(frame.max()) for frame in strip.frames]
    assert len(shown) > 2
    assert shown == sorted({*range(0, strip.steps, NETWORK.chunk), strip.steps})
    assert strip.instruction == "count" and strip.frames[0].shape == (32, 32, 3)


def test_an_episode_that_ends_otherwise_is_left_out_with_its_old_film(
    worker: FilmWorker, results: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "films.png"
    out.write_bytes(b"an earlier sheet")
    changed = [{**record, "steps": record["steps"] + 1} for record in results["episodes"]]
    one = {**results, "episodes": [results["episodes"][0], *changed[1:]]}
    assert film_in_world(one, worker, out, workers=1, per_task=2) == (1, 3)
    with Image.open(out) as sheet:
        assert sheet.size[1] < 2 * FRAME_PX
    assert film_in_world({**results, "episodes": changed}, worker, out, workers=1, per_task=2) == (0, 4)
    assert not out.exists()


def test_without_residual_the_base_is_filmed(
    worker: FilmWorker, results: dict[str, Any], tmp_path: Path
) -> None:
    base = replace(worker, executes_residual=False)
    work = RolloutWorker(worker.spec)()
    work(worker.weights)
    ended = work(EpisodeRequest("count", 4, "base"))
    assert ended is not None and ended.steps != results["episodes"][1]["steps"]
    record = {"role": "policy", "task": "count", "seed": 4, "success": ended.success, "steps": ended.steps}
    found = {**results, "episodes": [record]}
    assert film_in_world(found, base, tmp_path / "films.png", workers=1) == (1, 0)


def test_a_long_task_name_takes_more_lines_and_stays_beside_the_pictures() -> None:
    frame = np.full((FRAME_PX, FRAME_PX, 3), 200, np.uint8)
    strip = FilmStrip("KITCHEN_SCENE3_put_the_moka_pot_on_the_stove", 7, True, 9, "lift " * 40, (frame,))
    sheet = np.asarray(contact_sheet([strip]))
    label = sheet[:, : sheet.shape[1] - FRAME_PX - 14]
    assert (label[:, -12:] == 255).all(), "the label runs into the pictures"
    assert (sheet[-14:] == 255).all(), "the label runs out of its row"
    short = np.asarray(contact_sheet([replace(strip, task="put")]))
    inked = [(picture[:, 26:200] < 60).all(axis=2).any(axis=1).sum() for picture in (sheet, short)]
    assert inked[0] > 1.5 * inked[1], "one line of name in place of two"
