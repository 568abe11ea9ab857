"""Writes demonstrations as LIBERO's own files are: one HDF5 file a task; see `training.formats.libero`."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from dygro_ros.errors import DataError, UserError
from sim2real.libero.world import ACTION_NAMES, PROPRIO_NAMES
from training.episode_record import EpisodeRecord, require_names
from training.formats.libero import CAMERA_FIELDS


class LiberoFileWriter:
    """Writes the demonstrations of one task into one file, which is in its place once it is whole.

    Args:
        path: The file, `<task>_demo.hdf5` by LIBERO's custom.
        attributes: Further attributes of `data`, such as `env_name`, `bddl_file_name`.
        problem: Further keys of `problem_info`, such as `problem_name`, `domain_name`.
        environment: Further keys of `env_args`, such as `type`, `problem_name`, `env_kwargs`.

    Raises:
        UserError: The file exists.
    """

    def __init__(
        self,
        path: Path,
        *,
        attributes: Mapping[str, str] | None = None,
        problem: Mapping[str, str] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        if path.exists():
            raise UserError(f"{path} exists: name another target, or remove it")
        self.path = path
        self._attributes = dict(attributes or {})
        self._problem = dict(problem or {})
        self._environment = dict(environment or {})
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file: h5py.File | None = None
        self._instruction = ""
        self._rate_hz = 0.0
        self._demos = self._total = 0

    def __enter__(self) -> LiberoFileWriter:
        """Begin the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self._beside, "w")
        self._file.create_group("data")
        return self

    def add(self, record: EpisodeRecord, model: str | None = None) -> None:
        """Write one demonstration as the next `demo_N`.

        Args:
            record: The demonstration.
            model: The episode's model as MJCF, which LIBERO's tools load before they set states.

        Raises:
            DataError: It is of another robot, instruction or rate, or holds a camera that LIBERO lacks.
            ValueError: The writer was not entered.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is not open: write inside of `with`")
        name = f"demo_{self._demos}"
        where = f"{self.path}: {name}"
        require_names(where, record, PROPRIO_NAMES, ACTION_NAMES)
        self._check(where, record)
        demo = self._file["data"].create_group(name)
        demo["actions"] = record.action.astype(np.float64)
        if record.simulator_states is not None:
            demo["states"] = record.simulator_states
            demo.attrs["init_state"] = record.simulator_states[0]
        if model is not None:
            demo.attrs["model_file"] = model
        if record.privileged is not None:
            demo["privileged_state"] = record.privileged
        if record.task is not None:
            demo.attrs["task"] = record.task
        if record.seed is not None:
            demo.attrs["seed"] = record.seed
        last = np.zeros(len(record.action), dtype=np.uint8)
        last[-1] = 1
        demo["dones"] = demo["rewards"] = last
        self._write_observations(demo, record)
        demo.attrs["num_samples"] = len(record.action)
        self._demos += 1
        self._total += len(record.action)

    def _check(self, where: str, record: EpisodeRecord) -> None:
        for camera in record.cameras:
            if camera not in CAMERA_FIELDS:
                raise DataError(
                    f"{where}: cameras of LIBERO are {' and '.join(CAMERA_FIELDS)}, found {camera}: "
                    f"choose and rename by --cameras, such as agentview={camera}"
                )
        if self._demos == 0:
            self._instruction, self._rate_hz = record.instructions[0], record.rate_hz
        if (record.instructions[0], record.rate_hz) != (self._instruction, self._rate_hz):
            raise DataError(
                f"{where}: must say {self._instruction!r} at {self._rate_hz:g} Hz like the file's first, "
                f"found {record.instructions[0]!r} at {record.rate_hz:g} Hz"
            )

    def _write_observations(self, demo: h5py.Group, record: EpisodeRecord) -> None:
        hand = record.proprio[:, :6].astype(np.float64)
        gripper = record.proprio[:, 6:].astype(np.float64)
        observed = demo.create_group("obs")
        observed["ee_states"], observed["ee_pos"], observed["ee_ori"] = hand, hand[:, :3], hand[:, 3:]
        observed["gripper_states"] = gripper
        if record.joint_states is not None:
            observed["joint_states"] = record.joint_states
        quaternions = Rotation.from_rotvec(hand[:, 3:]).as_quat()
        demo["robot_states"] = np.concatenate([gripper, hand[:, :3], quaternions], axis=1)
        for view, camera in enumerate(record.cameras):
            observed.create_dataset(CAMERA_FIELDS[camera], data=record.images[:, view, ::-1])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and put it in its place, or take it away if an error came.

        Raises:
            DataError: No demonstration was added.
        """
        if self._file is None:
            return
        try:
            if kind is None:
                if not self._demos:
                    raise DataError(f"{self.path}: LIBERO wants at least one demonstration, got none")
                self._write_attributes(self._file["data"])
                self._file.close()
                os.replace(self._beside, self.path)
        finally:
            self._file.close()
            self._file = None
            self._beside.unlink(missing_ok=True)

    def _write_attributes(self, data: h5py.Group) -> None:
        for name, value in self._attributes.items():
            data.attrs[name] = value
        data.attrs["tag"] = "libero-v1"
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs["num_demos"], data.attrs["total"] = self._demos, self._total
        problem = {**self._problem, "language_instruction": self._instruction}
        data.attrs["problem_info"] = json.dumps(problem)
        arguments = {**self._environment.get("env_kwargs", {}), "control_freq": self._rate_hz}
        data.attrs["env_args"] = json.dumps({**self._environment, "env_kwargs": arguments})


class LiberoFolderWriter:
    """Writes a folder of such files, one for each instruction, named after the task or else the instruction.

    Args:
        folder: Where they go; nothing may be there.

    Raises:
        UserError: The folder exists.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            raise UserError(f"{folder} exists: name another target, or remove it")
        self.folder = folder
        self._beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        self._files: dict[str, LiberoFileWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> LiberoFolderWriter:
        """Begin."""
        self._beside.mkdir(parents=True)
        return self

    def add(self, record: EpisodeRecord) -> None:
        """Write one demonstration into the file of its task; see `LiberoFileWriter.add`."""
        # A task of somebody else's may be called "kitchen/stove" or "..": it names no other folder.
        task = re.sub(r"\W+", "_", (record.task or record.instructions[0]).strip())
        if task not in self._files:
            file = LiberoFileWriter(self._beside / f"{task}_demo.hdf5")
            self._files[task] = self._open.enter_context(file)
        self._files[task].add(record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the folder in its place, or take it away if an error came."""
        try:
            self._open.__exit__(kind, error, trace)  # all of them, also where one cannot be finished
            if kind is None:
                os.replace(self._beside, self.folder)
        finally:
            shutil.rmtree(self._beside, ignore_errors=True)
