"""A RoboTwin task configuration as its environments want it: with robots and cameras looked up.

Runs inside RoboTwin's interpreter, in the folder of its checkout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dygro_ros.errors import UserError


def task_arguments(configurations: Path, name: str, wrist_cameras: bool) -> dict[str, Any]:
    """Return the keyword arguments of `setup_demo`, but for the task and the seed.

    Only what a policy sees is rendered: depth, segmentation and point clouds are switched off.

    Args:
        configurations: RoboTwin's folder of task configurations.
        name: Which one, such as "demo_clean".
        wrist_cameras: Also render the two wrist cameras.

    Raises:
        UserError: The configuration names a robot or camera that is not there, or other arms than two.
    """
    args = _read(configurations / f"{name}.yml")
    robots = _read(configurations / "_embodiment_config.yml")
    cameras = _read(configurations / "_camera_config.yml")
    embodiment = list(args["embodiment"])
    if len(embodiment) not in (1, 3):
        raise UserError(
            f"{name}: embodiment must be one robot with two arms, or two robots and their distance, "
            f"got {embodiment}"
        )
    sides = embodiment[:2] if len(embodiment) == 3 else embodiment * 2
    for side, robot in zip(("left", "right"), sides, strict=True):
        folder = robots.get(robot, {}).get("file_path")
        if folder is None or not Path(folder, "config.yml").is_file():
            raise UserError(
                f"{name}: embodiment {robot!r} is not among RoboTwin's robots: {', '.join(robots)}, or its "
                "files are missing (bash scripts/_download_assets.sh)"
            )
        args[f"{side}_robot_file"] = folder
        args[f"{side}_embodiment_config"] = _read(Path(folder, "config.yml"))
    args["dual_arm_embodied"] = len(embodiment) == 1
    if len(embodiment) == 3:
        args["embodiment_dis"] = embodiment[2]
    camera = args["camera"]["head_camera_type"]
    if camera not in cameras:
        raise UserError(f"{name}: head_camera_type must be one of {', '.join(cameras)}, got {camera!r}")
    args["head_camera_h"], args["head_camera_w"] = cameras[camera]["h"], cameras[camera]["w"]
    args["camera"] |= {"collect_head_camera": True, "collect_wrist_camera": wrist_cameras}
    args["data_type"] = {"rgb": True, "qpos": True, "endpose": False}
    args |= {"render_freq": 0, "eval_mode": True, "task_config": name}
    return args


def _read(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        found: dict[str, Any] = yaml.safe_load(file)
    return found
