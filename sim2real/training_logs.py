"""Training curves from a run folder's JSON-lines logs, as training leaves them.

A log is a file of records with the key `step` and named numbers; names with a slash share a panel.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from dygro_ros.errors import RunFolderError
from dygro_ros.evaluation.figures import task_label
from sim2real.plots import training_curves

# What a stage's log counts rather than measures.
_COUNTERS = ("step", "environment_steps", "episodes")


def read_logs(run: Path) -> dict[str, list[dict[str, float]]]:
    """Return stage name -> records of every JSON-lines log below a run folder.

    Raises:
        RunFolderError: There is no log.
    """
    logs: dict[str, list[dict[str, float]]] = {}
    for source in sorted(run.rglob("*.jsonl"), key=lambda path: path.stat().st_mtime):
        records = []
        for line in source.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                break  # the last line of a run that is still being written
            if isinstance(record, dict) and "step" in record:
                records.append(record)
        if records:
            logs[source.relative_to(run).with_suffix("").as_posix()] = records
    if not logs:
        raise RunFolderError(f"{run} holds no training log: expected *.jsonl files with a step in each line")
    return logs


def training_figures(run: Path) -> list[tuple[str, str]]:
    """Return (stage, SVG figure) for every log below a run folder.

    Raises:
        RunFolderError: There is no log.
    """
    figures = []
    for stage, records in read_logs(run).items():
        # The folder of a stage is often named as the stage itself.
        name = stage.split("/")[-1]
        axis = "environment_steps" if all("environment_steps" in record for record in records) else "step"
        panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
        for key in dict.fromkeys(key for record in records for key in record):
            points = [
                (record[axis], record[key])
                for record in records
                if key in record and isinstance(record[key], (int, float)) and math.isfinite(record[key])
            ]
            if key not in _COUNTERS and points:
                group, _, curve = key.rpartition("/")
                steps, values = zip(*points, strict=True)
                panels.setdefault(task_label(group or key), {})[task_label(curve)] = (
                    list(steps),
                    list(values),
                )
        if panels:
            label = "environment steps" if axis == "environment_steps" else f"step of {name}"
            figures.append((stage, training_curves(label, panels)))
    return figures
