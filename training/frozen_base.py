"""The frozen Stage I policy as an ONNX session: rollouts run it millions of times, one frame each.

One frame costs half of what eager torch takes, on the engine that the bundle is evaluated with. The graph
lies beside the weights it was made from.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dygro_ros.layout import INSTRUCTION_BYTES
from models.base_policy import BasePolicy
from sim2real.onnx_graph import to_onnx
from training.stage_one import load_base_policy

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
    instruction = torch.zeros(1, INSTRUCTION_BYTES, dtype=torch.uint8)
    graph = to_onnx(
        _Outputs(policy).eval(),
        (images, instruction, torch.zeros(1, config.proprio)),
        ("latent", "base", "features"),
    )
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_bytes(graph)
    os.replace(unfinished, path)


class FrozenBase:
    """The exported policy of a Stage I folder, on one thread."""

    def __init__(self, folder: Path) -> None:
        """Open the session; `export_frozen_base` has made the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            folder / GRAPH_FILE, options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, images: NDArray[np.uint8], instruction: NDArray[np.uint8], proprio: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return z's mean (Z x D,), the normalised base chunk (h, A) and the task features (F,).

        Args:
            images: RGB, (V, H, W, 3).
            instruction: UTF-8 bytes, zero padded, (96,).
            proprio: Proprioception in the robot's units, (P,).
        """
        inputs = {"images": images, "instruction": instruction, "proprio": proprio}
        answers = self._session.run(None, {name: value[np.newaxis] for name, value in inputs.items()})
        latent, base, features = (answer[0] for answer in answers)
        return latent, base, features
