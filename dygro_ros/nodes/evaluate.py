"""An evaluation on a robot whose nodes run: leads an operator through a plan's trials.

    dygro-evaluate plan.yaml            in this terminal
    dygro-evaluate plan.yaml --web      on a page in the browser
    dygro-evaluate plan.yaml --unblind  opens the code names and writes the report

Start the robot's nodes first, by `ros2 launch dygro_ros real_robot.launch.py` or `dygro-start`. Whatever ends
it, the same command goes on at the same trial.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dygro_ros.errors import UserError, run_main
from dygro_ros.evaluation.conduct import LOCAL, PORT, Page, close_sitting, opened, sit, unblind
from dygro_ros.evaluation.plan import read_plan
from dygro_ros.nodes.participation import participating, spinning
from dygro_ros.nodes.ros_trial_robot import RosTrialRobot
from dygro_ros.robot_profile import read_profile


def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="dygro-evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path, help="evaluation plan (YAML)")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for ledger, recordings and report (runs/evaluations/<name of the plan's file>)",
    )
    parser.add_argument("--web", action="store_true", help="serve a page instead of using this terminal")
    parser.add_argument("--host", default=LOCAL, help=f"address the page listens on ({LOCAL})")
    parser.add_argument("--port", type=int, default=PORT, help=f"its port; 0 takes any ({PORT})")
    parser.add_argument(
        "--unblind", action="store_true", help="run no trial: open the code names and write the report"
    )
    options = parser.parse_args(arguments)
    if not options.web and (options.host, options.port) != (LOCAL, PORT):
        raise UserError("--host and --port are of the page: they need --web")
    plan = read_plan(options.plan)
    if plan.simulation is not None:
        how = f"python -m sim2real.evaluate_plan {options.plan} --nodes --operator"
        raise UserError(
            f"{options.plan} is for the simulated cell: {how} {'web' if options.web else 'terminal'}"
        )
    folder = options.out or Path("runs/evaluations") / options.plan.stem
    if options.unblind:
        with opened(plan, folder) as record:
            print(unblind(record))
        return 0
    profile = read_profile(plan.robot)
    with opened(plan, folder) as record, participating():
        robot = RosTrialRobot(profile)
        with spinning(robot):
            sit(record, robot, robot.picture, Page(options.host, options.port) if options.web else None)
        print(close_sitting(record))
    return 0


def main() -> None:
    """Run the command."""
    run_main(evaluate)


if __name__ == "__main__":
    main()
