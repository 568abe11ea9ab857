"""Episodes a second of Stage II rollouts against the number of workers: local processes, and Ray's actors.

    python benchmarks/rollout_workers.py --rounds 5
    python benchmarks/rollout_workers.py --base runs/nano/stage_one --local 1 2 --ray

In each round every engine runs the same episodes, one engine after the other; ratios are taken within a
round, so that other work on the machine meets all of them. Prints medians. Without a base policy, one with
random weights runs: its episodes last to their step limit, those of a trained one are shorter.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from models.action_space import ActionSpace
from models.base_policy import BasePolicy, NanoConfig
from models.residual import ResidualConfig
from sim2real.cell.world import CellWorld
from sim2real.seeds import SeedPurpose, seeds_for
from training.episodes import EpisodeRequest
from training.ray_rollouts import RayWorkers
from training.ray_session import RayConfig, RaySession
from training.rollouts import LocalProcesses, RolloutEngine, RolloutSpec, Weights, to_weights
from training.stage_one import build_residual, load_base_policy, save_base_policy


def random_base(folder: Path) -> Path:
    """Write a Stage I policy with random weights; returns its folder."""
    torch.manual_seed(0)
    config = NanoConfig()
    save_base_policy(folder, BasePolicy(config, ActionSpace.blank(config.actions, config.proprio)))
    return folder


def requests_of(round_: int, episodes: int) -> list[EpisodeRequest]:
    """Return the episodes of one round, over all tasks in turn."""
    seeds = seeds_for(SeedPurpose.ONLINE, 0, round_ * episodes, episodes)
    tasks = CellWorld.tasks
    return [EpisodeRequest(tasks[i % len(tasks)], seed) for i, seed in enumerate(seeds)]


def rate(engine: RolloutEngine, requests: list[EpisodeRequest], weights: Weights) -> float:
    """Return episodes a second."""
    start = time.perf_counter()
    engine.collect(requests, weights)
    return len(requests) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, help="folder of a trained Stage I policy")
    parser.add_argument("--episodes", type=int, default=64, help="episodes of each engine in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; one more goes before")
    parser.add_argument("--local", type=int, nargs="*", default=[1, 2], help="numbers of local processes")
    parser.add_argument("--ray", type=int, nargs="*", default=[1, 2, 4], help="numbers of Ray's actors")
    parser.add_argument("--ray-address", help="HOST:PORT of a cluster; without it a Ray of this machine")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.base or random_base(
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollouts_")))
        )
        world = CellWorld()
        spec = RolloutSpec(folder, ResidualConfig(), world)
        weights = to_weights(build_residual(load_base_policy(folder), spec.residual, world))
        engines: dict[str, RolloutEngine] = {}
        for workers in options.local:
            engines[f"local {workers}"] = LocalProcesses(spec, workers)
            stack.callback(engines[f"local {workers}"].close)
        if options.ray:
            config = RayConfig(address=options.ray_address)
            stack.enter_context(RaySession(config, cpus=sum(options.ray)))
        for workers in options.ray:
            engines[f"ray {workers}"] = RayWorkers(spec, workers, config)
            stack.callback(engines[f"ray {workers}"].close)
        rates: dict[str, list[float]] = {name: [] for name in engines}
        for round_ in range(options.rounds + 1):
            requests = requests_of(round_, options.episodes)
            for name, engine in engines.items():
                measured = rate(engine, requests, weights)
                if round_ > 0:
                    rates[name].append(measured)
    base = next(iter(rates))
    print(f"{options.rounds} rounds of {options.episodes} episodes; ratios to {base} within each round")
    print(f"{'engine':>8} {'episodes/s':>11} {'ratio':>6} {'lowest':>7} {'highest':>8}")
    for name, values in rates.items():
        ratios = [value / own for value, own in zip(values, rates[base], strict=True)]
        print(
            f"{name:>8} {statistics.median(values):11.2f} {statistics.median(ratios):6.2f}"
            f" {min(ratios):7.2f} {max(ratios):8.2f}"
        )


if __name__ == "__main__":
    main()
