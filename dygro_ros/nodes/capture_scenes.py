"""Takes the reference pictures of a plan's scenes: lay the objects, press Enter, lay the next ones.

    dygro-capture-scenes --robot piper --out scenes/place_empty_cup

The robot's nodes, or its camera alone, must run. Pictures are numbered in the order of their taking; trial i
of a task shows picture i.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from dygro_ros.errors import UserError, run_main
from dygro_ros.evaluation.live_picture import LivePicture
from dygro_ros.evaluation.plan import scene_pictures
from dygro_ros.nodes.participation import participating, spinning
from dygro_ros.nodes.watching import watch
from dygro_ros.robot_profile import read_profile
from dygro_ros.whole_file import write_bytes

# A picture older than this shows another scene than the one on the table [s].
FRESH_S = 0.5


class SceneCamera(Node):
    """Looks at the table."""

    def __init__(self, topic: str) -> None:
        """Listen to the head camera's pictures."""
        super().__init__("capture_scenes")
        self.topic, self.live = topic, LivePicture()
        watch(self, topic, lambda picture, stamp_ns: self.live.put(picture))

    def take(self) -> NDArray[np.uint8]:
        """Return what the camera sees now, (H, W, 3) RGB.

        Raises:
            UserError: No picture has come lately.
        """
        age_s, picture = self.live.age_s(), self.live.newest()
        if age_s is None or picture is None:
            raise UserError(f"no picture has come on {self.topic}: does the camera run?")
        if age_s > FRESH_S:
            raise UserError(f"the newest picture on {self.topic} is {age_s:.1f} s old: does the camera run?")
        return picture


def save(picture: NDArray[np.uint8], folder: Path) -> Path:
    """Write a picture, (H, W, 3) RGB, as the folder's next one, without loss.

    Raises:
        UserError: It cannot be written, or the folder holds pictures that are not numbered.
    """
    known = scene_pictures(folder)
    odd = [path.name for path in known if not path.stem.isdigit()]
    if odd:
        raise UserError(f"{folder} holds {odd[0]}, which is not numbered as 001.png is: name another folder")
    path = folder / f"{max((int(one.stem) for one in known), default=0) + 1:03d}.png"
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    try:
        write_bytes(path, encoded.tobytes())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path


def take_all(camera: SceneCamera, folder: Path, lines: Iterable[str]) -> None:
    """Take a picture for each empty line, until `q` or the end of the input."""
    for line in lines:
        if line.strip() == "q":
            return
        try:
            if line.strip():
                raise UserError(f"expected Enter or q, got {line.strip()[:40]!r}")
            print(save(camera.take(), folder), flush=True)
        except UserError as error:
            print(f"error: {error}", flush=True)


def capture(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="dygro-capture-scenes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot", required=True, help="name of a robot profile, or path of its YAML file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the task's pictures")
    options = parser.parse_args(arguments)
    profile = read_profile(options.robot)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{options.out} cannot be made: {error.strerror}") from error
    print("Lay the objects; Enter takes a picture, q ends.", flush=True)
    with participating():
        camera = SceneCamera(profile.policy_node.image_topics[0])
        with spinning(camera):
            take_all(camera, options.out, sys.stdin)
    print(f"{len(scene_pictures(options.out))} pictures in {options.out}")
    return 0


def main() -> None:
    """Run the command."""
    run_main(capture)


if __name__ == "__main__":
    main()
