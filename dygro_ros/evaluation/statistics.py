"""What a handful of trials can say: intervals for one success rate and tests for the difference of two.

Every function takes counts or outcomes and returns plain numbers; rates are fractions in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A two-sided interval."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """Success rate of a policy minus that of another on the same episodes."""

    difference: float
    """Mean difference, in [-1, 1]."""
    interval: Interval
    """Bonett-Price interval of the difference."""
    p_value: float
    """Exact two-sided McNemar test of no difference."""
    gained: int
    """Episodes that only the first policy solved."""
    lost: int
    """Episodes that only the second policy solved."""
    episodes: int


def _check_counts(successes: int, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's score interval of a success rate (Wilson 1927), without continuity correction."""
    _check_counts(successes, trials)
    found = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def clopper_pearson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Clopper and Pearson's exact interval of a success rate (1934): it never covers too little."""
    _check_counts(successes, trials)
    found = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return Interval(float(found.low), float(found.high))


def barnard_p_value(successes: int, trials: int, other_successes: int, other_trials: int) -> float:
    """Return Barnard's exact two-sided p-value (pooled) that two independent policies are equally good."""
    return float(stats.barnard_exact(_table(successes, trials, other_successes, other_trials)).pvalue)


def fisher_p_value(successes: int, trials: int, other_successes: int, other_trials: int) -> float:
    """Return Fisher's exact two-sided p-value; more cautious than Barnard's, given for comparison."""
    return float(stats.fisher_exact(_table(successes, trials, other_successes, other_trials)).pvalue)


def _table(successes: int, trials: int, other_successes: int, other_trials: int) -> list[list[int]]:
    """Return the 2 x 2 table with one policy a column, as scipy's Barnard test reads it."""
    _check_counts(successes, trials)
    _check_counts(other_successes, other_trials)
    return [[successes, other_successes], [trials - successes, other_trials - other_successes]]


def newcombe_interval(
    successes: int, trials: int, other_successes: int, other_trials: int, confidence: float = CONFIDENCE
) -> Interval:
    """Return Newcombe's interval of the difference of two independent success rates (1998, method 10).

    It joins the Wilson intervals of both, and so keeps within [-1, 1] and its width where a rate is 0 or 1.
    """
    rate, other = successes / trials, other_successes / other_trials
    ours = wilson_interval(successes, trials, confidence)
    theirs = wilson_interval(other_successes, other_trials, confidence)
    difference = rate - other
    return Interval(
        difference - math.hypot(rate - ours.low, theirs.high - other),
        difference + math.hypot(ours.high - rate, other - theirs.low),
    )


def mcnemar_p_value(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p-value from the episodes on which two policies disagree."""
    if gained < 0 or lost < 0:
        raise ValueError(f"counts must not be negative, got {gained} and {lost}")
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_difference(
    outcomes: Sequence[bool], other_outcomes: Sequence[bool], confidence: float = CONFIDENCE
) -> PairedDifference:
    """Compare two policies on the same episodes, in the same order.

    The interval is Bonett and Price's (2012): Wald's paired interval after one pseudo-episode has been added
    to either kind of disagreement. Unlike Wald's it keeps its width when the policies never disagree.

    Raises:
        ValueError: The sequences are empty or differ in length.
    """
    if not outcomes or len(outcomes) != len(other_outcomes):
        raise ValueError(f"expected two equally long outcomes, got {len(outcomes)} and {len(other_outcomes)}")
    count = len(outcomes)
    gained = sum(bool(a) and not b for a, b in zip(outcomes, other_outcomes, strict=True))
    lost = sum(bool(b) and not a for a, b in zip(outcomes, other_outcomes, strict=True))
    up, down = (gained + 1) / (count + 2), (lost + 1) / (count + 2)
    quantile = float(stats.norm.ppf(0.5 + confidence / 2))
    half = quantile * math.sqrt((up + down - (up - down) ** 2) / (count + 2))
    interval = Interval(max(-1.0, up - down - half), min(1.0, up - down + half))
    return PairedDifference(
        (gained - lost) / count, interval, mcnemar_p_value(gained, lost), gained, lost, count
    )


def cluster_interval(cluster_means: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
    """Return the mean over clusters (such as training seeds) and Student's t interval over their means.

    Episodes of one trained policy are not independent of each other: a claim about the training method
    has as many independent observations as there are training seeds.

    Raises:
        ValueError: Fewer than two clusters.
    """
    means = np.asarray(cluster_means, dtype=np.float64)
    if means.ndim != 1 or len(means) < 2:
        raise ValueError(f"an interval over clusters needs at least two, got shape {means.shape}")
    quantile = float(stats.t.ppf(0.5 + confidence / 2, len(means) - 1))
    half = quantile * float(means.std(ddof=1)) / math.sqrt(len(means))
    mean = float(means.mean())
    return mean, Interval(mean - half, mean + half)


def mutual_information_bits(counts: ArrayLike) -> float:
    """Return the mutual information of group and choice [bit], each group weighted equally.

    Groups (rows, such as tasks) count alike however many choices (columns, such as the top expert of a chunk)
    were observed in them. This is the plug-in estimate: biased upwards by about (groups - 1)(choices - 1) /
    (2 ln 2 x observations) bit, and at most log2(groups).

    Args:
        counts: How often each choice was made in each group, (G, C); every group needs an observation.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or (table < 0).any() or (table.sum(axis=1) == 0).any():
        raise ValueError(f"expected counts of shape (groups, choices), no group empty, got {table.tolist()}")
    conditional = table / table.sum(axis=1, keepdims=True)
    marginal = conditional.mean(axis=0)
    return float(_entropy_bits(marginal) - np.mean([_entropy_bits(row) for row in conditional]))


def _entropy_bits(probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log2(positive)).sum())
