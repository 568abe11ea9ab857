"""One episode of a bundle in the work cell, and many of them on worker processes.

An episode follows from (contestant, task, seed) alone: one frame is inferred at a time by ONNX Runtime on one
thread, a chunk is executed open loop, and pictures are rendered at chunk boundaries only. So any number
of workers gives the same episodes. Knows no statistics and writes no file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dygro_ros.bundle import Bundle, RobotInterface, read_bundle
from dygro_ros.errors import BundleError, UserError
from dygro_ros.inference import OnnxPolicy, PolicyOutput, Provider
from dygro_ros.layout import ACTION_SIZE, CONTROL_RATE_HZ
from dygro_ros.manifest import WHOLE_PICTURE, CameraSpec, ProprioSpec, standard_gripper, standard_joints
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import CAMERA_NAMES, WorkCell
from sim2real.worker_pool import WorkerPool

Output = Literal["chunk", "base_chunk"]


FILM_STRIDE_STEPS = 4


class Cell(Protocol):
    """What an episode needs of a work cell."""

    instruction: str
    step_count: int
    step_limit: int
    succeeded: bool

    def reset(self, task: str, seed: int) -> None:
        """Start the episode (task, seed)."""

    def step(self, action: NDArray[Any]) -> bool:
        """Advance one control step; return whether the task has succeeded."""

    def images(self) -> NDArray[np.uint8]:
        """Return the cameras' pictures, (V, H, W, 3) RGB."""

    def proprio(self) -> NDArray[np.float32]:
        """Return the measured joints, (14,)."""

    def close(self) -> None:
        """Release the renderer."""


class Policy(Protocol):
    """What an episode needs of a policy."""

    def infer(
        self, images: NDArray[np.uint8], instruction: str, proprio: NDArray[np.float32]
    ) -> PolicyOutput:
        """Answer one frame."""


@dataclass(frozen=True)
class Contestant:
    """A bundle, and which of its two chunks is executed."""

    bundle: Path
    output: Output = "chunk"


class EpisodeJob(NamedTuple):
    """One episode to run."""

    contestant: int
    """Index into the contestants."""
    task: str
    seed: int
    film: bool = False
    """Also return pictures, one each few control steps and the last one."""

    def __str__(self) -> str:
        """Name the episode in a message."""
        return f"task {self.task}, seed {self.seed}"


@dataclass(frozen=True)
class EpisodeResult:
    """What came of one episode."""

    job: EpisodeJob
    instruction: str
    success: bool
    steps: int
    """Control steps until success or the limit."""
    top_experts: tuple[int, ...]
    """Expert with the largest gate, one for each chunk; empty where all gates are zero (a base policy)."""
    mean_gates: tuple[float, ...]
    """Gates averaged over the chunks, (E,)."""
    inference_s: float
    """Mean time of one inference [s]."""
    duration_s: float
    """Wall time of the whole episode [s]."""
    frames: tuple[NDArray[np.uint8], ...] = field(default=(), repr=False)
    """Pictures of the first camera, (H, W, 3), if a film was asked for."""


def run_episode(cell: Cell, policy: Policy, output: Output, job: EpisodeJob) -> EpisodeResult:
    """Run one episode: look, infer, execute the whole chunk open loop, look again."""
    start_s = time.perf_counter()
    cell.reset(job.task, job.seed)
    gates: list[NDArray[np.float32]] = []
    latencies_s: list[float] = []
    frames: list[NDArray[np.uint8]] = []
    while not cell.succeeded and cell.step_count < cell.step_limit:
        images = cell.images()
        answer = policy.infer(images, cell.instruction, cell.proprio())
        gates.append(answer.gates)
        latencies_s.append(answer.latency_s)
        for action in answer.chunk if output == "chunk" else answer.base_chunk:
            if job.film and cell.step_count % FILM_STRIDE_STEPS == 0:
                frames.append(cell.images()[0].copy())
            if cell.step(action) or cell.step_count >= cell.step_limit:
                break
    if job.film:
        frames.append(cell.images()[0].copy())
    table = np.stack(gates).astype(np.float64)
    return EpisodeResult(
        job=job,
        instruction=cell.instruction,
        success=bool(cell.succeeded),
        steps=cell.step_count,
        top_experts=tuple(int(i) for i in table.argmax(axis=1)) if table.any() else (),
        mean_gates=tuple(float(v) for v in table.mean(axis=0)),
        inference_s=float(np.mean(latencies_s)),
        duration_s=time.perf_counter() - start_s,
        frames=tuple(frames),
    )


def cell_interface(image_size: int, cameras: Sequence[str]) -> RobotInterface:
    """Return what a simulated cell has, for `Bundle.require`."""
    return RobotInterface(
        cameras=tuple(
            CameraSpec(
                name=name,
                width=image_size,
                height=image_size,
                colour_order="RGB",
                crop=WHOLE_PICTURE,
                rotation_deg=0,
            )
            for name in cameras
        ),
        joints=standard_joints(),
        gripper=standard_gripper(),
        proprio=ProprioSpec(source="measured", size=ACTION_SIZE),
        rate_hz=CONTROL_RATE_HZ,
    )  # fmt: skip


def cell_for(bundle: Bundle, randomization: RandomizationConfig, instruction_split: str) -> WorkCell:
    """Return a work cell with the bundle's cameras.

    Raises:
        BundleError: The cell cannot be what the bundle asks for; names the field.
    """
    cameras = bundle.manifest.cameras
    size = cameras[0].height
    names = CAMERA_NAMES if len(cameras) > 1 else CAMERA_NAMES[:1]
    bundle.require(cell_interface(size, names))
    return WorkCell(
        randomization, image_size=size, wrist_cameras=len(names) > 1, instruction_split=instruction_split
    )


def require_same_cameras(bundles: Sequence[Bundle]) -> Bundle:
    """Return the first bundle, of several that see the same pictures.

    Raises:
        BundleError: One has other cameras.
    """
    first, *others = bundles
    for other in others:
        if other.manifest.cameras != first.manifest.cameras:
            raise BundleError(
                f"{other.path}: cameras differ from those of {first.path}: "
                "policies are compared on the same pictures"
            )
    return first


@dataclass(frozen=True)
class SimulatedCellWorker:
    """Builds, inside a worker process, what runs its jobs."""

    contestants: tuple[Contestant, ...]
    randomization: RandomizationConfig
    instruction_split: str = "seen"
    provider: Provider = "cpu"
    """What runs the bundles."""

    def __call__(self) -> Callable[[EpisodeJob], EpisodeResult]:
        """Open one session a bundle and one cell for all of them."""
        bundles = {contestant.bundle: read_bundle(contestant.bundle) for contestant in self.contestants}
        policies = {path: OnnxPolicy(bundle, provider=self.provider) for path, bundle in bundles.items()}
        first = require_same_cameras(tuple(bundles.values()))
        cell = cell_for(first, self.randomization, self.instruction_split)

        def run(job: EpisodeJob) -> EpisodeResult:
            contestant = self.contestants[job.contestant]
            return run_episode(cell, policies[contestant.bundle], contestant.output, job)

        return run


def run_episodes(
    jobs: Sequence[EpisodeJob],
    make_worker: Callable[[], Callable[[EpisodeJob], EpisodeResult]],
    workers: int,
) -> Iterator[EpisodeResult]:
    """Run the jobs on worker processes and yield each result as it comes.

    Args:
        jobs: Episodes to run.
        make_worker: Called once in each worker process (picklable); returns what runs one job.
        workers: Processes; 1 runs in this process.

    Raises:
        UserError: A worker raised it, or (WorkerError) ended early; a defect's traceback is on its stderr.
    """
    if workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    if not jobs:
        return
    if workers == 1:
        run = make_worker()
        for job in jobs:
            yield run(job)
        return
    with WorkerPool(make_worker, min(workers, len(jobs))) as pool:
        for _, result in pool.run(jobs):
            yield result
