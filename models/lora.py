"""Low-rank adapters (LoRA, arXiv 2106.09685) on a pretrained backbone, by peft; merged before deployment.

Adapters learn in the place of the towers' own weights: a fraction of the memory for gradients and moments. A
merged policy has the same tensors as one without.
"""

from __future__ import annotations

from torch import nn

# VLA-Adapter's ratio of scale to rank.
ALPHA_OF_RANK = 2


def add_lora(module: nn.Module, rank: int) -> None:
    """Freeze a module and give each of its linear layers an adapter that learns; starts as no change.

    Raises:
        ValueError: The rank is below 1, or there is no linear layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if rank < 1 or not names:
        raise ValueError(f"LoRA needs a rank of at least 1 and linear layers, got {rank} and {len(names)}")
    module.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=ALPHA_OF_RANK * rank, lora_dropout=0.0, target_modules=names)
    inject_adapter_in_model(config, module)


def merge_lora(module: nn.Module) -> None:
    """Add every adapter to the weights it stands beside, and take it away."""
    if not any(hasattr(layer, "lora_A") for layer in module.modules()):
        return
    from peft.tuners.lora import LoraLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(module.get_submodule(parent), child, layer.get_base_layer())
