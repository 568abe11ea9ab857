"""A stand-in for RoboTwin 2.0's environments: its names, shapes and habits, with arithmetic for physics."""

from ._GLOBAL_CONFIGS import *  # noqa: F403
