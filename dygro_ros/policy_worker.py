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
    waited_s: float
    """Part of it in which the picture was here, but not yet the joints of its moment, or its turn [s]."""


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
        self._joints: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=JOINTS_KEPT)
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
            if self._joints and stamp_ns < self._joints[-1][0]:
                self._joints.clear()  # another clock, or one that has jumped back
            self._joints.append((stamp_ns, joints))
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._running and (observation := self._due()) is None:
                    self._changed.wait()
                if not self._running or observation is None:
                    return
                stamp_ns, pictures, joints, instruction = observation
                self._answered_ns, self._again = stamp_ns, False
                begun_s = self._clock()
                waited_s = begun_s - self._seen_s
            try:
                images = np.stack([f.fit(p) for f, p in zip(self._fitters, pictures, strict=True)])
                prepare_s = self._clock() - begun_s
                output = self._policy.infer(images, instruction, joints)
            except UserError as error:
                self._fault(str(error))
                continue
            age_s = 1e-9 * (self._wall_ns() - stamp_ns)
            self._pacing.answered(age_s)
            self._answer(Answer(stamp_ns, output, prepare_s, age_s, waited_s))

    def _due(self) -> tuple[int, list[NDArray[np.uint8]], NDArray[np.float32], str] | None:
        """Return the observation to answer now, None while there is none."""
        pictures = [picture for picture in self._pictures if picture is not None]
        if len(pictures) < len(self._pictures) or not self._joints or not self._instruction:
            return None
        stamp_ns = min(stamp for stamp, _ in pictures)
        # Either way round: stamps are of the wall clock, which may jump.
        waited = self._again or abs(stamp_ns - self._answered_ns) >= 1e9 * self._pacing.interval_s
        if stamp_ns == self._answered_ns or not waited:
            return None
        joints = self._joints_at(stamp_ns)
        if joints is None:
            return None
        return stamp_ns, [picture for _, picture in pictures], joints, self._instruction

    def _joints_at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Return the joints at the moment of a picture, None until they are known.

        The chunk is relative to them: at 2 rad/s, those of 10 ms before would shift it by 0.02 rad.
        """
        after = next((entry for entry in self._joints if entry[0] >= stamp_ns), None)
        if after is None or after[0] - stamp_ns > APART_NS:
            return None
        before = next((entry for entry in reversed(self._joints) if entry[0] < stamp_ns), None)
        if before is None or stamp_ns - before[0] > APART_NS:
            return after[1]
        share = np.float32((stamp_ns - before[0]) / (after[0] - before[0]))
        between: NDArray[np.float32] = before[1] + share * (after[1] - before[1])
        return between
