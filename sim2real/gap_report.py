"""The page of a gap: what differs between robot and cell, and which randomisation keys do not cover it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dygro_ros.evaluation.figures import GRID_COLOUR, WIDTH_IN, svg, task_label
from dygro_ros.evaluation.html_page import page, soft, table, text

# What recordings do not tell.
UNSEEN = (
    (
        "random_camera_position, random_camera_angle, random_head_camera_dis",
        "python -m sim2real.camera_overlay",
    ),
    ("random_table_height", "a ruler"),
    ("random_object_mass, random_friction", "scales, and how far an object slides"),
)
# Beyond this many widths of the range a value is drawn at the edge.
EDGE = 1.5
INSIDE, OUTSIDE, RANGE = "#2b5c8a", "#b23a2e", "#dfe8f1"


def render(gap: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [
        f"<h1>Robot and cell: {text(gap['title'])}</h1>",
        soft(
            f"{gap['recordings']} recorded trials of {gap['real']}, against the simulated cell: success of "
            f"{gap['sim']}, pictures and arms under the randomisation {gap['randomization']}."
        ),
    ]
    if gap["stand_in"]:
        parts.append(
            "<p class='bad'>The robot was the simulated one: this shows the method, not a robot.</p>"
        )
    parts += [f"<p>{sentence}</p>" for sentence in verdicts(gap["quantities"])]
    parts += ["<h2>Success</h2>", _success(gap["success"])]
    parts += [
        "<h2>What was measured, and what the randomisation covers</h2>",
        f"<figure>{svg(_plot(gap['quantities']))}</figure>",
        soft(
            "Shaded: where 95 % of the cell's random draws lie. Points: the robot's trials; at the edge, "
            f"those beyond {EDGE:g} widths of the range."
        ),
        _quantities(gap["quantities"]),
        soft(
            "Brightness and contrast: mean and standard deviation of the luma, 0 to 255. Shares: of a "
            "channel in the sum of all. Sharpness: mean absolute Laplacian; no key blurs or adds noise, so "
            "only clutter changes it. Command to motion: the shift at which commands explain the measured "
            "joints best, which holds the drives' lag and the transport. Picture to motion: that, and the "
            "age of a picture when its chunk was ready. Following error: what the shift leaves, over all "
            "joints; its range begins at 0, because arms that follow better are no gap. The cell's arms were "
            "given the robot's commands."
        ),
    ]
    if gap["joints"]:
        parts += ["<h2>Following, joint by joint</h2>", _joints(gap["joints"])]
    parts += [
        "<h2>What recordings do not tell</h2>",
        table(
            "<th>keys</th><th class='left'>looked at with</th>",
            [f"<tr><td>{text(keys)}</td><td class='left'>{text(how)}</td></tr>" for keys, how in UNSEEN],
        ),
    ]
    return page(f"Robot and cell: {gap['title']}", parts)


def verdicts(quantities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in words what the randomisation does not cover, and what it does."""
    found = []
    for q in quantities:
        if q["side"]:
            found.append(
                f"<b>Not covered: {text(q['name'])}</b> is {_number(q['median'])} {q['unit']} on the robot, "
                f"{q['side']} the cell's {_number(q['low'])} to {_number(q['high'])}. "
                f"Keys: {text(', '.join(q['keys']))}."
            )
    covered = [q["name"] for q in quantities if not q["side"]]
    if covered:
        found.append(f"Covered: {text(', '.join(covered))}.")
    return found


def _success(rows: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "<th>task</th><th class='left'>policy</th><th>robot</th><th>cell</th>"
        "<th>robot less cell [points]</th><th>p</th>"
    )
    cells = []
    for row in rows:
        low, high = (100 * bound for bound in row["interval"])
        cells.append(
            f"<tr><td>{text(task_label(row['task']))}</td><td class='left'>{text(row['policy'])}</td>"
            f"<td>{row['real'][0]} / {row['real'][1]}</td><td>{row['sim'][0]} / {row['sim'][1]}</td>"
            f"<td>{100 * row['difference']:+.1f} <small>({low:+.0f}, {high:+.0f})</small></td>"
            f"<td>{row['p_value']:.2g}</td></tr>"
        )
    return table(head, cells) + soft("Intervals: 95 %, Newcombe; p: Barnard's exact test.")


def _quantities(quantities: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "<th>quantity</th><th>robot, median</th><th>robot, all</th><th>cell, 95 %</th><th>outside</th>"
        "<th class='left'>keys</th>"
    )
    rows = []
    for q in quantities:
        name = f"{q['name']} [{q['unit']}]" if q["unit"] else q["name"]
        kind = " class='bad'" if q["side"] else ""
        rows.append(
            f"<tr{kind}><td>{text(name)}</td><td>{_number(q['median'])}</td>"
            f"<td>{_number(min(q['real']))} to {_number(max(q['real']))}</td>"
            f"<td>{_number(q['low'])} to {_number(q['high'])}</td><td>{q['outside']} of {len(q['real'])}</td>"
            f"<td class='left'>{text(', '.join(q['keys']))}</td></tr>"
        )
    return table(head, rows)


def _joints(joints: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td>{text(j['joint'])}</td><td>{j['real']:.1f}</td><td>{j['cell']:.1f}</td></tr>"
        for j in joints
    ]
    return table("<th>joint</th><th>robot [mrad]</th><th>cell [mrad]</th>", rows)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plot(quantities: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw each trial's value by where it lies in the randomisation's range, 0 to 1."""
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 0.36 * len(quantities)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(0, 1, color=RANGE, lw=0)
    for row, q in enumerate(quantities):
        width = max(q["high"] - q["low"], 1e-9)
        places = (np.array(q["real"]) - q["low"]) / width
        shown = np.clip(places, -EDGE, 1 + EDGE)
        axes.scatter(
            shown, np.full(len(shown), -row), s=16, alpha=0.6, lw=0, color=OUTSIDE if q["side"] else INSIDE
        )
    names = [f"{q['name']} [{q['unit']}]" if q["unit"] else q["name"] for q in quantities]
    axes.set_yticks(-np.arange(len(quantities)), names)
    axes.set_ylim(-len(quantities) + 0.5, 0.5)
    axes.set_xlim(-EDGE - 0.1, 1 + EDGE + 0.1)
    axes.set_xticks([0, 1], ["low end", "high end"])
    axes.grid(axis="y", color=GRID_COLOUR)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
