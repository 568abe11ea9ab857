"""The report of an evaluation: one self-contained HTML page that claims no more than its trials can show.

Reads only `results`, so that it can be made again from the JSON beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dygro_ros.evaluation.figures import task_label
from dygro_ros.evaluation.html_page import page, soft, table, text
from dygro_ros.evaluation.plots import difference_plot, rate_plot
from dygro_ros.evaluation.results import ALL, resolution
from dygro_ros.whole_file import write_json, write_text

REPORT_FILE, RESULTS_FILE = "report.html", "results.json"


def write_report(results: Mapping[str, Any], folder: Path) -> Path:
    """Write page and JSON into the evaluation's folder; return the page."""
    write_json(folder / RESULTS_FILE, results)
    write_text(folder / REPORT_FILE, render(results))
    return folder / REPORT_FILE


def render(results: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [f"<h1>{text(results['title'])}</h1>", soft(_circumstances(results)), *_cautions(results)]
    if not results["trials"]:
        return page(results["title"], [*parts, "<p>No trial has been finished.</p>"])
    parts += [
        _headline(results),
        *(f"<p>{text(sentence)}</p>" for sentence in _verdicts(results)),
        "<h2>Success</h2>",
        _rate_table(results),
        _figure(rate_plot(results["rates"], results["policies"])),
        soft(
            "Intervals: 95 %, exact (Clopper and Pearson); Wilson's are in the JSON beside this page. They "
            "say how well these policies were measured on these scenes, not how another training run would "
            "differ."
        ),
    ]
    if results["comparisons"]:
        parts += [
            "<h2>Differences</h2>",
            _comparison_table(results),
            _figure(difference_plot(results["comparisons"])),
            soft(
                "McNemar: the policies met the same scenes, and the exact test counts those on which they "
                "disagree (interval: Bonett and Price). Barnard: scenes of their own, exact two-sided test "
                "(interval: Newcombe). The line of all tasks is the comparison to go by: with a line for "
                "each task, one of twenty is below 0.05 by chance."
            ),
        ]
    parts += ["<h2>Failures</h2>", _failure_table(results), "<h2>Trials</h2>", _trial_table(results)]
    parts += ["<h2>Attempts that count for nothing</h2>", _unfinished(results["record"]["unfinished"])]
    parts += ["<h2>How this was made</h2>", _provenance(results["record"]["provenance"])]
    return page(results["title"], parts)


def _circumstances(results: Mapping[str, Any]) -> str:
    names = "by name" if results["unblinded"] else "under code names, which nobody has opened"
    where = "in the simulated cell" if results["simulated"] else f"robot {Path(results['robot']).stem}"
    return (
        f"{results['finished']} of {results['planned']} trials, {where}; {results['trials_each']} planned of "
        f"each policy in each task; policies {names}."
    )


def _cautions(results: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know before any number."""
    found = []
    if results["finished"] < results["planned"]:
        found.append(
            f"Not finished: {results['planned'] - results['finished']} trials are still to come. Whoever "
            "stops when the numbers please finds differences that are not there."
        )
    for look in results["record"]["looks"]:
        if look["finished"] < results["planned"]:
            what = "Results were looked at" if look["what"] == "report" else "The names were opened"
            found.append(f"{what} after {look['finished']} of {results['planned']} trials.")
    corrected = sum(trial["corrections"] > 0 for trial in results["trials"])
    if corrected:
        found.append(f"{corrected} outcomes were changed after they had been given.")
    return [f"<p class='bad'>{text(sentence)}</p>" for sentence in dict.fromkeys(found)]


def _overall(results: Mapping[str, Any]) -> str:
    return ALL if len(results["tasks"]) > 1 else str(results["tasks"][0])


def _headline(results: Mapping[str, Any]) -> str:
    boxes = []
    for rate in results["rates"]:
        if rate["task"] == _overall(results):
            low, high = rate["exact"]
            boxes.append(
                f"<div><b>{_percent(rate['successes'] / rate['trials'])} %</b>"
                f"<span>{text(rate['policy'])}: {rate['successes']} of {rate['trials']}</span>"
                f"<span>{100 * low:.0f} to {100 * high:.0f} %</span></div>"
            )
    return f"<div class='headline'>{''.join(boxes)}</div>"


def _verdicts(results: Mapping[str, Any]) -> list[str]:
    """Return in words what the comparisons show, and what so few trials could show at best."""
    found = []
    for c in results["comparisons"]:
        if c["task"] != _overall(results):
            continue
        low, high = (100 * bound for bound in c["interval"])
        if c["distinguishable"]:
            better, worse = (c["first"], c["second"]) if c["difference"] > 0 else (c["second"], c["first"])
            found.append(f"{better} did better than {worse} (p = {c['p_value']:.2g}).")
        else:
            found.append(
                f"{c['first']} and {c['second']} are not distinguishable on these trials "
                f"(p = {c['p_value']:.2g}; the difference may lie anywhere from {low:+.0f} to {high:+.0f} "
                "points)."
            )
    if results["comparisons"]:
        count = results["trials_each"]
        try:
            least, most = resolution(count)
        except ValueError:
            found.append(f"{count} trials a task cannot tell two middling policies apart in one task.")
        else:
            points = f"{100 * least:.0f}" if least == most else f"{100 * least:.0f} to {100 * most:.0f}"
            found.append(
                f"In one task, {count} trials of each can show a difference of about {points} points; "
                "smaller ones are beyond them."
            )
    return found


def _rate_table(results: Mapping[str, Any]) -> str:
    head = (
        "<th>task</th><th class='left'>policy</th><th>success [%]</th><th>of</th><th>points</th>"
        "<th>time [s]</th><th>time up</th><th>stopped by operator</th><th>stopped by itself</th>"
    )
    rows = []
    for rate in results["rates"]:
        low, high = (100 * bound for bound in rate["exact"])
        seconds = f"{rate['mean_elapsed_s']:.1f}" if rate["successes"] else "-"
        cells = (
            f"<td>{text(task_label(rate['task']))}</td><td class='left'>{text(rate['policy'])}</td>"
            f"<td>{_percent(rate['successes'] / rate['trials'])} <small>({low:.0f}, {high:.0f})</small></td>"
            f"<td>{rate['successes']} / {rate['trials']}</td><td>{rate['mean_points']:.0f}</td>"
            f"<td>{seconds}</td><td>{rate['timed_out']}</td><td>{rate['interventions']}</td>"
            f"<td>{rate['safety_stops']}</td>"
        )
        rows.append(_row(rate["task"], cells))
    return table(head, rows)


def _comparison_table(results: Mapping[str, Any]) -> str:
    head = (
        "<th>task</th><th class='left'>policies</th><th>difference [points]</th><th>trials of each</th>"
        "<th class='left'>test</th><th>p</th><th class='left'></th>"
    )
    rows = []
    for c in results["comparisons"]:
        low, high = (100 * bound for bound in c["interval"])
        verdict = "distinguishable" if c["distinguishable"] else "not distinguishable"
        cells = (
            f"<td>{text(task_label(c['task']))}</td>"
            f"<td class='left'>{text(c['first'])} less {text(c['second'])}</td>"
            f"<td>{_percent(c['difference'], '+')} <small>({low:+.0f}, {high:+.0f})</small></td>"
            f"<td>{c['trials']}</td><td class='left'>{text(c['test'])}</td><td>{c['p_value']:.2g}</td>"
            f"<td class='left'>{verdict}</td>"
        )
        rows.append(_row(c["task"], cells))
    return table(head, rows)


def _failure_table(results: Mapping[str, Any]) -> str:
    overall = [rate for rate in results["rates"] if rate["task"] == _overall(results)]
    reasons = sorted({reason for rate in overall for reason in rate["failures"]})
    if not reasons:
        return "<p>None.</p>"
    head = "<th>policy</th>" + "".join(f"<th>{text(reason)}</th>" for reason in reasons)
    rows = [
        f"<tr><td>{text(rate['policy'])}</td>"
        + "".join(f"<td>{rate['failures'].get(reason, 0)}</td>" for reason in reasons)
        + "</tr>"
        for rate in overall
    ]
    return table(head, rows)


def _trial_table(results: Mapping[str, Any]) -> str:
    head = (
        "<th>trial</th><th class='left'>task</th><th>scene</th><th class='left'>policy</th>"
        "<th class='left'>outcome</th><th>points</th><th>time [s]</th><th class='left'>reason and note</th>"
    )
    rows = []
    for entry in results["trials"]:
        trial, outcome, facts = entry["trial"], entry["outcome"], entry["facts"]
        flags = [
            "time up" if facts["timed_out"] else "",
            "stopped by the operator" if facts["intervened"] else "",
            f"stopped by itself: {facts['safety_stop']}" if facts["safety_stop"] else "",
            "outcome changed afterwards" if entry["corrections"] else "",
        ]
        words = "; ".join(word for word in (outcome["failure"], outcome["note"], *flags) if word)
        video = results["record"]["videos"].get(str(trial["number"]))
        number = f"<a href='{text(video)}'>{trial['number']}</a>" if video else trial["number"]
        rows.append(
            f"<tr><td>{number}</td><td class='left'>{text(task_label(trial['task']))}</td>"
            f"<td>{trial['scene'] + 1}</td><td class='left'>{text(trial['code'])}</td>"
            f"<td class='left'>{text(outcome['verdict'])}</td><td>{outcome['points']}</td>"
            f"<td>{facts['elapsed_s']:.1f}</td><td class='left'>{text(words)}</td></tr>"
        )
    filmed = (
        soft("A number leads to the trial's video beside this page.") if results["record"]["videos"] else ""
    )
    return f"<details><summary>Show all {len(rows)}</summary>{filmed}{table(head, rows)}</details>"


def _unfinished(attempts: Sequence[Mapping[str, Any]]) -> str:
    if not attempts:
        return "<p>None.</p>"
    rows = [
        f"<tr><td>{attempt['number']}</td><td>{attempt['attempt']}</td>"
        f"<td class='left'>{'void' if attempt['void'] else 'broken off'}</td>"
        f"<td class='left'>{text(attempt['reason'])}</td></tr>"
        for attempt in attempts
    ]
    return table("<th>trial</th><th>attempt</th><th class='left'></th><th class='left'>why</th>", rows)


def _provenance(facts: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td>{text(name)}</td><td class='left'>{text(_plain(value))}</td></tr>"
        for name, value in facts.items()
    ]
    return table("<th>what</th><th class='left'></th>", rows)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(task: str, cells: str) -> str:
    """Return a task's row; that of all tasks stands out."""
    return f"<tr{' class=total' if task == ALL else ''}>{cells}</tr>"


def _percent(share: float, sign: str = "") -> str:
    """Return 72.5 for 0.725, and 75 for 0.75."""
    return f"{100 * share:{sign}.1f}".removesuffix(".0")


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"
