"""The resolved configuration of a training run, and the presets it starts from.

One frozen dataclass a stage; every field is an option of `train_sim.py`. Derived seeds are set here, so that
`--seed` alone makes a repetition.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from dygro_ros.errors import UserError, unknown_name
from models.base_policy import NanoConfig
from models.residual import ResidualConfig
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.world import CellWorld
from sim2real.export import Precision
from sim2real.libero.tasks import EVALUATION_STATES
from sim2real.libero.world import LiberoWorld
from sim2real.seeds import MAX_RUN_SEED
from sim2real.world import World
from training.backbone_weights import BackboneConfig
from training.base_preset import (
    BASE_PRETRAIN,
    BASE_SFT,
    PretrainedNetwork,
    check_adapters,
    check_precision,
    check_pretrained_options,
    resolve_network,
)
from training.demonstrations import DemonstrationConfig
from training.evaluation_config import EvaluationConfig
from training.head_refinement import HeadRefinementConfig
from training.libero_demonstrations import LiberoConfig
from training.methods.dygro import DygroConfig
from training.methods.off_policy import OffPolicyConfig
from training.methods.ppo import PpoConfig
from training.methods.sft import SftConfig
from training.online import OnlineConfig
from training.option_checks import check_range
from training.option_ranges import check_numbers
from training.pretrainer import PretrainConfig
from training.processes import DeviceName
from training.ray_session import RayConfig
from training.recorded_demonstrations import RecordedConfig
from training.robotwin_config import RobotwinConfig

MethodName = Literal["dygro", "residual", "ppo", "sft"]
Place = Literal["local", "ray"]
PresetName = Literal["nano", "quick", "base", "libero"]
WorldName = Literal["cell", "libero", "robotwin"]
METHODS: tuple[str, ...] = get_args(MethodName)
LIBERO_TASKS = (
    "KITCHEN_SCENE3_turn_on_the_stove",
    "KITCHEN_SCENE6_close_the_microwave",
    "KITCHEN_SCENE3_put_the_moka_pot_on_the_stove",
)
"""Three of the five tasks of libero_90 that have scripted experts."""
PRESETS: tuple[str, ...] = get_args(PresetName)


@dataclass(frozen=True)
class TrainConfig:
    """Train a base policy and a DyGRO policy in simulation; in the cell, hand over a policy bundle."""

    run: Path = Path("runs/nano")
    """Run folder; everything the run makes goes there."""
    preset: PresetName = "nano"
    """Where all other options start from: nano (full run), quick (minutes), base (pretrained, on GPUs) or
    libero (nano on LIBERO's tasks)."""
    world: WorldName = "cell"
    """Simulated world: our work cell, LIBERO (docs/libero.md) or RoboTwin (docs/robotwin.md)."""
    method: MethodName = "dygro"
    """Stage II method: dygro, residual (one expert), ppo (that residual by PPO), sft (no reinforcement)."""
    seed: int = 0
    """Training seed: demonstrations, weights, task draws, exploration."""
    tasks: tuple[str, ...] = ()
    """Tasks to train on; unset: all of the cell's, those of --robotwin.world, or in LIBERO three of the five
    with experts (docs/libero.md)."""
    randomization: str = "clean"
    """Domain randomisation of the cell: clean or randomized."""
    workers: int = 2
    """Rollout and collection processes."""
    rollouts: Place = "local"
    """Where Stage II runs its episodes: local (processes of this machine) or ray (a cluster's actors)."""
    learner: Place = "local"
    """Where Stage II learns: local (this process) or ray (an actor on a machine of its own)."""
    device: DeviceName = "cpu"
    """What Stage I learns on and what runs the frozen policy; the networks of Stage II stay on the CPU."""
    precision: Precision = "float32"
    """Of backbone and fusion in the bundles (preset base); bfloat16 needs a GPU."""
    threads: int | None = None
    """Computing threads of Stage I and of the learner; unset: torch's own choice, every core."""
    resume: bool = False
    """Go on with the run in the folder; without it an existing run is refused."""
    overwrite: bool = False
    """Delete an existing run in the folder first."""
    base_run: Path | None = None
    """Take demonstrations and Stage I policy from this run instead of making them: methods share a base."""
    demonstrations: DemonstrationConfig = field(default_factory=DemonstrationConfig)
    libero: LiberoConfig = field(default_factory=LiberoConfig)
    robotwin: RobotwinConfig = field(default_factory=RobotwinConfig)
    recorded: RecordedConfig = field(default_factory=RecordedConfig)
    network: tyro.conf.AvoidSubcommands[NanoConfig | PretrainedNetwork] = field(default_factory=NanoConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    off_policy: OffPolicyConfig = field(default_factory=OffPolicyConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ray: RayConfig = field(default_factory=RayConfig)

    @property
    def uses_ray(self) -> bool:
        """Whether something of this run is on Ray."""
        return "ray" in (self.rollouts, self.learner)

    @property
    def residual(self) -> ResidualConfig:
        """The residual of the chosen method."""
        if self.method == "ppo":
            return self.ppo.residual
        shape = self.off_policy.learner.residual
        return replace(shape, experts=1, top_m=1) if self.method == "residual" else shape

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the policy's cameras, in order."""
        return self.simulated_world.cameras[: self.network.cameras]

    @property
    def simulated_world(self) -> World:
        """The world to train in."""
        if self.world == "libero":
            return LiberoWorld(self.tasks, self.libero.folder)
        if self.world == "robotwin":
            return self.robotwin.known
        return CellWorld(RandomizationConfig.from_name(self.randomization))

    def resolved(self) -> TrainConfig:
        """Return the configuration with names checked and derived values set.

        Raises:
            UserError: An unknown task or randomisation, or a number that cannot work.
        """
        if self.world == "robotwin" and self.robotwin.measured is None:
            return replace(self, robotwin=self.robotwin.read()).resolved()
        if self.world != "robotwin" and self.robotwin.world is not None:
            raise UserError(f"--robotwin.world is for --world robotwin, got --world {self.world}")
        if not self.tasks:
            return replace(self, tasks=self._all_tasks()).resolved()
        for task in () if self.world == "libero" else self.tasks:
            if task not in self._all_tasks():
                raise unknown_name("task", task, self._all_tasks(), "--tasks")
        if len(set(self.tasks)) != len(self.tasks):
            raise UserError(f"--tasks must name each task once, got {' '.join(self.tasks)}")
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other")
        check_range("--workers", self.workers, 1)
        check_range("--threads", self.threads, 1)
        check_range("--seed", self.seed, 0, MAX_RUN_SEED)
        for stage in (self.demonstrations, self.recorded, self.pretrain, self.online, self.evaluation):
            stage.check()
        check_numbers(self)
        RandomizationConfig.from_name(self.randomization)
        self.ray.check()
        if self.ray.address is not None and not self.uses_ray:
            raise UserError(
                f"--ray.address {self.ray.address} needs --rollouts ray, --learner ray, or both: got neither"
            )
        self._check_gpus_of_workers()
        self._check_world()
        self._check_pictures()
        check_precision(self.network, self.precision, self.device)
        check_pretrained_options(self.network, self.pretrain, self.sft)
        check_adapters("pretrain", self.pretrain if self.base_run is None else None)
        check_adapters("sft", self.sft if self.method == "sft" else None)
        learner = replace(self.off_policy.learner, residual=self.residual)
        if self.method == "ppo":
            learner = self.off_policy.learner
        return replace(
            self,
            network=resolve_network(self.network, self.backbone),
            pretrain=replace(self.pretrain, seed=self.seed),
            off_policy=replace(self.off_policy, learner=learner),
        )

    def _check_gpus_of_workers(self) -> None:
        """Refuse GPUs that Ray would hide from its workers, or keep for nobody."""
        gpus, wanted = self.ray.worker_gpus, self.rollouts == "ray" and self.device == "cuda"
        if wanted and gpus == 0.0:
            raise UserError(
                "--rollouts ray with --device cuda needs --ray.worker-gpus above 0, such as 0.25 where four "
                "workers share a GPU: Ray hides all GPUs from workers that ask for none"
            )
        if gpus > 0.0 and not wanted:
            raise UserError(
                f"--ray.worker-gpus {gpus:g} needs --rollouts ray and --device cuda, "
                f"got --rollouts {self.rollouts} and --device {self.device}"
            )

    def _check_world(self) -> None:
        """Refuse options that the chosen world would pass over, and evaluations that it cannot run."""
        # A preset of another world may have set them, which is nobody's mistake.
        usual = preset(self.preset)
        changed = {
            "libero": self.libero != usual.libero,
            "demonstrations": self.demonstrations != usual.demonstrations,
            "randomization": self.randomization != usual.randomization,
        }
        for name, world in (("libero", "libero"), ("demonstrations", "cell"), ("randomization", "cell")):
            if self.world != world and changed[name]:
                raise UserError(f"--{name} says nothing in the world {self.world!r}: leave it out")
        collected = replace(self.libero, folder=None) != replace(usual.libero, folder=None)
        if self.recorded.folder is not None and (changed["demonstrations"] or collected):
            name = "libero.episodes and --libero.noise say" if collected else "demonstrations says"
            raise UserError(
                f"--{name} nothing beside --recorded.folder, from which all demonstrations come: leave it out"
            )
        seed, episodes = self.evaluation.seed, self.evaluation.episodes
        if self.world == "libero" and (seed != 0 or episodes > EVALUATION_STATES):
            raise UserError(
                f"LIBERO has {EVALUATION_STATES} fixed initial states a task: --evaluation.seed must be 0 "
                f"and --evaluation.episodes {EVALUATION_STATES} at most, got {seed} and {episodes}"
            )

    def _all_tasks(self) -> tuple[str, ...]:
        return LIBERO_TASKS if self.world == "libero" else self.simulated_world.tasks

    def _check_pictures(self) -> None:
        """Refuse a network of another robot, or one that sees other pictures than the demonstrations hold."""
        world, network = self.simulated_world, self.network
        for name, size, wanted in (
            ("actions", network.actions, world.layout.size),
            ("proprio", network.proprio, len(world.proprio_names)),
        ):
            if size != wanted:
                raise UserError(f"--network.{name} must be {wanted} in the world {world.name!r}, got {size}")
        count = network.cameras
        if count not in (1, len(world.cameras)):
            raise UserError(
                f"--network.cameras must be 1 ({world.cameras[0]}) or {len(world.cameras)} "
                f"({', '.join(world.cameras)}), got {count}"
            )
        if self.recorded.folder is not None or self.world != "cell":
            return
        recorded, seen = self.demonstrations.image_size, network.image_size
        if recorded != seen:
            raise UserError(
                f"--demonstrations.image-size {recorded} and --network.image-size {seen} must be equal"
            )
        if self.demonstrations.wrist_cameras != (count > 1):
            raise UserError(
                f"--network.cameras {count} needs --demonstrations.{'' if count > 1 else 'no-'}wrist-cameras"
            )


def preset(name: str) -> TrainConfig:
    """Return a preset's configuration.

    Raises:
        UserError: The name is unknown.
    """
    if name == "nano":
        return TrainConfig()
    if name == "quick":
        return TrainConfig(
            run=Path("runs/quick"),
            preset="quick",
            pretrain=replace(
                PretrainConfig(),
                steps=800,
                checkpoint_every=200,
                head_refinement=replace(HeadRefinementConfig(), steps=3_000),
            ),
            online=replace(
                OnlineConfig(),
                environment_steps=350_000,
                warmup_episodes=1_500,
                episodes=128,
                validate_every=0,
            ),
            # Few actor updates in all: the average that is exported must not lag behind by as many.
            off_policy=OffPolicyConfig(
                learner=DygroConfig(actor_average=0.99), warmup_critic_updates=500, warmup_actor_updates=400
            ),
            evaluation=EvaluationConfig(episodes=50),
        )
    if name == "libero":
        return libero_preset()
    if name == "base":
        return TrainConfig(
            run=Path("runs/base"),
            preset="base",
            device="cuda",
            demonstrations=replace(DemonstrationConfig(), image_size=PretrainedNetwork().image_size),
            network=PretrainedNetwork(),
            pretrain=BASE_PRETRAIN,
            sft=BASE_SFT,
        )
    raise unknown_name("preset", name, PRESETS, "--preset")


def libero_preset() -> TrainConfig:
    """Return the run on LIBERO's tasks that docs/results.md reports: both cameras, chunks of eight."""
    return TrainConfig(
        run=Path("runs/libero"),
        preset="libero",
        world="libero",
        tasks=LIBERO_TASKS,
        # Twenty demonstrations leave too little to gain (docs/results.md).
        libero=LiberoConfig(episodes=6),
        network=replace(NanoConfig(), actions=7, proprio=8, cameras=2, chunk=8),
        online=replace(
            OnlineConfig(),
            environment_steps=250_000,
            warmup_episodes=480,
            # 2.4 times what the longest task's expert takes.
            step_limit=200,
            episodes=48,
            checkpoint_every=1,
            validate_every=0,
        ),
        off_policy=OffPolicyConfig(
            # 1 is what the controller is asked for, not what the hand does: in eight steps a residual of 0.1
            # moves it by 9 mm at most, and grasps miss by 30 (docs/results.md).
            learner=DygroConfig(
                actor_average=0.99, anchor_weight=12.0, residual=replace(ResidualConfig(), alpha=0.4)
            ),
            warmup_critic_updates=800,
            warmup_actor_updates=400,
            updates_per_transition=0.3,
        ),
        evaluation=EvaluationConfig(episodes=50),
    )


def as_json(value: Any) -> Any:
    """Return a configuration value as something JSON can hold: paths become text, tuples lists."""
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
