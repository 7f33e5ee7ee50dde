"""Where the middle of a sample of runs is: mean, median and interquartile mean.

They keep the middle 100, 0 and 50 % of a sorted sample. A NaN is a run that diverged: with ``diverged="nan"`` it makes
its own lane NaN, with ``diverged="exclude"`` it is left out (NaN where nothing is left). To count it as the worst, fill
it in before: ``jnp.where(jnp.isfinite(x), x, worst)``.

>>> accuracy = jnp.array([0.91, 0.93, 0.92, 0.94, 0.10, 0.92, 0.93, 0.95])  # one of eight seeds failed
>>> f"{mean(accuracy, axis=0):.4f} {iqm(accuracy, axis=0):.4f} {median(accuracy, axis=0):.4f}"
'0.8250 0.9250 0.9250'
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.statistics._samples import Axes, Estimator, compiled, sample_last

POLICIES = ("nan", "exclude")


@compiled
def mean(x: ArrayLike, *, axis: Axes, diverged: str = "nan") -> jax.Array:
    """The mean, ``sum_i x_i / n``.

    Args:
        x: Values of the runs.
        axis: The axis of the runs; several are one sample.
        diverged: What a NaN does: "nan" makes its lane NaN, "exclude" leaves the run out.

    Returns:
        The means, of the shape of the other axes.

    Raises:
        ValueError: For an unknown ``diverged``, and an axis that ``x`` does not have or that is empty.

    >>> mean(jnp.array([[1.0, 3.0], [2.0, jnp.nan]]), axis=1, diverged="exclude")
    Array([2., 2.], dtype=float32)
    """
    return _middle(x, 1.0, axis, diverged)


@compiled
def median(x: ArrayLike, *, axis: Axes, diverged: str = "nan") -> jax.Array:
    """The median: the middle value, or the mean of the middle two.

    Args:
        x: Values of the runs.
        axis: The axis of the runs; several are one sample.
        diverged: What a NaN does: "nan" makes its lane NaN, "exclude" leaves the run out.

    Returns:
        The medians, of the shape of the other axes.

    Raises:
        ValueError: As `mean`.

    >>> median(jnp.array([4.0, 1.0, 2.0, 9.0]), axis=0)
    Array(3., dtype=float32)
    """
    return _middle(x, 0.0, axis, diverged)


@compiled
def iqm(x: ArrayLike, *, axis: Axes, diverged: str = "nan") -> jax.Array:
    """The interquartile mean: the mean of the middle half of the sorted values.

    With x_(1) <= ... <= x_(n): ``2/n sum_i w_i x_(i)``, where w_i is the length of the part of [i - 1, i] that lies in
    [n/4, 3n/4]. Where n is no multiple of 4, the two outermost values have fractional weights; rliable (Agarwal et al.
    2021) keeps whole values there (SciPy's ``trim_mean`` at .25), and is equal where n is a multiple of 4. Over tasks
    and seeds at once, as there: ``axis=(task, seed)``.

    Args:
        x: Values of the runs.
        axis: The axis of the runs; several are one sample.
        diverged: What a NaN does: "nan" makes its lane NaN, "exclude" leaves the run out.

    Returns:
        The interquartile means, of the shape of the other axes.

    Raises:
        ValueError: As `mean`.

    >>> iqm(jnp.array([9.0, 1.0, 2.0, 3.0, 4.0, -50.0]), axis=0)  # (2/6) (x_(2)/2 + x_(3) + x_(4) + x_(5)/2)
    Array(2.5, dtype=float32)
    """
    return _middle(x, 0.5, axis, diverged)


def _middle(x: ArrayLike, share: float, axis: Axes, diverged: str) -> jax.Array:
    """Mean of the middle ``share`` of the values."""
    checks.choice("diverged", diverged, POLICIES)
    dtype, (x,) = checks.wide_floats(x=x)
    x = sample_last("x", x, axis)
    n = x.shape[-1]
    present = ~jnp.isnan(x)
    count = jnp.sum(present, -1, keepdims=True).astype(x.dtype)
    if share == 1.0:
        result = jnp.sum(jnp.where(present, x, 0), -1) / count[..., 0]
    else:
        i = jnp.arange(n, dtype=x.dtype).reshape((1,) * (x.ndim - 1) + (n,))
        half = jnp.maximum(count * share / 2, 0.5)
        weight = jnp.minimum(i + 1, count / 2 + half) - jnp.maximum(i, count / 2 - half)
        weight = jnp.clip(weight, 0, 1) / (2 * half)
        result = jnp.sum(jnp.where(weight > 0, weight * jnp.sort(x, -1), 0), -1)  # sort puts NaN last
    if diverged == "nan":
        result = jnp.where(count[..., 0] < n, jnp.nan, result)
    return result.astype(dtype)


ESTIMATORS: dict[str, Estimator] = {
    name: partial(f, diverged="exclude") for name, f in {"mean": mean, "median": median, "iqm": iqm}.items()
}
"""By name, of the runs that did not diverge."""
