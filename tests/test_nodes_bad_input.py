"""The running nodes, given what does not fit: a sentence that says so, and nothing that moves."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from nodes_fixtures import ROOT, WAIT_S, Onlooker, settings

from dygro_ros.graph import processes
from dygro_ros.start import Graph

pytestmark = pytest.mark.usefixtures("own_domain")


OTHER_NAMES = [f"joint{number}" for number in range(1, 7)] + ["gripper"]


@pytest.mark.parametrize(
    ("node", "changes", "words"),
    [
        ("arm_bridge", {"arms.left.joint_names": OTHER_NAMES}, "expected joints joint1, joint2"),
        ("policy_node", {"crop": [0.0, 0.0, 1.0, 0.5]}, "choose a crop of that aspect ratio"),
        ("arm_bridge", {"action_rate_hz": 50.0}, "a chunk's actions must be 0.02 s apart"),
    ],
)
def test_what_does_not_fit_is_said_and_moves_nothing(
    node_bundle: Path, onlooker: Onlooker, tmp_path: Path, node: str, changes: dict[str, Any], words: str
) -> None:
    profile = yaml.safe_load((ROOT / "config" / "sim.yaml").read_text())
    for field, value in changes.items():
        *sections, last = field.split(".")
        place = profile[node]["ros__parameters"]
        for section in sections:
            place = place[section]
        place[last] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(profile))
    with Graph(processes(path, settings(node_bundle))):
        if "joint_names" not in str(changes):
            onlooker.until(lambda: onlooker.mode == "holding")
            onlooker.until(lambda: onlooker.ask("run")[0])
        onlooker.until(lambda: words in onlooker.said.get(node, ""))
        onlooker.listen(0.5)
        # Whatever was sent, if anything was, held the arms where they are.
        assert not onlooker.sent or np.ptp(np.array([p for _, p in onlooker.sent]), axis=0).max() == 0.0
        assert (onlooker.sent == []) is ("joint_names" in str(changes))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--robot", "sim", "--bundle", "/nowhere"],
            "expected a policy bundle, but /nowhere is not a folder",
        ),
        (
            ["--robot", "sim"],
            "--bundle must name the folder of a policy bundle: policy_node runs on this machine",
        ),
        (["--robot", "piper", "--bundle", "/nowhere"], "serial_no must name the RealSense"),
        (
            ["--robot", "simm", "--bundle", "/nowhere"],
            "unknown robot profile 'simm' in robot (did you mean 'sim'?)",
        ),
        (["--robot", "sim", "--bundle", "/x", "--set", "arm_bridge.blend_s=7"], "blend_s"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_with_exit_code_2(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dygro_ros.start", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * WAIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_no_arm_is_calibrated_where_nobody_can_say_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dygro_ros.nodes.calibrate_delay", "--robot", "sim"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "expected Enter before the arms move, but there is nobody to press it; see --yes" in done.stderr
    assert "Traceback" not in done.stderr
