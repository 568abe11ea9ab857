"""The pretrained backbone computes what transformers' own forward does, and the instruction decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, Qwen2Config, Qwen2Model, SiglipVisionConfig
from transformers import SiglipVisionModel as SiglipModel
from vision_language_fixtures import PADDING, TINY, TOKENS, observation, tiny_policy, tokens

from models.vision_language import DINOV2_MEAN, DINOV2_STD, FusedVision, resized_positions

VISION = TINY.vision_tokens
READ = VISION + TOKENS


def test_shapes() -> None:
    policy = tiny_policy()
    images, text, proprio = observation(batch=3)
    hidden = policy.backbone(images, text)
    assert [tuple(state.shape) for state in hidden.conditioning] == [(3, READ, 32)] * 2
    assert [tuple(state.shape) for state in hidden.action] == [(3, 5, 32)] * 2
    assert VISION == 2 * 4
    stage = policy.encode(images, text, proprio)
    assert stage.z_mean.shape == stage.z_logvar.shape == (3, 3, 8)
    assert stage.task_features.shape == (3, policy.task_feature_size) == (3, 32)
    assert policy(images, text, proprio).shape == (3, 4, 14)


@torch.no_grad()
def test_the_language_model_is_transformers_own() -> None:
    backbone = tiny_policy().backbone.double()
    images, text, _ = observation(batch=2)
    text = torch.cat((tokens(3, 14, 15), tokens(9, 2, 6, 5, 3)))
    hidden = backbone(images, text)
    oracle = Qwen2Model(Qwen2Config(**TINY.qwen)).double().eval()
    oracle.load_state_dict(backbone.language.state_dict())
    vision = backbone.vision(images.flatten(0, 1).permute(0, 3, 1, 2).float() * (1 / 255.0)).unflatten(
        0, (2, 2)
    )
    inputs = torch.cat(
        (vision.flatten(1, 2), oracle.embed_tokens(text), backbone.action_queries.expand(2, -1, -1)), dim=1
    )
    given = torch.ones(inputs.shape[:2], dtype=torch.long)
    given[:, VISION:READ] = text != PADDING
    positions = torch.arange(inputs.shape[1]).unsqueeze(0)
    wanted = oracle(
        inputs_embeds=inputs, attention_mask=given, position_ids=positions, output_hidden_states=True
    ).hidden_states[1:]
    for conditioning, action, state in zip(hidden.conditioning, hidden.action, wanted, strict=True):
        # A padding token sees itself here and may not there; nobody reads it.
        counts = given[:, :READ].bool()
        torch.testing.assert_close(conditioning[counts], state[:, :READ][counts], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(action, state[:, READ:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_vision_towers_are_transformers_own_to_the_layer_before_the_last() -> None:
    torch.manual_seed(3)
    vision = FusedVision(TINY).eval()
    dinov2 = Dinov2Model(Dinov2Config(**{**TINY.dinov2, "image_size": 28})).eval()
    siglip = SiglipModel(SiglipVisionConfig(**TINY.siglip)).eval()
    for part, whole in ((vision.dinov2, dinov2), (vision.siglip, siglip)):
        known = whole.state_dict()
        part.load_state_dict({name: known[name] for name in part.state_dict()})
    pixels = torch.rand(2, 3, 28, 28)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (DINOV2_MEAN, DINOV2_STD))
    first = dinov2((pixels - mean) / std, output_hidden_states=True).hidden_states[-2][:, 1:]
    second = siglip(pixels * 2 - 1, output_hidden_states=True).hidden_states[-2]
    wanted = vision.projector(torch.cat((first, second), dim=2))
    torch.testing.assert_close(vision(pixels), wanted, rtol=1e-4, atol=1e-5)


def differences(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> list[float]:
    return [(one - other).abs().max().item() for one, other in zip(a, b, strict=True)]


@pytest.mark.parametrize("head", ["l1", "flow"])
@torch.no_grad()
def test_changing_only_the_instruction_changes_z_chunk_and_task_features(head: str) -> None:
    policy = tiny_policy(head=head)
    images, text, proprio = observation()
    one, other = (policy.encode(images, words, proprio) for words in (text, tokens(3, 14, 16)))
    assert min(differences((one.z_mean, one.task_features), (other.z_mean, other.task_features))) > 1e-3
    chunks = [policy.base_chunk(stage.z_mean) for stage in (one, other)]
    assert (chunks[0] - chunks[1]).abs().max().item() > 1e-3


@torch.no_grad()
def test_every_input_reaches_the_chunk() -> None:
    policy = tiny_policy()
    images, text, proprio = observation()
    reference = policy.base_chunk(policy.encode(images, text, proprio).z_mean)
    swapped = images.flip(1)
    for changed in ((255 - images, text, proprio), (swapped, text, proprio), (images, text, -proprio)):
        assert (policy.base_chunk(policy.encode(*changed).z_mean) - reference).abs().max().item() > 1e-3


@torch.no_grad()
def test_padding_counts_for_nothing() -> None:
    policy = tiny_policy()
    images, text, proprio = observation()
    before = policy.encode(images, text, proprio)
    policy.backbone.language.embed_tokens.weight[PADDING] += 3.0
    after = policy.encode(images, text, proprio)
    assert max(differences(before, after)) < 1e-5
    policy.backbone.language.embed_tokens.weight[15] += 3.0
    assert (before.z_mean - policy.encode(images, text, proprio).z_mean).abs().max().item() > 1e-4


@torch.no_grad()
def test_equal_queries_are_told_apart_by_their_place() -> None:
    backbone = tiny_policy().backbone
    assert not backbone.action_queries.any()
    images, text, _ = observation()
    states = backbone(images, text).action[-1][0]
    assert (states[0] - states[-1]).abs().max().item() > 1e-4


def gradients(**changes: object) -> dict[str, Tensor]:
    policy = tiny_policy(**changes).train()
    images, text, proprio = observation(batch=2)
    stage = policy.encode(images, text, proprio)
    loss = policy.bc_loss(stage.z_mean, torch.ones(2, 4, 14), torch.ones(2, 4))
    (loss + stage.z_logvar.square().mean()).backward()
    missing = [name for name, parameter in policy.named_parameters() if parameter.grad is None]
    assert missing == []
    return {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}  # type: ignore[union-attr]


def test_the_loss_reaches_every_parameter_and_checkpointing_changes_no_gradient() -> None:
    plain = gradients()
    still = [name for name, gradient in plain.items() if not gradient.any()]
    assert still == ["latent.log_variance.weight"] or still == []
    for name, gradient in gradients(gradient_checkpointing=True).items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-4, atol=1e-6, msg=name)


def test_checkpointing_computes_layers_again() -> None:
    calls = {}
    for checkpointing in (False, True):
        policy = tiny_policy(gradient_checkpointing=checkpointing).train()
        counted: list[int] = []
        policy.backbone.language.layers[0].input_layernorm.register_forward_hook(
            lambda *_, seen=counted: seen.append(1)
        )
        images, text, proprio = observation()
        policy.encode(images, text, proprio).z_mean.sum().backward()
        calls[checkpointing] = len(counted)
    assert calls == {False: 1, True: 2}


def test_bfloat16_only_while_training_and_near_float32() -> None:
    policy = tiny_policy()
    images, text, proprio = observation()
    exact = policy.encode(images, text, proprio).z_mean
    policy.backbone.mixed_precision = True
    assert torch.equal(policy.encode(images, text, proprio).z_mean, exact)
    rounded = policy.train().encode(images, text, proprio).z_mean
    assert 0 < (rounded - exact).abs().max().item() < 0.3
    assert rounded.dtype == torch.float32


def test_resized_positions_keep_the_class_token_and_a_constant_grid() -> None:
    positions = torch.cat((torch.full((1, 1, 4), 7.0), torch.full((1, 9, 4), 2.0)), dim=1)
    resized = resized_positions(positions, 2)
    assert resized.shape == (1, 5, 4)
    assert torch.equal(resized[:, 0], torch.full((1, 4), 7.0))
    torch.testing.assert_close(resized[:, 1:], torch.full((1, 4, 4), 2.0))
    assert resized_positions(positions, 3) is positions


def test_resized_positions_are_those_the_tower_would_take() -> None:
    whole = Dinov2Model(Dinov2Config(**TINY.dinov2)).eval()  # for 42 px
    wanted = whole.embeddings.interpolate_pos_encoding(torch.zeros(1, 5, 32), 28, 28)
    torch.testing.assert_close(resized_positions(whole.embeddings.position_embeddings, 2), wanted)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_size": 30}, "image_size must be a positive multiple of dinov2's patches of 14 px, got 30"),
        ({"heads": 3}, "qwen's width must be a multiple of heads, got 32 and 3"),
        ({"padding_token": 265}, "padding_token must be below qwen's vocab_size 265, got 265"),
        ({"dinov2": {**TINY.dinov2, "model_type": "vit"}}, "dinov2 must be a configuration of dinov2"),
        ({"siglip": {**TINY.siglip, "patch_size": 7}}, "must cut pictures into the same patches"),
        ({"action_queries": 0}, "action_queries must be at least 1, got 16 and 0"),
        ({"head": "mean"}, "head must be 'l1' or 'flow', got 'mean'"),
    ],
)
def test_sizes_that_cannot_work_are_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(TINY, **changes)  # type: ignore[arg-type]
