"""Linear probes: what a linear map can read from z, on episodes it was not fitted on.

Object positions say whether Stage II can see what it has to correct; the task and the nuisance factors
(colours of light and table) say what the information bottleneck removed. Run as a module it prints one column
per policy:

    python -m training.probes --policies with_ib/base without_ib/base --demonstrations held_out/
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dygro_ros.errors import DataError, run_main
from dygro_ros.layout import encode_instruction
from models.base_policy import BasePolicy
from sim2real.cell.privileged import LENGTH_SCALE, PRIVILEGED_SLICES
from sim2real.cell.scene import TASK_OBJECTS
from training.episode_file import read_episode
from training.episode_record import EpisodeRecord
from training.stage_one import load_base_policy

Array = NDArray[np.float64]
Source = Literal["z", "z_sample", "task_features"]

RIDGE_PENALTIES = tuple(10.0**exponent for exponent in range(-4, 5))
TEST_SHARE = 0.25
FEWEST_EPISODES = 8


@dataclass(frozen=True)
class ProbeData:
    """Encoded frames and what could be read from them; N frames.

    Attributes:
        z: Mean latents, flattened, shape (N, Z * D).
        z_sample: One sample of p(z | o) each, same shape: what the bottleneck is about.
        task_features: Shape (N, F).
        episode: Episode of each frame, shape (N,).
        task: Name of each frame's task, shape (N,).
        objects: Positions of the task's two objects [m], shape (N, 2, 3).
        touched: A finger has touched the object by now in this episode, shape (N, 2).
        nuisances: Name -> values, shape (N, k); NaN where the episode has none.
    """

    z: Array
    z_sample: Array
    task_features: Array
    episode: NDArray[np.int64]
    task: NDArray[np.str_]
    objects: Array
    touched: NDArray[np.bool_]
    nuisances: Mapping[str, Array]


@dataclass(frozen=True)
class ProbeReport:
    """What the probes read on test episodes.

    Attributes:
        object_error_mm: (task, object) -> mean distance in the table's plane [mm], before the object is
            touched.
        task_accuracy: Share of frames whose task is read correctly; NaN with a single task.
        nuisance_r2: Factor -> coefficient of determination (1 perfect, 0 as good as the mean); varied ones
            only.
    """

    object_error_mm: Mapping[tuple[str, str], float]
    task_accuracy: float
    nuisance_r2: Mapping[str, float]


@torch.inference_mode()
def encode_for_probes(
    policy: BasePolicy, records: Iterable[EpisodeRecord], *, every: int = 2, batch: int = 64
) -> ProbeData:
    """Encode recorded episodes.

    Args:
        policy: Frozen Stage I policy.
        records: Episodes of our simulator.
        every: Take each so-many-th frame.
        batch: Frames encoded together.

    Raises:
        DataError: An episode holds no simulator state, or there are none.
    """
    rows: dict[str, list[NDArray[np.generic]]] = {}
    generator = torch.Generator().manual_seed(0)
    for index, record in enumerate(records):
        if record.privileged is None or record.task is None:
            raise DataError(
                f"episode {index} holds no simulator/privileged_state: probes need our simulator's data"
            )
        frames = np.arange(0, len(record.proprio), every)
        latents, samples, features = _encode(policy, record, frames, batch, generator)
        state = record.privileged[frames].astype(np.float64)
        contacts = record.privileged[:, PRIVILEGED_SLICES["contacts"]].reshape(-1, 2, 2).any(axis=1)
        values: dict[str, NDArray[np.generic]] = {
            "z": latents,
            "z_sample": samples,
            "task_features": features,
            "episode": np.full(len(frames), index),
            "task": np.full(len(frames), record.task),
            "objects": state[:, PRIVILEGED_SLICES["object_positions"]].reshape(-1, 2, 3) / LENGTH_SCALE,
            "touched": np.logical_or.accumulate(contacts, axis=0)[frames],
        }
        for name, factor in nuisance_factors(record.randomization).items():
            values[f"nuisance {name}"] = np.tile(factor, (len(frames), 1))
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    if not rows:
        raise DataError("the probes need at least one episode, found none")
    joined = {name: np.concatenate(parts) for name, parts in rows.items()}
    nuisances = {name[9:]: value for name, value in joined.items() if name.startswith("nuisance ")}
    named = {name: value for name, value in joined.items() if not name.startswith("nuisance ")}
    return ProbeData(**named, nuisances=nuisances)  # type: ignore[arg-type]


def _encode(
    policy: BasePolicy,
    record: EpisodeRecord,
    frames: NDArray[np.int64],
    batch: int,
    generator: torch.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    instruction = torch.from_numpy(encode_instruction(record.instructions[0])).unsqueeze(0)
    latents, samples, features = [], [], []
    for start in range(0, len(frames), batch):
        chosen = frames[start : start + batch]
        stage = policy.encode(
            torch.from_numpy(record.images[chosen]),
            instruction.expand(len(chosen), -1),
            torch.from_numpy(record.proprio[chosen]),
        )
        latents.append(stage.z_mean.flatten(1).double().numpy())
        samples.append(policy.sample(stage, generator).flatten(1).double().numpy())
        features.append(stage.task_features.double().numpy())
    return np.concatenate(latents), np.concatenate(samples), np.concatenate(features)


def nuisance_factors(randomization: str | None) -> dict[str, Array]:
    """Return the colours of light and table of an episode's draw; NaN where nothing was drawn.

    Args:
        randomization: The draw as JSON, from the episode's file.
    """
    draw = json.loads(randomization) if randomization else {}
    unknown = np.full(3, np.nan)
    return {
        "light": np.mean(draw["light_color"], axis=0) if draw.get("light_color") else unknown,
        # The table fills most of the picture from above.
        "table": np.asarray(draw["background"][0]) if draw.get("background") else unknown,
    }


def probe(data: ProbeData, source: Source = "z") -> ProbeReport:
    """Fit ridge probes on three quarters of the episodes of each task and test them on the rest.

    Args:
        data: Encoded episodes.
        source: Read from z, from samples of it, or from the task features.

    Raises:
        DataError: A task has fewer than 8 episodes.
    """
    x = {"z": data.z, "z_sample": data.z_sample, "task_features": data.task_features}[source]
    test = _test_frames(data)
    errors = {}
    tasks = sorted(set(data.task.tolist()))
    for task in tasks:
        here = data.task == task
        for index, name in enumerate(TASK_OBJECTS[task]):
            use = here & ~data.touched[:, index]
            fit = RidgeProbe(x[use & ~test], data.objects[use & ~test, index, :2], data.episode[use & ~test])
            offsets = fit(x[use & test]) - data.objects[use & test, index, :2]
            errors[task, name] = float(np.linalg.norm(offsets, axis=1).mean() * 1e3)
    accuracy = math.nan
    if len(tasks) > 1:
        one_hot = (data.task[:, None] == np.array(tasks)).astype(np.float64)
        scores = RidgeProbe(x[~test], one_hot[~test], data.episode[~test])(x[test])
        accuracy = float((scores.argmax(axis=1) == one_hot[test].argmax(axis=1)).mean())
    r2 = {}
    for name, values in data.nuisances.items():
        known = np.isfinite(values).all(axis=1)
        if known.any() and bool((values[known].std(axis=0) > 1e-6).all()):
            train = known & ~test
            predicted = RidgeProbe(x[train], values[train], data.episode[train])(x[known & test])
            left = np.square(predicted - values[known & test]).sum()
            spread = np.square(values[known & test] - values[train].mean(axis=0)).sum()
            r2[name] = float(1.0 - left / spread)
    return ProbeReport(errors, accuracy, r2)


def _test_frames(data: ProbeData) -> NDArray[np.bool_]:
    """The last quarter of each task's episodes: a frame's neighbours in time must not be in the fit."""
    test = np.zeros(len(data.episode), dtype=bool)
    for task in sorted(set(data.task.tolist())):
        episodes = np.unique(data.episode[data.task == task])
        if len(episodes) < FEWEST_EPISODES:
            raise DataError(
                f"the probes need at least {FEWEST_EPISODES} episodes of {task}, found {len(episodes)}"
            )
        test |= np.isin(data.episode, episodes[-max(2, round(TEST_SHARE * len(episodes))) :])
    return test


class RidgeProbe:
    """Ridge regression on standardised inputs; the penalty is chosen on episodes left out of a first fit.

    Args:
        x: Inputs, shape (N, n).
        y: Targets, shape (N, k).
        groups: Episode of each row, shape (N,).
    """

    def __init__(self, x: Array, y: Array, groups: NDArray[np.int64]) -> None:
        self.centre, self.scale = x.mean(axis=0), x.std(axis=0) + 1e-8
        self.offset = y.mean(axis=0)
        inputs, targets = (x - self.centre) / self.scale, y - self.offset
        episodes = np.unique(groups)
        held = np.isin(groups, episodes[:: max(2, round(1 / TEST_SHARE))])
        candidates = _ridge(inputs[~held], targets[~held])
        losses = [np.square(inputs[held] @ weights - targets[held]).sum() for weights in candidates]
        self.weights = _ridge(inputs, targets)[int(np.argmin(losses))]

    def __call__(self, x: Array) -> Array:
        """Return predictions, shape (N, k)."""
        prediction: Array = (x - self.centre) / self.scale @ self.weights + self.offset
        return prediction


def _ridge(x: Array, y: Array) -> list[Array]:
    """Solutions for all penalties from one eigendecomposition; penalties are relative to the row count."""
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    projected = vectors.T @ (x.T @ y) / len(x)
    return [vectors @ (projected / (values + penalty)[:, None]) for penalty in RIDGE_PENALTIES]


def comparison_table(reports: Mapping[str, ProbeReport]) -> Table:
    """Return one row per probe and one column per report."""
    table = Table("read from", *reports, title="Linear probes on held-out episodes")
    first = next(iter(reports.values()))
    for key in first.object_error_mm:
        values = (f"{report.object_error_mm[key]:.1f} mm" for report in reports.values())
        table.add_row(f"{key[0]}: {key[1]}", *values)
    table.add_row("task", *(f"{100 * report.task_accuracy:.1f} %" for report in reports.values()))
    for name in first.nuisance_r2:
        table.add_row(
            f"{name} (nuisance)", *(f"R2 {report.nuisance_r2[name]:.2f}" for report in reports.values())
        )
    return table


@dataclass(frozen=True)
class ProbeOptions:
    """Read positions, task and nuisance factors from the latents of one or more Stage I policies."""

    policies: tuple[Path, ...]
    """Folders with a Stage I policy, such as one trained with and one without the information bottleneck."""
    demonstrations: Path
    """Folder of HDF5 episodes of our simulator that the policies were not trained on."""
    source: Source = "z"
    """Read from the mean of z, from samples of it, or from the task features."""
    every: int = 2
    """Take each so-many-th frame."""


def run_probes(
    policies: Sequence[Path], demonstrations: Path, source: Source, every: int
) -> dict[str, ProbeReport]:
    """Return the report of each policy, by its folder's path.

    Raises:
        DataError: No episode in the folder, or one that does not fit.
    """
    paths = sorted(demonstrations.glob("**/*.hdf5"))
    if not paths:
        raise DataError(f"no HDF5 episode in {demonstrations}")
    reports = {}
    for folder in policies:
        policy = load_base_policy(folder)
        reports[str(folder)] = probe(
            encode_for_probes(policy, (read_episode(path) for path in paths), every=every), source
        )
    return reports


def main() -> None:
    """Print the table."""
    options = tyro.cli(ProbeOptions)
    reports = run_probes(options.policies, options.demonstrations, options.source, options.every)
    Console().print(comparison_table(reports))


if __name__ == "__main__":
    run_main(main)
