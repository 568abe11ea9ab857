"""Film strips of a dataset: chosen episodes, each camera a row of eight pictures, on one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from dygro_ros.whole_file import write_bytes
from sim2real.film import FRAME_PX, label_font, pick_frames
from training.episode_record import EpisodeRecord

LABEL_PX = 240
GAP_PX, ROW_GAP_PX, MARGIN_PX = 2, 10, 14
PAPER, INK, SOFT = (255, 255, 255), (32, 33, 36), (110, 114, 120)
# What fits in the label's width.
LETTERS = 36


@dataclass(frozen=True)
class Strip:
    """One row of the sheet: a camera in an episode."""

    title: str
    lines: tuple[str, ...]
    frames: tuple[NDArray[np.uint8], ...]
    """Pictures in the order of time, (H, W, 3)."""


def strips(name: str, record: EpisodeRecord) -> list[Strip]:
    """Return an episode's strips, one for each camera."""
    frames = len(record.proprio)
    height, width = record.images.shape[2:4]
    lines = (
        f"{frames} frames, {frames / record.rate_hz:.1f} s",
        f"{width} x {height} px",
        record.instructions[0],
    )
    return [
        Strip(f"{name} {camera}", lines, tuple(pick_frames(list(record.images[:, view]))))
        for view, camera in enumerate(record.cameras)
    ]


def sheet(rows: Sequence[Strip]) -> Image.Image:
    """Draw the strips; a picture keeps its proportions.

    Raises:
        ValueError: There is no strip.
    """
    if not rows:
        raise ValueError("a sheet needs at least one strip")
    columns = max(len(row.frames) for row in rows)
    width = 2 * MARGIN_PX + LABEL_PX + columns * (FRAME_PX + GAP_PX) - GAP_PX
    height = 2 * MARGIN_PX + len(rows) * (FRAME_PX + ROW_GAP_PX) - ROW_GAP_PX
    drawn = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(drawn)
    for number, row in enumerate(rows):
        top = MARGIN_PX + number * (FRAME_PX + ROW_GAP_PX)
        draw.text((MARGIN_PX, top + 4), row.title[:LETTERS], font=label_font(13, bold=True), fill=INK)
        for line, text in enumerate(row.lines):
            place = (MARGIN_PX, top + 28 + 18 * line)
            draw.text(place, text[:LETTERS], font=label_font(12), fill=SOFT)
        for column, frame in enumerate(row.frames):
            size = (FRAME_PX, FRAME_PX)
            picture = ImageOps.contain(Image.fromarray(frame), size, Image.Resampling.LANCZOS)
            left = MARGIN_PX + LABEL_PX + column * (FRAME_PX + GAP_PX)
            drawn.paste(picture, (left, top))
    return drawn


def save_sheet(rows: Sequence[Strip], out: Path) -> None:
    """Write the sheet as PNG."""
    buffer = io.BytesIO()
    sheet(rows).save(buffer, "PNG", optimize=True)
    write_bytes(out, buffer.getvalue())
