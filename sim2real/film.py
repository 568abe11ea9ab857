"""Film strips: chosen episodes run again, eight pictures each, on one contact sheet.

Episodes are reproducible, so nothing needs to be stored while an evaluation runs; a replay that does not end
as the ledger says is refused. Failures come first: they are what there is to learn from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dygro_ros.evaluation.figures import task_label
from sim2real.bundle_episodes import EpisodeJob, EpisodeResult, run_episodes
from sim2real.evaluation_summary import POLICY, by_task

if TYPE_CHECKING:
    from sim2real.evaluate_sim import Evaluation

FRAMES = 8
FRAME_PX = 128
_LABEL_PX = 232
_GAP_PX = 2
_ROW_GAP_PX = 10
_MARGIN_PX = 14
_INK, _SOFT, _PAPER = (32, 33, 36), (110, 114, 120), (255, 255, 255)
SUCCESS_RGB, FAILURE_RGB = (46, 125, 80), (178, 58, 46)


@dataclass(frozen=True)
class FilmStrip:
    """One row of the contact sheet."""

    task: str
    seed: int
    success: bool
    steps: int
    instruction: str
    frames: tuple[NDArray[np.uint8], ...]
    """Pictures in the order of time, (H, W, 3)."""


def choose_episodes(episodes: Sequence[Mapping[str, Any]], per_task: int) -> list[Mapping[str, Any]]:
    """Choose the policy's episodes to film: of each task as many failures as half of `per_task`, rounded up.

    Where a task has too few of one outcome the other fills up; within an outcome the first seeds are taken,
    so that nobody chose them by their looks.
    """
    chosen: list[Mapping[str, Any]] = []
    for found in by_task(episodes, POLICY).values():
        failures = [record for record in found if not record["success"]]
        successes = [record for record in found if record["success"]]
        wanted = max((per_task + 1) // 2, per_task - len(successes))
        failures = failures[:wanted]
        chosen += [*failures, *successes[: per_task - len(failures)]]
    return chosen


def pick_frames(frames: Sequence[NDArray[np.uint8]], count: int = FRAMES) -> list[NDArray[np.uint8]]:
    """Return up to `count` pictures, evenly spread, the first and the last among them."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(index)] for index in np.linspace(0, len(frames) - 1, count)]


def film_evaluation(
    evaluation: Evaluation,
    results: Mapping[str, Any],
    out: Path,
    *,
    per_task: int,
    workers: int,
    make_worker: Callable[[], Callable[[EpisodeJob], EpisodeResult]] | None = None,
) -> list[FilmStrip]:
    """Run chosen episodes of the policy again and write their contact sheet.

    Raises:
        RuntimeError: An episode did not end as in the evaluation: it was not reproduced.
    """
    chosen = choose_episodes(results["episodes"], per_task)
    contestant = next(i for i, entry in enumerate(evaluation.entries) if entry.role == POLICY)
    jobs = [EpisodeJob(contestant, record["task"], record["seed"], film=True) for record in chosen]
    if make_worker is None:
        make_worker = evaluation.worker()
    by_job = {result.job: result for result in run_episodes(jobs, make_worker, workers)}
    strips = []
    for job, record in zip(jobs, chosen, strict=True):
        result = by_job[job]
        if (result.success, result.steps) != (record["success"], record["steps"]):
            raise RuntimeError(
                f"task {job.task}, seed {job.seed} ended after {result.steps} steps (success: "
                f"{result.success}), in the evaluation after {record['steps']} ({record['success']}): "
                "it was not reproduced"
            )
        frames = tuple(pick_frames(result.frames))
        strips.append(FilmStrip(job.task, job.seed, result.success, result.steps, result.instruction, frames))
    save_contact_sheet(strips, out)
    return strips


def save_contact_sheet(strips: Sequence[FilmStrip], out: Path) -> None:
    """Write the strips as one PNG: a label and up to eight pictures a row."""
    beside = out.with_name(out.name + ".tmp")
    contact_sheet(strips).save(beside, format="PNG", optimize=True)
    os.replace(beside, out)


def contact_sheet(strips: Sequence[FilmStrip]) -> Image.Image:
    """Draw the strips.

    Raises:
        ValueError: There is no strip.
    """
    if not strips:
        raise ValueError("a contact sheet needs at least one film strip")
    columns = max(len(strip.frames) for strip in strips)
    width = 2 * _MARGIN_PX + _LABEL_PX + columns * (FRAME_PX + _GAP_PX) - _GAP_PX
    height = 2 * _MARGIN_PX + len(strips) * (FRAME_PX + _ROW_GAP_PX) - _ROW_GAP_PX
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, strip in enumerate(strips):
        top = _MARGIN_PX + row * (FRAME_PX + _ROW_GAP_PX)
        _draw_label(draw, strip, top)
        for column, frame in enumerate(strip.frames):
            picture = Image.fromarray(frame)
            if picture.size != (FRAME_PX, FRAME_PX):
                picture = picture.resize((FRAME_PX, FRAME_PX), Image.Resampling.LANCZOS)
            sheet.paste(picture, (_MARGIN_PX + _LABEL_PX + column * (FRAME_PX + _GAP_PX), top))
    return sheet


def _draw_label(draw: ImageDraw.ImageDraw, strip: FilmStrip, top: int) -> None:
    colour = SUCCESS_RGB if strip.success else FAILURE_RGB
    left = _MARGIN_PX + 12
    draw.rectangle((_MARGIN_PX, top, _MARGIN_PX + 3, top + FRAME_PX - 1), fill=colour)
    title, font, width = label_font(14, bold=True), label_font(12), _LABEL_PX - 24
    name = [strip.task]
    if title.getlength(strip.task) > width:
        name = _wrapped(task_label(strip.task), title, width)[:3]
    for text in name:
        draw.text((left, top + 4), text, font=title, fill=_INK)
        top += 17
    outcome = f"success after {strip.steps} steps" if strip.success else f"failure ({strip.steps} steps)"
    draw.text((left, top + 9), outcome, font=label_font(12, bold=True), fill=colour)
    draw.text((left, top + 27), f"seed {strip.seed}", font=font, fill=_SOFT)
    room = 5 - len(name)
    for line, text in enumerate(_wrapped(f"“{strip.instruction}”", font, width)[:room]):
        draw.text((left, top + 49 + 15 * line), text, font=font, fill=_SOFT)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def label_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib brings along on every system."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
