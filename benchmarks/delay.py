"""Success against the delay of the camera, in simulated time: what the chunk schedule makes up for.

    python benchmarks/delay.py --bundle runs/nano/bundle --seeds 25 --delays 0 0.05 0.1 0.2 0.3 0.5

The arm controller, the schedule and the policy are those of the robot; the cell moves on while they wait, but
its clock is counted, not real, so the answer is the same on any machine. The first line is the synchronous
evaluation, in which the cell waits for each chunk and plays it to its end.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections import deque
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from dygro_ros.arm_controller import ArmController, ControllerConfig, Mode
from dygro_ros.bundle import read_bundle
from dygro_ros.errors import run_main
from dygro_ros.evaluation.statistics import wilson_interval
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import CONTROL_RATE_HZ, JOINT_NAMES
from dygro_ros.robot_profile import read_profile
from dygro_ros.runtime import by_side
from sim2real.bundle_episodes import EpisodeJob, cell_for, run_episode
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS, WorkCell
from sim2real.seeds import SeedPurpose, seeds_for
from sim2real.sim_robot import PERIOD_S, SimRobot

CAMERA_RATE_HZ = 30.0
# Beside the injected delay: what transport and inference take of a nano bundle on two cores [s].
ANSWER_S = 0.012
START_S = 2.0


@dataclass(frozen=True)
class Condition:
    """One line of the table."""

    delay_s: float | None
    """Injected delay of the camera [s]; None: synchronous."""
    interval_s: float | None
    """Between answered pictures [s]; None: as the profile says."""
    fusion: str
    blend_s: float

    def __str__(self) -> str:
        """Say it in one line."""
        if self.delay_s is None:
            return "synchronous"
        looks = "" if self.interval_s is None else f", every {1e3 * self.interval_s:3.0f} ms"
        return f"delay {1e3 * self.delay_s:3.0f} ms{looks}, {self.fusion}, {1e3 * self.blend_s:.0f} ms"


@cache
def policy_and_cell(bundle_path: str) -> tuple[OnnxPolicy, WorkCell]:
    """Return what a worker process needs, once."""
    bundle = read_bundle(Path(bundle_path))
    return OnnxPolicy(bundle), cell_for(bundle, RandomizationConfig.from_name("clean"), "seen")


def moving_on(policy: OnnxPolicy, cell: WorkCell, task: str, seed: int, condition: Condition) -> bool:
    """Return whether an episode in which the cell does not wait succeeds."""
    assert condition.delay_s is not None
    profile = read_profile("sim")
    config: ControllerConfig = profile.arm_bridge.controller()
    looks = profile.policy_node
    if condition.interval_s is not None:
        looks = looks.model_copy(update={"interval_s": condition.interval_s, "whole_within_s": 0.0})
    pacing = looks.pacing(policy.bundle.manifest.action)
    config = replace(
        config, schedule=replace(config.schedule, fusion=condition.fusion, blend_s=condition.blend_s)
    )
    robot = SimRobot(cell, camera_rate_hz=CAMERA_RATE_HZ, camera_delay_s=condition.delay_s)
    robot.reset(task, seed, 0.0)
    controller = ArmController(config, 0.0)
    joints: deque[tuple[float, np.ndarray]] = deque(maxlen=256)
    answers: deque[tuple[float, float, np.ndarray, np.ndarray]] = deque()
    answered_s, busy_s, now_s, tick = -np.inf, 0.0, 0.0, 0
    # Where every chunk comes too late, the arms never move and the episode's own time never begins.
    while not robot.result.over and now_s < START_S + cell.step_limit / CONTROL_RATE_HZ:
        tick += 1
        now_s = tick * PERIOD_S
        pictures = robot.advance_to(now_s + 1e-9)
        measured = robot.measured()
        joints.append((now_s, measured.astype(np.float32)))
        for picture in pictures:
            controller.heard("head_camera", now_s)
            if picture.taken_s - answered_s >= pacing.interval_s - 1e-9 and now_s >= busy_s:
                answered_s, busy_s = picture.taken_s, now_s + ANSWER_S
                pacing.answered(busy_s - answered_s)
                proprio = min(joints, key=lambda entry: abs(entry[0] - picture.taken_s))[1]
                output = policy.infer(picture.images, cell.instruction, proprio)
                answers.append((busy_s, answered_s, output.chunk, output.base_chunk))
        for side, joints_of_side in by_side(measured).items():
            controller.measure(side, joints_of_side, now_s)
        controller.heard("policy", now_s)
        while answers and answers[0][0] <= now_s:
            _, observed_s, chunk, base_chunk = answers.popleft()
            controller.offer(JOINT_NAMES, chunk, base_chunk, observed_s, now_s)
        command = controller.tick(now_s)
        if command is not None:
            seen = controller.watchdog.age_s("head_camera", now_s) == 0.0
            if seen and command.mode is Mode.HOLDING:
                controller.run(now_s)
            robot.command(command.position, now_s)
        if controller.fault:
            return False
    return robot.result.success


def work(job: tuple[str, Condition, str, int]) -> tuple[Condition, str, bool]:
    """Run one episode in a worker process."""
    path, condition, task, seed = job
    policy, cell = policy_and_cell(path)
    if condition.delay_s is None:
        return condition, task, run_episode(cell, policy, "chunk", EpisodeJob(0, task, seed)).success
    return condition, task, moving_on(policy, cell, task, seed, condition)


def main() -> int:
    """Run the benchmark."""
    profile = read_profile("sim")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=25, help="a task")
    parser.add_argument(
        "--delays", type=float, nargs="*", default=[0.0, 0.05, 0.1, 0.2, 0.3, 0.5], help="[s]"
    )
    parser.add_argument("--intervals", type=float, nargs="*", help="between answered observations [s]")
    parser.add_argument(
        "--fusion", nargs="*", default=[profile.arm_bridge.fusion], choices=["blend", "ensemble"]
    )
    parser.add_argument("--blend", type=float, nargs="*", help="[s]")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    conditions = [Condition(None, 0.0, "", 0.0)] + [
        Condition(delay_s, interval_s, fusion, blend_s)
        for fusion in options.fusion
        for interval_s in options.intervals or [None]
        for blend_s in options.blend or [profile.arm_bridge.blend_s]
        for delay_s in options.delays
    ]
    seeds = seeds_for(SeedPurpose.TESTS, 1, 0, options.seeds)
    jobs = [(str(options.bundle), c, task, seed) for c in conditions for task in TASKS for seed in seeds]
    found: dict[Condition, dict[str, list[bool]]] = {}
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for condition, task, success in pool.imap(work, jobs, chunksize=4):
            outcomes = found.setdefault(condition, {name: [] for name in TASKS})
            outcomes[task].append(success)
            everything = [ok for name in TASKS for ok in outcomes[name]]
            if len(everything) == len(TASKS) * len(seeds):
                low, high = wilson_interval(sum(everything), len(everything))
                counts = " ".join(f"{sum(outcomes[task])}" for task in TASKS)
                print(
                    f"{condition!s:50s} {100 * sum(everything) / len(everything):5.1f} % "
                    f"({100 * low:.0f}, {100 * high:.0f})  {counts}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    run_main(main)
