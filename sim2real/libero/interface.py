"""What both sides of a LIBERO process mean by an action and by pictures; imports nothing."""

from __future__ import annotations

CAMERAS = ("agentview", "robot0_eye_in_hand")
"""Order of the pictures."""
ACTION_SIZE = 7
"""Translation, rotation and gripper: robosuite's OSC_POSE."""
CONTROL_RATE_HZ = 20.0
"""Actions a second."""
