"""The overlay of the robot's picture and the cell's."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dygro_ros.errors import UserError
from dygro_ros.robot_profile import read_profile
from sim2real.camera_overlay import EDGE_RGB, GAP_PX, PANEL_PX, TITLE_PX, panels, read_picture, take_picture

ROOT = Path(__file__).resolve().parents[1]


def test_the_panels_show_both_pictures() -> None:
    cell = np.zeros((PANEL_PX, PANEL_PX, 3), np.uint8)
    cell[:, PANEL_PX // 2 :] = 200
    camera = np.full((PANEL_PX, PANEL_PX, 3), 100, np.uint8)
    one, other, half, outlined = panels(cell, camera)
    assert np.array_equal(one, cell) and np.array_equal(other, camera)
    assert half[0, 0, 0] == 50 and half[0, -1, 0] == 150
    edge = np.flatnonzero((outlined[PANEL_PX // 2] == EDGE_RGB).all(axis=1))
    assert len(edge) and np.abs(edge - PANEL_PX // 2).max() <= 2
    assert (camera == 100).all()


def test_the_command_cuts_the_profiles_crop_and_draws_four_panels(tmp_path: Path) -> None:
    photo = np.zeros((480, 640, 3), np.uint8)
    photo[:, 80:560] = (10, 200, 30)  # what piper's crop leaves
    Image.fromarray(photo).save(tmp_path / "photo.png")
    out = tmp_path / "a" / "overlay.png"
    done = subprocess.run(
        [sys.executable, "-m", "sim2real.camera_overlay", "--robot", "piper",
         "--picture", str(tmp_path / "photo.png"), "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sheet = np.asarray(Image.open(out))
    second = sheet[GAP_PX + TITLE_PX :, 2 * GAP_PX + PANEL_PX :][:PANEL_PX, :PANEL_PX]
    assert (second == (10, 200, 30)).all()
    first = sheet[GAP_PX + TITLE_PX :, GAP_PX:][:PANEL_PX, :PANEL_PX]
    assert first.std() > 10  # the rendered table
    assert [path.name for path in out.parent.iterdir()] == ["overlay.png"]


def test_a_picture_may_come_from_the_profiles_camera(tmp_path: Path) -> None:
    import cv2

    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, (640, 480))
    for _ in range(3):
        writer.write(np.full((480, 640, 3), (30, 20, 10), np.uint8))
    writer.release()
    sections = yaml.safe_load((ROOT / "config" / "piper.yaml").read_text())
    sections["camera_node"]["ros__parameters"] |= {"driver": "replay", "recording": str(film)}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(sections))
    picture = take_picture(read_profile(path))
    assert picture.shape == (480, 640, 3) and (picture == (10, 20, 30)).all()


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.png cannot be read as a picture"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(UserError, match="has no camera_node: take a picture with its camera"):
        take_picture(read_profile("sim"))
