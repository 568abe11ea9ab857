"""Train a base policy and a DyGRO policy in the simulated work cell, and hand over a policy bundle.

    python training/train_sim.py                      # the full nano run, about half an hour on two cores
    python training/train_sim.py --preset quick       # every stage in minutes
    python training/train_sim.py --preset libero      # LIBERO's tasks (make libero first)
    python training/train_sim.py --world robotwin ... # RoboTwin's tasks: docs/robotwin.md
    python training/train_sim.py --resume             # go on after an interruption
    torchrun --standalone --nproc-per-node 8 -- training/train_sim.py --preset base    # eight GPUs

Stages: demonstrations, Stage I (information-bottleneck pretraining), Stage II (mixture of RL residuals),
bundle, evaluation with report. LIBERO's and RoboTwin's policies are evaluated without a bundle, which the
robot side could not run. See `--help` for every option.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The command is run from the checkout as `python training/train_sim.py`, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dygro_ros.errors import run_main


def main() -> None:
    """Parse the command line and train."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    # Imported late: every worker process loads this file too, and needs a part of it at most.
    from training.whole_run import parse, train

    train(parse(sys.argv[1:], __doc__))


if __name__ == "__main__":
    run_main(main)
