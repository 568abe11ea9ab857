"""The report's figures as SVG text: bars with intervals, the gates' heat map, training curves.

Knows numbers and looks; reads no file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dygro_ros.evaluation.figures import (
    BASE_COLOUR,
    GRID_COLOUR,
    POLICY_COLOUR,
    WIDTH_IN,
    svg,
    task_label,
)

# What fits below the bars, side by side: letters in all, and groups beyond which names are slanted.
LETTERS_ACROSS, MOST_UPRIGHT = 96, 7
LINE_COLOURS = ("#2b5c8a", "#c1762b", "#2e7d50", "#8a4b8f", "#7a7f87", "#b23a2e")


def success_bars(results: Mapping[str, Any]) -> str:
    """Draw success per task with Wilson intervals, base beside policy."""
    rates = results["rates"]
    methods = {entry["role"]: entry["method"] for entry in results["contestants"]}
    groups = [*results["plan"]["tasks"], "all"]
    roles = [role for role in ("base", "policy") if role in rates]
    figure = Figure(figsize=(WIDTH_IN, 3.1), layout="constrained")
    axes = figure.add_subplot()
    width = 0.36 if len(roles) == 2 else 0.5
    for index, role in enumerate(roles):
        found = [rates[role][group] for group in groups]
        values = 100 * np.array([item["rate"] for item in found])
        bounds = 100 * np.array([item["wilson_95"] for item in found]).T
        places = np.arange(len(groups)) + (index - (len(roles) - 1) / 2) * width
        colour = BASE_COLOUR if role == "base" else POLICY_COLOUR
        axes.bar(places, values, width * 0.94, color=colour, label=methods[role])
        errors = np.maximum([values - bounds[0], bounds[1] - values], 0.0)
        axes.errorbar(places, values, yerr=errors, fmt="none", ecolor="#202124", elinewidth=0.9, capsize=2.5)
        for place, value, top in zip(places, values, bounds[1], strict=True):
            axes.text(place, top + 1.5, f"{value:.0f}", ha="center", va="bottom", fontsize=8, color="#202124")
    axes.axvline(len(groups) - 1.5, color=GRID_COLOUR, linewidth=1)
    names = ["all tasks" if group == "all" else task_label(group) for group in groups]
    if len(groups) <= MOST_UPRIGHT:
        letters = LETTERS_ACROSS // len(groups)
        axes.set_xticks(range(len(groups)), [textwrap.fill(name, letters) for name in names])
    else:
        axes.set_xticks(range(len(groups)), names, rotation=50, ha="right", rotation_mode="anchor")
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 25))
    axes.set_ylabel("success [%]")
    axes.grid(axis="y", color=GRID_COLOUR)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.13))
    return svg(figure)


def difference_plot(results: Mapping[str, Any]) -> str:
    """Draw the paired difference of each task with its interval."""
    groups = [*results["plan"]["tasks"], "all"]
    found = [results["paired_differences"][group] for group in groups]
    figure = Figure(figsize=(WIDTH_IN, 0.42 * len(groups) + 0.75), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(groups))[::-1]
    for place, item, group in zip(places, found, groups, strict=True):
        low, high = (100 * bound for bound in item["interval"])
        colour = POLICY_COLOUR if low > 0 else "#b23a2e" if high < 0 else "#7a7f87"
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4 if group == "all" else 1.6)
        axes.plot(100 * item["difference"], place, "o", color=colour, markersize=7 if group == "all" else 5.5)
    axes.axvline(0, color="#202124", linewidth=0.9)
    axes.set_yticks(places, ["all tasks" if group == "all" else task_label(group) for group in groups])
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_xlabel("policy minus base on the same episodes [percentage points]")
    axes.grid(axis="x", color=GRID_COLOUR)
    axes.set_axisbelow(True)
    return svg(figure)


def gate_heat_map(gates: Mapping[str, Any]) -> str:
    """Draw the mean gate of each expert in each task."""
    tasks = list(gates["mean_gates"])
    table = np.array([gates["mean_gates"][task] for task in tasks])
    figure = Figure(
        figsize=(min(WIDTH_IN, 2.2 + 0.62 * table.shape[1]), 0.5 + 0.42 * len(tasks)), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.imshow(table, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if value >= 0.005:
            colour = "white" if value > 0.55 else "#202124"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(table.shape[1]), [str(index) for index in range(table.shape[1])])
    axes.set_yticks(range(len(tasks)), [task_label(task) for task in tasks])
    axes.set_xticks(np.arange(table.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(tasks) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("expert")
    return svg(figure)


def training_curves(
    axis: str, panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]
) -> str:
    """Draw one stage's metrics.

    Args:
        axis: What is counted along x.
        panels: Title -> name of the curve -> (steps, values).
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.3 + 1.9 * rows), layout="constrained")
    for index, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for (name, (steps, values)), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
            _curve(axes, np.asarray(steps), np.asarray(values), colour, name)
        axes.set_title(title)
        axes.grid(color=GRID_COLOUR)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if len(curves) > 1:
            axes.legend(frameon=True, framealpha=0.75, edgecolor="none", fontsize=7)
    figure.supxlabel(axis, fontsize=9, color="#44474d")
    return svg(figure)


def _curve(axes: Axes, steps: Any, values: Any, colour: str, name: str) -> None:
    """Draw one curve; where it has many points, faintly, with its running mean over them."""
    if len(values) == 1:
        axes.plot(steps, values, "o", color=colour, markersize=4, label=name)
        return
    if len(values) < 60:
        axes.plot(steps, values, color=colour, linewidth=1.3, label=name)
        return
    window = max(3, len(values) // 40)
    smooth = np.convolve(values, np.full(window, 1.0 / window), mode="valid")
    stride = max(1, len(values) // 500)
    axes.plot(steps[::stride], values[::stride], color=colour, linewidth=0.6, alpha=0.3)
    middle = steps[(window - 1) // 2 :][: len(smooth)]
    axes.plot(middle[::stride], smooth[::stride], color=colour, linewidth=1.4, label=name)


def _cycle(count: int) -> list[str]:
    return [LINE_COLOURS[index % len(LINE_COLOURS)] for index in range(count)]
