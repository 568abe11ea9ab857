"""Evaluations of several runs -> the list of records that `docs/results/*.json` keeps, and two tables.

    python -m sim2real.method_table runs/seed0 runs/seed0_ppo --records docs/results/nano.json

Records of other methods and seeds stay in the file; those of the given runs are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dygro_ros.errors import DataError, UserError, run_main
from dygro_ros.evaluation.statistics import cluster_interval
from dygro_ros.whole_file import write_json
from sim2real.evaluate_sim import RESULTS_FILE
from sim2real.evaluation_summary import BASE, POLICY, with_interval

METHODS = ("base", "sft", "ppo", "residual", "dygro")
KEYS = ("method", "training_seed", "task", "successes", "episodes", "environment_steps", "commit")


@dataclass(frozen=True)
class MethodTable:
    """Which runs, and where their records go."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of `train_sim.py`, or folders of `evaluate_sim`."""
    records: Path | None = None
    """JSON file to merge the records into."""


def read_results(folder: Path) -> dict[str, Any]:
    """Return what an evaluation found.

    Raises:
        UserError: The folder holds no evaluation.
        DataError: The file is not one.
    """
    for path in (folder / "evaluation" / RESULTS_FILE, folder / RESULTS_FILE):
        if path.is_file():
            try:
                found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                _ = found["records"], found["rates"], found["paired_differences"], found["contestants"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(f"{path} does not hold an evaluation's results: {error}") from error
            return found
    raise UserError(f"{folder} holds no evaluation: expected evaluation/{RESULTS_FILE} or {RESULTS_FILE}")


def merge(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return both lists, the new record where both have a method, seed and task; in a fixed order."""
    joined = {(r["method"], r["training_seed"], r["task"]): dict(r) for r in [*old, *new]}
    tasks = list(dict.fromkeys(r["task"] for r in [*old, *new]))
    return sorted(
        joined.values(),
        key=lambda r: (METHODS.index(r["method"]), r["training_seed"], tasks.index(r["task"])),
    )


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file; none where there is no file.

    Raises:
        DataError: It holds something else.
    """
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if any(set(record) != set(KEYS) or record["method"] not in METHODS for record in found):
            raise ValueError(f"expected records of {', '.join(KEYS)}")
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a list of result records: {error}") from error
    return list(found)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: one row a run, per task and together."""
    tasks = _tasks(results)
    lines = _head("seed", tasks, "above base, paired (95 %)")
    shown: set[int] = set()
    for found in sorted(results, key=_order):
        for entry in sorted(found["contestants"], key=lambda entry: METHODS.index(entry["method"])):
            role, seed = entry["role"], entry["training_seed"]
            if role == BASE and seed in shown:
                continue
            cells = [f"{100 * found['rates'][role][task]['rate']:.0f}" for task in tasks]
            whole = found["rates"][role]["all"]
            cells.append(with_interval(whole["rate"], whole["wilson_95"]))
            difference = found["paired_differences"].get("all")
            if role == BASE:
                shown.add(seed)
                cells.append("")
            else:
                cells.append(
                    with_interval(difference["difference"], difference["interval"], "+") if difference else ""
                )
            lines.append(f"| {entry['method']} | {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: one row a method, averaged over its training seeds.

    A method's gain over its bases has as many independent observations as there are training seeds, which is
    what its interval is made of; a single seed has none.
    """
    tasks = _tasks(results)
    rates: dict[str, dict[int, list[float]]] = {}
    gains: dict[str, list[float]] = {}
    for found in sorted(results, key=_order):
        for entry in found["contestants"]:
            values = [found["rates"][entry["role"]][task]["rate"] for task in [*tasks, "all"]]
            rates.setdefault(entry["method"], {})[entry["training_seed"]] = values
            difference = found["paired_differences"].get("all")
            if entry["role"] == POLICY and difference:
                gains.setdefault(entry["method"], []).append(difference["difference"])
    lines = _head("seeds", tasks, "above base (95 % over seeds)")
    for method in sorted(rates, key=METHODS.index):
        seeds = rates[method]
        means = [sum(column) / len(seeds) for column in zip(*seeds.values(), strict=True)]
        cells = [f"{100 * mean:.0f}" for mean in means[:-1]] + [f"{100 * means[-1]:.1f}"]
        found_gains = gains.get(method, [])
        if len(found_gains) > 1:
            cells.append(with_interval(*cluster_interval(found_gains), "+"))
        else:
            cells.append(f"{100 * found_gains[0]:+.1f}" if found_gains else "")
        lines.append(f"| {method} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _tasks(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in results[0]["rates"][POLICY] if name != "all"]


def _head(second: str, tasks: Sequence[str], last: str) -> list[str]:
    names = ["method", second, *tasks, "all", last]
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _order(found: Mapping[str, Any]) -> tuple[int, int]:
    policy = next(entry for entry in found["contestants"] if entry["role"] == POLICY)
    return policy["training_seed"], METHODS.index(policy["method"])


def main() -> int:
    """Run the command."""
    options = tyro.cli(MethodTable, description=__doc__)
    if not options.runs:
        raise UserError("name at least one run folder")
    results = [read_results(folder) for folder in options.runs]
    print(table(results))
    print()
    print(summary(results))
    if options.records is not None:
        new = [record for found in results for record in found["records"]]
        options.records.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.records, merge(read_records(options.records), new))
    return 0


if __name__ == "__main__":
    run_main(main)
