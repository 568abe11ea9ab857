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
        UserError: The configuration is no YAML file or lacks an entry, or names a robot or camera that is not
            there, or other arms than two.
    """
    path = configurations / f"{name}.yml"
    args = _read(path)
    for entry in ("embodiment", "camera", "language_num", "clear_cache_freq"):
        if entry not in args:
            raise UserError(f"{path} has no entry {entry}: write one as RoboTwin's demo_clean.yml has it")
    for entry in ("language_num", "clear_cache_freq"):
        if type(args[entry]) is not int or args[entry] < 1:
            raise UserError(f"{path}: {entry} must be a whole number, 1 or more, got {args[entry]!r}")
    robots = _read(configurations / "_embodiment_config.yml")
    cameras = _read(configurations / "_camera_config.yml")
    embodiment = args["embodiment"]
    if not isinstance(embodiment, list) or len(embodiment) not in (1, 3):
        raise UserError(
            f"{name}: embodiment must be one robot with two arms, or two robots and their distance, as "
            f"[piper, piper, 0.6], got {embodiment!r}"
        )
    sides = embodiment[:2] if len(embodiment) == 3 else embodiment * 2
    for side, robot in zip(("left", "right"), map(str, sides), strict=True):
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
    camera = args["camera"].get("head_camera_type") if isinstance(args["camera"], dict) else None
    if not isinstance(camera, str) or camera not in cameras:
        raise UserError(
            f"{name}: camera.head_camera_type must be one of {', '.join(cameras)}, got {args['camera']}"
        )
    args["head_camera_h"], args["head_camera_w"] = cameras[camera]["h"], cameras[camera]["w"]
    args["camera"] |= {"collect_head_camera": True, "collect_wrist_camera": wrist_cameras}
    args["data_type"] = {"rgb": True, "qpos": True, "endpose": False}
    args |= {"render_freq": 0, "eval_mode": True, "task_config": name}
    return args


def _read(path: Path) -> dict[str, Any]:
    """Return what a YAML file maps.

    Raises:
        UserError: It cannot be read, or is no YAML or no map; names the line.
    """
    try:
        found = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): is RoboTwin's checkout whole?") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        reason = getattr(error, "problem", None) or getattr(error, "reason", "")
        raise UserError(
            f"{path} is not YAML{where} ({reason}): compare it with RoboTwin's own demo_clean.yml"
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} must map names to values, found {found!r}: compare it with RoboTwin's own demo_clean.yml"
        )
    return found
