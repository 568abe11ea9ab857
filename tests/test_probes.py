import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from stage_one_fixtures import SyntheticEpisode, episode, small_policy

from dygro_ros.errors import DataError
from sim2real.cell.privileged import LENGTH_SCALE, PRIVILEGED_SLICES
from training.probes import (
    ProbeData,
    ProbeReport,
    RidgeProbe,
    comparison_table,
    encode_for_probes,
    nuisance_factors,
    probe,
    run_probes,
)

TASKS = ("place_empty_cup", "beat_block_hammer")


def data(noise_m: float, *, task_in_z: float = 1.0, light_in_z: float = 0.0, seed: int = 0) -> ProbeData:
    """z holds the objects' positions with noise of a known size, the task, and some of the light."""
    rng = np.random.default_rng(seed)
    episodes, frames = 120, 4
    episode_of = np.repeat(np.arange(episodes), frames)
    task_of = episode_of % 2
    objects = np.repeat(rng.uniform(-0.3, 0.3, (episodes, 2, 3)), frames, axis=0)
    light = np.repeat(rng.uniform(0.7, 1.2, (episodes, 3)), frames, axis=0)
    seen = objects[:, :, :2].reshape(-1, 4) + noise_m * rng.standard_normal((len(objects), 4))
    parts = [
        seen,
        task_in_z * task_of[:, None],
        light_in_z * light,
        0.01 * rng.standard_normal((len(seen), 8)),
    ]
    z = np.concatenate(parts, axis=1) @ rng.standard_normal((16, 16))
    touched = np.zeros((len(z), 2), dtype=bool)
    return ProbeData(
        z=z,
        z_sample=z + 10.0 * rng.standard_normal(z.shape),
        task_features=rng.standard_normal((len(z), 5)),
        episode=episode_of,
        task=np.array(TASKS)[task_of],
        objects=objects,
        touched=touched,
        nuisances={"light": light, "table": np.full((len(z), 3), np.nan)},
    )


@pytest.mark.parametrize("noise_m", [0.002, 0.01])
def test_the_error_is_the_one_that_z_holds(noise_m: float) -> None:
    report = probe(data(noise_m))
    expected_mm = 1e3 * noise_m * np.sqrt(np.pi / 2)  # mean length of a plane Gaussian
    assert set(report.object_error_mm) == {
        ("place_empty_cup", "cup"),
        ("place_empty_cup", "coaster"),
        ("beat_block_hammer", "hammer"),
        ("beat_block_hammer", "block"),
    }
    for error in report.object_error_mm.values():
        assert error == pytest.approx(expected_mm, rel=0.3)


def test_task_and_nuisance_are_read_only_where_they_are() -> None:
    with_all, with_none = probe(data(0.01, light_in_z=1.0)), probe(data(0.01, task_in_z=0.0))
    assert with_all.task_accuracy == 1.0
    assert with_all.nuisance_r2["light"] > 0.9
    assert 0.3 < with_none.task_accuracy < 0.7
    assert with_none.nuisance_r2["light"] < 0.3
    assert "table" not in with_all.nuisance_r2  # nothing was varied


def test_a_blurred_sample_tells_less_than_its_mean() -> None:
    blurred = data(0.002)
    sharp, dull = probe(blurred), probe(blurred, source="z_sample")
    for key, error in sharp.object_error_mm.items():
        assert dull.object_error_mm[key] > 5.0 * error


def test_features_that_hold_nothing_give_nothing() -> None:
    report = probe(data(0.001), source="task_features")
    assert min(report.object_error_mm.values()) > 100.0


def test_frames_after_the_touch_do_not_count() -> None:
    whole = data(0.002)
    spoiled = whole.z.copy()
    late = np.arange(len(spoiled)) % 4 >= 2
    spoiled[late] = 0.0
    touched = np.repeat(late[:, None], 2, axis=1)
    report = probe(replace(whole, z=spoiled, touched=touched))
    assert max(report.object_error_mm.values()) < 5.0


def test_test_episodes_stay_out_of_the_fit() -> None:
    # Episode-wise constants in z would let any leak memorise the answer.
    rng = np.random.default_rng(0)
    whole = data(0.002)
    identity = np.eye(120)[whole.episode]
    report = probe(replace(whole, z=np.concatenate([identity, rng.standard_normal((480, 4))], axis=1)))
    assert min(report.object_error_mm.values()) > 100.0


def test_too_few_episodes_are_refused() -> None:
    whole = data(0.002)
    few = whole.episode < 10
    small = ProbeData(
        *(
            getattr(whole, name)[few]
            for name in ("z", "z_sample", "task_features", "episode", "task", "objects", "touched")
        ),
        nuisances={},
    )
    with pytest.raises(DataError, match="at least 8 episodes of beat_block_hammer, found 5"):
        probe(small)


def test_ridge_finds_a_linear_map_and_survives_constant_inputs() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    x[:, 5] = 3.0
    y = x[:, :5] @ rng.standard_normal((5, 2)) + 7.0
    fitted = RidgeProbe(x, y, np.arange(200) // 10)
    assert np.abs(fitted(x) - y).max() < 0.02


def recorded(seed: int, task: str) -> SyntheticEpisode:
    whole = episode(seed, frames=6)
    assert whole.privileged is not None
    state = whole.privileged.copy()
    state[3:, PRIVILEGED_SLICES["contacts"]] = [0.0, 1.0, 0.0, 0.0]  # the left gripper touches the second
    draw = {"light_color": [[0.8, 1.0, 1.0], [1.0, 1.0, 0.6]], "background": []}
    return replace(whole, privileged=state, task=task, randomization=json.dumps(draw))


def test_recordings_are_encoded_with_their_state_and_factors() -> None:
    policy = small_policy()
    recordings = [recorded(0, TASKS[0]), recorded(1, TASKS[1])]
    encoded = encode_for_probes(policy, recordings, every=2)
    assert encoded.z.shape == (6, policy.config.z_tokens * policy.config.z_dim)
    assert encoded.episode.tolist() == [0, 0, 0, 1, 1, 1]
    assert encoded.task.tolist() == [TASKS[0]] * 3 + [TASKS[1]] * 3
    assert encoded.touched[:3].tolist() == [[False, False], [False, False], [False, True]]
    assert recordings[0].privileged is not None
    position = recordings[0].privileged[0, PRIVILEGED_SLICES["object_positions"]][:3] / LENGTH_SCALE
    assert np.allclose(encoded.objects[0, 0], position)
    assert np.allclose(encoded.nuisances["light"], [0.9, 1.0, 0.8])
    assert np.isnan(encoded.nuisances["table"]).all()
    again = encode_for_probes(policy, recordings, every=2, batch=1)
    assert np.allclose(encoded.z, again.z, atol=1e-5)


def test_recordings_without_simulator_state_are_refused() -> None:
    with pytest.raises(DataError, match="privileged_state"):
        encode_for_probes(small_policy(), [episode(0, privileged=False)])
    with pytest.raises(DataError, match="at least one episode"):
        encode_for_probes(small_policy(), [])


def test_a_clean_episode_has_no_nuisance() -> None:
    assert all(np.isnan(v).all() for v in nuisance_factors(None).values())


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        run_probes([], tmp_path, "z", 2)


def test_the_table_sets_policies_side_by_side() -> None:
    reports = {
        name: ProbeReport({("place_empty_cup", "cup"): error}, 0.99, {"light": r2})
        for name, error, r2 in (("with IB", 4.2, 0.1), ("without IB", 4.0, 0.6))
    }
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(comparison_table(reports))
    text = console.export_text()
    for part in ("with IB", "without IB", "4.2 mm", "4.0 mm", "99.0 %", "R2 0.10", "R2 0.60"):
        assert part in text
