"""The starter: runs the graph of a robot profile without `ros2 launch`, from the same description.

    dygro-start --robot sim --bundle runs/demo/bundle --instruction "put the cup on the coaster"

Each node is a process of its own; when one ends, all are ended. Knows no rclpy.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO

from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import (
    POLICY,
    SIM_ROBOT,
    SUPERVISOR,
    NodeProcess,
    on_this_machine,
    overrides_for,
    processes,
)
from dygro_ros.middleware import middleware_environment
from dygro_ros.ros_commands import require_ros, require_simulator

# A node told to end is killed after this [s].
END_S = 5.0
LOOK_PERIOD_S = 0.1
# Environment variable that tells a node the process that started it.
STARTER = "DYGRO_STARTER_PID"
Values = dict[str, str | int | float | bool]


def overrides_of(settings: Sequence[str]) -> dict[str, Values]:
    """Return settings such as `sim_robot.seed=3` by node.

    Raises:
        UserError: A setting has another form.
    """
    found: dict[str, Values] = {}
    for setting in settings:
        place, equals, text = setting.partition("=")
        node, dot, name = place.partition(".")
        if not (equals and dot and node and name):
            raise UserError(f"--set takes node.parameter=value, got {setting!r}")
        found.setdefault(node, {})[name] = _value(text)
    return found


def all_overrides(bundle: str, instruction: str, settings: Sequence[str]) -> dict[str, Values]:
    """Return what every start gives, by node, with settings such as `sim_robot.seed=3` on top.

    Raises:
        UserError: A setting has another form.
    """
    found = overrides_of(settings)
    for node, values in overrides_for(bundle, instruction).items():
        found[node] = values | found.get(node, {})
    return found


def _value(text: str) -> str | int | float | bool:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class Graph:
    """Processes that run while it is entered; being told to terminate then leaves it as Ctrl-C does.

    with Graph(processes("sim", overrides)) as graph:
        name, code = graph.wait()
    """

    def __init__(self, nodes: Sequence[NodeProcess], output: IO[bytes] | None = None) -> None:
        """Know the nodes; entering starts them.

        Args:
            nodes: What to start.
            output: Takes what they print, in place of the terminal.
        """
        self._nodes, self._output = nodes, output
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Graph:
        """Start them all."""
        self._on_terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
        environment = dict(os.environ) | middleware_environment(os.environ) | {STARTER: str(os.getpid())}
        try:
            for node in self._nodes:
                arguments = [sys.executable, "-m", node.module, *node.ros_arguments]
                self.running[node.name] = subprocess.Popen(
                    arguments, env=environment, stdout=self._output, stderr=self._output
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End them all."""
        self.end()
        signal.signal(signal.SIGTERM, self._on_terminate)

    def wait(self) -> tuple[str, int]:
        """Return name and exit code of the first process that ends."""
        while (ended := self._first_ended()) is None:
            time.sleep(LOOK_PERIOD_S)
        # A death is the supervisor's to tell; give it the time to.
        supervisor = self.running.get(SUPERVISOR)
        if ended[0] != SUPERVISOR and supervisor is not None and supervisor.poll() is None:
            time.sleep(1.0)
        return ended

    def check(self) -> None:
        """Check that all still run.

        Raises:
            UserError: One has ended; says which.
        """
        ended = self._first_ended()
        if ended is not None:
            raise UserError(f"{ended[0]} has ended with code {ended[1]}; what the nodes printed says why")

    def _first_ended(self) -> tuple[str, int] | None:
        codes = ((name, process.poll()) for name, process in self.running.items())
        return next(((name, code) for name, code in codes if code is not None), None)

    def end(self) -> None:
        """End all, the politer way first."""
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        until_s = time.monotonic() + END_S
        for process in self.running.values():
            try:
                process.wait(max(until_s - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start(arguments: Sequence[str] | None = None) -> int:
    """Run the graph until one of its processes ends; return the exit code."""
    parser = argparse.ArgumentParser(prog="dygro-start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--robot", required=True, help="name of a robot profile, or path of its YAML file")
    parser.add_argument(
        "--bundle", default="", help="folder of the policy bundle, where policy_node runs here"
    )
    parser.add_argument("--instruction", default="", help="what to do")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="differ from the profile"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NODE",
        help="start this node alone, for another machine",
    )
    parser.add_argument(
        "--elsewhere", action="append", default=[], metavar="NODE", help="another machine starts this node"
    )
    options = parser.parse_args(arguments)
    overrides = all_overrides(options.bundle, options.instruction, options.set)
    nodes = on_this_machine(processes(options.robot, overrides), options.only, options.elsewhere)
    if not options.bundle and POLICY in [node.name for node in nodes]:
        raise UserError(f"--bundle must name the folder of a policy bundle: {POLICY} runs on this machine")
    require_ros()
    if SIM_ROBOT in [node.name for node in nodes]:
        require_simulator()
    try:
        with Graph(nodes) as graph:
            name, code = graph.wait()
    except KeyboardInterrupt:
        return 0
    if name != SUPERVISOR:
        print(f"dygro-start: {name} has ended with code {code}; all others were ended", file=sys.stderr)
    return code if code > 0 else 1


def main() -> None:
    """Run the starter."""
    run_main(start)


if __name__ == "__main__":
    main()
