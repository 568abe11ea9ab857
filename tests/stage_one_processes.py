"""What tests/test_processes.py starts once, and twice by torchrun: a few steps of Stage I on the tiny `base`.

    python tests/stage_one_processes.py OUT

Writes, from the main process, the losses of every step and the weights after the last.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from stage_one_fixtures import SyntheticEpisode, episodes  # noqa: E402
from vision_language_fixtures import TEXTS, TINY, tiny_codec  # noqa: E402

from training.dataset import FrameDataset  # noqa: E402
from training.pretrainer import PretrainConfig, Pretrainer  # noqa: E402
from training.processes import joined  # noqa: E402

STEPS = 3
CONFIG = PretrainConfig(
    steps=STEPS,
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=1,
    lambda_ib=0.1,
    mixed_precision=False,
    critic_width=16,
)


def demonstrations() -> list[SyntheticEpisode]:
    """Synthetic episodes whose words the tiny tokenizer's window holds."""
    made = episodes(4, frames=6, size=28, cameras=2)
    return [replace(episode, instructions=(TEXTS[index % 2],)) for index, episode in enumerate(made)]


def main(out: Path) -> None:
    """Train and write."""
    torch.set_num_threads(1)
    dataset = FrameDataset(demonstrations(), TINY.chunk, codec=tiny_codec())
    with joined("cpu") as processes:
        torch.manual_seed(CONFIG.seed)
        trainer = Pretrainer(CONFIG, TINY, dataset, processes=processes)
        losses = [trainer.step() for _ in range(STEPS)]
        processes.wait()
        if processes.main:
            learned = {"policy": trainer.policy, "critic": trainer.critic, "objects": trainer.objects}
            state = {
                f"{part}.{name}": value.clone()
                for part, module in learned.items()
                for name, value in module.state_dict().items()
            }
            save_file(state, out / "weights.safetensors")
            (out / "losses.json").write_text(json.dumps({"count": processes.count, "losses": losses}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
