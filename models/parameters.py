"""What a policy's parts weigh, counted without memory or weights.

    python -m models.parameters base        # or nano

`read per chunk` leaves out the language model's embedding, of which one chunk looks up a few rows.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from models.action_space import ActionSpace
from models.base_policy import BasePolicy, NanoConfig, PolicyConfig, VisionLanguageConfig

READ, LOOKED_UP = "read per chunk", "embedding (looked up)"


def count_parameters(config: PolicyConfig) -> dict[str, int]:
    """Return parameters by part, in the order of computation, then `total` and `read per chunk`."""
    with torch.device("meta"):
        policy = BasePolicy(config, ActionSpace.blank(config.actions, config.proprio))
    return parameters_of(policy)


def parameters_of(policy: BasePolicy) -> dict[str, int]:
    """Return a policy's parameters by part, then `total` and `read per chunk`."""
    parts: dict[str, nn.Module] = {}
    embedding = 0
    if isinstance(policy.config, VisionLanguageConfig):
        parts["DINOv2"] = policy.get_submodule("backbone.vision.dinov2")
        parts["SigLIP"] = policy.get_submodule("backbone.vision.siglip")
        parts["projector"] = policy.get_submodule("backbone.vision.projector")
        parts["language model"] = policy.get_submodule("backbone.language")
        embedding = _count(policy.get_submodule("backbone.language.embed_tokens"))
    else:
        parts["backbone"] = policy.backbone
    parts |= {"fusion": policy.fusion, "latent": policy.latent, "head": policy.head}
    counts = {name: _count(module) for name, module in parts.items()}
    if embedding:
        counts["language model"] -= embedding
        counts[LOOKED_UP] = embedding
    total = _count(policy)
    counts["action queries and rest"] = total - sum(counts.values())
    return {**counts, "total": total, READ: total - embedding}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", choices=("base", "nano"))
    chosen = parser.parse_args().preset
    for name, count in count_parameters(NanoConfig() if chosen == "nano" else VisionLanguageConfig()).items():
        print(f"{name:28s} {count:>15,d}")


if __name__ == "__main__":
    main()
