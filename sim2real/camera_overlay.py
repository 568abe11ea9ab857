"""The robot's camera laid over the cell's: shows by how much camera or crop are off.

    python -m sim2real.camera_overlay --robot piper --out runs/overlay.png
    python -m sim2real.camera_overlay --robot piper --picture photo.png

Takes one picture with the profile's camera (or reads a photo of its size), cuts the profile's crop out of it,
and draws four panels: the cell, the camera, half of each, and the cell's edges on the camera's picture. Bring
the arms home first: both wrists must coincide, and objects that lie where the cell has them. Then move the
camera, or change policy_node.crop.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

from dygro_ros.cameras.drivers import camera_for
from dygro_ros.errors import UserError, run_main
from dygro_ros.manifest import WHOLE_PICTURE, CameraSpec
from dygro_ros.picture import PictureFitter
from dygro_ros.robot_profile import RobotProfile, read_profile
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS, WorkCell
from sim2real.film import label_font
from sim2real.seeds import SeedPurpose, seeds_for

PANEL_PX, TITLE_PX, GAP_PX = 480, 26, 6
# Pictures that a camera gets to settle its exposure, and the time for each [s].
SETTLES, WAIT_S = 30, 2.0
EDGE_RGB = (255, 40, 200)
EDGES = (60, 140)
TITLES = (
    "the cell's camera",
    "the robot's camera, cropped",
    "half of each",
    "the cell's edges on the robot's camera",
)

Picture = NDArray[np.uint8]


def take_picture(profile: RobotProfile) -> Picture:
    """Return one picture of the profile's camera, (H, W, 3) RGB.

    Raises:
        UserError: The profile has no camera of ours, or it sends nothing.
    """
    if profile.camera_node is None:
        raise UserError("this profile has no camera_node: take a picture with its camera and give --picture")
    camera = camera_for(profile.camera_node)
    camera.open()
    try:
        frame = None
        for _ in range(SETTLES):
            frame = camera.next(WAIT_S) or frame
    finally:
        camera.close()
    if frame is None:
        raise UserError(f"the camera has sent no picture within {SETTLES * WAIT_S:g} s")
    return frame.picture


def read_picture(path: Path) -> Picture:
    """Return a photo, (H, W, 3) RGB.

    Raises:
        UserError: There is no such picture.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path} cannot be read as a picture: {error}") from error


def panels(cell: Picture, camera: Picture) -> tuple[Picture, Picture, Picture, Picture]:
    """Return the four panels, each (PANEL_PX, PANEL_PX, 3); both pictures are of that size."""
    half = np.asarray(cv2.addWeighted(cell, 0.5, camera, 0.5, 0.0), dtype=np.uint8)
    outlined = camera.copy()
    outlined[cv2.Canny(cell, *EDGES) > 0] = EDGE_RGB
    return cell, camera, half, outlined


def draw(shown: Sequence[Picture]) -> Image.Image:
    """Return the panels in two rows, with titles."""
    side, down = PANEL_PX + GAP_PX, PANEL_PX + TITLE_PX + GAP_PX
    sheet = Image.new("RGB", (2 * side + GAP_PX, 2 * down + GAP_PX), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for index, (title, panel) in enumerate(zip(TITLES, shown, strict=True)):
        left, top = GAP_PX + (index % 2) * side, GAP_PX + (index // 2) * down
        pen.text((left, top + 4), title, font=label_font(15), fill=(32, 33, 36))
        sheet.paste(Image.fromarray(panel), (left, top + TITLE_PX))
    return sheet


def overlay(arguments: Sequence[str] | None = None) -> int:
    """Write the picture; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="camera_overlay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot", required=True, help="name of a robot profile, or path of its YAML file")
    parser.add_argument("--picture", type=Path, help="a photo by the robot's camera, of the camera's size")
    parser.add_argument(
        "--task", choices=TASKS, default=TASKS[0], help="whose objects lie on the cell's table"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/overlay.png"), help="%(default)s")
    options = parser.parse_args(arguments)
    profile = read_profile(options.robot)
    seen = read_picture(options.picture) if options.picture else take_picture(profile)
    spec = CameraSpec(
        name=profile.policy_node.cameras[0], width=PANEL_PX, height=PANEL_PX, colour_order="RGB",
        crop=WHOLE_PICTURE, rotation_deg=0,
    )  # fmt: skip
    camera = PictureFitter(spec, profile.policy_node.crops[0]).fit(seen)
    cell = WorkCell(RandomizationConfig.from_name("clean"), image_size=PANEL_PX)
    cell.reset(options.task, seeds_for(SeedPurpose.TESTS, 1, 0, 1)[0])
    rendered = cell.images()[0]
    cell.close()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    beside = options.out.with_name(options.out.name + ".tmp")
    draw(panels(rendered, camera)).save(beside, format="PNG", optimize=True)
    os.replace(beside, options.out)
    print(options.out)
    return 0


def main() -> None:
    """Run the command."""
    run_main(overlay)


if __name__ == "__main__":
    main()
