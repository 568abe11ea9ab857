"""Success through the nodes, in real time, against the synchronous evaluation of the same bundle and seeds.

    python benchmarks/nodes_success.py --bundle runs/nano/bundle --seeds 25 --set sim_robot.camera_delay_s=0.1

The simulated robot does not wait for anybody: pictures, inference and commands take the time they take.
Nothing else should run beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dygro_ros.bundle import read_bundle
from dygro_ros.errors import run_main
from dygro_ros.evaluation.statistics import paired_difference, wilson_interval
from dygro_ros.graph import processes
from dygro_ros.inference import OnnxPolicy
from dygro_ros.nodes.participation import participating
from dygro_ros.start import Graph, all_overrides
from sim2real.bundle_episodes import EpisodeJob, cell_for, run_episode
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS
from sim2real.seeds import SeedPurpose, seeds_for
from sim2real.sim_operator import SimOperator


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=25, help="a task")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE")
    options = parser.parse_args()
    seeds = seeds_for(SeedPurpose.TESTS, 1, 0, options.seeds)
    waiting = synchronous(options.bundle, seeds)
    show("the cell waits for the policy", waiting)
    nodes: dict[str, list[bool]] = {}
    overrides = all_overrides(str(options.bundle), "", options.set)
    with Graph(processes("sim", overrides)) as graph, participating():
        operator = SimOperator(graph)
        try:
            operator.wait_until_ready()
            for task in TASKS:
                nodes[task] = [operator.run_episode(task, seed).success for seed in seeds]
                print(f"  {task} through the nodes: {sum(nodes[task])} of {len(seeds)}", flush=True)
        finally:
            operator.destroy_node()
    show("through the nodes, in real time", nodes)
    pairs = [(a, b) for task in TASKS for a, b in zip(waiting[task], nodes[task], strict=True)]
    found = paired_difference([b for _, b in pairs], [a for a, _ in pairs])
    print(
        f"difference: {100 * found.difference:+.1f} points "
        f"({100 * found.interval.low:.0f}, {100 * found.interval.high:.0f})"
    )
    return 0


def synchronous(bundle_path: Path, seeds: Sequence[int]) -> dict[str, list[bool]]:
    """Return the success of each episode in which the cell waits for each chunk and plays it to its end."""
    bundle = read_bundle(bundle_path)
    policy, cell = OnnxPolicy(bundle), cell_for(bundle, RandomizationConfig.from_name("clean"), "seen")
    found = {
        task: [run_episode(cell, policy, "chunk", EpisodeJob(0, task, seed)).success for seed in seeds]
        for task in TASKS
    }
    cell.close()
    return found


def show(what: str, outcomes: dict[str, list[bool]]) -> None:
    """Print one line."""
    everything = [ok for task in TASKS for ok in outcomes[task]]
    interval = wilson_interval(sum(everything), len(everything))
    counts = ", ".join(f"{task} {sum(outcomes[task])}" for task in TASKS)
    print(
        f"{what}: {100 * sum(everything) / len(everything):.1f} % "
        f"({100 * interval.low:.0f}, {100 * interval.high:.0f}) of {len(everything)}: {counts}",
        flush=True,
    )


if __name__ == "__main__":
    run_main(main)
