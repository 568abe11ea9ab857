"""A policy's folder says which backbone it has, and is refused where a tensor or a file does not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_one_fixtures import SMALL, small_policy
from torch import Tensor
from vision_language_fixtures import TEXTS, TINY, tiny_codec, tiny_policy

from dygro_ros.errors import CheckpointError
from dygro_ros.instruction_codec import BYTES
from training.policy_folder import codec_in, config_of, config_values
from training.stage_one import CONFIG_FILE, WEIGHTS_FILE, load_base_policy, save_base_policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_base_policy(tmp_path, tiny_policy(), tiny_codec())
    return tmp_path


def test_what_was_saved_comes_back(folder: Path) -> None:
    policy = load_base_policy(folder)
    assert policy.config == TINY
    wanted = tiny_policy().state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in policy.state_dict().items())
    codec = codec_in(folder, policy.config)
    np.testing.assert_array_equal(codec.encode(TEXTS[0]), tiny_codec().encode(TEXTS[0]))


def test_who_is_killed_while_saving_leaves_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights stand for a whole Stage I: without another file beside them a resumed run could not go on."""
    rename, left = os.replace, 0  # renames until the kill

    def killed(source: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        rename(source, target)

    monkeypatch.setattr(os, "replace", killed)
    for whole in range(3):
        left = whole
        with pytest.raises(KeyboardInterrupt):
            save_base_policy(tmp_path, tiny_policy(), tiny_codec())
        assert not (tmp_path / WEIGHTS_FILE).exists()
    left = 3
    save_base_policy(tmp_path, tiny_policy(), tiny_codec())
    assert load_base_policy(tmp_path).config == TINY


def test_a_policy_from_scratch_reads_bytes_and_names_no_backbone(tmp_path: Path) -> None:
    save_base_policy(tmp_path, small_policy())
    assert load_base_policy(tmp_path).config == SMALL
    assert "backbone" not in config_values(SMALL)
    assert codec_in(tmp_path, SMALL) is BYTES


@pytest.mark.parametrize("config", [SMALL, TINY])
def test_configurations_come_back_from_json(config: object) -> None:
    assert config_of(json.loads(json.dumps(config_values(config)))) == config  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("backbone.action_queries"), r'Missing key.*"backbone\.action_queries"'),
        (lambda t: t.update({"backbone.more": torch.ones(2)}), r'Unexpected key.*"backbone\.more"'),
        (lambda t: t.update({"latent.mean.bias": torch.ones(9)}), r"size mismatch for latent\.mean\.bias"),
    ],
)
def test_one_tensor_too_few_too_many_or_of_another_shape_is_refused_by_name(
    folder: Path, change: Callable[[dict[str, Tensor]], object], says: str
) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match=f"(?s)does not fit {CONFIG_FILE}.*{says}"):
        load_base_policy(folder)


def test_another_backbone_or_a_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected the file tokenizer\.json"):
        codec_in(folder, TINY)
    values = {**config_values(TINY), "backbone": "abacus"}
    (folder / CONFIG_FILE).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="backbone must be 'vision_language', got 'abacus'"):
        load_base_policy(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"qwen": "Qwen"}, "does not describe a Stage I policy: qwen: Input should be"),
        ({"dinov2": {"model_type": "dinov2"}}, "does not describe a Stage I policy: .*patch_size"),
        ({"dinov2": {**TINY.dinov2, "num_attention_heads": 0}}, "describes no network: ZeroDivisionError"),
    ],
)
def test_towers_that_are_no_networks_are_named(folder: Path, change: dict[str, Any], says: str) -> None:
    (folder / CONFIG_FILE).write_text(json.dumps({**config_values(TINY), **change}))
    with pytest.raises(CheckpointError, match=f"{CONFIG_FILE} {says}"):
        load_base_policy(folder)
