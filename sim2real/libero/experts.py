"""Scripted experts for LIBERO: they read the simulator's state and move the hand by OSC_POSE actions.

Uses privileged state; no policy may. Run as a module, it prints the success table.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from dygro_ros.errors import UserError, run_main, unknown_name
from sim2real.libero.environment import LiberoEnvironment
from sim2real.libero.expert_scripts import SCRIPTS
from sim2real.libero.hand_moves import action_towards
from sim2real.libero.interface import ACTION_SIZE, CAMERAS
from sim2real.libero.scene_state import ARM_JOINTS, PRIVILEGED_SIZE, PROPRIO_SIZE
from sim2real.libero.tasks import EVALUATION_STATES

if TYPE_CHECKING:
    from sim2real.film import FilmStrip

EXPERT_TASKS = tuple(SCRIPTS)
_MOTION = slice(0, ACTION_SIZE - 1)


@dataclass(frozen=True)
class ActionNoise:
    """Noise on executed actions, so that demonstrations also show how to come back; the gripper has none.

    Attributes:
        max_magnitude: An episode's magnitude is uniform in 0..this [parts of an action's range].
        hold_steps: A draw is held for this many control steps.
    """

    max_magnitude: float = 0.4
    hold_steps: int = 5


@dataclass(frozen=True)
class ExpertEpisode:
    """What happened in T control steps; row t of every array belongs to the moment before step t.

    Attributes:
        task: Name of the task.
        state_index: Fixed initial state, or None.
        seed: Seed of a sampled initial state, or None.
        instruction: What the robot was told.
        success: Whether the task was done.
        steps: T.
        proprio: Shape (T, 8), see `SceneState.proprio`.
        actions_label: The expert's own actions, shape (T, 7).
        executed: Actions with noise that were really executed, shape (T, 7).
        privileged: Shape (T, PRIVILEGED_SIZE).
        joint_states: The arm's joints [rad], shape (T, 7).
        simulator_states: What sets the simulator back, shape (T, S); None where it was not asked for.
        model: The episode's model as MJCF, "" likewise: a state lacks where the fixtures stand.
        images: Camera pictures, shape (K, 2, H, W, 3) uint8.
        image_steps: The step that each of them was taken before, shape (K,).
    """

    task: str
    state_index: int | None
    seed: int | None
    instruction: str
    success: bool
    steps: int
    proprio: NDArray[np.float32]
    actions_label: NDArray[np.float32]
    executed: NDArray[np.float32]
    privileged: NDArray[np.float32]
    joint_states: NDArray[np.float64]
    simulator_states: NDArray[np.float64] | None
    model: str
    images: NDArray[np.uint8]
    image_steps: NDArray[np.int64]


class Expert:
    """Solves the episode that an environment has just been reset to."""

    def __init__(self, environment: LiberoEnvironment) -> None:
        """Begin the task's script.

        Raises:
            UserError: The task has none.
        """
        self._environment = environment
        name = environment.task.name
        if name not in SCRIPTS:
            raise unknown_name("LIBERO task with an expert", name, EXPERT_TASKS)
        self._script = SCRIPTS[name](lambda: environment.scene)

    def next_action(self) -> NDArray[np.float32] | None:
        """Return the next action, shape (7,), or None when the task is done or the script has ended.

        Call once a control step, before stepping the environment.
        """
        if self._environment.succeeded:
            return None
        target = next(self._script, None)
        return None if target is None else action_towards(self._environment.scene, target)


def run_expert(
    environment: LiberoEnvironment,
    task: str,
    *,
    state_index: int | None = None,
    seed: int | None = None,
    noise: ActionNoise | None = None,
    images_every: int = 0,
    replayable: bool = False,
) -> ExpertEpisode:
    """Reset the environment and let the expert solve the episode.

    Args:
        environment: The environment to use.
        task: Its name.
        state_index: Fixed initial state, for evaluation only, or
        seed: seed of a sampled initial state.
        noise: Disturb what is executed; the recorded labels stay the expert's own. Drawn from the episode.
        images_every: Take pictures before every so many steps, beginning with the first; 0 takes none.
        replayable: Keep the simulator's states and model too, by which LIBERO's tools replay an episode.
    """
    environment.reset(task, state_index=state_index, seed=seed)
    model = environment.model_xml() if replayable else ""
    expert = Expert(environment)
    entropy = [0, state_index] if state_index is not None else [1, seed or 0]
    rng = np.random.default_rng([*entropy, 0x6E6F6973])
    magnitude = rng.uniform(0.0, noise.max_magnitude) if noise else 0.0
    disturbance = np.zeros(ACTION_SIZE, dtype=np.float32)
    proprio, labels, executed, privileged = [], [], [], []
    joints, states = [], []
    pictures, picture_steps = [], []
    while environment.step_count < environment.step_limit:
        label = expert.next_action()
        if label is None:
            break
        if noise and environment.step_count % noise.hold_steps == 0:
            disturbance[_MOTION] = rng.uniform(-magnitude, magnitude, ACTION_SIZE - 1)
        proprio.append(environment.proprio())
        privileged.append(environment.privileged_state())
        joints.append(environment.scene.arm)
        if replayable:
            states.append(environment.simulator_state())
        if images_every and environment.step_count % images_every == 0:
            pictures.append(environment.images())
            picture_steps.append(environment.step_count)
        labels.append(label)
        executed.append(np.clip(label + disturbance, -1.0, 1.0))
        environment.step(executed[-1])
    return ExpertEpisode(
        task=environment.task.name,
        state_index=state_index,
        seed=seed,
        instruction=environment.instruction,
        success=environment.succeeded,
        steps=environment.step_count,
        proprio=np.array(proprio, dtype=np.float32).reshape(-1, PROPRIO_SIZE),
        actions_label=np.array(labels, dtype=np.float32).reshape(-1, ACTION_SIZE),
        executed=np.array(executed, dtype=np.float32).reshape(-1, ACTION_SIZE),
        privileged=np.array(privileged, dtype=np.float32).reshape(-1, PRIVILEGED_SIZE),
        joint_states=np.array(joints, dtype=np.float64).reshape(-1, ARM_JOINTS),
        simulator_states=np.array(states, dtype=np.float64) if replayable else None,
        model=model,
        images=np.array(pictures, dtype=np.uint8),
        image_steps=np.array(picture_steps, dtype=np.int64),
    )


@dataclass(frozen=True)
class ExpertOptions:
    """Success of the scripted experts on LIBERO's fixed initial states.

    Attributes:
        states: So many fixed initial states a task, from the first.
        task: A task's name, or "all".
        noise: Disturb executed actions by up to this part of their range.
        film: Write a film strip of each task's first episodes to this PNG.
    """

    states: int = EVALUATION_STATES
    task: str = "all"
    noise: float = 0.0
    film: Path | None = None


def measure_experts(options: ExpertOptions) -> Table:
    """Run the experts and return the table of successes, durations and speed.

    Raises:
        UserError: The task has no expert, or the number of states is not 1 to 50.
    """
    if not 1 <= options.states <= EVALUATION_STATES:
        raise UserError(f"--states must be 1 to {EVALUATION_STATES}, got {options.states}")
    if options.task not in (*EXPERT_TASKS, "all"):
        raise unknown_name("LIBERO task with an expert", options.task, EXPERT_TASKS)
    task_column = Column("task", overflow="fold")
    headings = ("success", "steps: median", "max", "control steps/s", "failed states")
    table = Table(task_column, *headings, title="experts")
    noise = ActionNoise(options.noise) if options.noise > 0 else None
    strips: list[FilmStrip] = []
    with LiberoEnvironment() as environment:
        for task in EXPERT_TASKS if options.task == "all" else (options.task,):
            started = time.perf_counter()
            episodes = [
                run_expert(environment, task, state_index=index, noise=noise)
                for index in range(options.states)
            ]
            duration = time.perf_counter() - started
            failed = [episode.state_index for episode in episodes if not episode.success]
            steps = [episode.steps for episode in episodes if episode.success] or [0]
            table.add_row(
                task,
                f"{len(episodes) - len(failed)}/{len(episodes)}",
                f"{np.median(steps):.0f}",
                f"{max(steps)}",
                f"{sum(episode.steps for episode in episodes) / duration:.0f}",
                " ".join(map(str, failed)),
            )
            if options.film:
                filmed = [*failed, *(i for i in range(options.states) if i not in failed)][:2]
                strips += [strip for i in filmed for strip in _film(environment, task, i, noise)]
    if options.film:
        from sim2real.film import save_contact_sheet

        save_contact_sheet(strips, options.film)
    return table


def _film(
    environment: LiberoEnvironment, task: str, state: int, noise: ActionNoise | None
) -> list[FilmStrip]:
    # Imported late: training's workers run experts without films, and need no matplotlib.
    from sim2real.film import FilmStrip, pick_frames

    episode = run_expert(environment, task, state_index=state, noise=noise, images_every=4)
    pictures = [*episode.images, environment.images()]
    return [
        FilmStrip(
            f"{task} {camera}",
            state,
            episode.success,
            episode.steps,
            episode.instruction,
            tuple(pick_frames([picture[index] for picture in pictures])),
        )
        for index, camera in enumerate(CAMERAS)
    ]


def main() -> None:
    """Print the experts' success table."""
    Console().print(measure_experts(tyro.cli(ExpertOptions)))


if __name__ == "__main__":
    run_main(main)
