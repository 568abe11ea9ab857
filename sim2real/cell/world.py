"""The simulated dual-arm cell as a world to train in."""

from __future__ import annotations

from dataclasses import dataclass, field

from dygro_ros.layout import (
    ARM_INDICES,
    CONTROL_RATE_HZ,
    GRIPPER_INDICES,
    JOINT_LOWER,
    JOINT_NAMES,
    JOINT_UPPER,
)
from models.action_space import ActionLayout, ActionSpace
from sim2real.cell.hand_geometry import HandGeometry
from sim2real.cell.privileged import PRIVILEGED_SIZE, PRIVILEGED_SLICES
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.tasks import TASKS
from sim2real.cell.work_cell import CAMERA_NAMES, WorkCell

DUAL_ARM = ActionLayout(
    lower=tuple(JOINT_LOWER.tolist()),
    upper=tuple(JOINT_UPPER.tolist()),
    grippers=GRIPPER_INDICES,
    relative=ARM_INDICES,
)
"""Drive targets of both arms: joints relative to the measured ones, grippers over their stroke."""


@dataclass(frozen=True)
class CellWorld:
    """The work cell; see `sim2real.world.World`."""

    randomization: RandomizationConfig = field(default_factory=RandomizationConfig)
    """Domain randomisation of every episode."""
    instruction_split: str = "seen"
    """Which wordings are said."""

    name = "cell"
    tasks = TASKS
    layout = DUAL_ARM
    action_names = proprio_names = JOINT_NAMES
    cameras = CAMERA_NAMES
    control_rate_hz = CONTROL_RATE_HZ
    privileged_size = PRIVILEGED_SIZE
    object_positions = PRIVILEGED_SLICES["object_positions"]

    def open(self, *, image_size: int, cameras: int) -> WorkCell:
        """Return a cell with the head camera, or with the wrist cameras too."""
        return WorkCell(
            self.randomization,
            image_size=image_size,
            wrist_cameras=cameras > 1,
            instruction_split=self.instruction_split,
        )

    def chunk_features(self, space: ActionSpace, chunk: int) -> HandGeometry:
        """Return where the chunk would take the hands."""
        return HandGeometry(space.scale, chunk)
