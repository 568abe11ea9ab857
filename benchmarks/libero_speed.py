"""How fast one process runs a LIBERO task, in our way and in robosuite's own, as ratios.

Measured inside LIBERO's interpreter, in CPU time of one thread, so that a busy machine tells the same as a
free one. Needs LIBERO (`make libero`).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.table import Table

from dygro_ros.errors import DependencyError, run_main
from sim2real.libero.installation import installed
from sim2real.libero.tasks import TaskList

MEASURE = """
import json, sys, time
from pathlib import Path
import numpy as np
import robosuite
from sim2real.libero.interface import ACTION_SIZE, CAMERAS
from sim2real.libero.pictures import Pictures
from sim2real.libero.simulation import LiberoSimulation

def milliseconds(work, times):
    spent = []
    work(0)
    for index in range(times):
        started = time.process_time()
        work(index)
        spent.append(1e3 * (time.process_time() - started))
    return float(np.median(spent))

simulation = LiberoSimulation(Path(sys.argv[1]), Path(sys.argv[2]))
simulation.reset(state=0)
env, sim, size = simulation._env, simulation.sim, 128
actions = np.random.default_rng(0).uniform(-0.5, 0.5, (100, ACTION_SIZE))
def render(index):
    for name in CAMERAS:
        sim.render(width=size, height=size, camera_name=name)
found = {"two pictures": [milliseconds(render, 10)]}
pictures = Pictures(sim, size)
found["two pictures"].append(milliseconds(lambda index: pictures.images(), 10))
found["control step"] = [0.0, milliseconds(lambda index: simulation.step(actions[index]), 100)]
found["reset"] = [0.0, milliseconds(lambda index: simulation.reset(state=index), 5)]
del env.robots[0].controller.update  # ours: robosuite's own comes to light
env._observables = env._setup_observables()
found["control step"][0] = milliseconds(lambda index: env.step(actions[index]), 100)
env.hard_reset = True
found["reset"][0] = milliseconds(lambda index: env.reset(), 2)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class SpeedOptions:
    """CPU time of a control step, of two pictures of 128 px and of a reset.

    Attributes:
        task: A task's name.
    """

    task: str = "KITCHEN_SCENE3_turn_on_the_stove"


def main() -> None:
    """Print the table."""
    options, installation = tyro.cli(SpeedOptions), installed()
    tasks = TaskList(installation)
    task = tasks.named(options.task)
    tasks.check_assets(task)
    answer = subprocess.run(
        [
            str(installation.python),
            "-c",
            MEASURE,
            str(installation.libero / "bddl_files" / task.suite / f"{task.name}.bddl"),
            str(installation.initial_states(task.suite, task.name)),
        ],
        env={**installation.environment(), "LP_NUM_THREADS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise DependencyError(f"LIBERO cannot be measured: exit code {answer.returncode}\n{answer.stderr}")
    table = Table("CPU time [ms]", "robosuite's own", "ours", "ratio", title=task.name)
    for name, (own, ours) in json.loads(answer.stdout.splitlines()[-1]).items():
        table.add_row(name, f"{own:.1f}", f"{ours:.1f}", f"{own / ours:.1f}")
    Console().print(table)


if __name__ == "__main__":
    run_main(main)
