"""Show what a dataset holds and what looks wrong in it, whatever its format.

    python -m training.dataset_info FOLDER_OR_FILE
    python -m training.dataset_info FOLDER_OR_FILE --film film.png --like ANOTHER_DATASET

Exit code 1 if an episode cannot be read, 2 if none can; what is only suspected does not change it.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from dygro_ros.errors import DataError, UserError, run_main
from training.action_checks import check_actions
from training.dataset_checks import Finding, check_numbers
from training.dataset_film import Strip, save_sheet, strips
from training.dataset_statistics import DatasetStatistics, load, measure, statistics_path, store
from training.episode_record import EpisodeRecord
from training.formats.detection import open_dataset
from training.formats.source import EpisodeSource
from training.picture_checks import ColourHistograms, Histograms, PictureChecks, sample

MOST_INSTRUCTIONS = 5
Sizes = dict[str, set[tuple[int, ...]]]
"""Shapes (H, W, 3) of the pictures that were looked at, by camera."""


@dataclass(frozen=True)
class DatasetInfo:
    """What to show of which dataset."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """HDF5 file or folder of RoboTwin or LIBERO, or a LeRobotDataset."""
    film: Path | None = None
    """Write film strips as PNG to this file."""
    like: Path | None = None
    """Dataset of the same cameras and place whose colours are right, to compare with."""
    pictures: int = 4
    """Episodes whose pictures are looked at, evenly spread."""
    store_statistics: bool = False
    """Keep normalisation statistics beside the data, in place of older ones."""


def show(options: DatasetInfo, console: Console) -> int:
    """Print everything; returns the exit code.

    Raises:
        UserError: An option makes no sense, or there is no dataset.
        DataError: No episode can be read.
    """
    if options.pictures < 1:
        raise UserError(f"--pictures must be at least 1, got {options.pictures}")
    source = open_dataset(options.dataset)
    records, findings = read_all(source)
    statistics = measure(records.values())
    reference = _histograms(open_dataset(options.like), options.pictures) if options.like else None
    rows, sizes, seen = _look_at_pictures(source, list(records), options.pictures, reference)
    numbers = list(records.values())
    _print_summary(console, source, numbers, sizes)
    _print_ranges(console, records, statistics)
    findings += check_numbers(numbers) + check_actions(numbers) + seen
    if options.store_statistics:
        console.print(f"statistics: stored in {escape(str(store(source, statistics)))}", soft_wrap=True)
    else:
        console.print(f"statistics: {escape(_statistics_state(source, numbers))}", soft_wrap=True)
    if options.film is not None:
        if not rows:
            raise UserError(f"--film {options.film} needs pictures, and {source.path} holds none")
        save_sheet(rows, options.film)
        console.print(f"film: {escape(str(options.film))}", soft_wrap=True)
    _print_findings(console, findings)
    return 1 if any(finding.sure for finding in findings) else 0


def read_all(source: EpisodeSource) -> tuple[dict[int, EpisodeRecord], list[Finding]]:
    """Return the episodes that can be read, without pictures, and a finding for each that cannot.

    Raises:
        DataError: None can be read.
    """
    records: dict[int, EpisodeRecord] = {}
    findings = []
    first: EpisodeRecord | None = None
    error: DataError | None = None
    for index in range(len(source)):
        try:
            record = source.read(index, cameras=())
        except DataError as unreadable:
            error = error or unreadable
            findings.append(Finding("unreadable", str(unreadable), sure=True))
            continue
        first = first or record
        names = (record.proprio_names, record.action_names)
        if names != (first.proprio_names, first.action_names):
            text = f"{source.name(index)}: its names of joints are not the first episode's"
            findings.append(Finding("another robot", text, sure=True))
            continue
        records[index] = record
    if not records:
        raise error or DataError(f"{source.path}: holds no episode")
    rates = Counter(record.rate_hz for record in records.values())
    if len(rates) > 1:
        listed = ", ".join(f"{rate:g} Hz in {count}" for rate, count in rates.most_common())
        findings.append(Finding("rates", f"episodes differ in their rate: {listed}"))
    return records, findings


def _look_at_pictures(
    source: EpisodeSource, readable: list[int], most: int, reference: Histograms | None
) -> tuple[list[Strip], Sizes, list[Finding]]:
    checks, rows, findings = PictureChecks(reference), [], []
    sizes: Sizes = {camera: set() for camera in source.cameras}
    for place in sample(len(readable), most):
        index = readable[place]
        for camera in source.cameras:  # one by one: sizes may differ
            try:
                record = source.read(index, cameras=(camera,))
            except DataError as error:
                findings.append(Finding("unreadable", str(error), sure=True))
                continue
            sizes[camera].add(record.images.shape[2:])
            checks.add(f"episode {index}", record)
            rows += strips(f"episode {index}", record)
    return rows, sizes, findings + checks.findings()


def _histograms(source: EpisodeSource, most: int) -> Histograms:
    colours = ColourHistograms()
    for index in sample(len(source), most):
        for camera in source.cameras:
            colours.add(source.read(index, cameras=(camera,)))
    return colours.histograms()


def _statistics_state(source: EpisodeSource, records: list[EpisodeRecord]) -> str:
    path = statistics_path(source)
    if not path.exists():
        return "not stored yet, --store-statistics keeps them beside the data"
    try:
        load(source, records)
    except DataError as error:
        return str(error)
    return f"stored in {path}, and these data's"


def _print_summary(
    console: Console, source: EpisodeSource, records: list[EpisodeRecord], sizes: Sizes
) -> None:
    lengths = np.array([len(record.proprio) for record in records])
    rates = sorted({record.rate_hz for record in records})
    seconds = sum(len(record.proprio) / record.rate_hz for record in records)
    table = Table(Column(), Column(overflow="fold"), show_header=False, box=None)
    table.add_row("dataset", escape(str(source.path)))
    table.add_row("format", source.format)
    table.add_row("episodes", f"{len(records)}, {lengths.min()} to {lengths.max()} frames")
    table.add_row("frames", f"{lengths.sum()}, {seconds:.1f} s")
    table.add_row("rate", ", ".join(f"{rate:g} Hz" for rate in rates))
    table.add_row("proprio", f"({len(records[0].proprio_names)},) float32")
    table.add_row("action", f"({len(records[0].action_names)},) float32")
    for camera in source.cameras:
        shapes = " or ".join(f"{shape} uint8" for shape in sorted(sizes[camera]))
        table.add_row("camera", f"{escape(camera)} {shapes}")
    said = Counter(record.instructions[0] for record in records)
    for text, count in said.most_common(MOST_INSTRUCTIONS):
        table.add_row("instruction", f"{count} x {escape(text)}")
    if len(said) > MOST_INSTRUCTIONS:
        table.add_row("", f"and {len(said) - MOST_INSTRUCTIONS} more")
    console.print(table)


def _print_ranges(console: Console, records: dict[int, EpisodeRecord], statistics: DatasetStatistics) -> None:
    first = next(iter(records.values()))
    shown = ("min", "q01", "mean", "std", "q99", "max")
    table = Table("", "name", *shown)
    for kind, names in (("proprio", first.proprio_names), ("action", first.action_names)):
        found = getattr(statistics, kind)
        for column, name in enumerate(names):
            cells = [f"{found[measure][column]:.3f}" for measure in shown]
            table.add_row(
                kind if column == 0 else "", escape(name), *cells, end_section=column == len(names) - 1
            )
    console.print(table)


def _print_findings(console: Console, findings: list[Finding]) -> None:
    if not findings:
        console.print("nothing looks wrong")
        return
    console.print(f"what looks wrong ({len(findings)}):")
    for finding in findings:
        mark = "" if finding.sure else "?"
        console.print(f"  {finding.kind}{mark}: {escape(finding.text)}", soft_wrap=True, highlight=False)


def main() -> int:
    """Parse the command line and show the dataset."""
    options = tyro.cli(DatasetInfo, args=sys.argv[1:], description=__doc__)
    return show(options, Console())


if __name__ == "__main__":
    run_main(main)
