"""No number of a run's configuration goes unchecked: out of its range each is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from dygro_ros.errors import UserError
from models.base_policy import NanoConfig, VisionLanguageConfig
from training.config import PRESETS, TrainConfig, preset
from training.evaluation_config import EvaluationConfig
from training.libero_demonstrations import LiberoConfig
from training.methods.off_policy import OffPolicyConfig
from training.option_ranges import RANGES, check_numbers
from training.ray_session import RayConfig

# They check their own: with the world, the seeds there are, and the cluster.
OWN_CHECKS = (LiberoConfig, EvaluationConfig, RayConfig)


def numbers(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield every number of a configuration and of those in it."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from numbers(value, (*path, field.name))
        elif type(value) in (int, float):
            yield (*path, field.name), value


def changed(config: Any, path: tuple[str, ...], value: float) -> Any:
    name, *rest = path
    inner = changed(getattr(config, name), tuple(rest), value) if rest else value
    return replace(config, **{name: inner})


WITH_NUMBERS = [*numbers(TrainConfig()), *numbers(VisionLanguageConfig(), ("network",))]


@pytest.mark.parametrize(("path", "value"), WITH_NUMBERS, ids=[".".join(path) for path, _ in WITH_NUMBERS])
def test_every_number_has_its_range(path: tuple[str, ...], value: float) -> None:
    config = TrainConfig()
    if len(path) == 2 and path[0] == "network" and not hasattr(config.network, path[1]):
        config = replace(config, network=VisionLanguageConfig())
    if len(path) > 1 and isinstance(getattr(config, path[0]), OWN_CHECKS):
        return
    wrong = -2 if isinstance(value, int) else math.nan
    option = "--" + ".".join(path).replace("_", "-")
    try:
        spoiled = changed(config, path, wrong)
    except ValueError as error:
        assert path[-1] in str(error) or "std_initial" in str(error)  # refused where it is built
        return
    with pytest.raises(UserError, match=rf"^{option} must be .*, got {wrong}$"):
        spoiled.resolved()


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_preset_may_be(name: str) -> None:
    check_numbers(preset(name))


def test_numbers_in_a_row_are_checked_one_by_one() -> None:
    with pytest.raises(UserError, match=r"--network\.stem-channels must be at least 1, got 0"):
        check_numbers(replace(TrainConfig(), network=NanoConfig(stem_channels=(16, 0, 48))))


def test_a_store_has_room_for_an_episode() -> None:
    config = replace(TrainConfig(), off_policy=OffPolicyConfig(online_capacity=1999))
    with pytest.raises(UserError, match=r"--off-policy\.online-capacity must be at least 2000, got 1999"):
        check_numbers(config)


@pytest.mark.parametrize("network", [NanoConfig, VisionLanguageConfig])
def test_no_heads_are_refused_as_a_size_that_does_not_divide(network: type[NanoConfig]) -> None:
    with pytest.raises(ValueError, match="must be a multiple of heads"):
        network(heads=0)


def test_a_number_without_a_range_is_none_of_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RANGES, NanoConfig, {})
    with pytest.raises(UserError, match=r"--network\.image-size has no range"):
        check_numbers(TrainConfig())
