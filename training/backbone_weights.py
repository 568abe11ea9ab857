"""Pretrained weights of the backbone, from local folders or the Hugging Face cache, loaded by name.

Nothing is downloaded here and nothing stands in: what is missing is named with the command that fetches it,
and a checkpoint with one tensor too few, too many or of another shape is refused. Random weights, which only
measurements and tests can use, must be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from dygro_ros.errors import CheckpointError, DependencyError, UserError
from dygro_ros.instruction_codec import TOKENIZER_FILE, read_tokenizer
from models.base_policy import VisionLanguageConfig
from models.vision_language_config import Values

TOWERS = ("dinov2", "siglip", "qwen")
# Parts of whole published models that this policy has no use for.
UNUSED = {"dinov2": (), "siglip": ("text_model.", "logit_scale", "logit_bias"), "qwen": ("lm_head.",)}
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
        identity = getattr(PUBLISHED, tower) if isinstance(error, HFValidationError) else source
        raise UserError(
            f"--backbone.{tower} {source} is neither a folder nor a download in the Hugging Face cache: "
            f"{_download(identity)}"
        ) from error


def _download(identity: str, *files: str, folder: Path | None = None) -> str:
    """Return the command that fetches files of a published checkpoint."""
    wanted = " ".join(f'--include "{name}"' for name in files or ("*.json", "*.safetensors"))
    place = f" --local-dir {folder}" if folder is not None else ""
    return f"hf download {identity} {wanted}{place}"


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
                command = _download(getattr(PUBLISHED, tower), name, folder=folder)
                raise UserError(f"--backbone.{tower} {folder} holds no {name}: {command}")
    return folders


def sized(config: VisionLanguageConfig, sources: BackboneConfig) -> VisionLanguageConfig:
    """Return the configuration with the sizes that the towers' own files state.

    Raises:
        UserError: A folder or file is missing, or a tower is of another kind or size than can be used.
        DependencyError: transformers is not installed.
    """
    folders = find_folders(sources)
    padding = padding_token(folders["qwen"])
    if sources.random_weights:
        return replace(config, padding_token=padding)
    values = {tower: tower_values(tower, folders[tower]) for tower in TOWERS}
    try:
        return replace(config, **values, padding_token=padding)
    except ValueError as error:
        raise UserError(f"the weights do not fit together: {error}") from error


def tower_values(tower: str, folder: Path) -> Values:
    """Return what a tower's config.json says of the network, defaults of its class included.

    Raises:
        UserError: The file is damaged or of a kind that transformers does not know.
        DependencyError: transformers is not installed.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise missing_libraries(error) from error
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"--backbone.{tower} {folder}: config.json cannot be read: {error}") from error
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
    from transformers import Dinov2Model, Qwen2Model, SiglipVisionModel

    classes: Mapping[str, Any] = {"dinov2": Dinov2Model, "siglip": SiglipVisionModel, "qwen": Qwen2Model}
    with _silent():
        try:
            whole, report = classes[tower].from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{folder}: the weights of {tower} cannot be read: {error}") from error
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
