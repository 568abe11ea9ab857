"""The counts are those of the modules, and the published sizes give the size that the paper's policy has."""

from __future__ import annotations

from stage_one_fixtures import SMALL, small_policy
from vision_language_fixtures import TINY, VOCABULARY, tiny_policy

from models.base_policy import VisionLanguageConfig
from models.parameters import LOOKED_UP, READ, count_parameters, parameters_of


def test_parts_add_up_and_nothing_is_allocated() -> None:
    for config, policy in ((SMALL, small_policy()), (TINY, tiny_policy())):
        counts = count_parameters(config)
        assert counts == parameters_of(policy)
        assert counts["total"] == sum(parameter.numel() for parameter in policy.parameters())
        parts = [count for name, count in counts.items() if name not in ("total", READ)]
        assert sum(parts) == counts["total"]
        assert min(parts) >= 0


def test_the_embedding_is_looked_up_and_not_read() -> None:
    counts = count_parameters(TINY)
    assert counts[LOOKED_UP] == VOCABULARY * TINY.width
    assert counts[READ] == counts["total"] - counts[LOOKED_UP]
    assert count_parameters(SMALL)[READ] == count_parameters(SMALL)["total"]


def test_the_published_sizes_are_the_papers_scale() -> None:
    counts = count_parameters(VisionLanguageConfig())
    # The checkpoints' own counts, less SigLIP's and DINOv2's last layer, head and norm, and lm_head.
    assert counts["language model"] + counts[LOOKED_UP] == 494_032_768
    assert 1.25e9 < counts[READ] < 1.35e9
