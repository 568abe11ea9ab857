"""Both of RoboTwin's schemas: what is read, what is refused, and what becomes of pictures."""

from typing import Any

import cv2
import numpy as np
import pytest
from policy_fixtures import cameras
from robotwin_fixtures import client_observation, joints, task_env

from dygro_ros.errors import UserError
from dygro_ros.manifest import CameraSpec
from sim2real.robotwin.observations import Seen, fit_picture, fit_pictures, from_policy_client, from_task_env

HEAD = ("head_camera",)
ALL = ("head_camera", "left_camera", "right_camera")


def spec(width: int, height: int, rotation_deg: Any = 0) -> CameraSpec:
    return cameras()[0].model_copy(update={"width": width, "height": height, "rotation_deg": rotation_deg})


def without(observation: dict[str, Any], path: str) -> dict[str, Any]:
    node = observation
    *parents, last = path.split(".")
    for part in parents:
        node = node[part]
    del node[last]
    return observation


def test_a_task_environments_observation_is_read() -> None:
    with task_env() as env:
        env.take_action(joints())
        seen = from_task_env(env.get_obs(), " hit the block ", ALL)
    assert list(seen.pictures) == list(ALL)
    assert [seen.pictures[name][120, 160].tolist() for name in ALL] == [
        [200, 101, 10],
        [200, 101, 50],
        [200, 101, 70],
    ]
    np.testing.assert_array_equal(seen.joints, joints())
    assert seen.joints.dtype == np.float32 and seen.instruction == "hit the block"


def test_an_evaluation_clients_observation_is_read() -> None:
    seen = from_policy_client(client_observation(), ALL)
    assert [seen.pictures[name][120, 160, 0] for name in ALL] == [200, 150, 90]
    np.testing.assert_array_equal(seen.joints, joints())
    assert seen.instruction == "hit the block"


def test_the_middle_of_the_picture_is_kept_and_the_colours_stay() -> None:
    seen = from_policy_client(client_observation(), HEAD)
    images = fit_pictures(seen, cameras())
    assert images.shape == (1, 16, 16, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], np.broadcast_to((200, 100, 10), (16, 16, 3)))


@pytest.mark.parametrize(
    ("size", "rotation", "rows", "columns"),
    [
        ((12, 12), 0, (0, 24), (4, 28)),
        ((16, 12), 0, (0, 24), (0, 32)),
        ((32, 16), 0, (4, 20), (0, 32)),
        ((12, 16), 90, (0, 24), (0, 32)),
    ],
)
def test_as_much_of_the_picture_as_the_policys_shape_has_is_taken(
    size: tuple[int, int], rotation: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[rows[0] : rows[1], columns[0] : columns[1]] = 255
    assert fit_picture(picture, spec(*size, rotation)).min() == 255
    picture[rows[0]], picture[:, columns[0]] = 0, 0
    assert fit_picture(picture, spec(*size, rotation)).min() < 255


def test_a_jpeg_is_decoded_with_its_colours_as_robotwin_encodes_them() -> None:
    observation = client_observation()
    head = observation["vision"]["cam_head"]
    done, data = cv2.imencode(".jpg", head["color"])  # RoboTwin gives RGB where OpenCV expects BGR
    assert done
    for stored in (data, data.tobytes()):
        head["color"] = stored
        seen = from_policy_client(observation, HEAD)
        np.testing.assert_allclose(seen.pictures["head_camera"][120, 160], (200, 100, 10), atol=3)
    head["color"] = b"no picture"
    with pytest.raises(UserError, match=r"vision\.cam_head\.color must be a picture or a JPEG, got 10 bytes"):
        from_policy_client(observation, HEAD)


@pytest.mark.parametrize(
    "path", ["vision.cam_head.color", "state.right_ee_joint_state", "state", "instruction"]
)
def test_what_a_client_leaves_out_is_named(path: str) -> None:
    with pytest.raises(
        UserError, match=f"must hold {path.split('.')[0]}.*, but '{path.split('.')[-1]}' is missing"
    ):
        from_policy_client(without(client_observation(), path), HEAD)


@pytest.mark.parametrize("path", ["observation.head_camera.rgb", "joint_action.vector"])
def test_what_an_environment_leaves_out_is_named(path: str) -> None:
    with task_env() as env:
        observation = without(env.get_obs(), path)
    with pytest.raises(UserError, match=f"must hold {path}"):
        from_task_env(observation, "hit the block", HEAD)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "left_arm_joint_state",
            np.zeros(7, np.float32),
            r"must hold 6 numbers, got .*7",
        ),
        ("left_arm_joint_state", ["a"] * 6, "must hold 6 numbers"),
        (
            "right_ee_joint_state",
            np.array([1.3]),
            r"state: right_gripper must lie in 0 .* 1\.3",
        ),
        ("left_arm_joint_state", [0, 0, np.nan, 0, 0, 0], "state: left_joint3 must be finite, got nan"),
    ],
)
def test_joints_that_cannot_be_are_refused(field: str, value: Any, message: str) -> None:
    observation = client_observation()
    observation["state"][field] = value
    with pytest.raises(UserError, match=message):
        from_policy_client(observation, HEAD)


def test_pictures_and_texts_that_cannot_be_are_refused() -> None:
    observation = client_observation()
    observation["vision"]["cam_head"]["color"] = np.zeros((240, 320, 4), np.uint8)
    with pytest.raises(UserError, match=r"must be uint8 \(H, W, 3\), got uint8 \(240, 320, 4\)"):
        from_policy_client(observation, HEAD)
    with pytest.raises(UserError, match="instruction must be a text, got ' '"):
        from_policy_client(client_observation(" "), HEAD)
    with pytest.raises(UserError, match="unknown camera 'front'"):
        from_policy_client(client_observation(), ("front",))


def test_only_the_wanted_pictures_are_asked_for() -> None:
    seen = from_policy_client(without(client_observation(), "vision.cam_left_wrist"), HEAD)
    assert isinstance(seen, Seen) and list(seen.pictures) == list(HEAD)
