"""Adapters begin as nothing, learn alone, and leave a plain policy behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stage_one_fixtures import dual_arm_space
from stage_one_processes import CONFIG, demonstrations
from torch import nn
from vision_language_fixtures import TINY, observation, tiny_codec, tiny_policy

from models.base_policy import BasePolicy
from models.lora import add_lora, merge_lora
from training.dataset import FrameDataset
from training.pretrainer import Pretrainer


def adapted(seed: int = 0) -> BasePolicy:
    policy = tiny_policy(seed)
    for part in policy.backbone.pretrained_parts():
        add_lora(part, 2)
    return policy


@torch.no_grad()
def test_adapters_begin_as_no_change_and_merging_keeps_what_they_learned() -> None:
    plain, policy = tiny_policy(), adapted()
    inputs = observation()
    torch.testing.assert_close(policy(*inputs), plain(*inputs))
    torch.manual_seed(4)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    learned = policy(*inputs)
    assert (learned - plain(*inputs)).abs().max().item() > 1e-3
    merge_lora(policy)
    torch.testing.assert_close(policy(*inputs), learned, rtol=1e-4, atol=1e-5)
    assert policy.state_dict().keys() == plain.state_dict().keys()


def test_in_the_towers_adapters_alone_learn_and_every_linear_layer_has_one() -> None:
    policy, linear = adapted(), 0
    for part, plain in zip(
        policy.backbone.pretrained_parts(), tiny_policy().backbone.pretrained_parts(), strict=True
    ):
        learning = [name for name, value in part.named_parameters() if value.requires_grad]
        assert learning
        assert all("lora_" in name for name in learning)
        linear = sum(isinstance(layer, nn.Linear) for layer in plain.modules())
        assert len(learning) == 2 * linear
    assert policy.backbone.action_queries.requires_grad
    assert policy.backbone.vision.projector[0].weight.requires_grad


def test_stage_one_with_adapters_leaves_a_plain_policy_that_has_learned() -> None:
    dataset = FrameDataset(demonstrations(), TINY.chunk, codec=tiny_codec())
    start = tiny_policy()
    trainer = Pretrainer(replace(CONFIG, lora_rank=2), TINY, dataset, start)
    for _ in range(3):
        trainer.step()
    raw = dict(trainer.policy.backbone.language.named_parameters())
    before = dict(start.backbone.language.named_parameters())
    name = "layers.0.mlp.up_proj"
    assert torch.equal(raw[f"{name}.base_layer.weight"], before[f"{name}.weight"])
    policy = trainer.averaged_policy()
    fresh = BasePolicy(TINY, dual_arm_space())
    fresh.load_state_dict(policy.state_dict())
    merged = dict(policy.backbone.language.named_parameters())
    assert not torch.equal(merged[f"{name}.weight"], before[f"{name}.weight"])
    assert torch.equal(merged["embed_tokens.weight"], before["embed_tokens.weight"])
    # Merging took a copy: training goes on with the adapters.
    assert f"{name}.base_layer.weight" in dict(trainer.policy.backbone.language.named_parameters())
    trainer.step()


def test_a_rank_or_a_module_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="rank of at least 1 and linear layers, got 0 and 1"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), 0)
    with pytest.raises(ValueError, match="got 2 and 0"):
        add_lora(nn.Sequential(nn.ReLU()), 2)


def test_merging_a_policy_without_adapters_changes_nothing() -> None:
    policy = tiny_policy()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    merge_lora(policy)
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
