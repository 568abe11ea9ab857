"""One self-contained HTML page about an evaluation: table, figures, gates, films, curves, and its command.

    python -m sim2real.report runs/evaluation --run runs/nano

Reads only what the evaluation wrote, so that it can be made again, on another machine too.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dygro_ros.errors import DataError, RunFolderError, run_main
from dygro_ros.evaluation.figures import task_label
from dygro_ros.evaluation.html_page import page, soft, table, text
from dygro_ros.whole_file import write_text
from sim2real.evaluation_summary import BASE, POLICY, with_interval
from sim2real.plots import difference_plot, gate_heat_map, success_bars
from sim2real.training_logs import training_figures

NEEDED = ("plan", "contestants", "rates", "paired_differences", "episodes")
LIBERO = "libero"
WORLDS = {LIBERO: "LIBERO", "robotwin": "RoboTwin"}


@dataclass(frozen=True)
class Report:
    """Write the HTML report of an evaluation again."""

    evaluation: Annotated[Path, tyro.conf.Positional]
    """Folder of the evaluation."""
    run: Path | None = None
    """Run folder of the training, for its curves."""
    out: Path | None = None
    """The page; report.html in the evaluation's folder by default."""


def write_report(
    results: Mapping[str, Any], out: Path, *, films: Path | None = None, run: Path | None = None
) -> None:
    """Write the page.

    Args:
        results: What results.json holds.
        out: The page; replaced if it exists.
        films: Contact sheet (PNG) to be put into the page.
        run: Run folder whose logs become training curves.

    Raises:
        RunFolderError: The run folder holds no log.
    """
    write_text(out, render(results, films=films, run=run))


def render(results: Mapping[str, Any], *, films: Path | None = None, run: Path | None = None) -> str:
    """Return the page; arguments as for `write_report`."""
    policy = next(entry for entry in results["contestants"] if entry["role"] == POLICY)
    parts = [
        f"<h1>{text(policy['method'])} in {text(_place(results['plan']))}</h1>",
        soft(_circumstances(policy, results["plan"])),
        _headline(results),
        "<h2>Success</h2>",
        _success_table(results),
        _figure(success_bars(results)),
        soft(
            "Whiskers and brackets: 95 % Wilson intervals over episodes. They say how well this one trained "
            "policy was measured, not how much another training run would differ."
        ),
    ]
    if results["paired_differences"]:
        parts += [
            "<h2>Policy against base</h2>",
            f"<p>{_verdict(results)}</p>",
            _figure(difference_plot(results)),
            soft("Both ran the same episodes. Intervals: Bonett-Price, 95 %; p: exact McNemar test."),
        ]
    if results.get("gates") is not None:
        parts += ["<h2>What the router does</h2>", *_gates(results["gates"])]
    if films is not None:
        data = base64.b64encode(films.read_bytes()).decode("ascii")
        parts += [
            "<h2>Films</h2>",
            soft(
                "Up to eight pictures of an episode, from its first to its last, as the policy sees them. "
                "Failures come first; within an outcome the first seeds, not the best looking."
            ),
            f"<figure><img alt='film strips' src='data:image/png;base64,{data}'></figure>",
        ]
    parts += ["<h2>Failures</h2>", _failures(results["episodes"])]
    if run is not None:
        parts.append("<h2>Training</h2>")
        for stage, svg in training_figures(run):
            parts += [f"<h3 class='soft'>{text(stage)}</h3>", _figure(svg)]
    parts += ["<h2>How this was made</h2>", _provenance(results)]
    return page(f"{policy['method']} in simulation", parts)


def _place(plan: Mapping[str, Any]) -> str:
    """Return where the episodes were run; a plan without a world is the cell's."""
    return WORLDS.get(plan["world"], plan["world"]) if "world" in plan else "the simulated work cell"


def _circumstances(policy: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Return what was trained, and on which episodes it was tried."""
    return (
        f"Training seed {policy['training_seed']}, {policy['environment_steps']:,} online steps, commit "
        f"{policy['commit']}. {plan['episodes']} episodes a task on {_scenes(plan)}."
    )


def _scenes(plan: Mapping[str, Any]) -> str:
    first, last = plan["first_seed"], plan["first_seed"] + plan["episodes"] - 1
    if plan.get("world") == LIBERO:
        return (
            f"LIBERO's fixed initial states, which no training uses: seeds {first} to {last} stand for them"
        )
    if "seeds_passed_over" in plan:
        passed_over = sum(len(reasons) for reasons in plan["seeds_passed_over"].values())
        return (
            f"the first seeds from {first} on that the expert solves, which no training uses (passed over: "
            f"{passed_over})"
        )
    seeds = f"seeds {first} to {last}, which no training uses"
    if "world" in plan:
        return seeds
    return f"{seeds}; instructions: {plan['instructions']}; randomisation: {plan['randomization']}"


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _headline(results: Mapping[str, Any]) -> str:
    methods = {entry["role"]: entry["method"] for entry in results["contestants"]}
    cells = []
    for role in (BASE, POLICY):
        if role in results["rates"]:
            found = results["rates"][role]["all"]
            low, high = found["wilson_95"]
            cells.append(
                (
                    f"{100 * found['rate']:.1f} %",
                    f"{methods[role]}: {found['successes']} of {found['episodes']}",
                    f"{100 * low:.1f} to {100 * high:.1f} %",
                )
            )
    if results["paired_differences"]:
        found = results["paired_differences"]["all"]
        low, high = found["interval"]
        cells.append(
            (
                f"{100 * found['difference']:+.1f}",
                "points gained over the base",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
            )
        )
    if results.get("gates") is not None:
        gates = results["gates"]
        cells.append(
            (
                f"{gates['mutual_information_bits']:.2f} bit",
                "top expert about the task",
                f"of at most {gates['mutual_information_at_most_bits']:.2f}",
            )
        )
    boxes = (f"<div><b>{text(a)}</b><span>{text(b)}</span><span>{text(c)}</span></div>" for a, b, c in cells)
    return f"<div class='headline'>{''.join(boxes)}</div>"


def _success_table(results: Mapping[str, Any]) -> str:
    rates, differences = results["rates"], results["paired_differences"]
    methods = {entry["role"]: entry["method"] for entry in results["contestants"]}
    roles = [role for role in (BASE, POLICY) if role in rates]
    head = "<th>task</th>" + "".join(f"<th>{text(methods[role])} [%]</th>" for role in roles)
    if differences:
        head += "<th>difference [points]</th><th>only policy</th><th>only base</th><th>p</th>"
    rows = []
    for task in [*results["plan"]["tasks"], "all"]:
        cells = f"<td>{'all tasks' if task == 'all' else text(task_label(task))}</td>"
        for role in roles:
            cells += _estimate(with_interval(rates[role][task]["rate"], rates[role][task]["wilson_95"]))
        if differences:
            found = differences[task]
            low, high = found["interval"]
            cells += _estimate(
                with_interval(found["difference"], (low, high), "+"),
                "good" if low > 0 else "bad" if high < 0 else "",
            )
            cells += f"<td>{found['gained']}</td><td>{found['lost']}</td><td>{found['p_value']:.2g}</td>"
        rows.append(f"<tr class='total'>{cells}</tr>" if task == "all" else f"<tr>{cells}</tr>")
    return table(head, rows)


def _estimate(estimate: str, kind: str = "") -> str:
    """Return a table cell with the interval in small letters."""
    value, interval = estimate.split(" ", 1)
    return f"<td><span class='{kind}'>{value}</span> <small>{text(interval)}</small></td>"


def _verdict(results: Mapping[str, Any]) -> str:
    """Return in words what the paired difference over all tasks shows, and any task that got worse."""
    found = results["paired_differences"]["all"]
    low, high = found["interval"]
    if low > 0:
        words = "The policy is better than its base: the whole interval lies above zero."
    elif high < 0:
        words = "The policy is worse than its base: the whole interval lies below zero."
    else:
        words = "Policy and base are not distinguishable on these episodes: the interval holds zero."
    worse = [
        f"{task_label(task)} ({100 * results['paired_differences'][task]['difference']:+.1f})"
        for task in results["plan"]["tasks"]
        if results["paired_differences"][task]["difference"] < 0
    ]
    return words + (f" Below the base in: {text(', '.join(worse))}." if worse else "")


def _gates(gates: Mapping[str, Any]) -> list[str]:
    experts = len(next(iter(gates["mean_gates"].values())))
    bits, most = gates["mutual_information_bits"], gates["mutual_information_at_most_bits"]
    return [
        f"<p>{gates['experts_ever_on_top']} of {experts} experts were ever on top. The top expert of a chunk "
        f"carries {bits:.2f} bit about the task, of at most {most:.2f}.</p>",
        _figure(gate_heat_map(gates)),
        soft("Mean gate of each expert over the chunks of a task."),
    ]


def _failures(episodes: Sequence[Mapping[str, Any]]) -> str:
    found = [record for record in episodes if record["role"] == POLICY and not record["success"]]
    if not found:
        return "<p>None.</p>"
    told = "instruction" in found[0]
    rows = [
        f"<tr><td>{text(task_label(record['task']))}</td><td>{record['seed']}</td><td>{record['steps']}</td>"
        + (f"<td class='left'>{text(record['instruction'])}</td></tr>" if told else "</tr>")
        for record in sorted(found, key=lambda record: (record["task"], record["seed"]))
    ]
    head = "<th>task</th><th>seed</th><th>steps</th>" + ("<th class='left'>instruction</th>" if told else "")
    return (
        f"<p>{len(found)} episodes of the policy ran into their step limit.</p>"
        f"<details><summary>Show them</summary>{table(head, rows)}</details>"
    )


def _provenance(results: Mapping[str, Any]) -> str:
    if "world" in results["plan"]:
        return _provenance_in_world(results)
    software = ", ".join(f"{name} {version}" for name, version in results["plan"]["software"].items())
    rows = [
        f"<tr><td>{text(entry['role'])}</td><td class='left'>{text(entry['method'])}</td>"
        f"<td class='left'>{text(entry['output'])}</td><td>{text(entry['commit'])}</td>"
        f"<td class='left'><code>{text(entry['bundle'][:16])}</code></td></tr>"
        for entry in results["contestants"]
    ]
    head = (
        "<th>contestant</th><th class='left'>method</th><th class='left'>executed</th><th>commit</th>"
        "<th class='left'>bundle</th>"
    )
    timing = results["timing"]
    command = f"<pre>{text(results['command'])}</pre>" if results["command"] else ""
    return (
        command
        + table(head, rows)
        + soft(
            f"{software}. ONNX Runtime on one thread: {1e3 * timing['mean_inference_s']:.1f} ms an "
            f"inference; {timing['mean_episode_s']:.2f} s an episode with rendering and physics; "
            f"{timing['control_steps']:,} control steps in all."
        )
    )


def _provenance_in_world(results: Mapping[str, Any]) -> str:
    """Return the same of policies without a bundle, which are those of their run's folder."""
    rows = [
        f"<tr><td>{text(entry['role'])}</td><td class='left'>{text(entry['method'])}</td>"
        f"<td>{entry['environment_steps']:,}</td><td>{text(entry['commit'])}</td></tr>"
        for entry in results["contestants"]
    ]
    head = "<th>contestant</th><th class='left'>method</th><th>online steps</th><th>commit</th>"
    steps = sum(record["steps"] for record in results["episodes"])
    return table(head, rows) + soft(
        f"Fingerprint of the run's configuration: {results['plan']['configuration'][:16]}. {steps:,} control "
        "steps in all."
    )


def main() -> int:
    """Write the report of a finished evaluation again."""
    options = tyro.cli(Report)
    source = options.evaluation / "results.json"
    if not source.is_file():
        raise RunFolderError(f"{options.evaluation} holds no finished evaluation: expected {source.name}")
    try:
        results = json.loads(source.read_text(encoding="utf-8"))
        _ = [results[name] for name in NEEDED]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{source} does not hold an evaluation's results: {error!r}") from error
    films = options.evaluation / "films.png"
    out = options.out or options.evaluation / "report.html"
    write_report(results, out, films=films if films.is_file() else None, run=options.run)
    print(out)
    return 0


if __name__ == "__main__":
    run_main(main)
