"""RoboTwin from our side: episodes (task, seed) in a process of its own, to train in and to evaluate.

A seed counts only if RoboTwin's own expert succeeds on it. A step is one action as RoboTwin counts them: it
retimes each to the speed of the arms, so a step has no fixed duration.
"""

from __future__ import annotations

import logging
import zlib
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError, unknown_name
from dygro_ros.instruction_codec import BYTES
from dygro_ros.manifest import WHOLE_PICTURE, CameraSpec
from sim2real.process_link import LinkError, ProcessLink, RemoteError
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.observations import CAMERAS, checked_joints, fit_picture
from sim2real.robotwin.policy import fit_instruction
from sim2real.robotwin.seed_book import SeedBook, UnsolvableSeed, Verdict
from sim2real.seeds import SeedPurpose, purpose_of

Proprio = Literal["targets", "measured"]
InstructionSplit = Literal["seen", "unseen"]
# cuRobo compiles and warms up at the first episode of a task.
CALL_LIMIT_S = 900.0
# So many seeds in a row without a solvable one: then it is not the seeds.
MAX_PASSED_OVER = 200
_LOG = logging.getLogger(__name__)


class RobotwinEnvironment:
    """One episode at a time, of any of RoboTwin's tasks."""

    def __init__(
        self,
        installation: Installation,
        *,
        task_config: str = "demo_clean",
        cameras: tuple[str, ...] = ("head_camera",),
        image_size: int = 128,
        proprio: Proprio = "targets",
        instruction_split: InstructionSplit = "seen",
        book: SeedBook | None = None,
        pass_over: bool = False,
    ) -> None:
        """Start nothing yet: the process is started by the first episode.

        Args:
            installation: Where RoboTwin is.
            task_config: RoboTwin's configuration of scenes and robot.
            cameras: What `images` shows, in this order.
            image_size: Height and width of the pictures [px].
            proprio: What `proprio` returns: drive targets, as RoboTwin's data hold, or measured joints.
            instruction_split: "seen" or "unseen" instructions.
            book: What is known of seeds; others are tried, and kept in it.
            pass_over: Let a seed on which the expert fails stand for the next on which it succeeds, for
                training; else it is refused, as evaluation seeds always are: one scene would count twice.

        Raises:
            DependencyError: A part of RoboTwin is missing.
            UserError: A name is unknown or a number not possible.
        """
        for name in cameras:
            if name not in CAMERAS:
                raise unknown_name("camera", name, list(CAMERAS))
        if proprio not in ("targets", "measured"):
            raise unknown_name("proprio", proprio, ("targets", "measured"))
        if instruction_split not in ("seen", "unseen"):
            raise unknown_name("instruction split", instruction_split, ("seen", "unseen"))
        if image_size < 1 or not cameras:
            raise UserError(f"image_size and the cameras must be 1 or more, got {image_size} and {cameras}")
        installation.check(task_config)
        self.book = SeedBook(task_config) if book is None else book
        self._installation, self._task_config = installation, task_config
        self._cameras = tuple(_spec(name, image_size) for name in cameras)
        self._proprio, self._split, self._pass_over = proprio, instruction_split, pass_over
        self._link: ProcessLink | None = None
        self._state: dict[str, Any] | None = None
        self._pictures: NDArray[np.uint8] | None = None
        self.seed = 0
        """Seed of the episode's scene; another than was asked for where one was passed over."""
        self.instruction = ""
        self.step_limit = 0
        self.joint_lower = self.joint_upper = np.zeros(0)
        """Limits of the simulated robot's joints, (14,), known from the first episode on."""

    def judge(self, task: str, seed: int) -> Verdict:
        """Return whether RoboTwin's expert succeeds on a seed; it is tried if that is not known.

        Raises:
            UserError: Unknown task, a negative seed, or a robot of other arms.
            LinkError: The process does not start, or ended.
        """
        known = self.book.verdict(task, seed)
        if known is not None:
            return known
        if seed < 0:
            raise UserError(f"seed must be 0 or more, got {seed}")
        self._state = None  # the expert takes the scene
        found = Verdict(**self._process().call("judge", task=task, seed=seed))
        self.book.record(task, seed, found)
        if not found.solvable:
            _LOG.info("%s, seed %d does not count: %s", task, seed, found.reason)
        return found

    def reset(self, task: str, seed: int, *, companion: str | None = None) -> None:
        """Begin an episode.

        Args:
            task: Name of one of RoboTwin's tasks.
            seed: Seed of the scene.
            companion: Not known to RoboTwin; must be None.

        Raises:
            UnsolvableSeed: The expert fails on the seed, and on all that follow where they may stand for it.
            UserError: Unknown task, a companion, a negative seed, or a robot of other arms.
            LinkError: The process does not start, or ended.
        """
        if companion is not None:
            raise UserError(f"RoboTwin's scenes hold one task, got companion {companion!r} beside {task!r}")
        pass_over = self._pass_over and purpose_of(seed) is not SeedPurpose.EVALUATION
        last = seed + (MAX_PASSED_OVER if pass_over else 0)
        for scene in range(seed, last + 1):
            verdict = self.judge(task, scene)
            if verdict.solvable:
                break
        else:
            raise UnsolvableSeed(
                f"RoboTwin's expert does not succeed on {task}, seed {seed}"
                + (f" .. {last}" if last > seed else "")
                + f" ({verdict.reason}), so it does not count: find_seeds lists those that do"
            )
        self._state, self._pictures = None, None
        found = self._process().call("begin", task=task, seed=scene, info=verdict.info, split=self._split)
        self.seed = scene
        self.instruction = _chosen(found["instructions"], task, scene)
        self.step_limit = int(found["step_limit"])
        self.joint_lower, self.joint_upper = found["lower"], found["upper"]
        self._state = found

    def step(self, action: NDArray[np.floating[Any]]) -> bool:
        """Execute an action and return whether the task has been done.

        Args:
            action: Absolute drive targets, (14,): arms [rad], grippers 0 closed .. 1 open.

        Raises:
            UserError: There is no episode, or the action is not 14 finite numbers.
            LinkError: The process ended.
        """
        _ = self._now
        self._pictures = None
        self._state = self._process().call("step", action=np.asarray(action, np.float64))
        return self.succeeded

    def images(self) -> NDArray[np.uint8]:
        """Return what the cameras see now, (V, H, W, 3) RGB; rendered once a step, when asked."""
        _ = self._now
        if self._pictures is None:
            names = [spec.name for spec in self._cameras]
            found = self._process().call("pictures", cameras=names)
            self._pictures = np.stack([fit_picture(found[spec.name], spec) for spec in self._cameras])
        return self._pictures.copy()

    def proprio(self) -> NDArray[np.float32]:
        """Return the joints, (14,): drive targets or measured, as the environment was made."""
        return checked_joints(self._now[self._proprio], self._proprio)

    def privileged_state(self) -> NDArray[np.float32]:
        """Return what critics may see, (43,): see `scene_state.PRIVILEGED_SLICES`."""
        found: NDArray[np.float32] = self._now["privileged"]
        return found

    @property
    def step_count(self) -> int:
        """Actions executed in this episode."""
        return int(self._now["steps"])

    @property
    def succeeded(self) -> bool:
        """Whether the task has been done in this episode."""
        return bool(self._now["success"])

    def close(self) -> None:
        """End the process."""
        self._state = None
        if self._link is not None:
            self._link.close()
            self._link = None

    def __enter__(self) -> RobotwinEnvironment:
        """Return the environment."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()

    @property
    def _now(self) -> dict[str, Any]:
        if self._state is None:
            raise UserError("there is no RoboTwin episode: call reset(task, seed) first")
        return self._state

    def _process(self) -> ProcessLink:
        if self._link is None:
            installation = self._installation
            wrist = any(spec.name != "head_camera" for spec in self._cameras)
            places = [str(installation.checkout.resolve()), str(installation.configurations.resolve())]
            try:
                self._link = ProcessLink(
                    [str(installation.python), "-m", "sim2real.robotwin.server", *places, self._task_config,
                     str(int(wrist))],
                    "RoboTwin",
                    environment=installation.environment(),
                    start_limit_s=CALL_LIMIT_S,
                    call_limit_s=CALL_LIMIT_S,
                )  # fmt: skip
            except RemoteError:
                raise  # it had started
            except LinkError as error:
                raise LinkError(
                    f"{installation.python} must be the interpreter of RoboTwin's environment (--python of "
                    f"find_seeds and measure_world), but RoboTwin does not start in it: {error}"
                ) from error
        return self._link


def _spec(name: str, size: int) -> CameraSpec:
    return CameraSpec(
        name=name, width=size, height=size, colour_order="RGB", crop=WHOLE_PICTURE, rotation_deg=0
    )


def _chosen(instructions: list[str], task: str, seed: int) -> str:
    """Return one instruction, the same each time for an episode; one that the policy reads whole, if any."""
    short = [text for text in instructions if BYTES.size(text) <= BYTES.spec.length]
    candidates = short or instructions
    drawn = np.random.default_rng([seed, zlib.crc32(task.encode())]).integers(len(candidates))
    return fit_instruction(candidates[int(drawn)], BYTES)
