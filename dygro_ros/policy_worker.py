"""Answers the newest picture with a chunk, in a thread of its own, so that nothing else waits for inference.

Pictures and measured joints come in from whatever carries them; a chunk goes out with the time stamp of the
picture it answers. Old pictures are dropped, never queued. Knows neither middleware nor cameras.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError
from dygro_ros.inference import OnnxPolicy, PolicyOutput
from dygro_ros.manifest import CropSpec
from dygro_ros.pacing import Pacing
from dygro_ros.picture import PictureFitter

# Measured joints are kept for pictures that arrive up to this late.
JOINTS_KEPT = 256
# Pictures and joints further apart than this are not one observation [ns].
APART_NS = 100_000_000


@dataclass(frozen=True)
class Answer:
    """A chunk and what it answers."""

    stamp_ns: int
    """Time stamp of the oldest picture that was looked at [ns]."""
    output: PolicyOutput
    prepare_s: float
    """Time for cropping and resizing [s]."""
    age_s: float
    """Time since the picture was taken [s], as far as both clocks are one."""
    images: NDArray[np.uint8]
    """What the graph saw, (V, H, W, 3)."""
    instruction: str
    joints: NDArray[np.float32]
    """(14,) joint units."""
    waited_s: float
    """Part of it in which the picture was here, but not yet the joints of its moment [s]."""


@dataclass(frozen=True)
class _Seen:
    """The newest picture of each camera."""

    stamps_ns: tuple[int, ...]
    pictures: list[NDArray[np.uint8]]
    arrived_s: float

    @property
    def stamp_ns(self) -> int:
        return min(self.stamps_ns)


@dataclass(frozen=True)
class _Prepared:
    """Pictures as the graph takes them, (V, H, W, 3)."""

    seen: _Seen
    images: NDArray[np.uint8]
    took_s: float


@dataclass(frozen=True)
class _Joints:
    """Measured joints, (14,) joint units."""

    stamp_ns: int
    joints: NDArray[np.float32]
    arrived_s: float


class PolicyWorker:
    """One policy and what it last saw."""

    def __init__(
        self,
        policy: OnnxPolicy,
        crops: Sequence[CropSpec],
        *,
        pacing: Pacing,
        instruction: str,
        answer: Callable[[Answer], None],
        fault: Callable[[str], None],
        clock: Callable[[], float],
        wall_ns: Callable[[], int],
    ) -> None:
        """Prepare; `start` begins.

        Args:
            policy: Warmed up.
            crops: One for each camera of the bundle, in its order.
            pacing: When the next picture is to be answered.
            instruction: What to do; empty until one is set.
            answer: Called in the worker's thread with each answer.
            fault: Called in the worker's thread with a sentence, where an observation cannot be answered.
            clock: Monotonic clock [s].
            wall_ns: The clock of the pictures' stamps [ns].

        Raises:
            UserError: Another number of crops than the bundle has cameras.
        """
        cameras = policy.bundle.manifest.cameras
        if len(crops) != len(cameras):
            raise UserError(f"the bundle has {len(cameras)} cameras, the robot's profile crops {len(crops)}")
        self._policy = policy
        self._fitters = [PictureFitter(spec, crop) for spec, crop in zip(cameras, crops, strict=True)]
        self._pacing = pacing
        self._instruction = instruction
        self._answer, self._fault = answer, fault
        self._clock, self._wall_ns = clock, wall_ns
        self._pictures: list[tuple[int, NDArray[np.uint8]] | None] = [None] * len(cameras)
        self._joints: deque[_Joints] = deque(maxlen=JOINTS_KEPT)
        self._answered_ns = 0
        self._seen_s = 0.0
        self._again = False
        self._running = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer."""
        with self._changed:
            if self._running:
                return
            self._running = True
            self._pictures = [None] * len(self._pictures)
            self._answered_ns = 0
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the observation at hand, and end."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def alive(self) -> bool:
        """Whether the thread answers, or waits for something to answer."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def instruction(self) -> str:
        """What to do."""
        return self._instruction

    def instruct(self, instruction: str) -> None:
        """Set what to do; the next picture is answered at once."""
        with self._changed:
            self._instruction = instruction
            self._again = True

    def see(self, camera: int, stamp_ns: int, picture: NDArray[np.uint8]) -> None:
        """Take a camera's newest picture, (H, W, 3) RGB; an older one is dropped."""
        with self._changed:
            self._pictures[camera] = (stamp_ns, picture)
            self._seen_s = self._clock()
            self._changed.notify_all()

    def measure(self, stamp_ns: int, joints: NDArray[np.float32]) -> None:
        """Take measured joints, (14,) joint units."""
        with self._changed:
            if self._joints and stamp_ns < self._joints[-1].stamp_ns:
                self._joints.clear()  # another clock, or one that has jumped back
            self._joints.append(_Joints(stamp_ns, joints, self._clock()))
            self._changed.notify_all()

    def _work(self) -> None:
        prepared: _Prepared | None = None
        while True:
            with self._changed:
                while self._running and (todo := self._todo(prepared)) is None:
                    self._changed.wait()
                if not self._running or todo is None:
                    return
                instruction = self._instruction
            try:
                if isinstance(todo, _Seen):
                    prepared = self._prepare(todo)
                    continue
                assert prepared is not None
                output = self._policy.infer(prepared.images, instruction, todo.joints)
            except UserError as error:
                self._fault(str(error))
                continue
            stamp_ns = prepared.seen.stamp_ns
            age_s = 1e-9 * (self._wall_ns() - stamp_ns)
            self._pacing.answered(age_s)
            waited_s = max(todo.arrived_s - prepared.seen.arrived_s, 0.0)
            self._answer(
                Answer(
                    stamp_ns,
                    output,
                    prepare_s=prepared.took_s,
                    age_s=age_s,
                    images=prepared.images,
                    instruction=instruction,
                    joints=todo.joints,
                    waited_s=waited_s,
                )
            )

    def _todo(self, prepared: _Prepared | None) -> _Seen | _Joints | None:
        """Return the pictures to prepare, or the joints with which to answer those that are prepared.

        Joints come a little later than the picture of their moment; it is cropped and resized meanwhile.
        """
        seen = self._due()
        if seen is None:
            return None
        if prepared is not None and prepared.seen.stamps_ns == seen.stamps_ns:
            joints = self._joints_at(seen.stamp_ns)
            if joints is not None:
                self._done(seen)
            return joints
        return seen

    def _done(self, seen: _Seen) -> None:
        self._answered_ns, self._again = seen.stamp_ns, False

    def _prepare(self, seen: _Seen) -> _Prepared:
        begun_s = self._clock()
        try:
            images = np.stack([f.fit(p) for f, p in zip(self._fitters, seen.pictures, strict=True)])
        except UserError:
            with self._changed:
                self._done(seen)
            raise
        return _Prepared(seen, images, self._clock() - begun_s)

    def _due(self) -> _Seen | None:
        """Return the pictures to answer now, None while there are none."""
        pictures = [picture for picture in self._pictures if picture is not None]
        if len(pictures) < len(self._pictures) or not self._instruction:
            return None
        seen = _Seen(tuple(stamp for stamp, _ in pictures), [p for _, p in pictures], self._seen_s)
        # Either way round: stamps are of the wall clock, which may jump.
        waited = self._again or abs(seen.stamp_ns - self._answered_ns) >= 1e9 * self._pacing.interval_s
        return seen if waited and seen.stamp_ns != self._answered_ns else None

    def _joints_at(self, stamp_ns: int) -> _Joints | None:
        """Return the joints at the moment of a picture, None until they are known.

        The chunk is relative to them: at 2 rad/s, those of 10 ms before would shift it by 0.02 rad.
        """
        after = next((entry for entry in self._joints if entry.stamp_ns >= stamp_ns), None)
        if after is None or after.stamp_ns - stamp_ns > APART_NS:
            return None
        before = next((entry for entry in reversed(self._joints) if entry.stamp_ns < stamp_ns), None)
        if before is None or stamp_ns - before.stamp_ns > APART_NS:
            return after
        share = np.float32((stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns))
        return _Joints(stamp_ns, before.joints + share * (after.joints - before.joints), after.arrived_s)
