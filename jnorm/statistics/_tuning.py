"""Tuning curves: the best of so many draws of a random search, with exact bands.

>>> rng = np.random.default_rng(0)
>>> accuracy = 0.9 - 0.1 * rng.exponential(size=40)  # of 40 random configurations
>>> curve = tuning_curve(accuracy, (1, 4, 16), axis=0, support=(0.0, 1.0))
>>> print(*(f"{n} draws: {v:.3f} [{a:.3f}, {b:.3f}]" for n, v, a, b in zip(*curve)), sep="; ")
1 draws: 0.815 [0.777, 0.855]; 4 draws: 0.885 [0.859, 0.900]; 16 draws: 0.900 [0.886, 1.000]
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jnorm._ground import checks
from jnorm.statistics._counts import joint_bounds
from jnorm.statistics._samples import reals_last

BEST = ("highest", "lowest")


class TuningCurve(NamedTuple):
    """The best of n draws, with a band that holds the whole curve.

    Attributes:
        draws: Numbers of draws, ``[draws]``.
        value: Estimates, ``[..., draws]``.
        low: Lower ends of the band.
        high: Upper ends.
    """

    draws: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def tuning_curve(
    scores: ArrayLike,
    draws: Sequence[int] | np.ndarray | None = None,
    *,
    axis: int,
    best: str = "highest",
    quantile: float = 0.5,
    level: float = 0.05,
    support: tuple[float, float] = (-math.inf, math.inf),
) -> TuningCurve:
    """The median of the best of n draws as a function of n, with an exact simultaneous confidence band.

    The best of n independent draws from F has the distribution function ``F^n``, so its median is the ``0.5^(1/n)``
    quantile of F, and of N draws that quantile lies between the a-th and the b-th best with a probability that only a
    and b decide. The band is narrowest at equal tails: it holds the curve at all ``draws`` together with probability
    ``1 - level`` or a little more, whatever F is and however few scores there are. Bands through one for all of F, as
    in the source, are wider. From about ``n = N/5`` on the upper end is that of the support: nothing is known beyond
    the best score. The draws must be independent: a random search, not a grid and not an adaptive one.

    Args:
        scores: One number a draw. A run that diverged (not finite) counts as worse than all others.
        draws: Numbers of draws n; by default 1, ..., N.
        axis: The axis of the draws.
        best: "highest" or "lowest".
        quantile: Which quantile of the best, .5 for the median.
        level: The confidence of the band is ``1 - level``.
        support: The lowest and the highest score that there can be, such as (0, 1) of accuracies.

    Returns:
        The curve, in double precision on the host.

    Raises:
        ValueError: For numbers of draws that are no whole numbers above 0, an unknown ``best``, a quantile or a level
            outside (0, 1), scores outside the support, and an axis that ``scores`` does not have.

    Source: Lourie, Cho, He 2023, "Show your work with confidence"; Learned-Miller, DeStefano 2008.

    >>> tuning_curve(np.arange(1.0, 11.0), (1, 5), axis=0).value
    array([5., 9.])
    """
    checks.choice("best", best, BEST)
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", quantile=quantile, level=level)
    x = reals_last("scores", scores, axis)
    n = x.shape[-1]
    number = _numbers(draws, n)
    if not support[0] < support[1] or np.any(np.isfinite(x) & ((x < support[0]) | (x > support[1]))):
        raise ValueError(f"`support` must hold all scores; got {support}, scores from {np.nanmin(x)} to {np.nanmax(x)}")
    sign = 1 if best == "highest" else -1
    worst, top = (sign * end for end in support[::sign])
    x = np.sort(np.where(np.isfinite(x), sign * x, worst), -1)
    padded = np.concatenate([np.full_like(x[..., :1], worst), x, np.full_like(x[..., :1], top)], -1)
    share = quantile ** (1 / number)
    order = np.argsort(share, kind="stable")
    bounds = np.empty((2, len(share)), int)
    bounds[:, order] = joint_bounds(n, tuple(share[order].tolist()), float(level))
    ends = np.ceil(n * share * (1 - 4 * np.finfo(float).eps)).astype(int), bounds[0], bounds[1] + 1
    value, low, high = (sign * padded[..., end] for end in ends)
    return TuningCurve(number, value, *((low, high) if sign == 1 else (high, low)))


def expected_best(
    scores: ArrayLike,
    draws: Sequence[int] | np.ndarray | None = None,
    *,
    axis: int,
    by: ArrayLike | None = None,
    best: str = "highest",
) -> np.ndarray:
    """The expected score of the best of n draws; or of the one that is best by another score, as test by dev.

    The mean over all subsets of n of the N draws, without bias: with the scores sorted, ``sum_i w_i x_(i)``,
    ``w_i = C(i - 1, n - 1)/C(N, n)``. Draws that tie share their weights.

    Args:
        scores: One number a draw.
        draws: Numbers of draws n; by default 1, ..., N.
        axis: The axis of the draws.
        by: What the best is chosen by, of the shape of ``scores``; by default the scores. What is not finite counts as
            worse than all others.
        best: "highest" or "lowest", of ``by``.

    Returns:
        Expectations ``[..., draws]``, in double precision on the host; NaN where a draw that may be chosen is NaN.

    Raises:
        ValueError: For numbers of draws outside 1, ..., N, an unknown ``best``, ``by`` of another shape, and an axis
            that ``scores`` does not have.

    Source: Dodge et al. 2019; Tang et al. 2020 (without bias).

    >>> dev, test = np.array([0.7, 0.8, 0.9]), np.array([0.70, 0.79, 0.81])
    >>> expected_best(dev, axis=0).round(4), expected_best(test, axis=0, by=dev).round(4)
    (array([0.8   , 0.8667, 0.9   ]), array([0.7667, 0.8033, 0.81  ]))
    """
    checks.choice("best", best, BEST)
    x = reals_last("scores", scores, axis)
    chosen = x if by is None else reals_last("by", by, axis)
    if chosen.shape != x.shape:
        raise ValueError(f"`by` must have the shape of `scores`, {x.shape}; got {chosen.shape}")
    n = x.shape[-1]
    number = _numbers(draws, n)
    checks.require(lambda v: v <= n, f"`{{}}` must satisfy {{}} <= {n}, the number of scores", draws=number)
    chosen = np.where(np.isfinite(chosen), chosen if best == "highest" else -chosen, -np.inf)
    # Subsets of n among the first i draws, as a share of all: with ties up to the last of those that are equal.
    within = np.array([_share_of_subsets(int(k), n) for k in number])
    below = np.sum(chosen[..., None, :] < chosen[..., :, None], -1)
    up_to = np.sum(chosen[..., None, :] <= chosen[..., :, None], -1)
    weight = (within[:, up_to] - within[:, below]) / (up_to - below)  # [draws, ..., N]
    return np.moveaxis(np.sum(np.where(weight > 0, weight * x, 0), -1), 0, -1)


def _numbers(draws: Sequence[int] | np.ndarray | None, n: int) -> np.ndarray:
    """The numbers of draws that are asked for; by default up to all n."""
    number = np.arange(1, n + 1) if draws is None else np.asarray(draws)
    checks.whole(1, draws=number)
    return number


def _share_of_subsets(size: int, n: int) -> np.ndarray:
    """The share of the subsets of n draws that lie among the first 0, ..., n of them."""
    i = np.arange(n + 1)
    fits = i >= size
    log = special.gammaln(i + 1) - special.gammaln(np.where(fits, i - size, 0) + 1)
    return np.where(fits, np.exp(log - log[-1]), 0)
