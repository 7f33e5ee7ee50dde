"""What can be measured of an array of values: numbers of fixed shape, each a plain function.

Units are on the last axis, examples on the first. All is computed in at least float32, centred where it is a moment.
An array that holds NaN gives NaN, but for the `histogram`, which leaves it out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm._ground.elementary import power_below

__all__ = [
    "OfSlope",
    "dead",
    "effective_rank",
    "example_correlation",
    "histogram",
    "largest",
    "mean",
    "norm",
    "percentiles",
    "rank",
    "saturation",
    "sign_balance",
    "unit_correlation",
    "variance",
]


@dataclass(frozen=True)
class OfSlope:
    """A measure of an activation's slopes in the place of its values.

    Attributes:
        function: Maps the array of the derivatives, of the activation's shape, to what is measured.
    """

    function: Callable[[jax.Array], Any]


def mean(x: ArrayLike) -> jax.Array:
    """The mean of all entries.

    >>> mean(jnp.array([[1.0, 2.0], [3.0, 6.0]])).item()
    3.0
    """
    return _average(_rows(x))


def variance(x: ArrayLike) -> jax.Array:
    """The mean squared distance of all entries from their mean.

    >>> variance(jnp.array([[1.0, 2.0], [3.0, 6.0]])).item()
    3.5
    """
    rows = _rows(x)
    return _average(jnp.square(rows - _average(rows)))


def norm(x: ArrayLike) -> jax.Array:
    """The root of the sum of squares, which neither overflows nor vanishes before the result does.

    >>> f"{norm(jnp.array([3e30, 4e30])):.3g}"
    '5e+30'
    """
    rows = _rows(x)
    scale = power_below(jnp.max(jnp.abs(rows)))
    return jnp.sqrt(jnp.sum(jnp.sum(jnp.square(rows * (1 / scale)), 0))) * scale


def largest(x: ArrayLike) -> jax.Array:
    """The largest absolute value.

    >>> largest(jnp.array([1.0, -3.0])).item()
    3.0
    """
    return jnp.max(jnp.abs(_rows(x)))


def sign_balance(x: ArrayLike) -> jax.Array:
    """The share of positive entries less that of negative ones: 1 where all are positive, 0 where they balance.

    >>> sign_balance(jnp.array([1.0, 2.0, -3.0, 0.0])).item()
    0.25
    """
    return _average(jnp.sign(_rows(x)))


def saturation(slope: ArrayLike, *, tol: float = 0.05) -> jax.Array:
    """The share of an activation's entries that hardly hand gradients back, ``|phi'(z)| <= tol``.

    Args:
        slope: The derivatives ``phi'(z)``.
        tol: The largest slope that counts as flat.

    >>> saturation(jax.vmap(jax.grad(jnp.tanh))(jnp.array([0.0, 1.0, 4.0, -9.0]))).item()
    0.5
    """
    return _average(_at_most(jnp.abs(_rows(slope)), tol))


def dead(slope: ArrayLike, *, tol: float = 0.01) -> jax.Array:
    """The share of units that hand no gradient back, ``|phi'(z)| <= tol`` for every example, whatever activation it is.

    Of relu these are the units that are negative for all examples; a tanh or SELU is dead far in its flat part.

    Args:
        slope: The derivatives ``phi'(z)``, units last.
        tol: The largest slope that counts as none.

    >>> dead(jnp.array([[0.0, 1.0], [0.0, 0.0]])).item()
    0.5
    """
    return jnp.mean(_at_most(jnp.max(jnp.abs(_rows(slope)), 0), tol))


def rank(x: ArrayLike) -> jax.Array:
    """The numerical rank of the matrix of all examples (and places) by units.

    Singular values count above ``max(shape) eps`` times the largest, as in ``jnp.linalg.matrix_rank``.

    >>> rank(jnp.outer(jnp.arange(3.0), jnp.arange(4.0))).item()
    1.0
    """
    rows = _rows(x)
    s = _singular(rows)
    least = max(rows.shape) * jnp.finfo(s.dtype).eps * jnp.max(s)
    return jnp.where(jnp.isnan(least), jnp.nan, jnp.sum(s > least).astype(s.dtype))


def effective_rank(x: ArrayLike) -> jax.Array:
    """The exponential of the entropy of the singular values, ``exp(-sum p log p)``, p their shares; of zeros 0.

    Source: Roy and Vetterli 2007, The effective rank.

    >>> round(effective_rank(jnp.eye(4)).item(), 5)
    4.0
    """
    s = _singular(_rows(x))
    total = jnp.sum(s)
    share = s / jnp.where(total == 0, 1, total)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0))
    return jnp.where(total == 0, 0, jnp.exp(entropy) + 0 * total)


def unit_correlation(x: ArrayLike) -> jax.Array:
    """The root mean square correlation of two different units over the examples.

    Units that are the same for every example are left out; with fewer than two others it is NaN. n examples of
    independent units have about ``1 / sqrt(n - 1)``.

    >>> round(unit_correlation(jnp.array([[1.0, 2.0], [2.0, 4.0], [5.0, 10.0]])).item(), 5)
    1.0
    """
    rows = _rows(x)
    centred = rows - jnp.mean(rows, 0, keepdims=True)
    length = jnp.sqrt(jnp.sum(jnp.square(centred), 0, keepdims=True))
    unit = centred / jnp.where(length == 0, 1, length)
    gram = jnp.matmul(unit.T, unit, precision=lax.Precision.HIGHEST)
    count = jnp.sum(length != 0).astype(rows.dtype)
    pairs = jnp.where(count > 1, count * (count - 1), jnp.nan)
    off = jnp.where(jnp.eye(len(gram), dtype=bool), 0, gram)
    return jnp.sqrt(jnp.sum(jnp.square(off)) / pairs)


def example_correlation(x: ArrayLike) -> jax.Array:
    """The mean cosine of two different examples over all that each has, the correlation of mean-field theory.

    Examples of zeros are left out; with fewer than two others it is NaN.

    >>> round(example_correlation(jnp.array([[1.0, 0.0], [1.0, 1.0]])).item(), 4)
    0.7071
    """
    wide = _wide(x)
    rows = wide.reshape(wide.shape[0], -1) if wide.ndim > 1 else wide.reshape(1, -1)
    length = jnp.sqrt(jnp.sum(jnp.square(rows), 1, keepdims=True))
    unit = rows / jnp.where(length == 0, 1, length)
    count = jnp.sum(length != 0).astype(rows.dtype)
    pairs = jnp.where(count > 1, count * (count - 1), jnp.nan)
    return (jnp.sum(jnp.square(jnp.sum(unit, 0))) - jnp.sum(jnp.square(unit))) / pairs


def histogram(x: ArrayLike, edges: Sequence[float]) -> jax.Array:
    """How many entries lie between fixed edges: below the first, in ``[edges[i], edges[i + 1])``, and from the last on.

    Args:
        x: The entries; NaN counts nowhere.
        edges: Increasing.

    Returns:
        ``len(edges) + 1`` counts, floating.

    Raises:
        ValueError: Edges that do not increase.

    >>> histogram(jnp.array([-1.0, 0.2, 0.4, 1.0, 7.0]), (0.0, 0.5, 1.0)).tolist()
    [1.0, 2.0, 0.0, 2.0]
    """
    checks.require(lambda steps: steps > 0, "`{}` must increase", edges=np.diff(np.asarray(edges, float)))
    flat = _wide(x).reshape(-1)
    bounds = jnp.asarray(edges, flat.dtype)
    reached = jnp.sum(flat[None] >= bounds[:, None], 1)
    every = jnp.sum(~jnp.isnan(flat))
    counts = jnp.concatenate([every[None], reached]) - jnp.concatenate([reached, jnp.zeros_like(reached[:1])])
    return counts.astype(flat.dtype)


def percentiles(x: ArrayLike, q: Sequence[float] = (0, 5, 25, 50, 75, 95, 100)) -> jax.Array:
    """Percentiles of all entries, linear between two of them.

    >>> percentiles(jnp.arange(5.0), (0, 50, 100)).tolist()
    [0.0, 2.0, 4.0]
    """
    checks.require(lambda p: (p >= 0) & (p <= 100), "`{}` must satisfy 0 <= {} <= 100", q=list(q))
    flat = _wide(x).reshape(-1)
    return jnp.percentile(flat, jnp.asarray(q, flat.dtype))


def _wide(x: ArrayLike) -> jax.Array:
    array = jnp.asarray(x)
    return array.astype(checks.wide(array.dtype))


def _rows(x: ArrayLike) -> jax.Array:
    """Examples and places by units."""
    wide = _wide(x)
    return wide.reshape(-1, wide.shape[-1] if wide.ndim else 1)


def _at_most(x: jax.Array, tol: float) -> jax.Array:
    return jnp.where(jnp.isnan(x), jnp.nan, (x <= tol).astype(x.dtype))


def _average(rows: jax.Array) -> jax.Array:
    """The mean, by units first: columns are summed side by side, and round less."""
    return jnp.mean(jnp.mean(rows, 0))


def _singular(rows: jax.Array) -> jax.Array:
    return jnp.linalg.svd(rows, compute_uv=False)
