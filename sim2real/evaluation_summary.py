"""From finished episodes to what they say: success rates with intervals, paired differences, gates.

Works on plain records (the ledger's lines), so that a report can be made again without running anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from dygro_ros.bundle import Bundle
from dygro_ros.evaluation.statistics import (
    PairedDifference,
    mutual_information_bits,
    paired_difference,
    wilson_interval,
)
from sim2real.bundle_episodes import EpisodeResult, Output

# Roles of the contestants, in the order in which tables show them.
BASE, POLICY = "base", "policy"


@dataclass(frozen=True)
class Entry:
    """A contestant as the evaluation's files name it."""

    role: str
    """"base" or "policy"."""
    method: str
    """Training method; "base" where the base chunk is executed."""
    bundle: str
    """Fingerprint of the bundle."""
    output: Output
    training_seed: int
    environment_steps: int
    """Online environment steps behind what is executed: 0 for a base chunk."""
    commit: str
    experts: int


def entry_of(role: str, bundle: Bundle, output: Output) -> Entry:
    """Return the entry for one of a bundle's chunks."""
    training = bundle.manifest.training
    is_base = output == "base_chunk"
    return Entry(
        role=role,
        method="base" if is_base else training.method,
        bundle=bundle.fingerprint,
        output=output,
        training_seed=training.seed,
        environment_steps=0 if is_base else training.environment_steps,
        commit=training.commit,
        experts=bundle.manifest.residual.experts,
    )


def episode_record(entry: Entry, result: EpisodeResult) -> dict[str, Any]:
    """Return the ledger's line for a finished episode."""
    return {
        "role": entry.role,
        "bundle": entry.bundle,
        "output": entry.output,
        "task": result.job.task,
        "seed": result.job.seed,
        "success": result.success,
        "steps": result.steps,
        "instruction": result.instruction,
        "top_experts": list(result.top_experts),
        "mean_gates": list(result.mean_gates),
        "inference_s": result.inference_s,
        "duration_s": result.duration_s,
    }


def episode_key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what makes an episode unique within one evaluation."""
    return record["bundle"], record["output"], record["task"], record["seed"]


def result_records(entries: Sequence[Entry], episodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one record per contestant and task with the keys of `docs/results/*.json`."""
    return [
        {
            "method": entry.method,
            "training_seed": entry.training_seed,
            "task": task,
            "successes": sum(record["success"] for record in found),
            "episodes": len(found),
            "environment_steps": entry.environment_steps,
            "commit": entry.commit,
        }
        for entry in entries
        for task, found in by_task(episodes, entry.role).items()
    ]


def by_task(episodes: Sequence[Mapping[str, Any]], role: str) -> dict[str, list[Mapping[str, Any]]]:
    """Return one contestant's episodes per task, in the order of the seeds."""
    tasks = dict.fromkeys(record["task"] for record in episodes)
    mine = [record for record in episodes if record["role"] == role]
    return {
        task: sorted((r for r in mine if r["task"] == task), key=lambda r: int(r["seed"])) for task in tasks
    }


def rate(episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return successes, episodes, success rate and Wilson interval."""
    successes = sum(bool(record["success"]) for record in episodes)
    return {
        "successes": successes,
        "episodes": len(episodes),
        "rate": successes / len(episodes),
        "wilson_95": list(wilson_interval(successes, len(episodes))),
    }


def compare(episodes: Sequence[Mapping[str, Any]]) -> dict[str, PairedDifference]:
    """Return policy minus base on the same episodes, per task and under "all"; empty without a base."""
    policy, base = by_task(episodes, POLICY), by_task(episodes, BASE)
    if not any(base.values()):
        return {}
    paired: dict[str, tuple[list[bool], list[bool]]] = {}
    for task in policy:
        if [r["seed"] for r in policy[task]] != [r["seed"] for r in base[task]]:
            raise ValueError(f"policy and base were not run on the same seeds of {task}")
        paired[task] = ([r["success"] for r in policy[task]], [r["success"] for r in base[task]])
    paired["all"] = (
        [outcome for ours, _ in paired.values() for outcome in ours],
        [outcome for _, theirs in paired.values() for outcome in theirs],
    )
    return {name: paired_difference(ours, theirs) for name, (ours, theirs) in paired.items()}


def gate_summary(entry: Entry, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return mean gates and top experts per task, and what the top expert tells about the task [bit].

    None for a policy without gates. A task's gates are averaged over its chunks: long episodes weigh more.
    """
    tasks = by_task(episodes, entry.role)
    counts: dict[str, list[int]] = {}
    gates: dict[str, list[float]] = {}
    for task, found in tasks.items():
        top = [expert for record in found for expert in record["top_experts"]]
        if not top:
            return None
        counts[task] = np.bincount(top, minlength=entry.experts).tolist()
        weights = [len(record["top_experts"]) for record in found]
        gates[task] = np.average([record["mean_gates"] for record in found], axis=0, weights=weights).tolist()
    return {
        "mean_gates": gates,
        "top_expert_counts": counts,
        "experts_ever_on_top": int((np.sum(list(counts.values()), axis=0) > 0).sum()),
        "mutual_information_bits": max(0.0, mutual_information_bits(list(counts.values()))),
        "mutual_information_at_most_bits": float(np.log2(min(len(tasks), entry.experts))),
    }


def summarise(entries: Sequence[Entry], episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return everything that follows from the episodes, as plain JSON values."""
    rates: dict[str, Any] = {}
    for entry in entries:
        tasks = by_task(episodes, entry.role)
        everything = [record for found in tasks.values() for record in found]
        mean_of_tasks = float(np.mean([rate(found)["rate"] for found in tasks.values()]))
        rates[entry.role] = {
            **{task: rate(found) for task, found in tasks.items()},
            "all": {
                **rate(everything),
                "mean_of_tasks": mean_of_tasks,
            },
        }
    differences = {
        name: {**found._asdict(), "interval": list(found.interval)}
        for name, found in compare(episodes).items()
    }
    policy = next(entry for entry in entries if entry.role == POLICY)
    return {
        "contestants": [asdict(entry) for entry in entries],
        "records": result_records(entries, episodes),
        "rates": rates,
        "paired_differences": differences,
        "gates": gate_summary(policy, episodes),
        "timing": {
            "mean_inference_s": float(np.mean([record["inference_s"] for record in episodes])),
            "mean_episode_s": float(np.mean([record["duration_s"] for record in episodes])),
            "control_steps": int(sum(record["steps"] for record in episodes)),
        },
    }


def with_interval(fraction: float, interval: Sequence[float], sign: str = "") -> str:
    """Return percentages for people, such as 57.5 (48, 67); `sign` "+" shows the sign of the first."""
    return f"{100 * fraction:{sign}.1f} ({100 * interval[0]:.0f}, {100 * interval[1]:.0f})"


def result_table(results: dict[str, Any]) -> Table:
    """Return the table that the command prints: tasks down, base and policy side by side."""
    rates, differences = results["rates"], results["paired_differences"]
    methods = {entry["role"]: entry["method"] for entry in results["contestants"]}
    plan = results["plan"]
    table = Table(title=f"Success in {plan['episodes']} unseen episodes a task, % (95 % intervals)")
    table.add_column("task", overflow="fold")
    roles = [role for role in (BASE, POLICY) if role in rates]
    for role in roles:
        table.add_column(methods[role], justify="right", no_wrap=True)
    if differences:
        table.add_column("difference,\npaired", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
    for task in [*plan["tasks"], "all"]:
        cells = ["[bold]all tasks" if task == "all" else task]
        cells += [with_interval(rates[role][task]["rate"], rates[role][task]["wilson_95"]) for role in roles]
        if differences:
            found = differences[task]
            cells += [with_interval(found["difference"], found["interval"], "+"), f"{found['p_value']:.2g}"]
        table.add_row(*cells, end_section=task == plan["tasks"][-1])
    return table


def gate_sentence(results: dict[str, Any]) -> str:
    """Return what the router does, in one sentence."""
    gates = results["gates"]
    if gates is None:
        return "The policy has no router."
    experts = len(next(iter(gates["mean_gates"].values())))
    return (
        f"Experts ever on top: {gates['experts_ever_on_top']} of {experts}. "
        f"What the top expert tells about the task: {gates['mutual_information_bits']:.2f} of at most "
        f"{gates['mutual_information_at_most_bits']:.2f} bit."
    )
