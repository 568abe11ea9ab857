"""Recompute a trial's actions from its recording, and say how far they are from those that were sent.

    python -m dygro_ros.evaluation.replay recordings/trial_0001_1/trial.mcap --bundle runs/nano/bundle

A recording holds exactly what the graph was given (`policy_node` publishes it where somebody records), so the
same bundle on the same backend must give the same actions to the bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dygro_ros.bundle import Bundle, read_bundle
from dygro_ros.errors import DataError, UserError, run_main
from dygro_ros.evaluation.recording import CHUNKS, IMAGES, JOINTS, messages, stamp_ns_of
from dygro_ros.inference import ENGINE, PROVIDERS, OnnxPolicy
from dygro_ros.layout import ACTION_SIZE, JOINT_NAMES
from dygro_ros.picture import picture_from


@dataclass
class Recorded:
    """What one recording holds of the policy, by the observation's stamp [ns]."""

    chunks: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Chunk and base chunk side by side, (h, 28) joint units."""
    images: dict[int, dict[str, NDArray[np.uint8]]] = field(default_factory=dict)
    """By camera, (H, W, 3)."""
    joints: dict[int, tuple[str, NDArray[np.float32]]] = field(default_factory=dict)
    """Instruction and measured joints, (14,)."""


@dataclass(frozen=True)
class Replayed:
    """How far the recomputed actions are from those that were sent."""

    answers: int
    """Chunks that were recomputed."""
    unknown: int
    """Chunks whose observation is not in the recording, such as one that was under way as it began."""
    worst: NDArray[np.float64]
    """Largest difference of each joint, (14,) joint units [rad; fraction open]."""


def read_recording(path: Path) -> Recorded:
    """Read what a recording holds of the policy.

    Raises:
        DataError: It is not a recording, or is not whole.
        DependencyError: The readers of MCAP are not installed.
    """
    found = Recorded()
    for topic, message in messages(path, (CHUNKS, IMAGES, JOINTS)):
        stamp_ns = stamp_ns_of(message)
        if topic == CHUNKS:
            found.chunks[stamp_ns] = np.array([point.positions for point in message.points], dtype=np.float64)
        elif topic == IMAGES:
            picture = picture_from(
                message.encoding, message.height, message.width, message.step, message.data
            )
            found.images.setdefault(stamp_ns, {})[str(message.header.frame_id)] = picture
        else:
            joints = np.array(message.position, dtype=np.float32)
            found.joints[stamp_ns] = str(message.header.frame_id), joints
    return found


def replay(recorded: Recorded, policy: OnnxPolicy) -> Replayed:
    """Give the policy what it was given, and compare what it answers with what was sent.

    Raises:
        UserError: The recording's pictures do not fit the bundle.
        DataError: The recording holds no chunk, or none with its observation.
    """
    cameras = [camera.name for camera in policy.bundle.manifest.cameras]
    worst, answers = np.zeros(ACTION_SIZE), 0
    for stamp_ns, sent in recorded.chunks.items():
        images, known = recorded.images.get(stamp_ns, {}), recorded.joints.get(stamp_ns)
        if known is None or set(images) != set(cameras):
            continue
        instruction, joints = known
        pictures = np.stack([images[camera] for camera in cameras])
        output = policy.infer_arrays(pictures, policy.encode(instruction), joints)
        again = np.hstack([output.chunk, output.base_chunk]).astype(np.float64)
        if again.shape != sent.shape:
            raise UserError(
                f"the recording's chunks are of shape {sent.shape}, the bundle's of {again.shape}"
            )
        difference = np.abs(again - sent).max(axis=0)
        worst = np.maximum(worst, np.maximum(difference[:ACTION_SIZE], difference[ACTION_SIZE:]))
        answers += 1
    if not answers:
        raise DataError(f"the recording holds {len(recorded.chunks)} chunks, and none with what it answers")
    return Replayed(answers, len(recorded.chunks) - answers, worst)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay one recording and print the largest difference of each joint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that ran")
    parser.add_argument("--provider", default="cpu", choices=[*PROVIDERS, ENGINE], help="%(default)s")
    options = parser.parse_args(arguments)
    bundle: Bundle = read_bundle(options.bundle)
    policy = OnnxPolicy(bundle, provider=options.provider)
    found = replay(read_recording(options.recording), policy)
    for name, worst in zip(JOINT_NAMES, found.worst, strict=True):
        print(f"{name:20s}{worst:.2e}")
    print(
        f"{found.answers} chunks recomputed on {policy.running_provider}: {found.worst.max():.2e} at most; "
        f"{found.unknown} without their observation"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
