"""Methods compared over many data sets: average ranks, the Friedman test and the critical difference.

>>> accuracy = jnp.array([[0.91, 0.90, 0.85], [0.72, 0.70, 0.71], [0.99, 0.98, 0.98], [0.65, 0.61, 0.60]])
>>> test = friedman(accuracy, axis=1, over=0)  # methods along axis 1, data sets along axis 0
>>> test.ranks
Array([1.   , 2.375, 2.625], dtype=float32)
>>> f"{test.p:.4f} {test.f_p:.4f} {critical_difference(3, 4):.3f}"
'0.0381 0.0062 1.657'
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, gammaincc
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._samples import Axes, compiled, greater, is_exact, sample_last


class FriedmanTest(NamedTuple):
    """Average ranks with the tests of "all methods are alike".

    Attributes:
        ranks: Average rank of each method, 1 is best, ``[..., method]``.
        chi2: Friedman's statistic, corrected for ties.
        p: Its p-value, with k - 1 degrees of freedom.
        f: Iman and Davenport's statistic.
        f_p: Its p-value, with k - 1 and (k - 1)(N - 1) degrees of freedom.
    """

    ranks: jax.Array
    chi2: jax.Array
    p: jax.Array
    f: jax.Array
    f_p: jax.Array


@compiled
def ranks(x: ArrayLike, *, axis: int, best: str = "highest", diverged: str = "nan") -> jax.Array:
    """Ranks, 1 for the best value; values that are equal, or within rounding of each other, share their mean rank.

    Args:
        x: Scores.
        axis: The axis along which they are ranked.
        best: "highest" or "lowest".
        diverged: What a NaN does: "nan" makes its lane NaN; with "worst" all NaN share the last ranks.

    Returns:
        The ranks, of the shape of ``x``.

    Raises:
        ValueError: For unknown options, and an axis that ``x`` does not have or that is empty.

    >>> ranks(jnp.array([0.9, 0.7, jnp.nan, 0.9]), axis=0, diverged="worst")
    Array([1.5, 3. , 4. , 1.5], dtype=float32)
    """
    checks.choice("best", best, ("highest", "lowest"))
    checks.choice("diverged", diverged, ("nan", "worst"))
    exact = is_exact(x)
    dtype, (x,) = checks.wide_floats(x=x)
    rows = sample_last("x", x, axis)
    missing = jnp.isnan(rows)
    rows = jnp.where(missing, 0, rows if best == "lowest" else -rows)
    # Pairs compared, not `jax.scipy.stats.rankdata`: it makes any NaN a NaN of all, and is slower for few methods.
    mine, others, mine_missing, others_missing = rows[..., :, None], rows[..., None, :], missing[..., None], missing
    same = mine_missing == others_missing[..., None, :]
    before = jnp.where(same, greater(mine, others, exact=exact), mine_missing)
    after = jnp.where(same, greater(others, mine, exact=exact), ~mine_missing)
    below, above = (jnp.sum(a, -1).astype(x.dtype) for a in (before, after))
    result = below + (x.shape[axis] - below - above + 1) / 2
    if diverged == "nan":
        result = jnp.where(jnp.any(missing, -1, keepdims=True), jnp.nan, result)
    return jnp.moveaxis(result, -1, axis).astype(dtype)


@compiled
def average_ranks(x: ArrayLike, *, axis: int, over: Axes, best: str = "highest", diverged: str = "nan") -> jax.Array:
    """`ranks` of the methods, averaged over the data sets.

    All ranks weigh the same: k (k + 1)/2 a data set, so that the averages have mean (k + 1)/2.

    Args:
        x: Scores.
        axis: The axis of the methods.
        over: The axis or axes of the data sets.
        best: "highest" or "lowest".
        diverged: As of `ranks`.

    Returns:
        Average ranks, without the axes of the data sets.

    Raises:
        ValueError: As `ranks`.

    >>> average_ranks(jnp.array([[3.0, 1.0], [2.0, 2.0]]), axis=1, over=0)
    Array([1.25, 1.75], dtype=float32)
    """
    dtype, _ = checks.wide_floats(x=x)
    return jnp.mean(sample_last("x", ranks(x, axis=axis, best=best, diverged=diverged), over), -1).astype(dtype)


@compiled
def friedman(x: ArrayLike, *, axis: int, over: Axes, best: str = "highest", diverged: str = "nan") -> FriedmanTest:
    """Friedman's test that k methods are alike on N data sets.

    With centred ranks ``c_ij = r_ij - (k + 1)/2`` of method j on set i, ties as they are, and their means m_j over the
    sets: ``chi2 = (k - 1) N^2 sum_j m_j^2 / sum_ij c_ij^2``, ``F = (N - 1) N sum_j m_j^2 / sum_ij (c_ij - m_j)^2``.
    F is the one to read: chi2 is conservative. Where all sets order the methods alike F is infinite; where all values
    tie the statistics are NaN. A NaN makes its own comparison NaN. Results have at least float32; no p-value
    is 0, but at least the smallest normal number.

    Args:
        x: Scores.
        axis: The axis of the methods.
        over: The axis or axes of the data sets.
        best: "highest" or "lowest".
        diverged: As of `ranks`.

    Returns:
        Average ranks, statistics and p-values, of the shape of the other axes.

    Raises:
        ValueError: For fewer than two methods, an ``axis`` that is among ``over``, and as `ranks`.

    Source: Friedman 1937; Iman, Davenport 1980; Demsar 2006, section 3.2.2.

    >>> friedman(jnp.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]), axis=1, over=0).chi2.round(4)
    Array(3., dtype=float32)
    """
    table = ranks(x, axis=axis, best=best, diverged=diverged)
    _, (x,) = checks.wide_floats(x=x)
    table = table.astype(x.dtype)
    at = axis % x.ndim
    sets = [a % x.ndim for a in ((over,) if isinstance(over, int) else over)]
    k = x.shape[at]
    if at in sets:
        raise ValueError(f"`over` must not name the axis of the methods; got axis {axis} and over {over}")
    if k < 2:
        raise ValueError(f"`x` must hold at least two methods along axis {axis}; got {k}")
    table = sample_last("x", jnp.moveaxis(table, at, -1), [a - (a > at) for a in sets])  # [..., methods, data sets]
    n = table.shape[-1]
    off = table - (k + 1) / 2
    center = jnp.mean(off, -1)
    between = n * jnp.sum(jnp.square(center), -1)
    chi2 = (k - 1) * n * between / jnp.sum(jnp.square(off), (-2, -1))
    within = jnp.sum(jnp.square(off - center[..., None]), (-2, -1))
    within = jnp.where(within <= k * n * k**2 * jnp.finfo(x.dtype).eps, 0, within)
    f = (n - 1) * between / within
    low, high = jnp.asarray((k - 1) / 2, x.dtype), jnp.asarray((k - 1) * (n - 1) / 2, x.dtype)
    # Both functions iterate until all lanes have converged: a NaN in one would move the last digits of the others.
    share = 1 / (1 + f * low / high)  # 0 at an infinite F
    p = gammaincc(low, jnp.where(jnp.isnan(chi2), 0, chi2 / 2))
    f_p = betainc(high, low, jnp.where(jnp.isnan(f), 0, share))
    least = jnp.finfo(x.dtype).tiny
    p = jnp.where(jnp.isnan(chi2), jnp.nan, jnp.maximum(p, least))
    f_p = jnp.where(jnp.isnan(f), jnp.nan, jnp.maximum(f_p, least))
    parts = (jnp.mean(table, -1), chi2, p, f, f_p)
    return FriedmanTest(*(a.astype(x.dtype) for a in parts))


def critical_difference(methods: int, sets: int, *, level: float = 0.05) -> float:
    """Nemenyi's critical difference: average ranks further apart differ at ``level``, all pairs considered.

    ``q_{1 - level} / sqrt(2) * sqrt(k (k + 1)/(6 N))``, q the quantile of the studentized range of k normals. On the
    host, in double precision.

    Args:
        methods: k, how many methods are compared.
        sets: N, on how many data sets.
        level: Error rate over all pairs.

    Returns:
        The difference of average ranks.

    Raises:
        ValueError: For fewer than two methods, no data set, or a level outside (0, 1).

    Source: Nemenyi 1963; Demsar 2006, section 3.2.2 and table 5.

    >>> f"{critical_difference(4, 14):.2f}"  # Demsar's example has 1.25, from q rounded to 2.569
    '1.25'
    """
    checks.whole(2, methods=methods)
    checks.whole(1, sets=sets)
    checks.require(lambda v: (v > 0) & (v < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    from scipy.stats import studentized_range  # half a second to import

    q = float(studentized_range.ppf(1 - level, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * sets))
