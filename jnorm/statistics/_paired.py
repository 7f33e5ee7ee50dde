"""Paired tests: does a difference over shared seeds or data sets favour one side, without a normal law?

Each takes two arrays, or one array of differences, and the axis of the pairs. The alternative is about ``x - y``:
"two-sided", "greater" or "less". A NaN makes its own lane NaN. The null distributions are those of independent signs
given the absolute differences, so they are exact with ties and zeros too.

>>> x = jnp.array([0.91, 0.93, 0.92, 0.94, 0.95])
>>> y = jnp.array([0.90, 0.90, 0.90, 0.90, 0.90])
>>> [f"{test.p:.4f}" for test in (sign_test(x, y, axis=0), wilcoxon(x, y, axis=0))]
['0.0625', '0.0625']
>>> holm(jnp.array([0.01, 0.04, 0.03]), axis=0).round(3)
Array([0.03, 0.06, 0.06], dtype=float32)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import betainc, ndtr
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._samples import Axes, last, pairs

ALTERNATIVES = ("two-sided", "greater", "less")
EXACT = 256  # pairs up to which the signed-rank test sums its null distribution instead of taking it normal


class Test(NamedTuple):
    """A test statistic with its p-value."""

    statistic: jax.Array
    p: jax.Array


def sign_test(x: ArrayLike, y: ArrayLike = 0.0, *, axis: Axes, alternative: str = "two-sided") -> Test:
    """The sign test: of the differences that are not zero, how many are positive, against Binomial(n, 1/2).

    Exact. Without any difference p is 1. Raises ``ValueError`` for an unknown alternative, shapes that do not broadcast
    and an axis that the arrays do not have. Source: Conover 1999, section 3.4.

    >>> sign_test(jnp.array([1.0, 2.0, 3.0, 0.0]), axis=0, alternative="greater").p.round(4)
    Array(0.125, dtype=float32)
    """
    checks.choice("alternative", alternative, ALTERNATIVES)
    dtype, d = pairs(x, y, axis)
    up = jnp.sum(d > 0, -1).astype(d.dtype)
    down = jnp.sum(d < 0, -1).astype(d.dtype)
    bad = jnp.any(jnp.isnan(d), -1)

    def tail(k: jax.Array) -> jax.Array:
        """P(Binomial(up + down, 1/2) >= k)."""
        inside = betainc(jnp.maximum(k, 1), jnp.maximum(up + down - k + 1, 1), jnp.full_like(k, 0.5))
        return jnp.where(k <= 0, 1, inside)

    return _test(dtype, bad, up, tail(up), tail(down), alternative)


def wilcoxon(
    x: ArrayLike, y: ArrayLike = 0.0, *, axis: Axes, alternative: str = "two-sided", zeros: str = "wilcox"
) -> Test:
    """The signed-rank test: the sum W+ of the ranks of ``|x - y|`` over the pairs where ``x > y``.

    Ties share their mean rank. Zeros are dropped before ranking (``zeros="wilcox"``) or after it ("pratt"). Up to 256
    pairs the null distribution is summed exactly, ties and zeros included (SciPy's exact method knows no ties); above,
    it is normal with their variance. Rounding may split ties: round accuracies that are counts before. The test is
    about a symmetric law of the differences. Work and memory grow with the square of the number of pairs (exactly:
    work with its cube).

    Raises ``ValueError`` as `sign_test`, and for an unknown ``zeros``. Sources: Wilcoxon 1945; Pratt 1959.

    >>> wilcoxon(jnp.array([1.0, 2.0, 3.0, -1.0, 0.0]), axis=0)  # ranks 1.5, 3, 4, -1.5
    Test(statistic=Array(8.5, dtype=float32), p=Array(0.375, dtype=float32))
    """
    checks.choice("alternative", alternative, ALTERNATIVES)
    checks.choice("zeros", zeros, ("wilcox", "pratt"))
    dtype, d = pairs(x, y, axis)
    bad = jnp.any(jnp.isnan(d), -1)
    size = jnp.abs(d)
    counted = jnp.ones_like(d, bool) if zeros == "pratt" else size > 0
    below = jnp.sum((size[..., None, :] < size[..., :, None]) & counted[..., None, :], -1)
    equal = jnp.sum((size[..., None, :] == size[..., :, None]) & counted[..., None, :], -1)
    twice = jnp.where(size > 0, 2 * below + equal + 1, 0)  # twice the mean rank: a whole number
    doubled = jnp.sum(jnp.where(d > 0, twice, 0), -1)
    total = jnp.sum(twice, -1)
    if d.shape[-1] <= EXACT:
        upper = jnp.vectorize(_exact_tail, signature="(n),()->()")
        greater, less = upper(twice.astype(d.dtype), doubled), upper(twice.astype(d.dtype), total - doubled)
    else:
        root = jnp.sqrt(jnp.sum(jnp.square(twice.astype(d.dtype)), -1))
        z = (2 * doubled - total).astype(d.dtype) / jnp.where(root > 0, root, 1)
        greater, less = jnp.where(root > 0, ndtr(-z), 1), jnp.where(root > 0, ndtr(z), 1)
    return _test(dtype, bad, doubled.astype(d.dtype) / 2, greater, less, alternative)


def _exact_tail(twice: jax.Array, doubled: jax.Array) -> jax.Array:
    """P(sum of random ones of the doubled ranks >= doubled), by adding one rank after the other."""
    n = twice.shape[-1]
    values = jnp.arange(n * (n + 1) + 1)

    def add(law: jax.Array, rank: jax.Array) -> tuple[jax.Array, None]:
        # What comes round the end is zero: the law has no mass above the sum of all ranks.
        return (law + jnp.roll(law, rank.astype(values.dtype))) / 2, None

    law, _ = lax.scan(add, (values == 0).astype(twice.dtype), twice)
    return jnp.sum(jnp.where(values >= doubled.astype(values.dtype), law, 0))


def permutation(
    key: jax.Array,
    x: ArrayLike,
    y: ArrayLike = 0.0,
    *,
    axis: Axes,
    alternative: str = "two-sided",
    samples: int = 10_000,
) -> Test:
    """The paired permutation test of the mean difference: against all, or ``samples`` random, changes of sign.

    Exact, and without use of the key, where the 2^n changes of sign are no more than ``samples``; otherwise
    ``p = (1 + hits)/(1 + samples)``, which is valid as it is. Sums within rounding of the observed one count as equal
    to it. The two-sided p is twice the smaller tail.

    Raises ``ValueError`` as `sign_test`, and for ``samples`` below 1. Source: Phipson, Smyth 2010.

    >>> permutation(jax.random.key(0), jnp.array([1.0, 2.0, 3.0]), axis=0).p
    Array(0.25, dtype=float32)
    """
    checks.choice("alternative", alternative, ALTERNATIVES)
    checks.whole(1, samples=samples)
    dtype, d = pairs(x, y, axis)
    n = d.shape[-1]
    bad = ~jnp.all(jnp.isfinite(d), -1)
    d = jnp.where(jnp.isfinite(d), d, 0)
    exact = n < 31 and 2**n <= samples
    if exact:
        signs = ((jnp.arange(2**n)[:, None] >> jnp.arange(n)[None]) & 1) * 2 - 1
    else:
        signs = jax.random.rademacher(key, (samples, n))
    sums = jnp.einsum("bn,...n->...b", signs.astype(d.dtype), d, precision=lax.Precision.HIGHEST)
    seen = jnp.sum(d, -1, keepdims=True)
    near = 4 * jnp.finfo(d.dtype).eps * jnp.sum(jnp.abs(d), -1, keepdims=True)
    at_least, at_most = sums >= seen - near, sums <= seen + near
    seen = seen[..., 0]

    def tail(hit: jax.Array) -> jax.Array:
        hits = jnp.sum(hit, -1).astype(d.dtype)
        return hits / len(signs) if exact else (1 + hits) / (1 + len(signs))

    return _test(dtype, bad, seen / n, tail(at_least), tail(at_most), alternative)


def holm(p: ArrayLike, *, axis: Axes) -> jax.Array:
    """P-values corrected for a family of tests along ``axis``: those at most q hold together at error rate q.

    With p_(1) <= ... <= p_(m): ``max_{j <= i} min(1, (m - j + 1) p_(j))``; no assumption on how the tests depend on
    each other. Several axes are one family, and the shape is kept. A NaN makes its family NaN.

    Raises ``ValueError`` for p-values outside [0, 1]. Source: Holm 1979.

    >>> holm(jnp.array([0.02, 0.01, 0.5]), axis=0).round(3)
    Array([0.04, 0.03, 0.5 ], dtype=float32)
    """
    checks.require(lambda v: (v >= 0) & (v <= 1), "`{}` must satisfy 0 <= {} <= 1", p=p)
    dtype, (p,) = checks.wide_floats(p=p)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    family = last("p", p, axis)
    m = family.shape[-1]
    order = jnp.argsort(family, -1)
    factor = jnp.arange(m, 0, -1).astype(p.dtype).reshape((1,) * (family.ndim - 1) + (m,))
    stepped = lax.cummax(jnp.minimum(jnp.take_along_axis(family, order, -1) * factor, 1), axis=family.ndim - 1)
    adjusted = jnp.take_along_axis(stepped, jnp.argsort(order, -1), -1)
    adjusted = jnp.where(jnp.any(jnp.isnan(family), -1, keepdims=True), jnp.nan, adjusted)
    over = [a % p.ndim for a in axes]
    kept = [a for a in range(p.ndim) if a not in over]
    moved = adjusted.reshape([p.shape[a] for a in (*kept, *over)])
    return jnp.transpose(moved, [(*kept, *over).index(a) for a in range(p.ndim)]).astype(dtype)


def _test(
    dtype: Any, bad: jax.Array, statistic: jax.Array, greater: jax.Array, less: jax.Array, alternative: str
) -> Test:
    two_sided = jnp.minimum(2 * jnp.minimum(greater, less), 1)
    p = {"two-sided": two_sided, "greater": greater, "less": less}[alternative]
    p = jnp.minimum(p, 1)
    return Test(*(jnp.where(bad, jnp.nan, a).astype(dtype) for a in (statistic, p)))
