"""A plan through the real nodes, in real time: two bundles in turn, each trial recorded."""

import json
import os
import shutil
import sys
from pathlib import Path

import av
import pytest
import yaml
from evaluation_fixtures import VALUES

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import UserError
from dygro_ros.evaluation.plan import read_plan
from dygro_ros.evaluation.replay import read_recording, replay
from dygro_ros.inference import OnnxPolicy
from dygro_ros.middleware import middleware_environment
from dygro_ros.nodes.bridge_client import answer_from
from sim2real import evaluate_plan
from sim2real.gap import Gap, measure
from sim2real.ros_cell_trials import cell_nodes


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(91 + os.getpid() % 9))
    for name, value in middleware_environment(os.environ).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def plan(node_bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(node_bundle, tmp_path / "second_bundle")
    values = {
        **VALUES,
        "trials": 1,
        "countdown_s": 0,
        "policies": {
            "first_policy": {"bundle": str(node_bundle)},
            "second_policy": {"bundle": "second_bundle", "residual": False},
        },
        "tasks": {"place_empty_cup": {"time_limit_s": 1.5}},
        "simulation": {},
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_two_bundles_take_turns_and_each_trial_can_be_replayed(
    plan: Path, node_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["evaluate_plan", str(plan), "--nodes", "--out", str(out)])
    assert evaluate_plan.main() == 0
    values = json.loads((out / "results.json").read_text())
    assert values["finished"] == 2 and values["policies"] == ["amber", "birch"]
    for trial in values["trials"]:
        assert 1.4 < trial["facts"]["elapsed_s"] < 6.0 and trial["facts"]["timed_out"]
    log = (out / "nodes.log").read_text()
    assert "second_bundle" in log and str(node_bundle) in log
    for number in (1, 2):
        recorded = read_recording(out / "recordings" / f"trial_{number:04d}_1" / "trial.mcap")
        found = replay(recorded, OnnxPolicy(read_bundle(node_bundle)))
        assert found.answers >= 3 and found.unknown <= 1 and found.worst.max() == 0.0
        with av.open(str(out / values["record"]["videos"][str(number)])) as video:
            assert sum(1 for _ in video.decode(video=0)) > 20

    # The same recordings as a robot's: the cell covers itself.
    monkeypatch.setattr(sys, "argv", ["evaluate_plan", str(plan), "--out", str(out), "--unblind"])
    assert evaluate_plan.main() == 0
    gap = measure(Gap(out, out))
    looks = {one["name"]: one["side"] for one in gap["quantities"]}
    assert gap["recordings"] == 2 and gap["stand_in"]
    assert {looks[name] for name in ("brightness", "red share", "blue share", "contrast")} == {""}


def test_a_bundle_is_not_changed_under_a_policy_that_runs(plan: Path, tmp_path: Path) -> None:
    with cell_nodes(read_plan(plan), tmp_path / "nodes.log") as (robot, _):
        robot.until("the arms to hold", lambda: robot.status().running is False and robot._rests(), 60.0)
        request = SetParameters.Request(parameters=[Parameter("bundle", value="/other").to_parameter_msg()])
        [result] = answer_from(robot._set, request, "policy_node", 5.0).results
        assert not result.successful and "deactivate and clean up the node first" in result.reason


def test_what_the_simulated_robot_does_not_do_is_refused(plan: Path, tmp_path: Path) -> None:
    read = read_plan(plan)
    assert read.simulation is not None
    other = read.model_copy(
        update={"simulation": read.simulation.model_copy(update={"instructions": "unseen"})}
    )
    with (
        pytest.raises(UserError, match=r"simulation\.instructions must be seen"),
        cell_nodes(other, tmp_path / "log"),
    ):
        pass
