"""RoboTwin's own demonstrations, written as its converter writes them, read by what training reads."""

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from training.episode_file import read_episode

FRAMES = 6
CAMERAS = ("head_camera", "left_camera", "right_camera")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An episode: states are drive targets that count up, an action is the next state, RGB goes in as BGR."""
    text = h5py.string_dtype(encoding="utf-8")
    joints = np.arange((FRAMES + 1) * 14, dtype=np.float32).reshape(FRAMES + 1, 14) / 1000
    with h5py.File(tmp_path / "episode_0000000.hdf5", "w") as file:
        file.attrs["source_format"] = "RoboTwin"
        file.create_dataset("data_format_version", data="v1.0", dtype=text)
        file.create_dataset("instructions", data=json.dumps(["beat the block", "hit it"]), dtype=text)
        file.create_group("additional_info").create_dataset("frequency", data=np.asarray(15, np.int32))
        for name, rows in (("state", slice(0, -1)), ("action", slice(1, None))):
            for field, columns in (
                ("left_arm_joint_states", slice(0, 6)),
                ("left_ee_joint_states", slice(6, 7)),
                ("right_arm_joint_states", slice(7, 13)),
                ("right_ee_joint_states", slice(13, 14)),
            ):
                file.create_dataset(f"{name}/{field}", data=joints[rows, columns])
        for index, camera in enumerate(("cam_head", "cam_left_wrist", "cam_right_wrist", "cam_third_view")):
            group = file.create_group(f"vision/{camera}")
            encoded = []
            for frame in range(FRAMES):
                colour = np.zeros((240, 320, 3), np.uint8)
                colour[:] = (200, 40 * index, 10 * frame)
                done, data = cv2.imencode(".jpg", colour)
                assert done
                encoded.append(data.tobytes())
            longest = max(map(len, encoded))
            group.create_dataset("colors", data=encoded, dtype=f"S{longest}")
            group.create_dataset("shape", data=np.asarray((240, 320, 3), np.int32))
            group.create_dataset("intrinsic_matrix", data=np.tile(np.eye(3), (FRAMES, 1, 1)))
    return tmp_path / "episode_0000000.hdf5"


def test_an_episode_is_read_with_its_joints_colours_and_words(path: Path) -> None:
    record = read_episode(path, cameras=CAMERAS, expected_rate_hz=None)
    assert record.instructions == ("beat the block", "hit it")
    assert record.rate_hz == 15  # physics steps between frames, as the docs say
    assert record.images.shape == (FRAMES, 3, 240, 320, 3)
    for frame in range(FRAMES):
        for view in range(3):
            seen = record.images[frame, view, 120, 160]
            np.testing.assert_allclose(seen, (200, 40 * view, 10 * frame), atol=4)
    np.testing.assert_allclose(record.proprio[0], np.arange(14) / 1000, atol=1e-6)
    np.testing.assert_array_equal(record.action[:-1], record.proprio[1:])
