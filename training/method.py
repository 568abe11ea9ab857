"""What the online loop asks of a Stage II method, and the state by which one is continued elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from models.residual import ResidualPolicy
from training.checkpoint import optimizer_state, restore_optimizer
from training.episodes import Episode


class Method(Protocol):
    """What the loop asks of a Stage II method."""

    name: str

    @property
    def actor(self) -> ResidualPolicy:
        """The policy that explores."""

    @property
    def average(self) -> ResidualPolicy:
        """The policy that is evaluated and exported."""

    @property
    def noise_persistence(self) -> float:
        """Correlation of exploration noise from chunk to chunk."""

    @property
    def uses_warmup_episodes(self) -> bool:
        """Whether it learns from episodes of the base policy and of random residuals."""

    @property
    def warmup_updates(self) -> int:
        """Calls of `tick` that `warm_up` makes."""

    def load_offline(self, episodes: Iterable[Episode]) -> None:
        """Take the demonstrations."""

    def load_online(self, episodes: Iterable[Episode]) -> None:
        """Take episodes without learning from them yet."""

    def warm_up(self, tick: Any) -> None:
        """Learn before the first online step."""

    def learn(self, fresh: Sequence[Episode]) -> dict[str, float]:
        """Learn from an iteration's episodes."""

    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Loose tensors."""

    def scalars(self) -> dict[str, Any]:
        """JSON-able state."""

    def restore(self, tensors: Mapping[str, torch.Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore loose tensors and scalars."""


def capture(method: Method) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (nested tensors, JSON-able scalars) of everything but the episodes."""
    tensors = {
        "modules": {name: module.state_dict() for name, module in method.modules().items()},
        "optimizers": {name: optimizer_state(optimizer) for name, optimizer in method.optimizers().items()},
        "method": dict(method.tensors()),
    }
    return tensors, method.scalars()


def restore(method: Method, tensors: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
    """Put back what `capture` returned; weights and optimisers first, `Method.restore` last.

    Raises:
        CheckpointError: An optimiser holds other parameters than the state.
    """
    for name, module in method.modules().items():
        module.load_state_dict(tensors["modules"][name])
    for name, optimizer in method.optimizers().items():
        restore_optimizer(optimizer, tensors["optimizers"][name])
    method.restore(tensors["method"], scalars)
