"""LIBERO's demonstrations: one HDF5 file a task, one group `data/demo_N` an episode.

Layout (T frames), as LIBERO's `scripts/create_dataset.py` writes it:

- `data`: attributes `problem_info` (JSON with `language_instruction`), `env_args` (JSON with
  `env_kwargs.control_freq` [Hz]), `macros_image_convention`;
- `data/demo_N`: `actions` (T, 7) and `states` (T, S), the simulator's state before the action;
- `data/demo_N/obs`: `ee_states` (T, 6) [m, rotation vector rad], `gripper_states` (T, 2) [m],
  `joint_states` (T, 7) [rad], `agentview_rgb` and `eye_in_hand_rgb` (T, H, W, 3) uint8.

Pictures are stored as OpenGL draws them, the lowest row first, and are turned upright here. In LIBERO's own
files `obs` is what was seen AFTER the action of the same row, one step late; nothing in a file tells, and
rows are read as they stand (`training.dataset_info` says what it finds).

Ours have two things more, which LIBERO's readers pass over: `data/demo_N/privileged_state` (T, P), and the
attributes `task` and `seed` of `demo_N`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import DataError
from sim2real.libero.scene_state import ARM_JOINTS
from sim2real.libero.world import ACTION_NAMES, PROPRIO_NAMES
from training.episode_record import EpisodeRecord, is_rate, stack_views
from training.formats.source import EpisodeSource
from training.hdf5_fields import Hdf5Fields, open_hdf5

# Our name of a camera -> LIBERO's field.
CAMERA_FIELDS = {"agentview": "agentview_rgb", "eye_in_hand": "eye_in_hand_rgb"}
UPRIGHT = "opencv"


class LiberoSource(EpisodeSource):
    """LIBERO's HDF5 files, one a task.

    Args:
        path: What was opened.
        files: The files, in order.

    Raises:
        DataError: No file can be read and holds a demonstration.
    """

    format = "libero"

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path = path
        self.cameras = ()
        self._demos: list[tuple[Path, str]] = []
        failures: list[DataError] = []
        for file in files:
            try:
                demos, cameras = _contents(file)
            except DataError as error:
                failures.append(error)
                demos, cameras = ["demo_0"], ()  # whoever reads it is told what is wrong with the file
            self._demos += [(file, demo) for demo in demos]
            self.cameras = self.cameras or cameras
        if len(failures) == len(files):
            raise failures[0]

    def __len__(self) -> int:
        return len(self._demos)

    def name(self, index: int) -> str:
        """Return file and group."""
        file, demo = self._demos[index]
        return f"{file}: data/{demo}"

    def read(self, index: int, cameras: Sequence[str] | None = None) -> EpisodeRecord:
        """Read one demonstration; see the base class."""
        path, demo = self._demos[index]
        chosen = self.chosen_cameras(cameras)
        with open_hdf5(path) as file:
            data = Hdf5Fields(file, path).group("data")
            fields = data.group(demo)
            action = fields.matrix("actions", len(ACTION_NAMES), None)
            frames = len(action)
            proprio = np.concatenate(
                [
                    fields.matrix("obs/ee_states", 6, frames),
                    fields.matrix("obs/gripper_states", 2, frames),
                ],
                axis=1,
            )
            upright = data.text_attribute("macros_image_convention") == UPRIGHT
            privileged = None
            if "privileged_state" in fields.file:
                privileged = fields.matrix("privileged_state", None, frames)
            views = [_pictures(fields, camera, frames, upright) for camera in chosen]
            return EpisodeRecord(
                instructions=(_instruction(data),),
                rate_hz=_rate(data),
                proprio=proprio,
                action=action,
                cameras=chosen,
                images=stack_views(self.name(index), chosen, views, frames),
                proprio_names=PROPRIO_NAMES,
                action_names=ACTION_NAMES,
                joint_states=_numbers(fields, "obs/joint_states", ARM_JOINTS, frames),
                simulator_states=_numbers(fields, "states", None, frames),
                privileged=privileged,
                task=fields.text_attribute("task") or re.sub(r"_demo$", "", path.stem),
                seed=fields.integer_attribute("seed"),
            )


def _contents(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Return a file's demonstrations in order, and the cameras of the first of them that has any."""
    with open_hdf5(path) as file:
        group = file.get("data")
        found = list(group) if isinstance(group, h5py.Group) else []
        demos = [name for name in found if re.fullmatch(r"demo_\d+", name)]
        demos.sort(key=lambda name: int(name[len("demo_") :]))
        for demo in demos:
            cameras = [name for name, field in CAMERA_FIELDS.items() if f"{demo}/obs/{field}" in group]
            if cameras:
                return demos, tuple(cameras)
    if not demos:
        raise DataError(f"{path}: data/demo_0 is missing, the file holds no demonstration of LIBERO")
    return demos, ()


def _numbers(fields: Hdf5Fields, field: str, columns: int | None, frames: int) -> NDArray[np.float64] | None:
    """Return a field that is not in every file."""
    if field not in fields.file:
        return None
    return fields.numbers(field, columns, frames).astype(np.float64)


def _pictures(fields: Hdf5Fields, camera: str, frames: int, upright: bool) -> NDArray[np.uint8]:
    field = f"obs/{CAMERA_FIELDS[camera]}"
    pictures = np.asarray(fields.values(field))
    shape_fits = pictures.ndim == 4 and len(pictures) == frames and pictures.shape[3] == 3
    if pictures.dtype != np.uint8 or not shape_fits or pictures.size == 0:
        raise fields.error(
            field,
            f"must be uint8 of shape ({frames}, H, W, 3), found {pictures.dtype} of shape {pictures.shape}",
        )
    return pictures if upright else np.ascontiguousarray(pictures[:, ::-1])


def _attribute(data: Hdf5Fields, name: str) -> dict[str, Any]:
    text = data.text_attribute(name)
    if text is None:
        raise data.attribute_error(name, "is missing")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise data.attribute_error(name, f"must be JSON ({error})") from error
    if not isinstance(value, dict):
        raise data.attribute_error(name, f"must be a JSON object, found {value!r}")
    return value


def _instruction(data: Hdf5Fields) -> str:
    text = _attribute(data, "problem_info").get("language_instruction")
    if isinstance(text, list):  # a BDDL file may give it word by word
        text = " ".join(str(word) for word in text)
    if not isinstance(text, str) or not text:
        raise data.attribute_error("problem_info", f"must hold a text language_instruction, found {text!r}")
    return text


def _rate(data: Hdf5Fields) -> float:
    arguments = _attribute(data, "env_args").get("env_kwargs")
    rate_hz = arguments.get("control_freq") if isinstance(arguments, dict) else None
    if not is_rate(rate_hz):
        raise data.attribute_error(
            "env_args", f"must hold a finite env_kwargs.control_freq above 0 [Hz], found {rate_hz!r}"
        )
    return float(rate_hz)
