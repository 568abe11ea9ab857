"""What scripted experts do in LIBERO's scenes: one script a task, made of `hand_moves`.

Scripts read the simulator's state at every step. A script may begin again from wherever the first try ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from sim2real.libero.hand_moves import (
    CLOSE,
    CLOSING_STEPS,
    OPEN,
    HandTarget,
    Observe,
    Script,
    Vector,
    go,
    hold,
    pointing_down,
    turned,
)

_STOVE, _KNOB, _KNOB_JOINT = "flat_stove_1_main", "flat_stove_1_button", "flat_stove_1_button"
_BURNER = "flat_stove_1_cook_region"
_DOOR, _DOOR_JOINT = "microwave_1_microdoorroot", "microwave_1_microjoint"
_ON_RAD, _OFF_RAD = 0.9, -0.15  # beyond 0.5, from where the stove is on, and 0, below which it is off
_KNOB_HEIGHT_M, _ABOVE_M = 0.032, 0.12
_DOOR_RADIUS_M, _DOOR_GAP_M, _DOOR_LEAD_RAD = 0.17, 0.035, 0.3
_POT_HANDLE_M = np.array([0.0, 0.07, 0.045])  # in the pot's axes
_LIFT_M, _HOVER_M, _PLACE_M = 0.12, 0.06, 0.096


def up(height: float) -> Vector:
    """Return the vector of this length [m] that points up."""
    return np.array([0.0, 0.0, height])


def nearest_yaw(axis: Vector, turn: float = 0.0) -> float:
    """Return the yaw of a hand whose fingers move along a horizontal axis, about which it can then turn.

    Of the two, the one that keeps the hand nearer to its home before and after turning by `turn` [rad].
    """
    yaw = float(np.arctan2(axis[1], axis[0])) + np.pi / 2
    choices = [(yaw + k * np.pi + np.pi) % (2 * np.pi) - np.pi for k in (0, 1)]
    return min(choices, key=lambda choice: max(abs(choice), abs(choice + turn)))


def turn_knob(observe: Observe, target_rad: float) -> Script:
    """Grasp the stove's knob by its bar and twist it until its joint is at the target."""
    scene = observe()
    knob = scene.position(_KNOB) + up(_KNOB_HEIGHT_M)
    turn = target_rad - scene.joint(_KNOB_JOINT)
    yaw = nearest_yaw(scene.rotation(_KNOB)[:, 0], turn)
    rotation = pointing_down(yaw)
    yield from go(observe, HandTarget(knob + up(_ABOVE_M), rotation, OPEN), tolerance_m=0.02)
    yield from go(observe, HandTarget(knob, rotation, OPEN), tolerance_m=0.008)
    yield from hold(HandTarget(knob, rotation, CLOSE), CLOSING_STEPS)
    while abs(target_rad - observe().joint(_KNOB_JOINT)) > 0.02:
        yield HandTarget(knob, pointing_down(yaw + turn), CLOSE)


def turn_on_stove(observe: Observe) -> Script:
    """Turn the knob until the stove is on."""
    return turn_knob(observe, _ON_RAD)


def turn_off_stove(observe: Observe) -> Script:
    """Turn the knob back until the stove is off."""
    return turn_knob(observe, _OFF_RAD)


def close_microwave(observe: Observe) -> Script:
    """Push the open door along its arc with the closed hand."""
    rotation = pointing_down(0.0)

    def at_door(lead_rad: float, gap_m: float) -> Vector:
        scene = observe()
        # Closed, the door extends along x and its outer face looks to -y.
        offset = turned(scene.joint(_DOOR_JOINT) + lead_rad) @ np.array([_DOOR_RADIUS_M, -gap_m, 0.0])
        return scene.position(_DOOR) + offset

    clear = 3 * _DOOR_GAP_M
    yield from go(observe, HandTarget(at_door(0.0, clear) + up(0.2), rotation, CLOSE), tolerance_m=0.03)
    yield from go(observe, HandTarget(at_door(0.0, clear), rotation, CLOSE), tolerance_m=0.02)
    while True:
        yield HandTarget(at_door(_DOOR_LEAD_RAD, _DOOR_GAP_M), rotation, CLOSE)


def place_pot(observe: Observe, pot: str) -> Script:
    """Grasp a moka pot by its handle, which the fingers clasp crosswise, and put it on the burner.

    Its body is as wide as the fingers open.
    """
    rotation = pointing_down(nearest_yaw(observe().rotation(pot)[:, 0]))

    def handle() -> Vector:
        return observe().position(pot) + observe().rotation(pot) @ _POT_HANDLE_M

    yield from go(observe, HandTarget(handle() + up(_ABOVE_M), rotation, OPEN), tolerance_m=0.02)
    grasp = handle()
    yield from go(observe, HandTarget(grasp, rotation, OPEN), tolerance_m=0.008)
    yield from hold(HandTarget(grasp, rotation, CLOSE), CLOSING_STEPS)
    yield from go(observe, HandTarget(grasp + up(_LIFT_M), rotation, CLOSE), tolerance_m=0.03)
    carried = observe().position(pot) - observe().hand_position
    over = observe().position(_BURNER) + up(_PLACE_M) - carried
    yield from go(observe, HandTarget(over + up(_HOVER_M), rotation, CLOSE), tolerance_m=0.015)
    yield from go(observe, HandTarget(over, rotation, CLOSE, speed=0.5), tolerance_m=0.008, max_steps=30)
    yield from hold(HandTarget(over, rotation, OPEN), CLOSING_STEPS)
    yield from go(observe, HandTarget(over + up(_LIFT_M), rotation, OPEN))


def place_moka_pot(observe: Observe) -> Script:
    """Put scene 3's moka pot on the burner."""
    return place_pot(observe, "moka_pot_1_main")


SCRIPTS: Mapping[str, Callable[[Observe], Script]] = MappingProxyType(
    {
        "KITCHEN_SCENE3_turn_on_the_stove": turn_on_stove,
        "KITCHEN_SCENE3_put_the_moka_pot_on_the_stove": place_moka_pot,
        "KITCHEN_SCENE6_close_the_microwave": close_microwave,
        "KITCHEN_SCENE8_turn_off_the_stove": turn_off_stove,
        "KITCHEN_SCENE9_turn_on_the_stove": turn_on_stove,
    }
)
"""Script of each task of libero_90 that has an expert."""
