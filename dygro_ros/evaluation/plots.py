"""The report's figures: success rates with their intervals, and differences with theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dygro_ros.evaluation.figures import GRID_COLOUR, WIDTH_IN, svg, task_label

COLOURS = ("#2b5c8a", "#c1762b", "#2e7d50", "#8a4b8f", "#7a7f87", "#b23a2e", "#4f9aa8", "#8c7a3d")
DISTINGUISHABLE, NOT_DISTINGUISHABLE = "#2b5c8a", "#7a7f87"


def rate_plot(rates: Sequence[Mapping[str, Any]], policies: Sequence[str]) -> str:
    """Draw each policy's success in each task as a point with its exact 95 % interval, as SVG."""
    tasks = list(dict.fromkeys(rate["task"] for rate in rates))
    figure = Figure(figsize=(WIDTH_IN, 0.9 + 0.24 * len(tasks) * (len(policies) + 1)), layout="constrained")
    axes = figure.add_subplot()
    places = {task: -float(index) for index, task in enumerate(tasks)}
    step = 0.8 / len(policies)
    for index, policy in enumerate(policies):
        colour = COLOURS[index % len(COLOURS)]
        label: str | None = policy
        for rate in rates:
            if rate["policy"] != policy:
                continue
            place = places[rate["task"]] + 0.4 - step * (index + 0.5)
            low, high = (100 * bound for bound in rate["exact"])
            axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            value = 100 * rate["successes"] / rate["trials"]
            axes.plot(value, place, "o", color=colour, markersize=5.5, label=label)
            label = None
            axes.text(
                102, place, f"{rate['successes']} of {rate['trials']}", va="center", fontsize=8, color=colour
            )
    for task in tasks[1:]:
        axes.axhline(places[task] + 0.5, color=GRID_COLOUR, linewidth=1)
    axes.set_yticks(list(places.values()), [task_label(task) for task in tasks])
    axes.set_ylim(min(places.values()) - 0.55, 0.55)
    axes.set_xlim(-2, 116)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("success [%]")
    axes.grid(axis="x", color=GRID_COLOUR)
    axes.set_axisbelow(True)
    if len(policies) > 1:
        axes.legend(frameon=False, loc="lower right", ncols=len(policies), bbox_to_anchor=(1.0, 1.0))
    return svg(figure)


def difference_plot(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Draw the difference of each pair of policies in each task with its 95 % interval, as SVG."""
    figure = Figure(figsize=(WIDTH_IN, 0.75 + 0.36 * len(comparisons)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(comparisons))[::-1]
    for place, found in zip(places, comparisons, strict=True):
        low, high = (100 * bound for bound in found["interval"])
        colour = DISTINGUISHABLE if found["distinguishable"] else NOT_DISTINGUISHABLE
        axes.plot([low, high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot(100 * found["difference"], place, "o", color=colour, markersize=6)
    axes.axvline(0, color="#202124", linewidth=0.9)
    axes.set_yticks(
        places,
        [f"{task_label(found['task'])}: {found['first']} less {found['second']}" for found in comparisons],
    )
    axes.set_ylim(-0.6, len(comparisons) - 0.4)
    axes.set_xlabel("difference of success [percentage points]")
    axes.grid(axis="x", color=GRID_COLOUR)
    axes.set_axisbelow(True)
    return svg(figure)
