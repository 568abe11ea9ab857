"""Speed of the Stage I policy: training frames a second by precision, and one inference.

    python benchmarks/stage_one_speed.py --threads 2

Prints medians and their ratios; other work on the machine shows in them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from models.action_space import ActionSpace
from models.base_policy import BasePolicy, NanoConfig

BATCH = 64


def median_s(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call, after two calls that do not count."""
    times = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        call()
        if repeat >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def observation(batch: int, config: NanoConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random images, instruction bytes and proprioception."""
    shape = (batch, config.cameras, config.image_size, config.image_size, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    text = torch.randint(0, 128, (batch, config.instruction_bytes), dtype=torch.uint8)
    return images, text, torch.randn(batch, config.actions)


def training_rate(config: NanoConfig, mixed_precision: bool, repeats: int) -> float:
    """Return frames a second of forward, backward and update."""
    torch.manual_seed(0)
    policy = BasePolicy(config, ActionSpace.blank(14, 14)).train()
    policy.backbone.mixed_precision = mixed_precision
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    inputs = observation(BATCH, config)
    target = torch.randn(BATCH, config.chunk, config.actions)
    mask = torch.ones(BATCH, config.chunk)

    def step() -> None:
        loss = policy.bc_loss(policy.sample(policy.encode(*inputs)), target, mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return BATCH / median_s(step, repeats)


def inference_ms(config: NanoConfig, repeats: int) -> float:
    """Return milliseconds of one frame."""
    torch.manual_seed(0)
    policy = BasePolicy(config, ActionSpace.blank(14, 14)).eval()
    inputs = observation(1, config)
    with torch.inference_mode():
        return 1e3 * median_s(lambda: policy(*inputs), 20 * repeats)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of training")
    parser.add_argument("--repeats", type=int, default=10, help="timed training steps")
    options = parser.parse_args()
    base = NanoConfig()
    size = sum(p.numel() for p in BasePolicy(base, ActionSpace.blank(14, 14)).parameters())
    print(f"parameters {size:,}; batch {BATCH}; {options.threads} threads for training, 1 for inference")
    print(f"{'head':>5} {'float32 frames/s':>17} {'bfloat16 frames/s':>18} {'ratio':>6} {'inference ms':>13}")
    for head in ("l1", "flow"):
        config = replace(base, head=head)  # type: ignore[arg-type]
        torch.set_num_threads(options.threads)
        full, half = (training_rate(config, mixed, options.repeats) for mixed in (False, True))
        torch.set_num_threads(1)
        single = inference_ms(config, options.repeats)
        print(f"{head:>5} {full:17.0f} {half:18.0f} {half / full:6.2f} {single:13.2f}", flush=True)


if __name__ == "__main__":
    main()
