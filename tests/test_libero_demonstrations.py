"""Demonstrations and a whole run in LIBERO, in miniature, where it is installed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dygro_ros.errors import DependencyError, UserError
from sim2real.libero.environment import LiberoEnvironment
from sim2real.libero.world import ACTION_NAMES, PROPRIO_NAMES
from sim2real.seeds import SeedPurpose, purpose_of
from training import libero_demonstrations
from training.formats.libero import LiberoSource
from training.libero_demonstrations import LiberoConfig, LiberoRecipe, check_libero

ROOT = Path(__file__).resolve().parents[1]
TASK = "KITCHEN_SCENE6_close_the_microwave"
MINIATURE = (
    "--preset", "libero", "--tasks", f"libero_90/{TASK}", "--libero.episodes", "1", "--workers", "1",
    "--network.image-size", "32", "--network.width", "32", "--network.layers", "1",
    "--network.keypoints", "4",
    "--pretrain.steps", "4", "--pretrain.batch-size", "16", "--pretrain.head-refinement.steps", "3",
    "--online.environment-steps", "300", "--online.warmup-episodes", "1", "--online.episodes", "1",
    "--off-policy.warmup-critic-updates", "2", "--off-policy.warmup-actor-updates", "2",
    "--off-policy.learner.batch", "16", "--evaluation.episodes", "1",
)  # fmt: skip


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "training" / "train_sim.py"), *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "COLUMNS": "200"},
        timeout=280,
    )


@pytest.fixture(scope="module")
def recorder() -> Iterator[LiberoRecipe]:
    """What a collecting process runs; it would keep its environment until it ends."""
    recipe = LiberoRecipe(None, noise=0.2, image_size=32, seed=0)
    yield recipe
    libero_demonstrations._environment(recipe.folder, recipe.image_size).close()
    libero_demonstrations._environment.cache_clear()


def test_a_demonstration_is_a_file_of_libero_with_what_critics_see(
    libero: LiberoEnvironment, recorder: LiberoRecipe, tmp_path: Path
) -> None:
    path = tmp_path / "episode0.hdf5"
    steps = recorder.attempt(TASK, None, 1_000_000_000, path)
    (record,) = LiberoSource(path, [path]).episodes()
    assert steps == len(record.action) > 20
    assert (record.task, record.seed) == (TASK, 1_000_000_000)
    assert record.instructions == ("close the microwave",)
    assert (record.proprio_names, record.action_names) == (PROPRIO_NAMES, ACTION_NAMES)
    assert record.images.shape == (steps, 2, 32, 32, 3) and record.images.std() > 10
    assert record.privileged is not None and np.isfinite(record.privileged).all()
    assert record.joint_states is not None and record.simulator_states is not None
    # The first picture is what a fresh episode of this seed shows, right side up.
    libero.reset(TASK, seed=1_000_000_000)
    assert np.array_equal(record.proprio[0], libero.proprio())


REPLAY = """
import json, os, sys
import h5py, numpy as np
from libero.libero import get_libero_path
from libero.libero.envs import TASK_MAPPING
from libero.libero.utils.utils import postprocess_model_xml
from robosuite.utils.transform_utils import quat2axisangle

with h5py.File(sys.argv[1]) as file:
    data, demo = file["data"], file["data/demo_0"]
    arguments = json.loads(data.attrs["env_args"])
    settings = arguments["env_kwargs"] | {"use_camera_obs": False, "has_offscreen_renderer": False}
    settings["bddl_file_name"] = os.path.join(get_libero_path("benchmark_root"), arguments["bddl_file"])
    assert open(settings["bddl_file_name"]).read() == data.attrs["bddl_file_content"]
    env = TASK_MAPPING[arguments["problem_name"]](**settings)
    assert type(env).__name__ == data.attrs["env_name"] == arguments["env_name"]
    env.reset()
    env.reset_from_xml_string(postprocess_model_xml(demo.attrs["model_file"], {}))
    env.sim.reset()
    found = {"joints": [], "hand": [], "fingers": [], "bodies": []}
    for row in json.loads(sys.argv[2]):
        env.sim.set_state_from_flattened(demo["states"][row])
        env.sim.forward()
        env._update_observables(force=True)
        seen = env._get_observations()
        found["joints"].append(env.sim.data.qpos[env.robots[0]._ref_joint_pos_indexes].tolist())
        hand = [seen["robot0_eef_pos"], quat2axisangle(seen["robot0_eef_quat"])]
        found["hand"].append(np.concatenate(hand).tolist())
        found["fingers"].append(seen["robot0_gripper_qpos"].tolist())
        named = json.loads(sys.argv[3])
        found["bodies"].append([env.sim.data.get_body_xpos(name).tolist() for name in named])
    found["again"] = demo.attrs["init_state"].tolist() == demo["states"][0].tolist()
print(json.dumps(found))
"""
"""As LIBERO's own tools replay a file: its environment, its model, its states."""


def test_liberos_own_environment_replays_a_demonstration(
    libero: LiberoEnvironment, recorder: LiberoRecipe, tmp_path: Path
) -> None:
    path, seed = tmp_path / "episode0.hdf5", 1_000_000_001
    recorder.attempt(f"libero_90/{TASK}", None, seed, path)
    (record,) = LiberoSource(path, [path]).episodes(cameras=())
    libero.reset(TASK, seed=seed)
    fixtures = [name for name in libero.scene.names.bodies if name.startswith("microwave_1")]
    rows = [0, len(record.action) // 2, len(record.action) - 1]
    done = subprocess.run(
        [libero.tasks.installation.python, "-c", REPLAY, path, json.dumps(rows), json.dumps(fixtures)],
        capture_output=True,
        text=True,
        env=libero.tasks.installation.environment(),
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert record.joint_states is not None and found["again"]
    np.testing.assert_array_equal(found["joints"], record.joint_states[rows])
    np.testing.assert_allclose(found["fingers"], record.proprio[rows, 6:], atol=1e-6)
    # Poses that a step measures are one substep of 2 ms old, in robosuite too.
    np.testing.assert_allclose(found["hand"], record.proprio[rows, :6], atol=3e-3)
    np.testing.assert_allclose(found["bodies"][0], [libero.scene.position(n) for n in fixtures], atol=1e-5)


def test_a_whole_run_in_libero_ends_with_both_policies_evaluated_on_fixed_states(
    libero: LiberoEnvironment, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = command("--run", str(run), *MINIATURE)
    assert done.returncode == 0, done.stderr[-3000:]
    index = json.loads((run / "demonstrations" / "index.json").read_text())
    assert {purpose_of(seed) for seed in index["streams"][0]["seeds"]} == {SeedPurpose.DEMONSTRATIONS}
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert [(e["role"], e["task"], e["seed"]) for e in results["episodes"]] == [
        ("base", TASK, 100_000), ("policy", TASK, 100_000),
    ]  # fmt: skip
    assert not (run / "bundle").exists()
    assert (run / "evaluation" / "films.png").is_file() and "left out" not in done.stdout
    assert "<h2>Films</h2>" in (run / "evaluation" / "report.html").read_text()
    again = command("--run", str(run), *MINIATURE, "--resume")
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads((run / "evaluation" / "results.json").read_text()) == results


def test_tasks_are_checked_before_anything_is_made(libero: LiberoEnvironment) -> None:
    with pytest.raises(DependencyError, match="needs assets that are not in"):
        check_libero(
            LiberoConfig(), ["pick_up_the_black_bowl_on_the_stove_and_place_it_on_the_plate"],
            demonstrated=False,
        )  # fmt: skip
    with pytest.raises(UserError, match="unknown LIBERO task 'KITCHEN_SCENE6_close_the_microwav'"):
        check_libero(LiberoConfig(), ["KITCHEN_SCENE6_close_the_microwav"], demonstrated=True)
    with pytest.raises(UserError, match="unknown LIBERO task with an expert"):
        check_libero(LiberoConfig(), ["KITCHEN_SCENE3_put_the_frying_pan_on_the_stove"], demonstrated=True)
    assert check_libero(LiberoConfig(), [f"libero_90/{TASK}"], demonstrated=True) == (TASK,)
    with pytest.raises(UserError, match=f"name each task once, got {TASK} libero_90/{TASK}"):
        check_libero(LiberoConfig(), [TASK, f"libero_90/{TASK}"], demonstrated=False)
    with pytest.raises(UserError, match=f"unknown LIBERO task '{TASK}'"):
        check_libero(LiberoConfig(), [f"libero_10/{TASK}"], demonstrated=True)
    with pytest.raises(UserError, match=r"--libero.noise in 0\.\.1"):
        check_libero(LiberoConfig(noise=2.0), [TASK], demonstrated=True)


def test_without_libero_the_command_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYGRO_LIBERO", str(tmp_path / "none"))
    done = command("--run", str(tmp_path / "run"), *MINIATURE)
    assert done.returncode == 2
    assert "python -m sim2real.libero.installation" in done.stderr
    assert not (tmp_path / "run").exists()
