"""What RoboTwin 2.0 shows, in both of its schemas, as what a policy takes: pictures, joints, instruction.

- Its environments return `observation.<camera>.rgb` and `joint_action.vector` (`from_task_env`).
- Its evaluation client sends `vision.<cam>.color`, `state.<side>_arm_joint_state` and `instruction`
  (`from_policy_client`): the same values under the names of XPolicyLab's trajectory format v1.0.

`joint_action` and `state` hold drive targets, not measured joints, the grippers from 0 closed to 1 open.
Pictures are RGB; only in JPEGs, as in RoboTwin's files, RGB was encoded as if it were BGR.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError, unknown_name
from dygro_ros.layout import ACTION_SIZE, ARM_JOINTS, JOINT_NAMES, SIDES
from dygro_ros.manifest import WHOLE_PICTURE, CameraSpec
from dygro_ros.picture import PictureFitter, middle

# Our name, which is also that of RoboTwin's environments: the name in its files and messages.
CAMERAS: Mapping[str, str] = {
    "head_camera": "cam_head",
    "left_camera": "cam_left_wrist",
    "right_camera": "cam_right_wrist",
}
# Interpolated gripper values may pass their range by rounding; a joint angle in their place goes far beyond.
GRIPPER_TOLERANCE = 0.01


@dataclass(frozen=True)
class Seen:
    """One observation.

    Attributes:
        pictures: RGB by our camera names, each (H, W, 3) uint8.
        joints: Drive targets or measured joints, (14,) float32: arms [rad], grippers 0 closed .. 1 open.
        instruction: What to do.
    """

    pictures: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float32]
    instruction: str


def from_task_env(observation: Mapping[str, Any], instruction: str, cameras: Sequence[str]) -> Seen:
    """Return what `TASK_ENV.get_obs()` holds.

    Args:
        observation: RoboTwin's nested dictionary.
        instruction: What `TASK_ENV.get_instruction()` returns.
        cameras: Cameras that are wanted, by our names.

    Raises:
        UserError: Something is missing or has another shape, type or range; the message names it.
    """
    pictures = {
        name: _picture(_value(observation, f"observation.{name}.rgb"), f"observation.{name}.rgb")
        for name in cameras
    }
    joints = checked_joints(_value(observation, "joint_action.vector"), "joint_action.vector")
    return Seen(pictures, joints, _text(instruction, "the instruction"))


def from_policy_client(observation: Mapping[str, Any], cameras: Sequence[str]) -> Seen:
    """Return what an evaluation client's observation holds; otherwise as `from_task_env`."""
    pictures = {}
    for name in cameras:
        if name not in CAMERAS:
            raise unknown_name("camera", name, list(CAMERAS))
        field = f"vision.{CAMERAS[name]}.color"
        pictures[name] = _picture(_value(observation, field), field)
    parts = []
    for side in SIDES:
        for part, size in (("arm", ARM_JOINTS), ("ee", 1)):
            field = f"state.{side}_{part}_joint_state"
            values = _array(_value(observation, field), field)
            if values.size != size or values.dtype.kind not in "fiu":
                raise UserError(f"{field} must hold {size} numbers, got {values.dtype} {values.shape}")
            parts.append(values.reshape(size))
    joints = checked_joints(np.concatenate(parts), "state")
    return Seen(pictures, joints, _text(_value(observation, "instruction"), "instruction"))


def checked_joints(values: Any, field: str) -> NDArray[np.float32]:
    """Return joints as (14,) float32.

    Raises:
        UserError: Another shape, a value that is not finite, or a gripper out of 0 .. 1.
    """
    joints = _array(values, field)
    if joints.shape != (ACTION_SIZE,) or joints.dtype.kind not in "fiu":
        raise UserError(
            f"{field} must hold {ACTION_SIZE} numbers (two arms of {ARM_JOINTS} joints and a gripper), "
            f"got {joints.dtype} {joints.shape}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
        joints = joints.astype(np.float32)
    for name, value in zip(JOINT_NAMES, joints.tolist(), strict=True):
        if not np.isfinite(value):
            raise UserError(f"{field}: {name} must be finite, got {value}")
        if name.endswith("gripper") and not -GRIPPER_TOLERANCE <= value <= 1.0 + GRIPPER_TOLERANCE:
            raise UserError(f"{field}: {name} must lie in 0 (closed) .. 1 (open), got {value:g}")
    return joints


def fit_pictures(seen: Seen, specs: Sequence[CameraSpec]) -> NDArray[np.uint8]:
    """Return the pictures as the policy's graph takes them, (V, height, width, 3).

    RoboTwin's cameras show more to the sides than our cell's: the same lens (D435, 37 degrees from top to
    bottom) over 4:3 instead of a square. So the middle of the policy's aspect ratio is taken, then resized.

    Args:
        seen: Holds a picture for each camera.
        specs: The policy's cameras, in the order of its images input.

    Raises:
        UserError: A picture cannot be brought to the policy's.
    """
    return np.stack([fit_picture(seen.pictures[spec.name], spec) for spec in specs])


def fit_picture(picture: NDArray[np.uint8], spec: CameraSpec) -> NDArray[np.uint8]:
    """Return the middle of one picture at the policy's aspect ratio and size, (height, width, 3)."""
    upright = spec.rotation_deg in (0, 180)
    wanted = spec.width / spec.height if upright else spec.height / spec.width
    return PictureFitter(spec, WHOLE_PICTURE).fit(middle(picture, wanted))


def _value(observation: Mapping[str, Any], path: str) -> Any:
    node: Any = observation
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            found = ", ".join(map(str, node)) if isinstance(node, Mapping) else type(node).__name__
            raise UserError(f"the observation must hold {path}, but {part!r} is missing beside: {found}")
        node = node[part]
    return node


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{field} must be a text, got {reprlib.repr(value)}")
    return value.strip()


def _array(value: Any, field: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise UserError(f"{field} must be an array, got rows of different shapes ({error})") from error


def _picture(value: Any, field: str) -> NDArray[np.uint8]:
    picture = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else _array(value, field)
    if picture.dtype == np.uint8 and picture.ndim == 1 and picture.size:
        # OpenCV returns what it takes for BGR; it was given RGB under that name.
        try:
            decoded = cv2.imdecode(picture, cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise UserError(f"{field} must be a picture or a JPEG: {error.err or error}") from error
        if decoded is None:
            raise UserError(f"{field} must be a picture or a JPEG, got {picture.size} bytes that are neither")
        return np.asarray(decoded, np.uint8)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise UserError(f"{field} must be uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    return picture
