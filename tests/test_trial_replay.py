"""Recorded by the running nodes and recomputed: the same bundle gives the same actions to the bit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from nodes_fixtures import Onlooker, settings
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import DataError
from dygro_ros.evaluation.replay import Recorded, main, read_recording, replay
from dygro_ros.graph import processes
from dygro_ros.inference import OnnxPolicy
from dygro_ros.nodes.managed import OBSERVATIONS, RELIABLE
from dygro_ros.nodes.policy_node import OBSERVED_IMAGES, OBSERVED_JOINTS
from dygro_ros.nodes.trial_recorder import TrialRecorder
from dygro_ros.start import Graph

pytestmark = pytest.mark.usefixtures("own_domain")


@pytest.fixture(scope="module")
def recording(
    own_domain: None, node_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    onlooker = Onlooker()
    topics = {
        "dygro/chunk": (JointTrajectory, RELIABLE),
        OBSERVED_IMAGES: (Image, OBSERVATIONS),
        OBSERVED_JOINTS: (JointState, OBSERVATIONS),
    }
    recorder = TrialRecorder(onlooker, topics)
    chunks: list[JointTrajectory] = []
    onlooker.create_subscription(JointTrajectory, "dygro/chunk", chunks.append, RELIABLE)
    with Graph(processes("sim", settings(node_bundle))):
        onlooker.until(lambda: onlooker.mode == "holding")
        onlooker.until(lambda: onlooker.ask("run")[0])
        recorder.begin(tmp_path_factory.mktemp("recording"))
        chunks.clear()
        onlooker.until(lambda: len(chunks) > 20)
        path = recorder.end()
    onlooker.destroy_node()
    assert path is not None
    yield path


def test_the_same_actions_come_out_again(recording: Path, node_bundle: Path) -> None:
    found = replay(read_recording(recording), OnnxPolicy(read_bundle(node_bundle)))
    assert found.answers >= 15 and found.unknown <= 2
    assert found.worst.shape == (14,) and found.worst.max() == 0.0


def test_another_policy_is_told_from_the_one_that_ran(recording: Path, node_bundle: Path) -> None:
    recorded = read_recording(recording)
    moved = {stamp: chunk + np.eye(28)[3] * 0.01 for stamp, chunk in recorded.chunks.items()}
    found = replay(Recorded(moved, recorded.images, recorded.joints), OnnxPolicy(read_bundle(node_bundle)))
    assert found.worst[3] == pytest.approx(0.01) and np.delete(found.worst, 3).max() == 0.0


def test_the_command_says_each_joint(
    recording: Path, node_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recording), "--bundle", str(node_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15 and lines[0].split() == ["left_joint1", "0.00e+00"]
    assert "chunks recomputed on CPUExecutionProvider: 0.00e+00 at most" in lines[-1]


def test_a_recording_that_is_damaged_or_holds_nothing_is_refused(
    recording: Path, node_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_recording(tmp_path / "none.mcap")
    torn = tmp_path / "torn.mcap"
    torn.write_bytes(recording.read_bytes()[:1000])
    with pytest.raises(DataError, match="is not a whole recording"):
        read_recording(torn)
    recorded = read_recording(recording)
    with pytest.raises(DataError, match="and none with what it answers"):
        replay(Recorded(recorded.chunks, {}, recorded.joints), OnnxPolicy(read_bundle(node_bundle)))
