"""Put our policy into a RoboTwin checkout, for its classic evaluation.

    python -m sim2real.robotwin.link_policy --to ~/RoboTwin

Makes one link, `policy/DyGRO`, to our folder with the four functions; nothing else there is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from dygro_ros.checkout import source_root
from dygro_ros.errors import UserError, run_main

POLICY_FOLDER = Path(__file__).resolve().parent / "policy_folder"


@dataclass(frozen=True)
class LinkPolicy:
    """Put our policy into a RoboTwin checkout, for its classic evaluation."""

    to: Path
    """RoboTwin's checkout, of its branch stable_2.0."""
    name: str = "DyGRO"
    """Name of the policy there."""


def link_policy(to: Path, name: str) -> Path:
    """Make the link and return it; one that is already right stays.

    Raises:
        UserError: There is no such checkout, it has no classic evaluation, or something else has that name.
        DependencyError: We are installed, but not as a checkout (`source_root`).
    """
    source_root()
    to = to.expanduser()
    if not (to / "envs" / "_base_task.py").is_file():
        raise UserError(
            f"{to} is no checkout of RoboTwin 2.0, it has no envs/_base_task.py: "
            "git clone -b stable_2.0 https://github.com/RoboTwin-Platform/RoboTwin.git"
        )
    if not (to / "script" / "eval_policy.py").is_file():
        raise UserError(
            f"{to} has no script/eval_policy.py, so it evaluates by websocket only: start "
            "`python -m sim2real.robotwin.policy_server --bundle BUNDLE`, or take the older evaluation by "
            f"`git -C {to} checkout stable_2.0`"
        )
    if not (to / "policy").is_dir():
        raise UserError(f"{to} has no folder policy: git -C {to} checkout stable_2.0 -- policy")
    if not name.isidentifier():
        raise UserError(f"the policy's name must be one that Python can import, got {name!r}")
    link = to / "policy" / name
    if link.is_symlink() and link.resolve() == POLICY_FOLDER:
        return link
    if link.is_symlink() or link.exists():
        raise UserError(f"{link} exists and is not our folder: remove it, or give another --name")
    link.symlink_to(POLICY_FOLDER, target_is_directory=True)
    return link


def main() -> None:
    """Run the command line."""
    options = tyro.cli(LinkPolicy)
    link = link_policy(options.to, options.name)
    print(f"{link} -> {POLICY_FOLDER}")
    print("next, with the folder of RoboTwin's environment and demo_piper as docs/robotwin.md describes it:")
    print(f"PATH=ENVIRONMENT/bin:$PATH bash {link}/eval.sh beat_block_hammer demo_piper BUNDLE 0 0")


if __name__ == "__main__":
    run_main(main)
