"""What an evaluation runs, from one YAML file: policies, tasks, how many trials, and in which order.

    title: DyGRO against its base
    robot: piper
    seed: 1
    trials: 20
    blind: true
    policies:
      dygro: {bundle: ../runs/nano/bundle}
      base: {bundle: ../runs/nano/bundle, residual: false}
    tasks:
      place_empty_cup:
        instruction: put the cup on the coaster
        scenes: scenes/place_empty_cup
        time_limit_s: 20
        rubric: {25: touches the cup, 50: lifts it, 75: holds it above the coaster}
    failures: [no motion, missed grasp, dropped, collision]

Paths are relative to the file. Trial i of a task shows scene i to every policy, so that the policies meet the
same scenes; within a scene they take turns in an order that follows from the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from dygro_ros.errors import UserError
from dygro_ros.layout import encode_instruction
from dygro_ros.robot_profile import checked, profile_path

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
PICTURES = (".png", ".jpg", ".jpeg")
LARGEST_PLAN_BYTES = 1_000_000


class Section(BaseModel):
    """Part of a plan: read-only, nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PolicyPlan(Section):
    """One of the policies that are compared."""

    bundle: Path
    """Folder of the policy bundle."""
    residual: bool = True
    """Whether chunks are played with their residual; false: the base policy alone."""


class TaskPlan(Section):
    """One task."""

    instruction: Sentence | None = None
    """What the policy is told; only the simulated cell has words of its own for each scene."""
    time_limit_s: Annotated[float, Field(gt=0, le=3600)]
    """A trial is ended after this long [s]."""
    scenes: Path | None = None
    """Folder of reference pictures, in the order of their names; trial i shows picture i."""
    rubric: dict[Annotated[int, Field(ge=1, le=99)], Sentence] = {}
    """What a partial success of so many points has reached."""

    @field_validator("instruction")
    @classmethod
    def _fits_the_policy(cls, text: str | None) -> str | None:
        if text is not None:
            encode_instruction(text)
        return text


class SimulationPlan(Section):
    """The simulated cell, where there is no robot."""

    randomization: Literal["clean", "randomized"] = "clean"
    instructions: Literal["seen", "unseen"] = "seen"
    """Instruction templates: those of the demonstrations, or new ones."""
    evaluation_seed: Annotated[int, Field(ge=0, le=999)] = 0
    """Which block of evaluation seeds the scenes are of."""


class EvaluationPlan(Section):
    """One evaluation."""

    title: Sentence
    robot: Annotated[str, StringConstraints(min_length=1)]
    """Robot profile: a name, or the path of its YAML file."""
    policies: Annotated[dict[Name, PolicyPlan], Field(min_length=1, max_length=8)]
    tasks: Annotated[dict[Name, TaskPlan], Field(min_length=1, max_length=100)]
    trials: Annotated[int, Field(ge=1, le=1000)] = 20
    """Trials of each policy in each task."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides the order of the policies."""
    blind: bool = True
    """Whether policies go by code names until `unblind`; nothing is hidden where there is but one."""
    countdown_s: Annotated[float, Field(ge=0, le=60)] = 3.0
    """Between the operator's word and the robot's first motion [s]."""
    failures: Annotated[tuple[Sentence, ...], Field(max_length=9)] = (
        "no motion",
        "missed grasp",
        "dropped",
        "wrong object",
        "collision",
        "other",
    )
    """Reasons of a failure to choose from."""

    simulation: SimulationPlan | None = None
    """Set where the scenes are laid by the simulated cell."""

    @model_validator(mode="after")
    def _somebody_says_what_to_do(self) -> EvaluationPlan:
        silent = [name for name, task in self.tasks.items() if task.instruction is None]
        if silent and self.simulation is None:
            raise ValueError(f"tasks.{silent[0]}.instruction must say what to do")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> EvaluationPlan:
        if len(set(self.failures)) != len(self.failures):
            raise ValueError("failures: each reason must be named once")
        return self

    @property
    def paired(self) -> tuple[str, ...]:
        """Tasks in which each policy meets the same scenes."""
        simulated = self.simulation is not None
        return tuple(name for name, task in self.tasks.items() if simulated or task.scenes is not None)

    @property
    def sealed(self) -> bool:
        """Whether there is something to hide."""
        return self.blind and len(self.policies) > 1


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of the plan."""

    number: int
    """1, 2, ... in the order in which they are run."""
    task: str
    scene: int
    """0, 1, ...: which initial scene; the same one for each policy."""
    code: str
    """Code name of the policy."""


def planned_trials(plan: EvaluationPlan, codes: tuple[str, ...]) -> tuple[PlannedTrial, ...]:
    """Return all trials in their order.

    Tasks follow one another, because each needs its own objects on the table. Within a task each scene is a
    block in which every policy has its turn; who begins follows from seed, task and scene. That order does
    not depend on which policy a code name hides, nor on any random generator's version.

    Args:
        plan: The plan.
        codes: A code name for each policy.

    Raises:
        ValueError: Another number of code names than policies.
    """
    if len(set(codes)) != len(plan.policies):
        raise ValueError(f"expected {len(plan.policies)} different code names, got {', '.join(codes)}")
    order = [
        (task, scene, code)
        for task in plan.tasks
        for scene in range(plan.trials)
        for code in sorted(codes, key=lambda code: _rank(plan.seed, task, scene, code))
    ]
    return tuple(PlannedTrial(i + 1, *entry) for i, entry in enumerate(order))


def _rank(seed: int, task: str, scene: int, code: str) -> bytes:
    return hashlib.sha256(f"{seed}/{task}/{scene}/{code}".encode()).digest()


def read_plan(path: Path) -> EvaluationPlan:
    """Read a plan; its paths come back absolute.

    Raises:
        UserError: There is no such file, it is not YAML, a field is missing, unknown or of another kind, the
            robot's profile or a scene folder does not exist; names file and field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_PLAN_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"expected an evaluation plan, but {path} cannot be read: {error.strerror}"
        ) from error
    if len(data) > LARGEST_PLAN_BYTES:
        raise UserError(f"{path} is no evaluation plan: it is larger than {LARGEST_PLAN_BYTES} bytes")
    try:
        values = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold the fields of a plan, found {type(values).__name__}")
    plan = checked(EvaluationPlan, values, str(path))
    folder = path.resolve().parent
    robot = plan.robot
    if robot.endswith((".yaml", ".yml")):
        robot = str(folder / robot)
    profile_path(robot)
    policies = {
        name: policy.model_copy(update={"bundle": folder / policy.bundle})
        for name, policy in plan.policies.items()
    }
    tasks = {name: _with_scenes(task, folder, f"{path}: tasks.{name}") for name, task in plan.tasks.items()}
    return plan.model_copy(update={"robot": robot, "policies": policies, "tasks": tasks})


def _with_scenes(task: TaskPlan, folder: Path, where: str) -> TaskPlan:
    if task.scenes is None:
        return task
    scenes = folder / task.scenes
    if not scenes.is_dir():
        raise UserError(f"{where}.scenes: expected a folder of reference pictures, but {scenes} is none")
    if not scene_pictures(scenes):
        raise UserError(f"{where}.scenes: {scenes} holds no picture ({', '.join(PICTURES)})")
    return task.model_copy(update={"scenes": scenes})


def scene_pictures(folder: Path) -> list[Path]:
    """Return a folder's reference pictures in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file())


def reference_picture(task: TaskPlan, scene: int) -> Path | None:
    """Return the picture of a scene; they begin anew where there are fewer than trials."""
    if task.scenes is None:
        return None
    pictures = scene_pictures(task.scenes)
    return pictures[scene % len(pictures)] if pictures else None


def plan_record(plan: EvaluationPlan) -> Mapping[str, Any]:
    """Return the plan as plain JSON values, for the ledger."""
    return plan.model_dump(mode="json")
