"""What LIBERO's interpreter does at a reset, asked through a link to a program that changes the goal."""

import numpy as np
import pytest

from dygro_ros.errors import UserError
from sim2real.libero.environment import LiberoEnvironment
from sim2real.process_link import ProcessLink

STOVE = "KITCHEN_SCENE3_turn_on_the_stove"
SEEDS = range(8)
# The goal "the pan is farther right than THIS" holds in some of the drawn states and not in others.
SERVER = """
import sys
from pathlib import Path
from sim2real.libero.simulation import LiberoSimulation
from sim2real.process_server import serve

def prepare():
    simulation = LiberoSimulation(Path(sys.argv[1]), Path(sys.argv[2]))
    env = simulation._env
    def set_goal(beyond_m):
        env._check_success = lambda: env.sim.data.get_body_xpos("chefmate_8_frypan_1_main")[1] > beyond_m
        return {}
    return {"set_goal": set_goal, "describe": simulation.describe, "reset": simulation.reset}

serve(prepare)
"""


def test_a_drawn_state_in_which_the_task_is_done_is_drawn_again(libero: LiberoEnvironment) -> None:
    installation = libero.tasks.installation
    files = (installation.task_file("libero_90", STOVE), installation.initial_states("libero_90", STOVE))
    command = [str(installation.python), "-c", SERVER, *map(str, files)]
    with ProcessLink(command, "stove", environment=installation.environment()) as link:
        pan = link.call("describe")["bodies"].index("chefmate_8_frypan_1_main")

        def places(beyond_m: float) -> np.ndarray:
            link.call("set_goal", beyond_m=beyond_m)
            seen = [link.call("reset", seed=seed) for seed in SEEDS]
            assert not any(observation["success"] for observation in seen)
            return np.array([observation["bodies"][pan, :3] for observation in seen])

        every = places(1e9)
        middle_m = float(np.median(every[:, 1]))
        undone = places(middle_m)
        kept = every[:, 1] <= middle_m
        assert 0 < kept.sum() < len(SEEDS)
        np.testing.assert_array_equal(undone[kept], every[kept])  # what was good stays what it was
        assert (np.abs(undone[~kept] - every[~kept]).max(1) > 1e-4).all()
        np.testing.assert_array_equal(places(middle_m), undone)
        link.call("set_goal", beyond_m=-1e9)
        with pytest.raises(UserError, match="done already in all of 100 states drawn from seed 3"):
            link.call("reset", seed=3)
        assert link.call("reset", state=0)["success"]  # a fixed state is what it is
