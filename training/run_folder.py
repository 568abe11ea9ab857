"""A run's folder: claimed once, resumed on request, never overwritten without being told to.

`config.json` holds the resolved configuration; it is written first and makes the folder ours. A run that is
refused before Stage I gives the folder back: the mended command finds it as if it had never been claimed.
Demonstrations that were collected stay there, and the next run goes on with them: what they were made with
stands in their own index, which `collection` holds against what is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dygro_ros.errors import CheckpointError, RunFolderError, UserError
from training.config import TrainConfig, as_json
from training.demonstration_index import INDEX_NAME

CONFIG_FILE, DEMONSTRATIONS = "config.json", "demonstrations"
# Options that say how a run is carried out, not what it computes: they may differ when it is resumed.
_CIRCUMSTANCES = (
    "run", "preset", "resume", "overwrite", "workers", "threads", "rollouts", "learner", "ray",
)  # fmt: skip
# Where something lies on this machine, by stage: another place holds the same.
_PLACES = {"libero": ("folder",), "backbone": ("dinov2", "siglip", "qwen")}


def fingerprint(config: TrainConfig) -> dict[str, Any]:
    """Return everything that decides what a run computes, as JSON values."""
    values: dict[str, Any] = as_json(asdict(config))
    for stage, places in _PLACES.items():
        values[stage] = {name: value for name, value in values[stage].items() if name not in places}
    return {name: value for name, value in values.items() if name not in _CIRCUMSTANCES}


def fingerprint_hash(config: TrainConfig) -> str:
    """Return the SHA-256 of the fingerprint, for the bundle's manifest."""
    return hashlib.sha256(json.dumps(fingerprint(config), sort_keys=True).encode()).hexdigest()


@contextmanager
def claimed(config: TrainConfig) -> Iterator[None]:
    """Claim the run folder; give it back if the run is refused before it has made more than demonstrations.

    Raises:
        RunFolderError: As `claim` does.
        CheckpointError: As `claim` does.
    """
    claim(config)
    try:
        yield
    except UserError:
        if {path.name for path in config.run.iterdir()} <= {CONFIG_FILE, DEMONSTRATIONS}:
            (config.run / CONFIG_FILE).unlink()
            if not any(config.run.iterdir()):
                config.run.rmdir()
        raise


def claim(config: TrainConfig) -> None:
    """Make the run folder ours, or check that the run in it is the one to go on with; see also `claimed`.

    Raises:
        RunFolderError: A run without --resume or --overwrite, something else, or none to resume.
        CheckpointError: --resume with another configuration; names the field.
    """
    folder, source = config.run, config.run / CONFIG_FILE
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # By a run that was refused when it had demonstrations.
    given_back = found == {DEMONSTRATIONS} and (folder / DEMONSTRATIONS / INDEX_NAME).is_file()
    ours = given_back or source.is_file()
    if not ours and (found or (folder.exists() and not folder.is_dir())):
        raise RunFolderError(
            f"{folder} is not empty and holds no {CONFIG_FILE}: choose another folder with --run"
        )
    if ours and config.overwrite:
        shutil.rmtree(folder)
    elif source.is_file():
        if not config.resume:
            raise RunFolderError(f"{folder} holds a run: go on with --resume, or delete it with --overwrite")
        _compare(source, fingerprint(config))
        return
    elif config.resume and not given_back:
        raise RunFolderError(f"--resume: {folder} holds no run ({CONFIG_FILE} is missing)")
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{CONFIG_FILE}.tmp"
    beside.write_text(json.dumps(as_json(asdict(config)), indent=1) + "\n", encoding="utf-8")
    os.replace(beside, source)


def _compare(source: Path, wanted: Mapping[str, Any]) -> None:
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{source} is not JSON: {error}") from error
    for name, (was, now) in _flat_differences(found, wanted).items():
        raise CheckpointError(
            f"{source} belongs to another configuration: {name} was {was!r}, is now {now!r}"
        )


def _flat_differences(found: Any, wanted: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    if isinstance(found, dict) and isinstance(wanted, Mapping):
        differences: dict[str, tuple[Any, Any]] = {}
        for key in wanted:
            inner = f"{name}.{key}" if name else key
            differences |= _flat_differences(found.get(key, "missing"), wanted[key], inner)
        return differences
    return {} if found == wanted else {name: (found, wanted)}
