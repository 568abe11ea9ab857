"""Write a file that says which RoboTwin tasks to train on, where, and with which joint limits.

    python -m sim2real.robotwin.measure_world --checkout ~/RoboTwin --python ~/envs/RoboTwin/bin/python
        --tasks beat_block_hammer lift_pot --task-config demo_piper --out runs/robotwin.json

The limits are read off the simulated robot, for which one scene is set up. Training takes the file by
`--world robotwin --robotwin.world runs/robotwin.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from dygro_ros.errors import DataError, UserError, run_main
from dygro_ros.layout import JOINT_NAMES
from sim2real.robotwin.environment import InstructionSplit, Proprio
from sim2real.robotwin.installation import Installation
from sim2real.robotwin.seed_book import SeedBook
from sim2real.robotwin.world import RobotwinWorld, measured_world
from sim2real.robotwin.world_file import read_world, write_world


@dataclass(frozen=True)
class MeasureWorld:
    """Measure RoboTwin's robot, and write what training is to know of RoboTwin."""

    checkout: Path
    """RoboTwin's checkout."""
    python: Path
    """The interpreter of RoboTwin's environment."""
    tasks: tuple[str, ...]
    """Tasks to train on."""
    out: Path
    """File to write, in place of an older world."""
    task_config: str = "demo_clean"
    """RoboTwin's configuration of scenes and robot."""
    proprio: Proprio = "targets"
    """What the policy is shown of its joints: drive targets, as RoboTwin's data hold, or measured ones."""
    instruction_split: InstructionSplit = "seen"
    """Which of RoboTwin's wordings are said."""
    book: Path | None = None
    """What is known of seeds (find_seeds); unset: the expert is tried before each episode."""


def require_replaceable(out: Path) -> None:
    """Refuse to write a world in place of something else, such as the outcomes of an evaluation.

    Raises:
        UserError: The file exists and is no world.
    """
    if not out.exists():
        return
    try:
        read_world(out)
    except DataError as error:
        raise UserError(
            f"--out must be a new file, or a world to replace, got {out}, which holds something else: give "
            "another --out, or remove it"
        ) from error


def report(world: RobotwinWorld) -> str:
    """Return what was measured, a line a joint."""
    lines = [f"{world.task_config}: {', '.join(world.tasks)}"]
    for name, low, high in zip(JOINT_NAMES, world.lower, world.upper, strict=True):
        lines.append(f"{name:<14} {low:7.3f} .. {high:6.3f}")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    options = tyro.cli(MeasureWorld, description=__doc__)
    if len(set(options.tasks)) != len(options.tasks):
        raise UserError(f"--tasks must name each task once, got {' '.join(options.tasks)}")
    require_replaceable(options.out)
    book = None if options.book is None else options.book.expanduser()
    if book is not None:
        SeedBook.read(book, options.task_config)
    measured = measured_world(
        Installation(options.checkout.expanduser(), options.python.expanduser()),
        options.tasks,
        task_config=options.task_config,
    )
    world = replace(measured, proprio=options.proprio, instruction_split=options.instruction_split, book=book)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_world(world, options.out)
    print(report(world))
    print(f"written to {options.out}")


if __name__ == "__main__":
    run_main(main)
