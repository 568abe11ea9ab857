"""RoboTwin in a process of its own: episodes, seeds that count, pictures; against a stand-in checkout."""

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_fixtures import CHUNK, make_bundle
from robotwin_fixtures import SEED, STAND_IN, joints, make_installation

from dygro_ros import checkout
from dygro_ros.bundle import read_bundle
from dygro_ros.errors import DependencyError, UserError
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from sim2real.bundle_episodes import EpisodeJob, run_episode
from sim2real.process_link import LinkError, RemoteError
from sim2real.robotwin.environment import RobotwinEnvironment
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.scene_state import PRIVILEGED_SIZE, PRIVILEGED_SLICES
from sim2real.robotwin.seed_book import SeedBook, UnsolvableSeed, Verdict
from sim2real.seeds import SEED_BLOCKS, SeedPurpose

TASK = "beat_block_hammer"
ONLINE_SEED = SEED_BLOCKS[SeedPurpose.ONLINE].first


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return make_installation(tmp_path_factory.mktemp("robotwin"))


@pytest.fixture(scope="module")
def environment(installation: Installation) -> Iterator[RobotwinEnvironment]:
    with RobotwinEnvironment(installation, image_size=16) as opened:
        yield opened


def privileged(environment: RobotwinEnvironment, part: str) -> list[float]:
    state = environment.privileged_state()
    assert state.shape == (PRIVILEGED_SIZE,) and state.dtype == np.float32
    return [round(float(value), 4) for value in state[PRIVILEGED_SLICES[part]]]


def test_an_episode_begins_steps_and_ends(environment: RobotwinEnvironment) -> None:
    environment.reset(TASK, SEED)
    assert (environment.step_count, environment.step_limit, environment.succeeded) == (0, 40, False)
    assert environment.seed == SEED
    np.testing.assert_allclose(environment.proprio()[[0, 6, 13]], (0, 1, 1))
    np.testing.assert_allclose(environment.joint_lower, JOINT_LOWER, atol=1e-3)
    np.testing.assert_allclose(environment.joint_upper, JOINT_UPPER, atol=1e-3)
    target = np.zeros(14, np.float32)
    assert environment.step(target) is False and environment.step_count == 1
    target[1] = 0.5
    assert environment.step(target) is True
    assert environment.succeeded and environment.step_count == 2
    np.testing.assert_allclose(environment.proprio(), target, atol=1e-6)


def test_pictures_are_the_policys_and_rendered_when_asked(installation: Installation) -> None:
    names = ("right_camera", "head_camera")
    with RobotwinEnvironment(installation, image_size=8, cameras=names) as environment:
        environment.reset(TASK, SEED)
        images = environment.images()
        assert images.shape == (2, 8, 8, 3)
        np.testing.assert_array_equal(images[0], np.broadcast_to((200, 100, 70), (8, 8, 3)))
        np.testing.assert_array_equal(images[1], np.broadcast_to((200, 100, 10), (8, 8, 3)))
        images[:] = 0
        assert environment.images().min() == 10  # a caller's changes are its own
        environment.step(np.zeros(14))
        assert environment.images()[0, 0, 0].tolist() == [200, 101, 70]
        environment.reset(TASK, SEED)
        assert environment.images()[0, 0, 0].tolist() == [200, 100, 70]


def test_measured_joints_lag_behind_their_targets(installation: Installation) -> None:
    with RobotwinEnvironment(installation, image_size=16, proprio="measured") as environment:
        environment.reset(TASK, SEED)
        environment.step(joints())
        np.testing.assert_allclose(environment.proprio()[:6], 0.9 * joints()[:6], atol=1e-5)
        np.testing.assert_allclose(privileged(environment, "joints"), environment.proprio(), atol=1e-3)


def test_critics_see_hands_objects_and_time(environment: RobotwinEnvironment) -> None:
    environment.reset(TASK, SEED)
    environment.step(np.zeros(14))
    assert privileged(environment, "hands")[:3] == [-1.5, -1.0, 0.8]
    assert privileged(environment, "hands")[7:10] == [1.5, -1.0, 0.8]
    hammer, block = (privileged(environment, "object_positions")[i : i + 3] for i in (0, 3))
    assert hammer == [0.0, -0.3, 0.2] and block[1:] == [0.25, 0.1]
    assert privileged(environment, "object_rotations") == [1, 0, 0, 0, 1, 0, 0, 0]
    assert privileged(environment, "time") == [1 / 40]
    environment.reset("lift_pot", SEED)
    assert privileged(environment, "object_positions") == [2.0, 1.0, 0.3, 0.0, 0.5, 0.05]
    assert environment.step_limit == 12


def test_the_same_episode_is_the_same_whatever_ran_before(environment: RobotwinEnvironment) -> None:
    seen = []
    for before in ((), ("lift_pot", SEED + 1), (TASK, SEED + 2)):
        if before:
            environment.reset(*before)
        said = []
        for seed in (0, 1, 2, 4, 6, 8):
            environment.reset(TASK, SEED + seed)
            said.append(environment.instruction)
        seen.append((said, environment.privileged_state().tolist()))
    assert seen[0] == seen[1] == seen[2]
    environment.reset(TASK, SEED + 2)
    assert environment.privileged_state().tolist() != seen[0][1]


def test_instructions_are_the_splits_and_short_enough(installation: Installation) -> None:
    said: dict[str, set[str]] = {"seen": set(), "unseen": set()}
    for split, found in said.items():
        with RobotwinEnvironment(installation, image_size=16, instruction_split=split) as environment:
            for seed in (number for number in range(30) if number % 10 not in (3, 5, 7)):
                environment.reset(TASK, SEED + seed)
                found.add(environment.instruction)
    assert said["unseen"] == {f"strike the block with the {tool}" for tool in ("hammer", "mallet")}
    assert said["seen"] >= {
        "beat the block with the hammer",
        "use the left arm and the mallet",
        "hit the block",
    }
    assert all("x" not in text for text in said["seen"])


@pytest.mark.parametrize(
    ("seed", "reason"),
    [
        (3, "unstable: Objects is unstable in seed"),
        (5, "the expert did not succeed"),
        (98, "the expert did not succeed"),
        (7, "the expert gave up: target_pose cannot be None"),
        (89, "the task gave up with TypeError: exceptions must derive from BaseException"),
        (90, "the task gave up with TypeError: 'NoneType' object is not subscriptable"),
        (91, "no plan was found, then KeyError: 'pose'"),
    ],
)
def test_a_seed_that_the_expert_cannot_solve_is_refused_and_noted(
    environment: RobotwinEnvironment, seed: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    environment.book = SeedBook("demo_clean")
    with pytest.raises(UnsolvableSeed, match=rf"{TASK}, seed {SEED + seed} \({reason}.*does not count"):
        environment.reset(TASK, SEED + seed)
    verdict = environment.book.verdict(TASK, SEED + seed)
    assert verdict is not None and not verdict.solvable and verdict.reason.startswith(reason)
    assert f"seed {SEED + seed} does not count: {reason}" in caplog.text
    with pytest.raises(UserError, match="no RoboTwin episode"):
        environment.step(np.zeros(14))
    environment.reset(TASK, SEED)  # and the process goes on
    assert environment.step_count == 0


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (99, "RuntimeError: CUDA out of memory"),
        (96, "RuntimeError: CUDA error: an illegal memory access"),
        (94, "AttributeError: 'Scene' object has no attribute 'get_all_lights'"),
        (92, r"TypeError: .*drive\(\) missing 2 required positional arguments"),
        (88, "AssertionError: task config file is missing"),
    ],
)
def test_what_is_broken_elsewhere_says_nothing_about_a_seed(
    installation: Installation, seed: int, error: str
) -> None:
    with RobotwinEnvironment(installation, image_size=16) as environment:
        with pytest.raises(RemoteError, match=error):
            environment.judge(TASK, SEED + seed)
        assert environment.book.verdict(TASK, SEED + seed) is None


def test_in_training_the_next_solvable_seed_stands_for_one_that_is_not(installation: Installation) -> None:
    with RobotwinEnvironment(installation, image_size=16, pass_over=True) as environment:
        environment.reset(TASK, ONLINE_SEED + 3)
        assert environment.seed == ONLINE_SEED + 4
        state = environment.privileged_state()
        environment.reset(TASK, ONLINE_SEED + 4)
        np.testing.assert_array_equal(environment.privileged_state(), state)
        with pytest.raises(UnsolvableSeed, match=rf"seed {SEED + 3} \(unstable"):  # seed 4 is one of its own
            environment.reset(TASK, SEED + 3)


def test_what_the_book_knows_is_not_tried_again(installation: Installation) -> None:
    book = SeedBook("demo_clean")
    book.record(TASK, SEED, Verdict(solvable=False, reason="known", info={}))
    book.record(TASK, SEED + 3, Verdict(solvable=True, reason="", info={"{A}": "the axe", "{a}": "right"}))
    with RobotwinEnvironment(installation, image_size=16, book=book) as environment:
        with pytest.raises(UnsolvableSeed, match="known"):
            environment.reset(TASK, SEED)
        with pytest.raises(RemoteError, match="UnStableError"):  # taken at its word
            environment.reset(TASK, SEED + 3)


def test_a_bundle_is_evaluated_in_it(installation: Installation, tmp_path: Path) -> None:
    policy = OnnxPolicy(read_bundle(make_bundle(tmp_path / "bundle").path))
    with RobotwinEnvironment(installation, image_size=16) as environment:
        result = run_episode(environment, policy, "chunk", EpisodeJob(0, TASK, SEED, film=True))
        assert result.success and result.steps == environment.step_count
        assert CHUNK < result.steps < 40
        assert result.frames[0].shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("action", "message"),
    [(np.zeros(13), r"14 finite numbers, got \(13,\)"), (np.full(14, np.nan), "14 finite numbers")],
)
def test_actions_that_cannot_be_are_refused(
    environment: RobotwinEnvironment, action: Any, message: str
) -> None:
    environment.reset(TASK, SEED)
    with pytest.raises(UserError, match=message):
        environment.step(action)
    assert environment.step_count == 0


def test_names_that_are_unknown_are_refused(
    environment: RobotwinEnvironment, installation: Installation
) -> None:
    with pytest.raises(UserError, match=r"unknown RoboTwin task 'beat_hammer' \(did you mean"):
        environment.reset("beat_hammer", SEED)
    with pytest.raises(UserError, match="got companion 'lift_pot' beside"):
        environment.reset(TASK, SEED, companion="lift_pot")
    with pytest.raises(UserError, match="seed must be 0 or more, got -1"):
        environment.reset(TASK, -1)
    for options, message in (
        ({"cameras": ("front_camera",)}, "unknown camera 'front_camera'"),
        ({"cameras": ()}, "the cameras must be 1 or more"),
        ({"image_size": 0}, "image_size"),
        ({"proprio": "felt"}, "unknown proprio 'felt'"),
        ({"instruction_split": "heard"}, "unknown instruction split"),
        (
            {"task_config": "demo_cleen"},
            r"unknown task configuration 'demo_cleen' .*did you mean 'demo_clean'",
        ),
    ):
        with pytest.raises(UserError, match=message):
            RobotwinEnvironment(installation, **options)  # type: ignore[arg-type]


def test_robots_of_other_arms_are_refused_and_other_joints_told(installation: Installation) -> None:
    with RobotwinEnvironment(installation, image_size=16, task_config="demo_aloha") as environment:
        environment.reset(TASK, SEED)
        assert environment.joint_upper[2] == pytest.approx(3.14)
        environment.step(joints())
        np.testing.assert_allclose(environment.proprio(), joints(), atol=1e-6)
    with (
        RobotwinEnvironment(installation, image_size=16, task_config="demo_franka") as environment,
        pytest.raises(UserError, match=r"must have 6 joints .* franka-panda has 7 joints"),
    ):
        environment.judge(TASK, SEED)  # no seed is tried with it


def test_wrong_versions_are_named_before_anything_is_imported(tmp_path: Path) -> None:
    wrong = make_installation(tmp_path, sapien="3.0.1")
    with RobotwinEnvironment(wrong) as environment, pytest.raises(UserError) as caught:
        environment.reset(TASK, SEED)
    assert not isinstance(caught.value, LinkError)
    assert "sapien must be 3.0.0b1, found 3.0.1: bash scripts/_install.sh" in str(caught.value)


def test_an_interpreter_that_cannot_be_robotwins_is_named() -> None:
    with (
        RobotwinEnvironment(Installation(STAND_IN, Path("/bin/false"))) as environment,
        pytest.raises(
            LinkError, match=r"^/bin/false must be the interpreter of RoboTwin's .*ended with exit"
        ),
    ):
        environment.judge(TASK, SEED)


def test_an_environment_that_was_closed_starts_anew(installation: Installation) -> None:
    environment = RobotwinEnvironment(installation, image_size=16)
    for _ in range(2):
        environment.reset(TASK, SEED)
        environment.close()
        with pytest.raises(UserError, match="no RoboTwin episode"):
            environment.images()


def test_what_is_beside_an_installed_package_of_ours_is_not_shown_to_robotwin(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (Path(installation.environment()["PYTHONPATH"]) / "setup.py").is_file()
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    for refused in (lambda: RobotwinEnvironment(installation), installation.environment):
        with pytest.raises(DependencyError, match="is no checkout of dygro_ros"):
            refused()


def test_missing_parts_of_robotwin_are_named_with_the_command(
    tmp_path: Path, installation: Installation
) -> None:
    for where, message in (
        (Installation(tmp_path, installation.python), "no checkout of RoboTwin 2.0.*git clone"),
        (Installation(STAND_IN, tmp_path / "none"), "none, the interpreter of RoboTwin's environment"),
    ):
        with pytest.raises(UserError, match=message):
            RobotwinEnvironment(where)
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "_base_task.py").touch()
    (tmp_path / "task_config").mkdir()  # as before July 2026
    (tmp_path / "task_config" / "demo_clean.yml").touch()
    with pytest.raises(UserError, match=r"no robots in assets/embodiments: cd .* && bash script/_download"):
        RobotwinEnvironment(Installation(tmp_path, installation.python))


def test_the_manuals_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "robotwin.md").read_text("utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example
    shutil.copytree(STAND_IN, tmp_path / "RoboTwin", ignore=shutil.ignore_patterns("__pycache__"))
    configurations = tmp_path / "RoboTwin" / "env_cfg" / "task_config"
    shutil.copy(configurations / "demo_clean.yml", configurations / "demo_piper.yml")
    python = tmp_path / "envs" / "RoboTwin" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(make_installation(tmp_path).python)
    monkeypatch.setenv("HOME", str(tmp_path))
    exec(example[1], {})
    assert "(1, 128, 128, 3) False" in capsys.readouterr().out
