"""Our control step against robosuite's own, in LIBERO's interpreter: the same to the last bit."""

import subprocess

from sim2real.libero.environment import LiberoEnvironment

COMPARE = """
import sys
from pathlib import Path
import numpy as np
from sim2real.libero.arm_control import ArmControl
from sim2real.libero.interface import ACTION_SIZE
from sim2real.libero.simulation import LiberoSimulation

class LeftAlone(ArmControl):
    def begin(self):
        self._robot.gripper.current_action = np.zeros(self._robot.gripper.dof)

simulation = LiberoSimulation(Path(sys.argv[1]), Path(sys.argv[2]))
actions = np.random.default_rng(0).uniform(-1, 1, (25, ACTION_SIZE))
simulation.reset(state=1)
ours = [simulation.step(action) for action in actions]

def own_step(action):
    simulation._env.step(action)
    return simulation.observe()

simulation._control.__class__ = LeftAlone
simulation.step = own_step
simulation.reset(state=1)
for action, expected in zip(actions, ours, strict=True):
    found = own_step(action)
    for name, values in expected.items():
        assert np.array_equal(values, found[name]), (name, values, found[name])
moved = np.abs(ours[-1]["hand"] - ours[0]["hand"]).max()
print("steps of robosuite:", simulation._env.timestep, "moved:", moved > 0.01)
"""


def test_a_control_step_is_robosuites_own_to_the_last_bit(libero: LiberoEnvironment) -> None:
    installation, task = libero.tasks.installation, libero.tasks.named("KITCHEN_SCENE6_close_the_microwave")
    answer = subprocess.run(
        [
            str(installation.python),
            "-c",
            COMPARE,
            str(installation.libero / "bddl_files" / task.suite / f"{task.name}.bddl"),
            str(installation.initial_states(task.suite, task.name)),
        ],
        env=installation.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "steps of robosuite: 35 moved: True"
