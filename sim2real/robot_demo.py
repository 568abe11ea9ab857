"""Watch the ROS 2 nodes drive the simulated robot, over real DDS and in real time, with a trained policy.

    python -m sim2real.robot_demo --bundle runs/demo/bundle

Starts the nodes of the profile `sim`, plays some episodes of each task and writes what the camera saw. Needs
no ROS installation: the package's extra `ros` holds the middleware.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import run_main
from dygro_ros.graph import processes
from dygro_ros.layout import CONTROL_RATE_HZ
from dygro_ros.nodes.participation import participating
from dygro_ros.start import Graph, all_overrides
from sim2real.cell.work_cell import TASKS
from sim2real.film import FilmStrip, pick_frames, save_contact_sheet
from sim2real.seeds import SeedPurpose, seeds_for
from sim2real.sim_operator import SimOperator


def demo(arguments: Sequence[str] | None = None) -> int:
    """Run the episodes; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sim2real.robot_demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the policy bundle")
    parser.add_argument("--episodes", type=int, default=3, help="a task")
    parser.add_argument("--out", type=Path, default=Path("runs/robot"), help="folder for the film strips")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE")
    options = parser.parse_args(arguments)
    read_bundle(options.bundle)  # What is wrong with it is said before anything starts.
    strips = []
    overrides = all_overrides(str(options.bundle), "", options.set)
    with Graph(processes("sim", overrides)) as graph, participating():
        operator = SimOperator(graph)
        try:
            operator.wait_until_ready()
            for task in TASKS:
                for seed in seeds_for(SeedPurpose.TESTS, 1, 0, options.episodes):
                    seen = operator.run_episode(task, seed)
                    outcome = "success" if seen.success else "failure"
                    print(
                        f"{task} {seed}: {outcome} after {seen.elapsed_s:.1f} s: {seen.instruction}",
                        flush=True,
                    )
                    steps = round(CONTROL_RATE_HZ * seen.elapsed_s)
                    frames = tuple(pick_frames(seen.frames))
                    strips.append(FilmStrip(task, seed, seen.success, steps, seen.instruction, frames))
        finally:
            operator.destroy_node()
    options.out.mkdir(parents=True, exist_ok=True)
    save_contact_sheet(strips, options.out / "films.png")
    print(f"{sum(strip.success for strip in strips)} of {len(strips)} succeeded; {options.out / 'films.png'}")
    return 0


def main() -> None:
    """Run the demo."""
    run_main(demo)


if __name__ == "__main__":
    main()
