"""How the house's figures look, and how they get into a page."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#8a8f98",
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "xtick.color": "#44474d",
        "ytick.color": "#44474d",
        "svg.hashsalt": "dygro_ros",
    }
)
# The page's width at 96 px an inch.
WIDTH_IN = 9.7
BASE_COLOUR, POLICY_COLOUR, GRID_COLOUR = "#b4b9c1", "#2b5c8a", "#e7e9ec"


def task_label(task: str) -> str:
    """Return a task's name in short lines, for an axis."""
    return task.replace("_", " ")


def svg(figure: Figure) -> str:
    """Return the figure as an SVG element to be put into a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The page decides the width; the view box keeps the proportions.
    return re.sub(r'<svg ([^>]*?)height="[^"]*" ([^>]*?)width="[^"]*"', r"<svg \1\2", text, count=1)
