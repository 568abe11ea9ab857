"""Random command streams with faults against the arm controller: no output outside a limit, ever.

    python benchmarks/command_streams.py --streams 100000

Each stream is a second of a robot's life on a clock of its own: chunks that are late, early, doubled, of
wrong names, shapes or values; NaN and Inf; sources that fall silent, one arm that dies or does not follow;
bursts, lost ticks, an operator who presses everything. What is sent is held against every limit of the
profile, by differences, as a driver would see it; and after each silence the arms must rest within the
promised time.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from dygro_ros.arm_controller import ArmController, ControllerConfig, Mode
from dygro_ros.errors import UserError, run_main
from dygro_ros.motion_limits import MotionLimits
from dygro_ros.robot_profile import SIDE_SIZE, read_profile
from dygro_ros.runtime import by_side

Array = NDArray[np.float64]

EVENTS = (
    "chunk", "chunk", "chunk", "chunk", "chunk", "spoiled chunk", "old chunk", "same chunk", "wrong names",
    "burst", "silence", "all heard", "spoiled state", "blocked", "stop", "reset", "run", "run", "home",
    "hold", "residual", "lost ticks",
)  # fmt: skip
# Three divisions by the period magnify rounding.
ROUNDING = 1e-6


class Robot:
    """A controller, arms that follow at once or not at all, and a clock."""

    def __init__(self, config: ControllerConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng
        self.now_s = float(rng.uniform(0, 1e5))
        self.controller = ArmController(config, self.now_s)
        self.position = rng.uniform(config.limits.lower, config.limits.upper)
        self.silent: set[str] = set()
        self.blocked = False
        self.lives: list[list[Array]] = [[self.position.copy()]]
        """What was sent since each start at rest, after the measured position there."""
        self.moved_s: list[float] = []
        self.last_chunk: tuple[Array, float] | None = None

    def tick(self) -> None:
        """Let one period pass, with everybody heard who is not silent."""
        self.now_s += self.config.period_s
        for source in self.config.ages:
            if source not in self.silent and source not in self.config.arms:
                self.controller.heard(source, self.now_s)
        for arm, joints in by_side(self.position).items():
            if arm not in self.silent:
                self.controller.measure(arm, joints, self.now_s)
        command = self.controller.tick(self.now_s)
        if command is None:
            return
        if not np.array_equal(command.position, self.lives[-1][-1]):
            self.moved_s.append(self.now_s)
        self.lives[-1].append(command.position)
        if not self.blocked:
            self.position = command.position.copy()

    def ask(self, what: str) -> None:
        """Press one of the operator's buttons."""
        with contextlib.suppress(UserError):
            if what == "hold":
                self.controller.hold()
            elif what == "stop":
                self.controller.stop("operator")
            else:
                getattr(self.controller, what)(self.now_s)
                if what == "reset":
                    # From where the arms were measured; these here may have been freed since, and jump.
                    self.lives.append([self.controller.measured.copy()])

    def offer(self, chunk: Array, age_s: float, names: tuple[str, ...] | None = None) -> None:
        """Send a chunk that may be anything."""
        self.last_chunk = (chunk, age_s)
        with contextlib.suppress(UserError):
            self.controller.offer(
                names or self.config.joint_names, chunk, chunk[::-1], self.now_s - age_s, self.now_s
            )

    def chunk(self) -> Array:
        """Return actions anywhere within the limits, or a walk near the arms."""
        steps = int(self.rng.integers(1, 13))
        limits = self.config.limits
        if self.rng.random() < 0.5:
            return self.rng.uniform(limits.lower, limits.upper, (steps, limits.joints))
        walk = self.position + np.cumsum(self.rng.normal(0, 0.05, (steps, limits.joints)), axis=0)
        return np.clip(walk, limits.lower, limits.upper)

    def happen(self, event: str) -> None:
        """Let something happen."""
        rng = self.rng
        if event in ("stop", "reset", "run", "home", "hold"):
            self.ask(event)
        elif event == "chunk":
            self.offer(self.chunk(), float(rng.uniform(0, 0.1)))
        elif event == "spoiled chunk":
            chunk = self.chunk()
            place = tuple(int(rng.integers(0, size)) for size in chunk.shape)
            chunk[place] = rng.choice([np.nan, np.inf, -np.inf, 1e9, -1e9])
            self.offer(chunk, 0.0)
        elif event == "old chunk":
            self.offer(self.chunk(), float(rng.choice([-0.5, 0.3, 1.0, 60.0])))
        elif event == "same chunk" and self.last_chunk is not None:
            self.offer(*self.last_chunk)
        elif event == "wrong names":
            names = [*self.config.joint_names]
            names[int(rng.integers(len(names)))] = str(rng.choice(["", "joint", names[0], names[-1]]))
            self.offer(self.chunk(), 0.0, tuple(names))
        elif event == "burst":
            for _ in range(20):
                self.offer(self.chunk(), float(rng.uniform(0, 0.3)))
        elif event == "silence":
            self.silent.add(str(rng.choice([*self.config.ages])))
        elif event == "all heard":
            self.silent.clear()
        elif event == "spoiled state":
            with contextlib.suppress(UserError):
                values = np.full(int(rng.choice([SIDE_SIZE, SIDE_SIZE - 1])), rng.choice([np.nan, np.inf]))
                self.controller.measure(self.config.arms[0], values, self.now_s)
        elif event == "blocked":
            self.blocked = not self.blocked
        elif event == "residual":
            self.controller.use_residual(bool(rng.integers(2)), self.now_s)
        elif event == "lost ticks":
            self.now_s += float(rng.uniform(0, 0.5))


def beyond_limits(life: list[Array], limits: MotionLimits, period_s: float) -> str:
    """Return which limit a motion from rest breaks, empty for none."""
    sent = np.array(life)
    if not np.isfinite(sent).all():
        return "not finite"
    # The first is where the arms were measured, which may be a little outside: it was not sent.
    if (sent[1:] < limits.lower).any() or (sent[1:] > limits.upper).any():
        return "position"
    differences = np.vstack([np.clip(sent[:1], limits.lower, limits.upper)] * 3 + [sent[1:]])
    for name in ("velocity", "acceleration", "jerk"):
        differences = np.diff(differences, axis=0) / period_s
        if (np.abs(differences) > getattr(limits, name) * (1 + ROUNDING)).any():
            return name
    return ""


def run_stream(seed: int, robot_profile: str = "piper", seconds: float = 1.0) -> list[str]:
    """Return what went wrong in one stream; nothing is what is promised."""
    rng = np.random.default_rng(seed)
    config = read_profile(robot_profile).arm_bridge.controller()
    robot = Robot(config, rng)
    wrong = []
    robot.tick()
    robot.ask("run")
    ends_s = robot.now_s + seconds
    busy = float(rng.uniform(0.05, 0.6))
    while robot.now_s < ends_s:
        if rng.random() < busy:
            robot.happen(str(rng.choice(EVENTS)))
        robot.tick()
    # Now somebody falls silent for good, whatever was going on.
    robot.silent.clear()
    robot.tick()
    mode = robot.controller.mode
    if mode in (Mode.RUNNING, Mode.HOMING):
        sources = [s for s in config.ages if s in config.arms or mode is Mode.RUNNING]
        source = str(rng.choice(sources))
        robot.silent.add(source)
        silent_s = robot.now_s
        promised_s = config.ages[source].stop_s + config.limits.longest_stop_s(config.period_s)
        while robot.now_s < silent_s + promised_s + 0.1:
            if rng.random() < 0.3:
                robot.happen("chunk")
            robot.tick()
        if robot.moved_s and robot.moved_s[-1] > silent_s + promised_s + config.period_s:
            wrong.append(f"moved {1e3 * (robot.moved_s[-1] - silent_s):.0f} ms after {source} fell silent")
    broken = [beyond_limits(life, config.limits, config.period_s) for life in robot.lives]
    return wrong + [f"{name} limit broken" for name in broken if name]


def main() -> int:
    """Run the streams."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for seed, wrong in enumerate(pool.imap(run_stream, range(options.streams), chunksize=50)):
            for what in wrong:
                found[what] += 1
                print(f"stream {seed}: {what}", flush=True)
            if (seed + 1) % 10_000 == 0:
                print(f"{seed + 1} streams, {sum(found.values())} violations", flush=True)
    print(f"{options.streams} streams, {sum(found.values())} violations")
    return 1 if found else 0


if __name__ == "__main__":
    run_main(main)
