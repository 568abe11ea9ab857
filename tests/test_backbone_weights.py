"""Weights come from where was said, wholly, or the error names the tensor, the file and the command."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from backbone_fixtures import WEIGHTS, edit_weights, write_checkpoints
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stage_one_fixtures import dual_arm_space
from torch import Tensor
from vision_language_fixtures import PADDING, TINY, observation, tiny_policy

from dygro_ros.errors import CheckpointError, DependencyError, UserError
from models.base_policy import BasePolicy, VisionLanguageConfig
from models.vision_language import resized_positions
from training import backbone_weights
from training.backbone_weights import BackboneConfig, find_folder, load_backbone, sized


@pytest.fixture
def sources(tmp_path: Path) -> BackboneConfig:
    return write_checkpoints(tmp_path)


def loaded(sources: BackboneConfig) -> BasePolicy:
    config = sized(TINY, sources)
    policy = BasePolicy(config, dual_arm_space()).eval()
    load_backbone(policy.backbone, config, sources)
    return policy


def test_every_tensor_of_the_towers_is_the_checkpoints(sources: BackboneConfig) -> None:
    backbone = loaded(sources).backbone
    qwen = load_file(Path(sources.qwen) / WEIGHTS)
    for name, value in backbone.language.state_dict().items():
        assert torch.equal(value, qwen.pop(f"model.{name}")), name
    assert qwen == {}
    siglip = load_file(Path(sources.siglip) / WEIGHTS)
    for name, value in backbone.vision.siglip.state_dict().items():
        assert torch.equal(value, siglip[f"vision_model.{name}"]), name
    dinov2 = load_file(Path(sources.dinov2) / WEIGHTS)
    ours = backbone.vision.dinov2.state_dict()
    query = "encoder.layer.1.attention.q_proj.weight"
    assert torch.equal(ours[query], dinov2["encoder.layer.1.attention.attention.query.weight"])
    name = "embeddings.position_embeddings"
    assert torch.equal(ours[name], resized_positions(dinov2[name], 2))
    assert len(ours) == len(backbone.vision.dinov2.state_dict())


def test_sizes_are_the_checkpoints_own(sources: BackboneConfig) -> None:
    config = sized(VisionLanguageConfig(image_size=28, heads=2), sources)
    assert (config.width, config.layers, config.padding_token) == (32, 2, PADDING)
    assert config.siglip["intermediate_size"] == 48
    assert config.dinov2["image_size"] == 42
    assert "text_config" not in config.siglip
    images, text, proprio = observation(cameras=1)
    assert BasePolicy(config, dual_arm_space()).eval()(images, _wide(text, config), proprio).isfinite().all()


def _wide(text: Tensor, config: VisionLanguageConfig) -> Tensor:
    rest = torch.full((1, config.instruction_tokens - text.shape[1]), config.padding_token, dtype=torch.int32)
    return torch.cat((text, rest), dim=1)


@pytest.mark.parametrize(
    ("tower", "change", "says"),
    [
        ("qwen", lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "lacks layers.1.mlp.up_proj.weight"),
        ("qwen", lambda t: t.update({"model.more": torch.ones(2)}), "holds model.more, which qwen has not"),
        ("siglip", lambda t: t.pop("vision_model.post_layernorm.bias"), "lacks post_layernorm.bias"),
        ("siglip", lambda t: t.update({"vision_model.more": torch.ones(2)}), "holds more, which siglip"),
        ("dinov2", lambda t: t.pop("embeddings.mask_token"), "lacks embeddings.mask_token"),
        (
            "dinov2",
            lambda t: t.update({"layernorm.bias": torch.ones(3)}),
            r"holds layernorm.bias of shape \(3,\), expected \(32,\)",
        ),
    ],
)
def test_one_tensor_too_few_too_many_or_of_another_shape_is_refused_by_name(
    sources: BackboneConfig, tower: str, change: Callable[[dict[str, Tensor]], object], says: str
) -> None:
    folder = Path(getattr(sources, tower))
    edit_weights(folder, change)
    with pytest.raises(CheckpointError, match=f"{folder} does not fit {tower}: it .*{says}"):
        sized(TINY, sources)


def test_weights_that_change_after_the_start_are_refused_when_they_are_loaded(
    sources: BackboneConfig,
) -> None:
    config = sized(TINY, sources)
    policy = BasePolicy(config, dual_arm_space())
    edit_weights(Path(sources.qwen), lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match=r"does not fit qwen: it lacks norm\.weight"):
        load_backbone(policy.backbone, config, sources)
    (Path(sources.dinov2) / WEIGHTS).write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match="the weights of dinov2 cannot be read"):
        load_backbone(policy.backbone, config, sources)


def test_lm_head_is_left_out(sources: BackboneConfig) -> None:
    edit_weights(Path(sources.qwen), lambda tensors: tensors.update({"lm_head.weight": torch.ones(9, 32)}))
    assert not any("lm_head" in name for name in loaded(sources).state_dict())


def test_the_start_reads_no_tensor(sources: BackboneConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Header:
        """A safetensors file of which only names and shapes can be had."""

        def __init__(self, path: Path, framework: str) -> None:
            self.file = safe_open(path, framework)

        def __enter__(self) -> Header:
            return self

        def __exit__(self, *reason: object) -> None:
            pass

        def keys(self) -> list[str]:
            return list(self.file.keys())

        def get_slice(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(get_shape=self.file.get_slice(name).get_shape)

    monkeypatch.setattr(backbone_weights, "safe_open", Header)
    monkeypatch.setattr("transformers.modeling_utils.safe_open", None)
    assert sized(TINY, sources).width == 32


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_truncated_weights_are_named_with_the_command(sources: BackboneConfig, share: float) -> None:
    path = Path(sources.dinov2) / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    command = (
        f'hf download facebook/dinov2-large --include "{WEIGHTS}" --local-dir {path.parent} --force-download'
    )
    with pytest.raises(CheckpointError, match=f"the weights of dinov2 cannot be read, {path}: .*; {command}"):
        sized(TINY, sources)


def test_shards_are_read_by_their_index(sources: BackboneConfig) -> None:
    folder = Path(sources.qwen)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    shards = {"model-00001-of-00002.safetensors": list(tensors)[:5], "b.safetensors": list(tensors)[5:]}
    for file, names in shards.items():
        save_file({name: tensors[name] for name in names}, folder / file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{folder} holds neither {WEIGHTS} nor {WEIGHTS}.index.json: "):
        sized(TINY, sources)
    index = folder / f"{WEIGHTS}.index.json"
    index.write_text("[]")
    with pytest.raises(CheckpointError, match=f"{index} does not say where which tensor is"):
        sized(TINY, sources)
    places = {name: file for file, names in shards.items() for name in names}
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert loaded(sources).backbone.language.norm.weight.equal(tensors["model.norm.weight"])
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=f"cannot be read, {folder}/b.safetensors: .* --include"):
        sized(TINY, sources)


@pytest.mark.parametrize("content", ["", "[]", "3", '{"model_type": "dinov2", "hidden_size": "x"}'])
def test_a_damaged_configuration_is_named(sources: BackboneConfig, content: str) -> None:
    (Path(sources.dinov2) / "config.json").write_text(content)
    says = rf"--backbone\.dinov2 {sources.dinov2}: config\.json cannot be read: [^\n]+$"
    with pytest.raises(UserError, match=says):
        sized(TINY, sources)


@pytest.mark.parametrize("patch", [0, []])
def test_impossible_patches_are_named(sources: BackboneConfig, patch: object) -> None:
    path = Path(sources.dinov2) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"patch_size": patch}))
    with pytest.raises(UserError, match="the weights do not fit together: "):
        sized(TINY, sources)


@pytest.mark.parametrize(
    ("tower", "name", "value"),
    [
        ("dinov2", "num_attention_heads", 0),
        ("qwen", "num_key_value_heads", 0),
        ("qwen", "rope_parameters", {"rope_type": "x"}),
        ("siglip", "hidden_act", "x"),
        ("dinov2", "image_size", [1]),
    ],
)
def test_sizes_that_make_no_network_are_named(
    sources: BackboneConfig, tower: str, name: str, value: object
) -> None:
    path = Path(getattr(sources, tower)) / "config.json"
    content = json.loads(path.read_text())
    content.get("vision_config", content)[name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{tower}: config.json describes no network of the kind {tower}"):
        sized(TINY, sources)


def test_towers_that_do_not_fit_together_are_named(sources: BackboneConfig) -> None:
    with pytest.raises(
        UserError, match="siglip must be a configuration of siglip_vision_model, got 'dinov2'"
    ):
        sized(TINY, replace(sources, siglip=sources.dinov2))


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("config.json", r'holds no config.json: hf download Qwen/Qwen2.5-0.5B --include "config.json"'),
        (WEIGHTS, r'holds no \*.safetensors: hf download Qwen/Qwen2.5-0.5B --include "\*.safetensors"'),
        ("tokenizer.json", "holds no tokenizer.json: hf download Qwen/Qwen2.5-0.5B"),
    ],
)
def test_a_missing_file_is_named_with_the_command(sources: BackboneConfig, file: str, says: str) -> None:
    (Path(sources.qwen) / file).unlink()
    with pytest.raises(UserError, match=says):
        sized(TINY, sources)


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("Qwen/Qwen2.5-0.5B", Path.cwd() / "Qwen/Qwen2.5-0.5B"),
        ("weights/qwen", Path.cwd() / "weights/qwen"),
        ("/no/such/folder", "/no/such/folder"),
    ],
)
def test_weights_that_are_not_there_are_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, folder: object
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    says = f"--backbone.qwen {source}: there is no folder {folder}, and no download .* the published weights "
    with pytest.raises(UserError, match=f"{says}come by hf download Qwen/Qwen2.5-0.5B --include"):
        find_folder("qwen", source)


def test_a_download_that_lacks_a_file_is_completed_in_the_cache(
    sources: BackboneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    commit = "0" * 40
    snapshot = tmp_path / "cache" / "models--Qwen--Another" / "snapshots" / commit
    shutil.copytree(sources.qwen, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    cached = replace(sources, qwen="Qwen/Another")
    assert sized(TINY, cached) == sized(TINY, sources)
    (snapshot / WEIGHTS).unlink()
    says = f'{snapshot} holds no \\*.safetensors: hf download Qwen/Another --include "\\*.safetensors"$'
    with pytest.raises(UserError, match=says):
        sized(TINY, cached)


def test_missing_libraries_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"pip install 'dygro_ros\[base\]'"):
        find_folder("qwen", "Qwen/Qwen2.5-0.5B")


def test_random_weights_only_when_they_are_asked_for(sources: BackboneConfig) -> None:
    asked = replace(sources, dinov2="nowhere", siglip="nowhere", random_weights=True)
    config = sized(TINY, asked)
    assert config == replace(TINY, padding_token=PADDING)
    policy = tiny_policy()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    load_backbone(policy.backbone, config, asked)
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    with pytest.raises(UserError, match=r"--backbone\.dinov2 nowhere: there is no folder"):
        sized(TINY, replace(asked, random_weights=False))
