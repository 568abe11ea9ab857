"""What tests of rollouts share: a policy of test size, and a world whose episodes take a millisecond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.action_space import ActionLayout
from models.base_policy import NanoConfig
from models.residual import ResidualConfig

NETWORK = NanoConfig(
    image_size=32, width=16, layers=1, heads=2, stem_channels=(4, 4, 4), keypoints=4, keypoint_features=2,
    z_tokens=2, z_dim=4, head_width=16, head_blocks=1,
)  # fmt: skip
RESIDUAL = ResidualConfig(experts=2, top_m=1, width=8)


@dataclass(frozen=True)
class CountingWorld:
    """Two actions, three proprioception values; done when the sum of the first action reaches one."""

    name = "counting"
    tasks = ("count", "count_on")
    layout = ActionLayout((-1.0, -1.0), (1.0, 1.0), grippers=(1,))
    action_names = ("step", "gripper")
    proprio_names = ("sum", "zero", "one")
    cameras = ("left", "right")
    control_rate_hz = 10.0
    privileged_size = 7
    object_positions = slice(0, 6)

    def open(self, *, image_size, cameras):
        return Counting(image_size, cameras)

    def chunk_features(self, space, chunk):
        return None


class Counting:
    instruction, step_limit = "count", 40

    def __init__(self, image_size, cameras):
        self._shape = (cameras, image_size, image_size, 3)

    def reset(self, task, seed, *, companion=None):
        self._sum, self.step_count, self.succeeded = 0.0, 0, False

    def images(self):
        return np.full(self._shape, self.step_count, dtype=np.uint8)

    def proprio(self):
        return np.array([self._sum, 0.0, 1.0], dtype=np.float32)

    def privileged_state(self):
        return np.full(7, self._sum, dtype=np.float32)

    def step(self, action):
        assert action.shape == (2,)
        self._sum += abs(float(action[0]))
        self.step_count += 1
        self.succeeded = self._sum >= 1.0
        return self.succeeded

    def close(self):
        pass
