import math

import pytest

from dygro_ros.errors import UserError
from training.option_checks import check_range


def test_numbers_in_range_and_none_pass():
    for value in (1, 2.5, 3, None):
        check_range("--workers", value, 1, 3)
    check_range("--noise", math.inf, 0)


def test_a_bound_may_be_left_out():
    check_range("--rate", 1e-9, 0, above=True)
    with pytest.raises(UserError, match="--rate must be above 0, got 0"):
        check_range("--rate", 0, 0, above=True)


@pytest.mark.parametrize(
    ("value", "most", "words"),
    [
        (0, math.inf, "--workers must be at least 1, got 0"),
        (math.nan, math.inf, "--workers must be at least 1, got nan"),
        (1_000_001, 1_000_000, "--workers must be in 1..1000000, got 1000001"),
    ],
)
def test_a_number_out_of_range_is_named(value, most, words):
    with pytest.raises(UserError) as caught:
        check_range("--workers", value, 1, most)
    assert str(caught.value) == words
