import pytest

from dygro_ros.errors import UserError
from sim2real.seeds import SeedPurpose, seeds_for
from training.evaluation_config import EvaluationConfig


def test_what_passes_has_a_seed_for_each_episode():
    for config in (EvaluationConfig(), EvaluationConfig(episodes=100_000, seed=999)):
        config.check()
        assert len(seeds_for(SeedPurpose.EVALUATION, config.seed, 0, config.episodes)) == config.episodes


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (EvaluationConfig(episodes=0), r"--evaluation\.episodes must be in 1\.\.100000, got 0"),
        (EvaluationConfig(episodes=100_001), r"--evaluation\.episodes must be in 1\.\.100000, got 100001"),
        (EvaluationConfig(seed=1000), r"--evaluation\.seed must be in 0\.\.999, got 1000"),
        (EvaluationConfig(seed=-1), r"--evaluation\.seed must be in 0\.\.999, got -1"),
    ],
)
def test_episodes_without_a_seed_are_refused(config, words):
    with pytest.raises(UserError, match=words):
        config.check()
