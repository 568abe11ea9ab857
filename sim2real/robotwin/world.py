"""RoboTwin as a world to train in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dygro_ros.errors import UserError, unknown_name
from dygro_ros.layout import ARM_INDICES, GRIPPER_INDICES, JOINT_NAMES
from models.action_space import ActionLayout, ActionSpace
from sim2real.robotwin.environment import InstructionSplit, Proprio, RobotwinEnvironment
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.observations import CAMERAS
from sim2real.robotwin.scene_state import PRIVILEGED_SIZE, PRIVILEGED_SLICES
from sim2real.robotwin.seed_book import SeedBook


@dataclass(frozen=True)
class RobotwinWorld:
    """Tasks of RoboTwin under one configuration; see `sim2real.world.World`. `measured_world` makes one."""

    installation: Installation
    tasks: tuple[str, ...]
    lower: tuple[float, ...]
    """Lower limits of the simulated robot's joints, 14 [rad; 0 for grippers]."""
    upper: tuple[float, ...]
    """Upper limits."""
    task_config: str = "demo_clean"
    """RoboTwin's configuration of scenes and robot."""
    proprio: Proprio = "targets"
    """What proprioception is: drive targets, as in RoboTwin's data, or measured joints."""
    instruction_split: InstructionSplit = "seen"
    """Which wordings are said."""
    book: Path | None = None
    """What is known of seeds (`find_seeds`); unset: the expert is tried before each episode."""

    name = "robotwin"
    action_names = proprio_names = JOINT_NAMES
    cameras = tuple(CAMERAS)
    # Of its data: a frame every 15 physics steps of 4 ms. An action itself is retimed and lasts as long as it
    # must, but at another rate each would go another part of the way, and RoboTwin limits their number.
    control_rate_hz = 250 / 15
    privileged_size = PRIVILEGED_SIZE
    object_positions = PRIVILEGED_SLICES["object_positions"]

    @property
    def layout(self) -> ActionLayout:
        """Drive targets of both arms: joints relative to proprioception, grippers over their stroke."""
        return ActionLayout(self.lower, self.upper, GRIPPER_INDICES, relative=ARM_INDICES)

    def open(self, *, image_size: int, cameras: int) -> RobotwinEnvironment:
        """Return an environment with the head camera, or with the wrist cameras too.

        A seed on which the expert fails stands for the next on which it succeeds, but for evaluation seeds:
        those are refused.

        Raises:
            DependencyError: A part of RoboTwin is missing.
            DataError: The book of seeds is missing, damaged or of another configuration.
        """
        return RobotwinEnvironment(
            self.installation,
            task_config=self.task_config,
            cameras=tuple(CAMERAS)[: 1 if cameras == 1 else len(CAMERAS)],
            image_size=image_size,
            proprio=self.proprio,
            instruction_split=self.instruction_split,
            book=self._known_seeds(),
            pass_over=True,
        )

    def carrying_its_book(self) -> RobotwinWorld:
        """Return this world with what its book of seeds holds now, to be opened where the file is not.

        Raises:
            DataError: The book is missing, damaged or of another configuration.
        """
        known = self._known_seeds()
        if known is None:
            return self
        return CarryingWorld(**vars(self), contents=known.to_json())

    def _known_seeds(self) -> SeedBook | None:
        return None if self.book is None else SeedBook.read(self.book, self.task_config)

    def chunk_features(self, space: ActionSpace, chunk: int) -> None:
        """Return nothing: RoboTwin's robots have other kinematics than our cell's."""


@dataclass(frozen=True)
class CarryingWorld(RobotwinWorld):
    """A world that needs no file for what is known of seeds; `RobotwinWorld.carrying_its_book` makes one."""

    contents: str = field(default="", repr=False)
    """The book as JSON; `book` only says where it was read."""

    def carrying_its_book(self) -> CarryingWorld:
        """Return this world, which carries its book already."""
        return self

    def _known_seeds(self) -> SeedBook:
        return SeedBook.from_json(self.contents, self.task_config, f"the book of seeds read from {self.book}")


def measured_world(
    installation: Installation, tasks: tuple[str, ...], *, task_config: str = "demo_clean", seed: int = 0
) -> RobotwinWorld:
    """Return the world of these tasks with the joints' limits read off the simulated robot.

    Args:
        installation: Where RoboTwin is.
        tasks: Tasks to train on, in the order of their ids.
        task_config: RoboTwin's configuration of scenes and robot.
        seed: A scene is set up from this seed on, to look at the robot.

    Raises:
        UserError: A task is unknown, there is none, or the robot has other arms.
        DependencyError: A part of RoboTwin is missing.
        LinkError: The process does not start, or ended.
    """
    known = installation.tasks()
    if not tasks:
        raise UserError(f"a world needs tasks, got none: choose among {', '.join(known)}")
    for task in tasks:
        if task not in known:
            raise unknown_name("RoboTwin task", task, known, str(installation.checkout))
    with RobotwinEnvironment(installation, task_config=task_config, pass_over=True) as environment:
        environment.reset(tasks[0], seed)
        lower, upper = (tuple(v.tolist()) for v in (environment.joint_lower, environment.joint_upper))
    return RobotwinWorld(installation, tasks, lower, upper, task_config=task_config)
