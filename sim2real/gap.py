"""The gap between a robot and the simulated cell: success, pictures, and how the arms follow.

    python -m sim2real.gap runs/evaluations/robot runs/evaluations/cell --out runs/gap

The first folder is an evaluation whose trials were recorded, the second one of the same tasks in the
simulated cell. What the recordings show is held against what the randomisation draws: of pictures of random
scenes, and of the simulated arms when they are given the commands that the robot was given. What lies outside
is named together with the keys that do not cover it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from dygro_ros.errors import DataError, UserError, run_main
from dygro_ros.evaluation.recording import MCAP_FILE, recording_folder
from dygro_ros.evaluation.report import RESULTS_FILE
from dygro_ros.evaluation.results import ALL
from dygro_ros.evaluation.statistics import barnard_p_value, newcombe_interval
from dygro_ros.layout import JOINT_NAMES
from dygro_ros.whole_file import write_json, write_text
from sim2real.cell.randomization import RandomizationConfig
from sim2real.cell.work_cell import TASKS, WorkCell
from sim2real.gap_measures import (
    ARM_COLUMNS,
    PICTURE_MEASURES,
    Array,
    RecordedTrial,
    following,
    picture_measures,
    pictures_of_the_cell,
    read_trial,
    same_commands_in_the_cell,
)
from sim2real.gap_report import render
from sim2real.seeds import SEED_BLOCKS, SeedPurpose, seeds_for

# The randomisation's range is where this share of its draws lies [%].
RANGE_PERCENT = 95.0
# Of an evaluation's results.
NEEDED = ("title", "policies", "tasks", "rates", "trials", "simulated", "unblinded", "record")
PICTURES, REPLAYS = 200, 60
FIRST_RUN = 10
DELAY, LOOP, FOLLOWING = "command to motion", "picture to motion", "following error"
UNITS = {DELAY: "ms", LOOP: "ms", FOLLOWING: "mrad"}
KEYS: Mapping[str, tuple[str, ...]] = {
    "brightness": ("random_light", "random_background"),
    "red share": ("random_light", "random_background", "random_color"),
    "blue share": ("random_light", "random_background", "random_color"),
    "contrast": ("random_background", "cluttered_table", "random_light"),
    "sharpness": ("cluttered_table",),
    DELAY: ("random_latency_steps", "random_actuation_gain"),
    LOOP: ("random_latency_steps",),
    FOLLOWING: ("random_actuation_gain", "random_action_noise"),
}


@dataclass(frozen=True)
class Gap:
    """Compare a robot's evaluation with one in the simulated cell."""

    real: Annotated[Path, tyro.conf.Positional]
    """Folder of the evaluation on the robot, its names opened, with its recordings."""
    sim: Annotated[Path, tyro.conf.Positional]
    """Folder of the evaluation of the same tasks in the simulated cell, its names opened."""
    out: Path | None = None
    """Folder for gap.html and gap.json; the first folder by default."""
    randomization: str = "randomized"
    """Whose range is looked at: clean or randomized."""


def read_results(folder: Path) -> dict[str, Any]:
    """Return an evaluation's results.

    Raises:
        UserError: There are none, or its policies still go by code names.
    """
    path = folder / RESULTS_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = {name: found[name] for name in NEEDED}
    except OSError as error:
        raise UserError(f"expected an evaluation's {path}: {error.strerror}; run it to its report") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not an evaluation's results: {error!r}") from error
    if not values["unblinded"]:
        raise UserError(f"{path} goes by code names: open them with --unblind, for both evaluations")
    return values


def success(real: Mapping[str, Any], sim: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each policy's success in each task that both have and in all of those, real less simulated.

    Raises:
        UserError: They have no policy and task in common.
    """
    simulated = {(rate["policy"], rate["task"]): rate for rate in sim["rates"] if rate["task"] != ALL}
    counts: dict[str, dict[str, list[int]]] = {}
    for rate in real["rates"]:
        other = simulated.get((rate["policy"], rate["task"]))
        if other is not None:
            found = [rate["successes"], rate["trials"], other["successes"], other["trials"]]
            counts.setdefault(rate["policy"], {})[rate["task"]] = found
    if not counts:
        raise UserError(
            f"no policy ran in the same task in both: {', '.join(real['policies'])} in "
            f"{', '.join(real['tasks'])}, and {', '.join(sim['policies'])} in {', '.join(sim['tasks'])}"
        )
    rows = []
    for policy, tasks in counts.items():
        everything = {ALL: [sum(column) for column in zip(*tasks.values(), strict=True)]}
        for task, found in (tasks | (everything if len(tasks) > 1 else {})).items():
            rows.append(_difference(policy, task, *found))
    return rows


def _difference(policy: str, task: str, won: int, of: int, sim_won: int, sim_of: int) -> dict[str, Any]:
    interval = newcombe_interval(won, of, sim_won, sim_of)
    return {
        "policy": policy,
        "task": task,
        "real": [won, of],
        "sim": [sim_won, sim_of],
        "difference": won / of - sim_won / sim_of,
        "interval": [interval.low, interval.high],
        "p_value": barnard_p_value(won, of, sim_won, sim_of),
    }


def recorded_trials(folder: Path, results: Mapping[str, Any]) -> list[tuple[str, RecordedTrial]]:
    """Return task and recording of each finished trial that has one.

    Raises:
        UserError: None has.
    """
    found = []
    for entry in results["trials"]:
        number = entry["trial"]["number"]
        attempt = results["record"]["attempts"][str(number)]
        path = recording_folder(folder, number, attempt) / MCAP_FILE
        if path.exists():
            found.append((str(entry["trial"]["task"]), read_trial(path)))
    if not found:
        raise UserError(f"{folder} holds no recording of a finished trial")
    return found


def quantity(name: str, real: Iterable[float], cell: Iterable[float]) -> dict[str, Any]:
    """Hold what was measured against what the randomisation draws."""
    values, drawn = list(real), np.array(list(cell))
    low, high = np.percentile(drawn, [50 - RANGE_PERCENT / 2, 50 + RANGE_PERCENT / 2])
    if name == FOLLOWING:
        low = 0.0  # arms that follow better than any draw are no gap
    median = float(np.median(values))
    side = "below" if median < low else "above" if median > high else ""
    outside = sum(not low <= value <= high for value in values)
    return {
        "name": name,
        "unit": UNITS.get(name, ""),
        "real": values,
        "median": median,
        "low": float(low),
        "high": float(high),
        "outside": outside,
        "side": side,
        "keys": list(KEYS[name]),
    }


def looks(trials: Sequence[tuple[str, RecordedTrial]], randomization: RandomizationConfig) -> list[Any]:
    """Return the quantities of pictures."""
    real = np.stack([picture_measures(trial.picture) for _, trial in trials])
    tasks = sorted({task for task, _ in trials if task in TASKS}) or [TASKS[0]]
    seeds = draw_seeds(0, -(-PICTURES // len(tasks)))
    size_px = min(trials[0][1].picture.shape[:2])
    cell = np.concatenate([pictures_of_the_cell(randomization, task, seeds, size_px) for task in tasks])
    return [quantity(name, real[:, i], cell[:, i]) for i, name in enumerate(PICTURE_MEASURES)]


def motions(
    trials: Sequence[tuple[str, RecordedTrial]], randomization: RandomizationConfig
) -> tuple[list[Any], list[Any]]:
    """Return the quantities of the arms, and what each joint leaves of its commands [mrad]."""
    real: list[tuple[float, Array, float]] = []
    cell: list[tuple[float, Array]] = []
    draws = -(-REPLAYS // len(trials))
    simulated = WorkCell(randomization, image_size=16)
    try:
        for index, (task, trial) in enumerate(trials):
            found = following(trial.motion)
            if found is None:
                continue
            real.append((*found, trial.answer_s))
            for seed in draw_seeds(index * draws, draws):
                known = task if task in TASKS else TASKS[0]
                again = following(same_commands_in_the_cell(trial.motion, simulated, known, seed))
                if again is not None:
                    cell.append(again)
    finally:
        simulated.close()
    if not real or not cell:
        return [], []
    delays = [1e3 * delay_s for delay_s, _ in cell]
    found_quantities = [
        quantity(DELAY, (1e3 * delay_s for delay_s, _, _ in real), delays),
        # The policy learned with pictures that were no older than its own step.
        quantity(LOOP, (1e3 * (delay_s + answer_s) for delay_s, _, answer_s in real), delays),
        quantity(FOLLOWING, (_mrad(error) for _, error, _ in real), (_mrad(error) for _, error in cell)),
    ]
    medians = [1e3 * np.median([e[1] for e in entries], axis=0) for entries in (real, cell)]
    joints = [
        {"joint": JOINT_NAMES[column], "real": float(medians[0][i]), "cell": float(medians[1][i])}
        for i, column in enumerate(ARM_COLUMNS)
    ]
    return found_quantities, joints


def draw_seeds(start: int, count: int) -> list[int]:
    """Return simulator seeds that nobody trains or evaluates on: the tests' own."""
    places = (divmod(start + i, SEED_BLOCKS[SeedPurpose.TESTS].per_run) for i in range(count))
    return [seeds_for(SeedPurpose.TESTS, FIRST_RUN + run, place, 1)[0] for run, place in places]


def _mrad(error: Array) -> float:
    return 1e3 * float(np.sqrt(np.square(error).mean()))


def measure(options: Gap) -> dict[str, Any]:
    """Return everything that the report shows, as plain JSON values.

    Raises:
        UserError: The folders hold no evaluations that can be compared.
        DataError: Results or a recording are damaged.
    """
    randomization = RandomizationConfig.from_name(options.randomization)
    real, sim = read_results(options.real), read_results(options.sim)
    if not sim["simulated"]:
        raise UserError(f"{options.sim} was not run in the simulated cell: give the robot's folder first")
    rates = success(real, sim)
    trials = recorded_trials(options.real, real)
    arms, joints = motions(trials, randomization)
    return {
        "title": real["title"],
        "real": str(options.real),
        "sim": str(options.sim),
        "stand_in": bool(real["simulated"]),
        "randomization": options.randomization,
        "recordings": len(trials),
        "success": rates,
        "quantities": [*looks(trials, randomization), *arms],
        "joints": joints,
    }


def main() -> int:
    """Write the report."""
    options = tyro.cli(Gap)
    found = measure(options)
    out = options.out or options.real
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "gap.json", found)
    write_text(out / "gap.html", render(found))
    print(out / "gap.html")
    return 0


if __name__ == "__main__":
    run_main(main)
