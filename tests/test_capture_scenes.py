"""Taking the reference pictures of scenes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the ros extra is for Linux on x86-64")

from nodes_fixtures import ROOT
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from dygro_ros.errors import UserError
from dygro_ros.nodes.capture_scenes import FRESH_S, SceneCamera, save, take_all
from dygro_ros.nodes.managed import NEWEST
from dygro_ros.nodes.messages import image_message
from dygro_ros.robot_profile import read_profile

pytestmark = pytest.mark.usefixtures("own_domain")
RED = np.full((48, 64, 3), (200, 30, 20), np.uint8)


@pytest.fixture
def camera(own_domain: None) -> Iterator[SceneCamera]:
    node = SceneCamera("/head_camera/color/image_raw")
    yield node
    node.destroy_node()


def test_pictures_are_numbered_on_and_come_back_as_they_were(
    camera: SceneCamera, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera.live.put(RED)
    cv2.imwrite(str(tmp_path / "007.png"), RED)
    take_all(camera, tmp_path, ["\n", "what?\n", "\n", "q\n", "\n"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["007.png", "008.png", "009.png"]
    found = cv2.cvtColor(cv2.imread(str(tmp_path / "009.png")), cv2.COLOR_BGR2RGB)
    assert (found == RED).all()
    assert "error: expected Enter or q, got 'what?'" in capsys.readouterr().out


def test_what_the_camera_does_not_see_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = SceneCamera("/head_camera/color/image_raw")
    with pytest.raises(
        UserError, match="no picture has come on /head_camera/color/image_raw: does the camera"
    ):
        node.take()
    now_s = 5.0
    monkeypatch.setattr(node.live, "_clock", lambda: now_s)
    node.live.put(RED)
    assert node.take() is RED
    now_s += FRESH_S + 1
    with pytest.raises(UserError, match=r"is 1\.5 s old: does the camera run"):
        node.take()
    node.destroy_node()


def test_a_folder_that_does_not_fit_is_said(tmp_path: Path) -> None:
    (tmp_path / "before.png").touch()
    with pytest.raises(UserError, match=r"holds before\.png, which is not numbered"):
        save(RED, tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "001.png.tmp").mkdir()
    with pytest.raises(UserError, match=r"001\.png cannot be written: Is a directory"):
        save(RED, tmp_path / "taken")


def test_the_command_hears_the_profiles_camera(tmp_path: Path) -> None:
    topic = read_profile("sim").policy_node.image_topics[0]
    node = Node("camera")
    publisher = node.create_publisher(Image, topic, NEWEST)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    command = [
        sys.executable,
        "-m",
        "dygro_ros.nodes.capture_scenes",
        "--robot",
        "sim",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    sent = 0

    def film() -> None:
        publisher.publish(image_message(RED, node.get_clock().now().nanoseconds, "camera"))

    node.create_timer(0.03, film)
    assert process.stdin is not None
    while not list(tmp_path.glob("*.png")):
        executor.spin_once(timeout_sec=0.05)
        sent += 1
        assert sent < 2000
        if sent % 20 == 0 and publisher.get_subscription_count():
            process.stdin.write("\n")
            process.stdin.flush()
    said, errors = process.communicate("q\n")
    assert process.returncode == 0 and errors == ""
    assert f"{tmp_path / '001.png'}" in said and "pictures in" in said.splitlines()[-1]
    executor.shutdown()
    node.destroy_node()


def test_a_profile_that_does_not_exist_is_said(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "dygro_ros.nodes.capture_scenes",
        "--robot",
        "nobody",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "nobody" in done.stderr
