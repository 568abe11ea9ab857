"""RoboTwin's classic interface, against a stand-in environment and a stand-in of its evaluation script."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_fixtures import CHUNK, make_bundle
from robotwin_fixtures import STAND_IN, joints, task_env

from dygro_ros import checkout as code
from dygro_ros.errors import BundleError, DependencyError, UserError
from sim2real.robotwin import classic
from sim2real.robotwin.arms import joint_ranges, measured_joints, require_two_arms, target_joints
from sim2real.robotwin.link_policy import POLICY_FOLDER, link_policy, main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "robotwin.md"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("nano") / "bundle").path


def usr_args(bundle: Path | None, **ours: Any) -> dict[str, Any]:
    robotwins = {"policy_name": "DyGRO", "task_name": "beat_block_hammer", "seed": 0, "left_arm_dim": 6}
    return {**robotwins, "bundle": None if bundle is None else str(bundle), **ours}


def test_one_call_looks_once_and_executes_a_chunk(bundle: Path) -> None:
    model = classic.get_model(usr_args(bundle))
    with task_env() as env:
        classic.eval(env, model, env.get_obs())
        assert (env.take_action_cnt, env.pictures_taken) == (CHUNK, 1)


def test_nothing_is_sent_after_the_end_of_the_episode(bundle: Path) -> None:
    model = classic.get_model(usr_args(bundle))
    for limit, goal, sent in ((2, 9.0, 2), (40, -1.0, 1)):
        with task_env() as env:
            env.step_lim, env.goal, calls = limit, goal, []
            take = env.take_action
            env.take_action = lambda action, action_type, take=take, calls=calls: (
                calls.append(action_type),
                take(action, action_type),
            )
            classic.eval(env, model, env.get_obs())
            assert calls == ["qpos"] * sent


def test_measured_joints_stand_in_for_targets_where_asked(bundle: Path) -> None:
    commands = []
    for proprio in ("targets", "measured"):
        model = classic.get_model(usr_args(bundle, proprio=proprio, execute=1))
        with task_env() as env:
            env.take_action(joints())
            env.goal, env.eval_success = 9.0, False
            before = target_joints(env.robot), measured_joints(env.robot)
            classic.eval(env, model, env.get_obs())
            commands.append(target_joints(env.robot))
    targets, measured = before
    np.testing.assert_allclose(targets, joints(), atol=1e-6)
    np.testing.assert_allclose(measured[:6], 0.9 * joints()[:6], atol=1e-6)
    np.testing.assert_allclose(measured[[6, 13]], 1 + 0.9 * (joints()[[6, 13]] - 1), atol=1e-5)
    # This small policy's command is what it is given for joints, and the same offset on it.
    np.testing.assert_allclose((commands[0] - commands[1])[:2], (targets - measured)[:2], atol=1e-5)


def test_joints_of_one_articulation_with_both_arms_are_told_apart() -> None:
    with task_env("aloha-agilex") as env:
        env.take_action(joints())
        np.testing.assert_allclose(measured_joints(env.robot)[7:13], 0.9 * joints()[7:13], atol=1e-6)
        lower, upper = joint_ranges(env.robot)
        assert (lower[2], upper[2], lower[9], upper[12], upper[13]) == pytest.approx((0, 3.14, 0, 3.14, 1))
        env.robot.right_arm_joints[5]._limits = np.array([[-np.inf, np.inf]])
        lower, upper = joint_ranges(env.robot)
        assert (lower[12], upper[12]) == pytest.approx((-2 * np.pi, 2 * np.pi))


def test_another_robot_is_refused_at_the_first_look_of_each_episode(bundle: Path) -> None:
    model = classic.get_model(usr_args(bundle))
    with task_env() as env:
        classic.eval(env, model, env.get_obs())
    classic.reset_model(model)
    fresh = classic.get_model(usr_args(bundle))
    with task_env("aloha-agilex") as env:
        with pytest.raises(BundleError, match="left_joint3"):
            classic.eval(env, fresh, env.get_obs())
        with pytest.raises(
            BundleError, match=r"left_joint3 .* -2\.967 \.\. 0, .* RoboTwin's robot in 0 \.\. 3\.14"
        ):
            classic.eval(env, model, env.get_obs())
        assert env.take_action_cnt == 0
    with (
        task_env("franka-panda") as env,
        pytest.raises(UserError, match=r"left arm must have 6 joints .* 7 joints"),
    ):
        require_two_arms(env.robot, "franka-panda")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"bundle": None}, "bundle must be the folder of a policy bundle, got None: bash eval.sh"),
        ({"treads": 2}, r"unknown entry 'treads' in deploy_policy.yml \(did you mean 'threads'\?\)"),
        ({"proprio": "felt"}, "unknown proprio 'felt' in deploy_policy.yml"),
        ({"bundle": "/none"}, "/none is not a folder"),
    ],
)
def test_entries_that_cannot_be_are_refused(bundle: Path, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        classic.get_model({**usr_args(bundle), **entries})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    made = tmp_path / "RoboTwin"
    shutil.copytree(STAND_IN, made, ignore=shutil.ignore_patterns("__pycache__"))
    (made / "policy").mkdir()
    return made


def test_robotwins_script_finds_and_runs_the_policy_as_the_manual_says(
    tmp_path: Path, checkout: Path, bundle: Path
) -> None:
    link = link_policy(checkout, "DyGRO")
    assert link == checkout / "policy" / "DyGRO" and link.is_symlink()
    assert link_policy(checkout, "DyGRO") == link  # a second time changes nothing
    configurations = checkout / "env_cfg" / "task_config"
    shutil.copy(configurations / "demo_clean.yml", configurations / "demo_piper.yml")
    python = tmp_path / "envs" / "RoboTwin" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "dygro_ros" / "runs").mkdir(parents=True)
    (tmp_path / "dygro_ros" / "runs" / "nano").symlink_to(bundle.parent)
    command = re.search(r"^cd ~/RoboTwin && .*eval\.sh.*$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert command
    # Any other python is of no use: RoboTwin's environment is nowhere active.
    no_python = tmp_path / "python"
    no_python.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    no_python.chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    typed = ["bash", "-c", f"{command[0]} --threads 1"]
    ran = subprocess.run(typed, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((checkout / "results.json").read_text("utf-8"))
    assert found["ckpt_setting"] == bundle.parent.name
    assert [(seed, success) for seed, success, *_ in found["results"]] == [(100000, True), (100001, True)]
    for _, _, steps, pictures in found["results"]:
        assert pictures == -(-steps // CHUNK)  # one look a chunk


def test_what_comes_next_is_said_with_a_robot_that_the_bundle_moves(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["link_policy", "--to", str(checkout)])
    main()
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("PATH=ENVIRONMENT/bin:$PATH bash ") and said.endswith(" demo_piper BUNDLE 0 0")


def test_eval_sh_says_how_it_is_called_and_from_where(tmp_path: Path) -> None:
    script = str(POLICY_FOLDER / "eval.sh")
    ran = subprocess.run(["bash", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr[:6]) == (2, "usage:")
    ran = subprocess.run(["bash", script, "a", "b", str(tmp_path), "0", "0"], capture_output=True, text=True)
    assert ran.returncode == 2 and "has no script/eval_policy.py" in ran.stderr


def test_what_is_beside_an_installed_package_of_ours_is_not_shown_to_robotwin(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages" / "sim2real" / "robotwin" / "policy_folder"
    shutil.copytree(POLICY_FOLDER, folder)
    before = list(sys.path)
    with pytest.raises(ImportError, match=r"site-packages is no checkout of dygro_ros"):
        runpy.run_path(str(folder / "deploy_policy.py"))
    assert sys.path == before
    monkeypatch.setattr(code, "ROOT", tmp_path / "site-packages")
    with pytest.raises(DependencyError, match=r"site-packages is no checkout of dygro_ros"):
        link_policy(checkout, "DyGRO")
    assert list((checkout / "policy").iterdir()) == []


def test_a_link_goes_only_where_it_is_of_use(tmp_path: Path, checkout: Path) -> None:
    with pytest.raises(UserError, match=r"no checkout of RoboTwin 2.0.*git clone -b stable_2.0"):
        link_policy(tmp_path, "DyGRO")
    with pytest.raises(UserError, match=r"one that Python can import, got 'Dy-GRO'"):
        link_policy(checkout, "Dy-GRO")
    (checkout / "policy").rmdir()
    with pytest.raises(UserError, match=r"has no folder policy: git -C .* checkout stable_2\.0 -- policy"):
        link_policy(checkout, "DyGRO")
    (checkout / "policy" / "DyGRO").mkdir(parents=True)
    with pytest.raises(UserError, match="exists and is not our folder"):
        link_policy(checkout, "DyGRO")
    (checkout / "script" / "eval_policy.py").unlink()
    with pytest.raises(UserError, match=r"evaluates by websocket only: start .*policy_server"):
        link_policy(checkout, "Other")
