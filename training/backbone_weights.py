"""Pretrained weights of the backbone, from local folders or the Hugging Face cache, loaded by name.

Nothing is downloaded here and nothing stands in: what is missing is named with the command that fetches it,
and a checkpoint with one tensor too few, too many or of another shape is refused. Random weights, which only
measurements and tests can use, must be asked for.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dygro_ros.errors import CheckpointError, DependencyError, UserError
from dygro_ros.instruction_codec import TOKENIZER_FILE, read_tokenizer
from models.base_policy import VisionLanguageConfig
from models.vision_language_config import Values
from training.policy_folder import NO_NETWORK

TOWERS = ("dinov2", "siglip", "qwen")
# Parts of whole published models that this policy has no use for.
UNUSED = {"dinov2": (), "siglip": ("text_model.", "logit_scale", "logit_bias"), "qwen": ("lm_head.",)}
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
# What a configuration says about a file or a task, not about the network.
_NOT_THE_NETWORK = frozenset((
    "transformers_version", "architectures", "dtype", "torch_dtype", "id2label", "label2id", "problem_type",
    "return_dict", "output_attentions", "output_hidden_states", "chunk_size_feed_forward",
    "is_encoder_decoder", "use_cache", "out_features", "out_indices", "stage_names", "bos_token_id",
    "eos_token_id", "pad_token_id",
))  # fmt: skip


@dataclass(frozen=True)
class BackboneConfig:
    """Where the pretrained backbone's weights come from (preset base)."""

    dinov2: str = "facebook/dinov2-large"
    """DINOv2: a folder, or a Hugging Face id whose download is in the cache."""
    siglip: str = "google/siglip-so400m-patch14-224"
    """SigLIP: likewise; of the whole model, the vision tower is taken."""
    qwen: str = "Qwen/Qwen2.5-0.5B"
    """Language model with its tokenizer.json: likewise."""
    random_weights: bool = False
    """Start from random towers of the published sizes, to measure speed: such a policy learns next to
    nothing. Only the tokenizer is then read, from --backbone.qwen."""


PUBLISHED = BackboneConfig()


def find_folder(tower: str, source: str) -> Path:
    """Return the local folder of a tower's checkpoint.

    Args:
        tower: "dinov2", "siglip" or "qwen".
        source: A folder, or a Hugging Face id.

    Raises:
        UserError: There is no such folder, and no such id in the cache.
        DependencyError: The libraries of the preset are not installed.
    """
    local = Path(source).expanduser()
    if local.is_dir():
        return local
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise missing_libraries(error) from error
    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"--backbone.{tower} {source}: there is no folder {local.absolute()}, and no download of such an "
            f"id in the Hugging Face cache; the published weights come by {_download(tower, PUBLISHED)}"
        ) from error


def _download(tower: str, sources: BackboneConfig, *files: str) -> str:
    """Return the command that fetches files to where they are looked for: into a folder or the cache."""
    source = getattr(sources, tower)
    wanted = " ".join(f'--include "{name}"' for name in files or ("*.json", "*.safetensors"))
    folder = Path(source).expanduser()
    if folder.is_dir():
        return f"hf download {getattr(PUBLISHED, tower)} {wanted} --local-dir {shlex.quote(str(folder))}"
    return f"hf download {source} {wanted}"


def missing_libraries(error: ImportError) -> DependencyError:
    """Return the error for an installation without the preset's libraries."""
    return DependencyError(f"preset base needs {error.name}: pip install 'dygro_ros[base]'")


def find_folders(sources: BackboneConfig) -> dict[str, Path]:
    """Return the folder of each tower, or of the language model alone for random weights.

    Raises:
        UserError: One is missing, or lacks a file; the message holds the command that fetches it.
    """
    needed = ("qwen",) if sources.random_weights else TOWERS
    folders = {tower: find_folder(tower, getattr(sources, tower)) for tower in needed}
    for tower, folder in folders.items():
        wanted = [] if sources.random_weights else ["config.json", "*.safetensors"]
        for name in [*wanted, TOKENIZER_FILE] if tower == "qwen" else wanted:
            if not any(folder.glob(name)):
                raise UserError(
                    f"--backbone.{tower} {folder} holds no {name}: {_download(tower, sources, name)}"
                )
    return folders


def sized(config: VisionLanguageConfig, sources: BackboneConfig) -> VisionLanguageConfig:
    """Return the configuration with the sizes that the towers' own files state.

    The weights' names and shapes are held against these sizes; their values are not read.

    Raises:
        UserError: A folder or file is missing, or a tower is of another kind or size than can be used.
        CheckpointError: Weights are damaged, or a tensor is missing, too many, or of another shape; names it.
        DependencyError: transformers is not installed.
    """
    folders = find_folders(sources)
    padding = padding_token(folders["qwen"])
    if sources.random_weights:
        return replace(config, padding_token=padding)
    values = {tower: tower_values(tower, folders[tower]) for tower in TOWERS}
    try:
        found = replace(config, **values, padding_token=padding)
    except (TypeError, ValueError) as error:
        raise UserError(f"the weights do not fit together: {error}") from error
    for tower, folder in folders.items():
        _check_weights(tower, folder, sources)
    return found


def tower_values(tower: str, folder: Path) -> Values:
    """Return what a tower's config.json says of the network, defaults of its class included.

    Raises:
        UserError: The file is damaged or of a kind that transformers does not know.
        DependencyError: transformers is not installed.
    """
    try:
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoConfig
    except ImportError as error:
        raise missing_libraries(error) from error
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, StrictDataclassError, *NO_NETWORK) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--backbone.{tower} {folder}: config.json cannot be read: {reason}") from error
    values = getattr(config, "vision_config", config).to_dict()
    return {
        name: value
        for name, value in values.items()
        if name not in _NOT_THE_NETWORK and not name.startswith("_") and value is not None
    }


def padding_token(folder: Path) -> int:
    """Return the token that ends a text, which no instruction holds and which pads it.

    Raises:
        UserError: The tokenizer cannot be read or knows no such token.
    """
    tokenizer = read_tokenizer((folder / TOKENIZER_FILE).read_bytes(), str(folder / TOKENIZER_FILE))
    found = tokenizer.token_to_id("<|endoftext|>")
    if found is None:
        raise UserError(f"{folder / TOKENIZER_FILE} knows no token <|endoftext|>, which pads instructions")
    return int(found)


def load_backbone(backbone: torch.nn.Module, config: VisionLanguageConfig, sources: BackboneConfig) -> None:
    """Put the pretrained weights into a `VisionLanguageBackbone`; projector and queries stay as they are.

    Raises:
        CheckpointError: A tensor is missing, too many, or of another shape; names it.
        UserError: A folder or file is missing.
    """
    if sources.random_weights:
        return
    folders = find_folders(sources)
    parts = {
        "dinov2": backbone.get_submodule("vision.dinov2"),
        "siglip": backbone.get_submodule("vision.siglip"),
        "qwen": backbone.get_submodule("language"),
    }
    for tower, part in parts.items():
        known = _whole_checkpoint(tower, folders[tower])
        if tower == "dinov2":
            name = "embeddings.position_embeddings"
            known[name] = _resized(known[name], config)
        part.load_state_dict({name: known[name] for name in part.state_dict()})


def _resized(positions: Tensor, config: VisionLanguageConfig) -> Tensor:
    from models.vision_language import resized_positions

    return resized_positions(positions, config.image_size // int(config.dinov2["patch_size"]))


def _whole_checkpoint(tower: str, folder: Path) -> dict[str, Tensor]:
    """Return every tensor of a tower's own class in float32, under that class's names."""
    return _filled(tower, folder, pretrained_model_name_or_path=folder, use_safetensors=True)


def _check_weights(tower: str, folder: Path, sources: BackboneConfig) -> None:
    """Fill the tower with tensors that have names and shapes, but no values.

    Raises:
        CheckpointError: As `load_backbone`.
    """
    shapes: dict[str, Tensor] = {}
    for file in _weight_files(tower, folder, sources):
        try:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (no mapping)
                    shapes[name] = torch.empty(weights.get_slice(name).get_shape(), device="meta")
        except (OSError, SafetensorError) as error:
            command = _download(tower, sources, file.name)
            raise CheckpointError(
                f"the weights of {tower} cannot be read, {file}: {error}; {command} --force-download"
            ) from error
    # accelerate, which peft brings, keeps the whole model where its tensors are.
    _filled(tower, folder, pretrained_model_name_or_path=None, state_dict=shapes, device_map={"": "meta"})


def _weight_files(tower: str, folder: Path, sources: BackboneConfig) -> list[Path]:
    """Return what transformers would read: one file, or the shards that an index names."""
    whole, index = folder / WEIGHTS_FILE, folder / INDEX_FILE
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise CheckpointError(
            f"{folder} holds neither {whole.name} nor {index.name}: {_download(tower, sources)}"
        )
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [folder / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} does not say where which tensor is ({error!r})") from error


def _filled(tower: str, folder: Path, **source: Any) -> dict[str, Tensor]:
    """Return the tensors of a tower's own class, filled from a source of `from_pretrained`."""
    from transformers import Dinov2Model, Qwen2Model, SiglipVisionModel

    classes: Mapping[str, Any] = {"dinov2": Dinov2Model, "siglip": SiglipVisionModel, "qwen": Qwen2Model}
    kind = classes[tower]
    with _silent():
        try:
            whole, report = kind.from_pretrained(
                config=kind.config_class.from_pretrained(folder, local_files_only=True),
                dtype=torch.float32,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
                **source,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{folder}: the weights of {tower} cannot be read: {error}") from error
        except NO_NETWORK as error:
            raise CheckpointError(
                f"{folder}: config.json describes no network of the kind {tower}: {error!r}"
            ) from error
    extra = sorted(name for name in report["unexpected_keys"] if not name.startswith(tuple(UNUSED[tower])))
    reasons = [f"lacks {name}" for name in sorted(report["missing_keys"])]
    reasons += [f"holds {name}, which {tower} has not" for name in extra]
    reasons += [
        f"holds {name} of shape {tuple(found)}, expected {tuple(wanted)}"
        for name, found, wanted in sorted(report["mismatched_keys"])
    ]
    if reasons:
        more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
        raise CheckpointError(f"{folder} does not fit {tower}: it {'; it '.join(reasons[:4])}{more}")
    state: dict[str, Tensor] = whole.state_dict()
    return state


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers' own report of loading back: ours names what matters."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
