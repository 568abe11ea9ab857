"""What critics see of RoboTwin: in the units of the other worlds, and bounded."""

import numpy as np
from robotwin_fixtures import task_env

from sim2real.cell import privileged as cell
from sim2real.libero import scene_state as libero
from sim2real.robotwin import scene_state
from sim2real.robotwin.scene_state import PRIVILEGED_SLICES, privileged_state


def test_lengths_are_those_of_the_other_worlds() -> None:
    assert scene_state.LENGTH_SCALE == cell.LENGTH_SCALE == libero.LENGTH_SCALE
    assert scene_state.REACH_M == cell.REACH_M == libero.REACH_M
    np.testing.assert_array_equal(scene_state.ORIGIN_M, cell.ORIGIN_M)


def test_an_object_that_fell_is_out_of_play_and_no_outlier() -> None:
    with task_env() as env:
        env.step_lim = 40
        hammer = next(actor for actor in env.scene.get_all_actors() if actor.get_name() == "020_hammer")
        hammer.get_pose().p[:] = (0.1, -7.0, -200.0)
        positions = privileged_state(env)[PRIVILEGED_SLICES["object_positions"]]
    np.testing.assert_allclose(positions[:3], (0.5, -5.0, -5.0), atol=1e-6)
    assert abs(positions[3:]).max() < 2
