"""Half precision rounds the large parts and nothing that precision hangs on."""

from __future__ import annotations

import pytest
import torch
from stage_one_fixtures import small_policy
from vision_language_fixtures import observation, tiny_policy

from models.half_precision import in_half_precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_the_chunk_stays_near_and_the_policy_itself_is_not_touched(dtype: torch.dtype) -> None:
    policy = tiny_policy()
    inputs = observation()
    before = policy(*inputs)
    rounded = in_half_precision(policy, dtype)
    assert 0 < (rounded(*inputs) - before).abs().max().item() < 0.1
    assert torch.equal(policy(*inputs), before)
    kinds = {name: value.dtype for name, value in rounded.named_parameters()}
    assert kinds["backbone.language.layers.0.mlp.up_proj.weight"] == dtype
    assert kinds["fusion.layers.1.query.weight"] == dtype
    for name in ("latent.mean.weight", "backbone.vision.dinov2.embeddings.position_embeddings"):
        assert kinds[name] == torch.float32
    assert rounded.backbone.language.rotary_emb.inv_freq.dtype == torch.float32


def test_what_may_not_be_rounded_is_refused() -> None:
    with pytest.raises(ValueError, match="nano stays in float32"):
        in_half_precision(small_policy(), torch.bfloat16)
    with pytest.raises(ValueError, match=r"must be float16 or bfloat16, got torch\.int8"):
        in_half_precision(tiny_policy(), torch.int8)
