"""LIBERO from our side: episodes of any task by name, each task in a process of its own.

An episode is a task with either one of its 50 fixed initial states, which only evaluations use, or a seed:
then the initial state is drawn as LIBERO drew the fixed ones. The same episode and the same actions give the
same pictures and states, whatever ran before, in whichever process.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from sim2real.libero.installation import Installation, installed
from sim2real.libero.scene_state import SceneNames, SceneState
from sim2real.libero.tasks import LiberoTask, TaskList
from sim2real.process_link import ProcessLink


class LiberoEnvironment:
    """One episode at a time, of any task whose assets are there."""

    def __init__(
        self, installation: Installation | None = None, *, image_size: int = 128, max_processes: int = 4
    ) -> None:
        """Start nothing yet: a task's process is started by its first `reset`.

        Args:
            installation: None takes `installed()`.
            image_size: Height and width of the pictures [px].
            max_processes: So many tasks stay ready, at up to 1 GB each; the one not used longest is closed.

        Raises:
            DependencyError: LIBERO is not installed, or in other versions.
            UserError: A number is not positive.
        """
        if min(image_size, max_processes) < 1:
            raise UserError(
                f"image_size and max_processes must be 1 or more, got {image_size}, {max_processes}"
            )
        self.tasks = TaskList(installation or installed())
        self._image_size, self._max_processes = image_size, max_processes
        self._links: dict[LiberoTask, tuple[ProcessLink, SceneNames]] = {}
        self._task: LiberoTask | None = None
        self._scene: SceneState | None = None
        self._goal_parts: tuple[str, ...] = ()
        self.step_count = 0
        self.succeeded = False

    def reset(self, task: str, *, state_index: int | None = None, seed: int | None = None) -> None:
        """Begin an episode; ten steps pass in which objects settle, and are not counted.

        Args:
            task: A task's name, or "suite/name".
            state_index: Fixed initial state, for evaluation only, or
            seed: seed (0 or more) of a sampled initial state.

        Raises:
            UserError: Not exactly one of the two is given, or a value is none of the known.
            DependencyError: Assets are missing; the message names them.
            LinkError: The task's process does not start, or ended.
        """
        found = self.tasks.named(task)
        if (state_index is None) == (seed is None):
            raise UserError(
                "a LIBERO episode begins from a fixed state or a seed, "
                f"got state_index {state_index} and seed {seed}"
            )
        link, names = self._ready(found)
        self._task = None  # until the process has answered there is no episode
        observation = link.call("reset", state=state_index, seed=seed)
        self._task = found
        self._scene = SceneState.from_observation(names, observation)
        self._goal_parts = names.goal_parts(found.goal)
        self.step_count, self.succeeded = 0, bool(observation["success"])

    def _ready(self, task: LiberoTask) -> tuple[ProcessLink, SceneNames]:
        """Return the task's process, started if need be, and note it as the one used last."""
        if task in self._links:
            self._links[task] = self._links.pop(task)
            return self._links[task]
        self.tasks.check_assets(task)
        while len(self._links) >= self._max_processes:
            self._links.pop(next(iter(self._links)))[0].close()
        installation = self.tasks.installation
        link = ProcessLink(
            [
                str(installation.python),
                "-m",
                "sim2real.libero.server",
                str(installation.task_file(task.suite, task.name)),
                str(installation.initial_states(task.suite, task.name)),
                str(self._image_size),
            ],
            f"LIBERO {task.name}",
            environment=installation.environment(),
        )
        self._links[task] = (link, SceneNames.from_description(link.call("describe")))
        return self._links[task]

    def step(self, action: NDArray[np.floating]) -> bool:
        """Advance one control step of 50 ms and return whether the task has been done.

        Args:
            action: Translation and rotation of the hand in parts of 0.05 m and 0.5 rad (-1..1 each, world
                axes), then the gripper: below 0 opens, above 0 closes; shape (7,).

        Raises:
            UserError: There is no episode, or the action is not 7 finite numbers.
            LinkError: The task's process ended.
        """
        link, names = self._links[self.task]
        observation = link.call("step", action=np.asarray(action, dtype=np.float64))
        self._scene = SceneState.from_observation(names, observation)
        self.step_count += 1
        self.succeeded = self.succeeded or bool(observation["success"])
        return self.succeeded

    def images(self) -> NDArray[np.uint8]:
        """Return what the cameras see (`CAMERAS`), right side up, shape (2, H, W, 3); rendered when asked."""
        images = self._links[self.task][0].call("images")["images"]
        assert isinstance(images, np.ndarray)
        return images

    @property
    def task(self) -> LiberoTask:
        """The episode's task.

        Raises:
            UserError: `reset` has not been called.
        """
        if self._task is None:
            raise UserError("there is no LIBERO episode: call reset first")
        return self._task

    @property
    def scene(self) -> SceneState:
        """The simulator's state now."""
        assert self.task and self._scene is not None
        return self._scene

    @property
    def instruction(self) -> str:
        """What the robot is told."""
        return self.task.instruction

    @property
    def step_limit(self) -> int:
        """Control steps after which the episode has failed."""
        return self.task.step_limit

    def simulator_state(self) -> NDArray[np.float64]:
        """Return what LIBERO's `set_state` sets back to, shape (S,): time [s], positions, velocities."""
        state = self._links[self.task][0].call("state")["state"]
        assert isinstance(state, np.ndarray)
        return state

    def model_xml(self) -> str:
        """Return the episode's model as MJCF: where the fixtures stand is part of it, not of a state."""
        model = self._links[self.task][0].call("model")["model"]
        assert isinstance(model, np.ndarray)
        return model.tobytes().decode()

    def origin(self) -> dict[str, Any]:
        """Return what LIBERO's files say of a task's environment; see `LiberoSimulation.origin`."""
        return self._links[self.task][0].call("origin")

    def proprio(self) -> NDArray[np.float32]:
        """Return what a policy may know of the robot, shape (8,): see `SceneState.proprio`."""
        return self.scene.proprio()

    def privileged_state(self) -> NDArray[np.float32]:
        """Return what critics may see, shape (PRIVILEGED_SIZE,): see `scene_state.PRIVILEGED_SLICES`."""
        return self.scene.privileged(self._goal_parts, self.step_count / self.step_limit)

    def close(self) -> None:
        """End all processes."""
        for link, _ in self._links.values():
            link.close()
        self._links.clear()
        self._task = None

    def __enter__(self) -> LiberoEnvironment:
        """Return the environment."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes."""
        self.close()
