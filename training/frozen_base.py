"""The frozen Stage I policy as an ONNX session: rollouts run it millions of times, one frame each.

One frame costs half of what eager torch takes, on the engine that the bundle is evaluated with. The graph
lies beside the weights it was made from.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dygro_ros.inference import Provider, open_session
from dygro_ros.instruction_codec import Encoded
from models.base_policy import BasePolicy
from sim2real.onnx_graph import write_onnx
from training.policy_folder import codec_in
from training.stage_one import load_base_policy, load_config

GRAPH_FILE = "frozen_base.onnx"


class _Outputs(nn.Module):
    """What Stage II keeps of a frame."""

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, images: Tensor, instruction: Tensor, proprio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stage = self.policy.encode(images, instruction, proprio)
        return stage.z_mean.flatten(1), self.policy.base_chunk(stage.z_mean), stage.task_features


def export_frozen_base(folder: Path) -> None:
    """Write the graph of a Stage I folder, unless it is there; beside, then renamed."""
    path = folder / GRAPH_FILE
    if path.is_file():
        return
    policy = load_base_policy(folder)
    config = policy.config
    images = torch.zeros(1, config.cameras, config.image_size, config.image_size, 3, dtype=torch.uint8)
    instruction = torch.from_numpy(codec_in(folder, config).encode("lift")).unsqueeze(0)
    with tempfile.TemporaryDirectory(prefix=f".{GRAPH_FILE}.", dir=folder) as beside:
        files = write_onnx(
            _Outputs(policy).eval(),
            (images, instruction, torch.zeros(1, config.proprio)),
            ("latent", "base", "features"),
            Path(beside) / GRAPH_FILE,
        )
        # The graph last: where it is, its data is too.
        for file in reversed(files):
            os.replace(file, folder / file.name)


class FrozenBase:
    """The exported policy of a Stage I folder, on one thread or a GPU."""

    def __init__(self, folder: Path, provider: Provider = "cpu") -> None:
        """Open the session; `export_frozen_base` has made the graph.

        Args:
            folder: Of the Stage I policy.
            provider: What must run it.

        Raises:
            DependencyError: ONNX Runtime has no such provider here.
            BundleError: There is no graph, or it is damaged.
        """
        self.codec = codec_in(folder, load_config(folder))
        self._session = open_session(str(folder / GRAPH_FILE), provider, threads=1)

    def __call__(
        self, images: NDArray[np.uint8], instruction: Encoded, proprio: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return z's mean (Z x D,), the normalised base chunk (h, A) and the task features (F,).

        Args:
            images: RGB, (V, H, W, 3).
            instruction: As `codec` encodes it, (L,).
            proprio: Proprioception in the robot's units, (P,).
        """
        inputs = {"images": images, "instruction": instruction, "proprio": proprio}
        answers = self._session.run(None, {name: value[np.newaxis] for name, value in inputs.items()})
        latent, base, features = (answer[0] for answer in answers)
        return latent, base, features
