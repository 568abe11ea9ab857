"""One demonstration as one file in RoboTwin 2.0's HDF5 v1.0 layout, written and read.

Layout (T frames), as RoboTwin's own converter writes it:

- `data_format_version` "v1.0", `instructions` (a JSON list), `additional_info/frequency` [Hz];
- `state` and `action`: `{left,right}_arm_joint_states` (T, 6) [rad], `{left,right}_ee_joint_states` (T, 1)
  [0 closed .. 1 open], `{left,right}_ee_poses` (T, 7) [m, quaternion w x y z];
- `vision/cam_{head,left_wrist,right_wrist}/colors` (T,): JPEGs whose RGB was encoded as if it were BGR.

Two things differ in meaning, not in layout: our `state` holds measured joints (RoboTwin: drive targets), and
our `action` the command of the same frame (RoboTwin: the next state). Under `simulator`, which RoboTwin's
readers pass over, stand the privileged state, the action really executed, and where the episode came from.
Knows nothing of how episodes are made.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from dygro_ros.layout import ACTION_SIZE, ARM_JOINTS, CONTROL_RATE_HZ, JOINT_NAMES, SIDES
from sim2real.cell.arms import ArmKinematics
from training.episode_record import EpisodeRecord, is_rate, stack_views
from training.hdf5_fields import Hdf5Fields, open_hdf5

FORMAT_VERSION = "v1.0"
CAMERA_GROUPS = {
    "head_camera": "cam_head",
    "left_camera": "cam_left_wrist",
    "right_camera": "cam_right_wrist",
}
JPEG_QUALITY = 95
# A measured gripper may overshoot its range a little; a joint angle in its place goes far beyond.
_GRIPPER_TOLERANCE = 0.1


def encode_frame(rgb: NDArray[np.uint8]) -> bytes:
    """Return the JPEG of an RGB frame, shape (H, W, 3), with its channels reversed as RoboTwin has them."""
    buffer = io.BytesIO()
    # No chroma subsampling: at 128 px it would smear the colours of small objects.
    reverse = np.ascontiguousarray(rgb[..., ::-1])
    Image.fromarray(reverse).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode_frame(data: bytes) -> NDArray[np.uint8]:
    """Return the RGB frame, shape (H, W, 3), of a JPEG stored as `encode_frame` does.

    Raises:
        OSError: The bytes are not a whole JPEG.
    """
    with Image.open(io.BytesIO(data)) as image:
        reverse = np.asarray(image.convert("RGB"))
    return np.ascontiguousarray(reverse[..., ::-1])


def _ee_poses(side: str, arm_joints: NDArray[np.float32]) -> NDArray[np.float32]:
    kinematics = ArmKinematics(side)
    poses = [kinematics.forward(joints.astype(np.float64)) for joints in arm_joints]
    quaternions = Rotation.from_matrix(np.stack([pose.rotation for pose in poses])).as_quat()
    positions = np.stack([pose.position for pose in poses])
    return np.concatenate([positions, quaternions[:, [3, 0, 1, 2]]], axis=1).astype(np.float32)


def _side_slices(side: str) -> tuple[slice, slice]:
    start = SIDES.index(side) * (ARM_JOINTS + 1)
    return slice(start, start + ARM_JOINTS), slice(start + ARM_JOINTS, start + ARM_JOINTS + 1)


def write_episode(path: Path, record: EpisodeRecord) -> None:
    """Write one episode beside `path`, then rename: a reader never sees half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = h5py.string_dtype(encoding="utf-8")
    try:
        with h5py.File(beside, "w") as file:
            file.attrs["source_format"] = "RoboTwin"
            file.attrs["joint_names"] = json.dumps(JOINT_NAMES)
            file.create_dataset("data_format_version", data=FORMAT_VERSION, dtype=text)
            file.create_dataset("instructions", data=json.dumps(record.instructions), dtype=text)
            file.create_dataset("additional_info/frequency", data=np.int32(record.rate_hz))
            for name, values in (("state", record.proprio), ("action", record.action)):
                for side in SIDES:
                    arm, gripper = _side_slices(side)
                    file[f"{name}/{side}_arm_joint_states"] = values[:, arm]
                    file[f"{name}/{side}_ee_joint_states"] = values[:, gripper]
                    file[f"{name}/{side}_ee_poses"] = _ee_poses(side, values[:, arm])
            for view, camera in enumerate(record.cameras):
                frames = [encode_frame(frame) for frame in record.images[:, view]]
                group = file.create_group(f"vision/{CAMERA_GROUPS[camera]}")
                longest = max(len(frame) for frame in frames)
                group.create_dataset("colors", data=np.array(frames, dtype=f"S{longest}"))
                group.create_dataset("shape", data=np.asarray(record.images.shape[2:], dtype=np.int32))
            _write_simulator(file.create_group("simulator"), record)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write_simulator(group: h5py.Group, record: EpisodeRecord) -> None:
    if record.privileged is not None:
        group["privileged_state"] = record.privileged
    if record.executed is not None:
        group["executed_action"] = record.executed
    for name in ("task", "seed", "companion", "randomization"):
        value = getattr(record, name)
        if value is not None:
            group.attrs[name] = value


def _read_header(reader: Hdf5Fields, expected_rate_hz: float | None) -> tuple[tuple[str, ...], float]:
    if "data_format_version" in reader.file:
        version = reader.text("data_format_version")
        if version != FORMAT_VERSION:
            raise reader.error("data_format_version", f"must be {FORMAT_VERSION!r}, found {version!r}")
    _check_joint_names(reader)
    raw = reader.values("instructions")
    try:
        found = (
            json.loads(raw) if isinstance(raw, bytes) else [text.decode("utf-8") for text in np.ravel(raw)]
        )
    except (ValueError, AttributeError) as error:
        raise reader.error("instructions", "must be a JSON list or an array of texts") from error
    if not isinstance(found, list) or not found or not all(isinstance(text, str) and text for text in found):
        raise reader.error("instructions", "must be a list of at least one text")
    said = np.asarray(reader.values("additional_info/frequency"))
    if said.size != 1 or not is_rate(said.flat[0]):
        raise reader.error("additional_info/frequency", f"must be one finite number above 0, found {said}")
    rate_hz = float(said.flat[0])
    if expected_rate_hz is not None and rate_hz != expected_rate_hz:
        raise reader.error(
            "additional_info/frequency", f"must be {expected_rate_hz:g} Hz, found {rate_hz:g} Hz"
        )
    return tuple(found), rate_hz


def _check_joint_names(reader: Hdf5Fields) -> None:
    """Refuse another order of joints, in the files that say theirs; RoboTwin's own do not."""
    text = reader.text_attribute("joint_names")
    if text is None:
        return
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise reader.attribute_error("joint_names", f"must be a JSON list of texts, found {text!r}")
    if tuple(names) != JOINT_NAMES:
        raise reader.attribute_error(
            "joint_names", f"must be in the order {', '.join(JOINT_NAMES)}, found {', '.join(names)}"
        )


def _read_joints(reader: Hdf5Fields, group: str, frames: int | None) -> NDArray[np.float32]:
    parts = []
    for side in SIDES:
        arm = reader.matrix(f"{group}/{side}_arm_joint_states", ARM_JOINTS, frames)
        field = f"{group}/{side}_ee_joint_states"
        gripper = reader.matrix(field, 1, len(arm))
        low, high = float(gripper.min()), float(gripper.max())
        if low < -_GRIPPER_TOLERANCE or high > 1.0 + _GRIPPER_TOLERANCE:
            raise reader.error(field, f"must lie in 0 (closed) .. 1 (open), found {low:g} .. {high:g}")
        parts += [arm, gripper]
        frames = len(arm)
    return np.concatenate(parts, axis=1)


def _read_camera(reader: Hdf5Fields, camera: str, frames: int) -> NDArray[np.uint8]:
    field = f"vision/{CAMERA_GROUPS[camera]}/colors"
    stored = np.asarray(reader.values(field))
    if stored.shape != (frames,) or stored.dtype.kind not in "SO":
        raise reader.error(
            field, f"must hold {frames} JPEGs, found shape {stored.shape}, type {stored.dtype}"
        )
    images: list[NDArray[np.uint8]] = []
    for index, data in enumerate(stored):
        try:
            image = decode_frame(bytes(data))
        except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError on some damaged headers
            raise reader.error(f"{field}[{index}]", "is not a whole JPEG") from error
        if images and image.shape != images[0].shape:
            raise reader.error(f"{field}[{index}]", f"must be {images[0].shape} px, found {image.shape}")
        images.append(image)
    return np.stack(images)


def read_episode(
    path: Path,
    *,
    cameras: Sequence[str] = ("head_camera",),
    expected_rate_hz: float | None = CONTROL_RATE_HZ,
) -> EpisodeRecord:
    """Read and check one episode, ours or RoboTwin's.

    Args:
        path: The HDF5 file.
        cameras: Cameras to decode, from `CAMERA_GROUPS`; others in the file are passed over.
        expected_rate_hz: Rate that the file must have; None passes over what the file says.

    Raises:
        DataError: The file is missing, truncated or damaged, or a field or attribute is missing or has
            another type, shape, joint order or rate; the message names field and file.
    """
    with open_hdf5(path) as file:
        reader = Hdf5Fields(file, path)
        instructions, rate_hz = _read_header(reader, expected_rate_hz)
        proprio = _read_joints(reader, "state", None)
        frames = len(proprio)
        action = _read_joints(reader, "action", frames)
        views = [_read_camera(reader, camera, frames) for camera in cameras]
        images = stack_views(f"{path}: vision", cameras, views, frames)
        executed = privileged = None
        if "simulator/executed_action" in file:
            executed = reader.matrix("simulator/executed_action", ACTION_SIZE, frames)
        if "simulator/privileged_state" in file:
            privileged = reader.matrix("simulator/privileged_state", None, frames)
        origin: dict[str, Any] = {}
        if "simulator" in file:
            simulator = reader.group("simulator")
            origin = {name: simulator.text_attribute(name) for name in ("task", "companion", "randomization")}
            origin["seed"] = simulator.integer_attribute("seed")
    return EpisodeRecord(
        instructions=instructions,
        rate_hz=rate_hz,
        proprio=proprio,
        action=action,
        cameras=tuple(cameras),
        images=images,
        executed=executed,
        privileged=privileged,
        **origin,
    )
