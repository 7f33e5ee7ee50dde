"""How many of n uniform draws lie below each of several shares: exact bounds that hold together.

They are what distribution-free statements about several quantiles rest on: the quantile of a share lies between the
a-th and the b-th of n sorted draws where at least a and fewer than b of the draws lie below that share.
"""

from functools import cache

import numpy as np
from scipy import special


def joint_probability(n: int, shares: np.ndarray, least: np.ndarray, most: np.ndarray) -> float:
    """The probability that of n uniform draws ``least[i]`` to ``most[i]`` lie below ``shares[i]``, for all i.

    The number of draws below t is a Poisson process with n points by 1, given that it has n: its law is carried from
    share to share, cut off at the bounds. All terms are positive; nothing cancels. Source: Moscovich, Nadler 2017.

    Args:
        n: The number of draws.
        shares: Shares, in increasing order.
        least: Lower bounds, which grow.
        most: Upper bounds, which grow.

    Returns:
        The probability.

    >>> f"{joint_probability(2, np.array([0.5]), np.array([1]), np.array([1])):.4f}"  # one draw in either half
    '0.5000'
    """
    law, start, time = np.ones(1), 0, 0.0  # of the counts from `start` on
    for share, low, high in zip((*shares, 1.0), (*least, n), (*most, n), strict=True):
        law = np.convolve(law, _poisson(n * (share - time), high - start + 1))
        law = law[max(low - start, 0) : high - start + 1]
        start, time = max(low, start), share
    return float(law[-1] / _poisson(float(n), n + 1)[-1])


def _poisson(mean: float, size: int) -> np.ndarray:
    k = np.arange(size)
    return np.exp(special.xlogy(k, mean) - mean - special.gammaln(k + 1))


@cache
def joint_bounds(n: int, shares: tuple[float, ...], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the numbers of draws below some shares that hold together with probability ``1 - level`` or more.

    Every count has the same probability, at most, to lie below its lower bound, and above its upper one; the largest
    such probability is taken.

    Args:
        n: The number of draws.
        shares: Shares, in increasing order.
        level: The confidence is ``1 - level``.

    Returns:
        Lower and upper bounds, ``[shares]``.

    >>> joint_bounds(20, (0.5, 0.9), 0.05)
    (array([ 5, 15]), array([15, 20]))
    """
    at, k = np.array(shares), np.arange(n + 1)
    below = special.bdtr(k, n, at[:, None])  # P(count <= k)
    above = special.bdtrc(k, n, at[:, None])

    def bounds(tail: float) -> tuple[np.ndarray, np.ndarray]:
        return np.sum(below <= tail, 1), np.sum(above > tail, 1)

    low, high = np.log(level / (4 * len(at))), np.log(level)
    for _ in range(30):
        middle = (low + high) / 2
        holds = joint_probability(n, at, *bounds(np.exp(middle))) >= 1 - level
        low, high = (middle, high) if holds else (low, middle)
    return bounds(np.exp(low))
