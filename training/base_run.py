"""Whether the run that --base-run names fits this one: its frozen policy is taken as it is."""

from __future__ import annotations

from collections.abc import Iterator

from dygro_ros.errors import UserError
from models.base_policy import NanoConfig, PolicyConfig
from training.config import TrainConfig
from training.placement import STAGE_ONE
from training.stage_one import load_config

SHARED = ("actions", "proprio", "chunk", "image_size", "cameras")
"""Sizes that demonstrations, Stage II and bundle take from this run's configuration."""


def check_base_run(config: TrainConfig) -> None:
    """Hold the base run's policy against this run's world, preset and network; without a base run do nothing.

    Raises:
        CheckpointError: The base run holds no Stage I policy.
        UserError: The policy is of another kind or other sizes; names all that differ and how to agree.
    """
    if config.base_run is None:
        return
    base = load_config(config.base_run / STAGE_ONE)
    found = list(_differences(config, base))
    if found:
        told = "; ".join(
            f"{name} is {was} there and {now} here ({remedy})" for name, was, now, remedy in found
        )
        raise UserError(f"--base-run {config.base_run} does not fit this run: {told}")


def _differences(config: TrainConfig, base: PolicyConfig) -> Iterator[tuple[str, object, object, str]]:
    """Yield (what, the base run's, this run's, how to agree)."""
    another = "choose another base run"
    kinds = ["from scratch" if isinstance(of, NanoConfig) else "pretrained" for of in (base, config.network)]
    if kinds[0] != kinds[1]:
        wanted = "--preset base" if kinds[0] == "pretrained" else "a preset other than base"
        yield "the backbone", *kinds, f"say {wanted}, or {another}"
        return
    for name in SHARED:
        was, now = getattr(base, name), getattr(config.network, name)
        if was == now:
            continue
        if name in ("actions", "proprio"):
            yield name, was, now, f"it was trained in another world than {config.world}: {another}"
            continue
        options = [f"--network.{name.replace('_', '-')} {was}"]
        if config.world == "cell" and config.recorded.folder is None:
            if name == "image_size":
                options.append(f"--demonstrations.image-size {was}")
            if name == "cameras":
                options.append(f"--demonstrations.{'' if was > 1 else 'no-'}wrist-cameras")
        yield name, was, now, f"say {' '.join(options)}, or {another}"
