"""Success of the scripted experts on unseen seeds, clean and randomized.

    python benchmarks/experts.py --episodes 100

Prints a table for each: successes, control steps that an episode takes, and the seeds that failed.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from sim2real.cell.experts import ExpertOptions, measure_experts


def main() -> None:
    """Print one table for each level of randomisation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100, help="episodes a task")
    episodes = parser.parse_args().episodes
    for randomization in ("clean", "randomized"):
        Console().print(measure_experts(ExpertOptions(episodes=episodes, randomization=randomization)))


if __name__ == "__main__":
    main()
