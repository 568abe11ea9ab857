"""One step of Stage I: cloning with an information bottleneck (DyGRO-VLA, Eq. 3), and all state behind it.

A step: the critic T ascends the Donsker-Varadhan bound on detached latents; then the policy descends cloning
loss plus lambda_ib times the bound. Both use the same derangement. Beyond the paper, simulated demonstrations
add an auxiliary loss: object positions, read linearly from z. The moving average of the weights becomes the
policy. Knows nothing of files but its own checkpoint; `pretrain` runs it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dygro_ros.errors import DataError
from models.base_policy import BasePolicy, PolicyConfig, StageOne
from models.information import CriticObjective, InformationCritic, derangement
from models.lora import add_lora, merge_lora
from training.augmentation import jitter_colours
from training.checkpoint import load_state, optimizer_state, restore_optimizer, save_state
from training.dataset import Batch, FrameDataset, FrameSampler, SamplerState
from training.head_refinement import HeadRefinementConfig
from training.monitor import check_finite, check_finite_tensors, named_gradients
from training.option_checks import check_range
from training.processes import ALONE, Processes

OBJECT_COORDINATES = 6  # two objects, x y z


@dataclass(frozen=True)
class PretrainConfig:
    """How Stage I learns."""

    steps: int = 1000
    """Gradient steps of joint training."""
    batch_size: int = 64
    """Frames a step; on a CPU small batches train faster for the same frames."""
    learning_rate: float = 3e-3
    """Peak rate of AdamW, reached after the warm-up, then down by a cosine."""
    pretrained_rate: float = 1.0
    """Rate of pretrained towers as a share of the others'; what is trained from scratch has none."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 1e-2
    """Decay of matrices; vectors and gates are free."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.998
    """Decay of the moving average of the weights, which becomes the policy."""
    lambda_ib: float = 1e-3
    """Weight of the information-bottleneck term; 0 leaves it and its critic out."""
    lambda_objects: float = 0.5
    """Weight of an auxiliary loss: mean absolute error of the objects' positions, read linearly from z, in
    units of 0.2 m. It makes z precise where cloning alone leaves centimetres. Needs simulated demonstrations;
    0 for others."""
    critic_learning_rate: float = 1e-3
    """Rate of the critic T."""
    critic_width: int = 128
    """Width of the critic T."""
    brightness: float = 0.08
    """Largest brightness shift of the augmentation, of the full range."""
    contrast: float = 0.15
    """Largest relative change of contrast."""
    channel_gain: float = 0.08
    """Largest relative change of a colour channel. Nothing geometric: it would move the millimetres."""
    mixed_precision: bool | None = None
    """bfloat16 in convolutions and attention; unset: on GPUs, and where the processor has instructions."""
    lora_rank: int = 0
    """Rank of adapters on the pretrained towers, which then keep their weights; 0 trains the weights."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between log records (means over them)."""
    seed: int = 0
    """Fixes weights, order and noise."""
    head_refinement: HeadRefinementConfig = field(default_factory=HeadRefinementConfig)
    """What the head learns on frozen latents afterwards."""

    def check(self) -> None:
        """Refuse a batch of one frame where the information bound compares two; `option_ranges` has all else.

        Raises:
            UserError: The batch is too small.
        """
        check_range("--pretrain.batch-size", self.batch_size, 2 if self.lambda_ib > 0 else 1)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Return the rate of step 0, 1, ...: linear warm-up, then a cosine down to 1 % of the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = step / max(1, config.steps)
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


def has_bfloat16_instructions() -> bool:
    """Return whether this processor multiplies bfloat16 natively; emulation is slower than float32."""
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


class _Encoder(nn.Module):
    """The part of a step that processes share, in one forward; holds all that the loss trains."""

    def __init__(self, policy: BasePolicy, objects: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.objects = objects

    def forward(self, images: Tensor, instruction: Tensor, proprio: Tensor) -> StageOne:
        return self.policy.encode(images, instruction, proprio)


class Pretrainer:
    """Networks, optimisers and data order of Stage I; one call of `step` is one gradient step.

    Uses torch's global generator; `pretrain` isolates it.

    Args:
        config: How to learn.
        network: Sizes of the policy.
        dataset: Demonstrations.
        start: Policy whose weights to begin with.
        processes: Who trains together, and on which device.
    """

    def __init__(
        self,
        config: PretrainConfig,
        network: PolicyConfig,
        dataset: FrameDataset,
        start: BasePolicy | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.config = config
        self.processes = processes
        self._rows = processes.rows(config.batch_size)
        # A policy to go on from keeps its own normalisation: its weights mean nothing with another.
        self.policy = BasePolicy(network, start.action_space if start else dataset.action_space())
        if start is not None:
            self.policy.load_state_dict(start.state_dict())
        if config.lora_rank:
            for part in self.policy.backbone.pretrained_parts():
                add_lora(part, config.lora_rank)
        precise = config.mixed_precision
        if precise is None:
            precise = processes.device.type == "cuda" or has_bfloat16_instructions()
        self.policy.backbone.mixed_precision = precise
        self.critic = InformationCritic(
            self.policy.task_feature_size, network.z_tokens * network.z_dim, config.critic_width
        )
        self.objective = CriticObjective()
        if config.lambda_objects > 0 and not dataset.has_objects:
            raise DataError(
                "lambda_objects needs simulator/privileged_state in every demonstration and at least one has "
                "none: set lambda_objects to 0"
            )
        self.objects = nn.Linear(network.z_tokens * network.z_dim, OBJECT_COORDINATES)
        self.objects.requires_grad_(config.lambda_objects > 0)
        for module in (self.policy, self.objects, self.critic, self.objective):
            module.to(processes.device)
        self._encode = processes.wrap(_Encoder(self.policy, self.objects))
        self.policy_optimizer = torch.optim.AdamW(
            _parameter_groups(self.policy, self.objects, config), lr=config.learning_rate, betas=(0.9, 0.98)
        )
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.critic_learning_rate)
        self.average = {name: value.detach().clone() for name, value in self._learning()}
        self.sampler = FrameSampler(dataset, config.batch_size, config.seed)
        self.steps_done = 0

    def step(self) -> dict[str, float]:
        """Take one gradient step and return its losses.

        Raises:
            NotFiniteError: A loss or a gradient is not finite; names it.
        """
        batch = on_device(self.sampler.next(), self.processes.device)
        rate = learning_rate(self.config, self.steps_done)
        for group in self.policy_optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.policy.train()
        metrics = self._learn(batch)
        self._update_average()
        self.steps_done += 1
        return {**metrics, "learning_rate": rate}

    def _learn(self, batch: Batch) -> dict[str, float]:
        policy = self.policy
        images = jitter_colours(
            batch.images, self.config.brightness, self.config.contrast, self.config.channel_gain, self._rows
        )
        own: StageOne = self._encode(images, batch.instruction[self._rows], batch.proprio[self._rows])
        # From here on each process computes the joint batch.
        stage = StageOne(*(self.processes.gather(part) for part in own))
        z = policy.sample(stage)
        target = policy.action_space.normalise(batch.chunk, batch.proprio)
        cloning = policy.bc_loss(z, target, batch.mask)
        loss = cloning
        metrics = {"cloning_loss": cloning.item(), "z_deviation": _deviation(stage.z_logvar)}
        if self.config.lambda_objects > 0 and batch.objects is not None:
            objects = (self.objects(z.flatten(1)) - batch.objects).abs().mean()
            loss = loss + self.config.lambda_objects * objects
            metrics["objects_loss"] = objects.item()
        if self.config.lambda_ib > 0:
            observation = stage.task_features.detach()
            permutation = derangement(len(z)).to(z.device)
            critic_bound = self.critic_step(observation, z.detach(), permutation)
            bound = self.bound_for_encoder(observation, z, permutation)
            # Mutual information is never negative: a bound below 0 only says that T is behind, and descending
            # on it drives z away from T without end (seen: -18,000 nat after 1,300 steps, cloning destroyed).
            loss = loss + self.config.lambda_ib * bound.clamp(min=0.0)
            metrics |= {"information_nat": bound.item(), "critic_bound_nat": critic_bound}
        check_finite(self.steps_done, metrics)
        self.policy_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(policy.parameters(), self.config.gradient_clip)
        if not bool(torch.isfinite(norm)):
            check_finite_tensors(self.steps_done, named_gradients(policy), "gradient")
        self.policy_optimizer.step()
        return {**metrics, "gradient_norm": norm.item()}

    def critic_step(self, observation: Tensor, z: Tensor, permutation: Tensor) -> float:
        """Move T up the bound; return the bound [nat] before the step.

        Args:
            observation: Stop-gradient backbone features, shape (B, F).
            z: Detached latent samples, shape (B, Z, D).
            permutation: Derangement, shape (B,).
        """
        loss, bound = self.objective(self.critic(observation, z), self.critic(observation, z[permutation]))
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average_gradients(self.critic)
        self.critic_optimizer.step()
        return float(bound)

    def bound_for_encoder(self, observation: Tensor, z: Tensor, permutation: Tensor) -> Tensor:
        """Return the bound [nat] with a gradient to z alone: T's parameters belong to the other optimiser.

        Arguments as for `critic_step`, z with its gradient.
        """
        self.critic.requires_grad_(False)
        bound: Tensor = self.critic.bound(observation, z, permutation)
        self.critic.requires_grad_(True)
        return bound

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on a short memory: the first weights are noise.
        decay = min(self.config.average_decay, (1 + self.steps_done) / (10 + self.steps_done))
        parameters = [parameter.detach() for _, parameter in self._learning()]
        torch._foreach_lerp_(list(self.average.values()), parameters, 1.0 - decay)

    def averaged_policy(self) -> BasePolicy:
        """Return a frozen policy in evaluation mode with the averaged weights."""
        policy = copy.deepcopy(self.policy)
        policy.load_state_dict({**self.policy.state_dict(), **self.average})
        merge_lora(policy)
        return policy.eval().requires_grad_(False)

    def _learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self.policy.named_parameters() if value.requires_grad)

    def save(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Write everything that the next step depends on."""
        tensors = {
            "policy": self.policy.state_dict(),
            "objects": self.objects.state_dict(),
            "average": self.average,
            "critic": self.critic.state_dict(),
            "objective": self.objective.state_dict(),
            "policy_optimizer": optimizer_state(self.policy_optimizer),
            "critic_optimizer": optimizer_state(self.critic_optimizer),
            "generator": torch.get_rng_state(),
        }
        if self.processes.device.type == "cuda":
            tensors["device_generator"] = torch.cuda.get_rng_state(self.processes.device)
        scalars = {"steps_done": self.steps_done, "sampler": asdict(self.sampler.state)}
        save_state(folder, tensors, scalars, fingerprint=fingerprint)

    def restore(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Continue from what `save` wrote.

        Raises:
            CheckpointError: Damaged, or of another configuration; names the field.
        """
        tensors, scalars = load_state(folder, fingerprint=fingerprint)
        self.policy.load_state_dict(tensors["policy"])
        self.objects.load_state_dict(tensors["objects"])
        for name, value in tensors["average"].items():
            self.average[name].copy_(value)
        self.critic.load_state_dict(tensors["critic"])
        self.objective.load_state_dict(tensors["objective"])
        restore_optimizer(self.policy_optimizer, tensors["policy_optimizer"])
        restore_optimizer(self.critic_optimizer, tensors["critic_optimizer"])
        torch.set_rng_state(tensors["generator"])
        if self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["device_generator"], self.processes.device)
        self.steps_done = int(scalars["steps_done"])
        self.sampler = FrameSampler(
            self.sampler.dataset,
            self.config.batch_size,
            self.config.seed,
            SamplerState(**scalars["sampler"]),
        )


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with its tensors on a device."""
    return Batch(*(None if part is None else part.to(device) for part in batch))


def _parameter_groups(policy: BasePolicy, objects: nn.Module, config: PretrainConfig) -> list[dict[str, Any]]:
    """Return what learns: pretrained parts at a share of the rate, matrices with decay."""
    pretrained = {id(p) for module in policy.backbone.pretrained_parts() for p in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in (*policy.parameters(), *objects.parameters()):
        if parameter.requires_grad:
            share = config.pretrained_rate if id(parameter) in pretrained else 1.0
            decay = config.weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((share, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "share": share}
        for (share, decay), parameters in groups.items()
    ]


def _deviation(log_variance: Tensor) -> float:
    return float(torch.exp(0.5 * log_variance.detach()).mean())
