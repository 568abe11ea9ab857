"""Small demonstrations of several robots, for the tests of formats, checks and conversion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from training.episode_record import EpisodeRecord
from training.formats.libero import ACTION_NAMES, PROPRIO_NAMES

ORANGE, TEAL = (220, 130, 40), (20, 120, 140)


def pictures(frames: int, cameras: int, size: int = 32) -> NDArray[np.uint8]:
    """Orange above teal, and a white stripe that moves to the right from frame to frame."""
    images = np.zeros((frames, cameras, size, size, 3), dtype=np.uint8)
    images[:, :, : size // 2] = ORANGE
    images[:, :, size // 2 :] = TEAL
    for frame in range(frames):
        left = 2 * frame % (size - 2)
        images[frame, :, :, left : left + 2] = 250
    return images


def libero_like(seed: int = 0, frames: int = 6) -> EpisodeRecord:
    """A demonstration of LIBERO's robot, with joints and simulator state."""
    rng = np.random.default_rng(seed)
    return EpisodeRecord(
        instructions=("turn on the stove",),
        rate_hz=20.0,
        proprio=rng.normal(size=(frames, 8)).astype(np.float32),
        action=rng.uniform(-1, 1, (frames, 7)).astype(np.float32),
        cameras=("agentview", "eye_in_hand"),
        images=pictures(frames, 2),
        proprio_names=PROPRIO_NAMES,
        action_names=ACTION_NAMES,
        joint_states=rng.normal(size=(frames, 7)),
        simulator_states=rng.normal(size=(frames, 13)),
        task="KITCHEN_SCENE3_turn_on_the_stove",
    )


def dual_arm(seed: int = 0, frames: int = 60, size: int = 32) -> EpisodeRecord:
    """A smooth motion of our 14 joints that never stands still; each action is the state two frames later."""
    rng = np.random.default_rng(seed)
    middle, half = (JOINT_UPPER + JOINT_LOWER) / 2, (JOINT_UPPER - JOINT_LOWER) / 2
    phases, speeds = rng.uniform(0, 2 * np.pi, 14), rng.uniform(0.8, 1.6, 14)
    time_s = np.arange(frames + 2) / 25
    motion = middle + 0.8 * half * np.sin(phases + speeds * time_s[:, None])
    return EpisodeRecord(
        instructions=("put the cup on the coaster", "cup on coaster"),
        rate_hz=25.0,
        proprio=motion[:frames].astype(np.float32),
        action=motion[2:].astype(np.float32),
        cameras=("head_camera",),
        images=pictures(frames, 1, size),
        executed=motion[2:].astype(np.float32) + np.float32(0.01),
        privileged=rng.normal(size=(frames, 5)).astype(np.float32),
        task="place_empty_cup",
        seed=1_000_000_003 + seed,
        companion="beat_block_hammer",
        randomization='{"latency_steps": 1}',
    )
