"""Exact statistics of a whole data set in the place of running ones."""

import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm.nn._axes import axes_of, floating, lengths, other_axes
from jnorm.nn._masks import mask_like
from jnorm.nn._moments import moments
from jnorm.nn._running import WARM, State

TOGETHER = 32
"""How many batches are enqueued before their moments are fetched: the device need not wait, nor hold more of them."""


def precise_state(
    batches: Iterable[ArrayLike | tuple[ArrayLike, ArrayLike]],
    *,
    axis: int | Sequence[int] = -1,
    unbiased: bool = False,
) -> State:
    """The exact statistics of a whole data set in one pass, whatever the batches it comes in.

    The moments of the batches are centred, by one program a batch, and merged in float64 on the host,
    ``M += m + (mean difference)^2 * n * n_batch / (n + n_batch)``, so the result does not depend on their number, order
    or sizes beyond the rounding of one batch. The host waits for the device once in 32 batches. Where batch norms
    follow one another, take them in the order of the network: a later one's inputs depend on the state of earlier ones.
    What is not finite in a batch, inf or NaN in the mean or the variance of a feature, does not enter: that feature
    goes without the batch, and a warning says in how many batches this was so.

    Args:
        batches: The layer's inputs ``x``, or pairs ``(x, mask)`` with a mask as in `jnorm.nn.batch_norm.apply`.
        axis: The feature axis of ``x``, or several.
        unbiased: Whether the variance is divided by n - 1, as the running one is by default, instead of n.

    Returns:
        A state of at least float32, whose ``count`` is `WARM`.

    Raises:
        TypeError: For an integer ``x``, or a mask that is not boolean.
        ValueError: For features that change between batches or have no valid and finite entry (for ``unbiased``, less
            than two).

    Source: Wu, Johnson 2021 (arXiv 2105.07576), section 3; Chan, Golub, LeVeque 1979 for the merge.

    >>> data = [jnp.array([[1.0], [2.0]]), jnp.array([[6.0]])]
    >>> state = precise_state(data)
    >>> state.mean.tolist(), round(float(state.var[0]), 5), float(state.count) == WARM
    ([3.0], 4.66667, True)
    """
    n: Any = 0.0
    mean: Any = 0.0
    total: Any = 0.0
    dtype = None
    bad: list[int] = []
    bad_features: Any = False
    number = -1
    for number, part in enumerate(_parts(batches, axis)):
        dtype = part.center.dtype
        center, remainder, part_var, part_n = (np.asarray(v, np.float64) for v in part)
        part_mean = center + remainder
        finite = np.isfinite(part_mean) & np.isfinite(part_var)
        if not np.all(finite):
            bad.append(number)
            bad_features = bad_features | ~finite
            part_mean, part_var, part_n = (np.where(finite, v, 0) for v in (part_mean, part_var, part_n))
        merged = np.maximum(n + part_n, 1)
        gap = part_mean - mean
        total = total + part_var * part_n + gap**2 * (n * part_n / merged)
        mean = mean + gap * (part_n / merged)
        n = n + part_n
    if bad:
        warnings.warn(
            f"`batches` hold {len(bad)} of {number + 1} that are not finite in {np.sum(bad_features)} of "
            f"{np.size(bad_features)} features, the first at {bad[0]}; there they are left out. Mask single entries as "
            "(x, mask)",
            stacklevel=2,
        )
    least = 2 if unbiased else 1
    if dtype is None or np.any(n < least):
        raise ValueError(f"`batches` must hold at least {least} valid entries of every feature; got {np.min(n):.0f}")
    var = total / (n - 1 if unbiased else n)
    return State(jnp.asarray(mean, dtype), jnp.asarray(var, dtype), jnp.asarray(WARM, dtype))


class _Part(NamedTuple):
    """What one batch adds, of the features' shape: its mean is ``center + remainder``."""

    center: Any
    remainder: Any
    var: Any
    count: Any


def _parts(batches: Iterable[Any], axis: int | Sequence[int]) -> Iterator[_Part]:
    """The part of every batch as NumPy arrays, `TOGETHER` of them fetched at a time."""
    waiting: list[_Part] = []
    shape = None
    for batch in batches:
        x, mask = batch if isinstance(batch, tuple) else (batch, None)
        x = floating(x)
        features = axes_of(x, axis)
        size = lengths(x, features)
        if shape not in (None, size):
            raise ValueError(f"`batches` must have the same features throughout; got {shape} and {size}")
        shape = size
        waiting.append(_part(x, mask_like(x, mask, features), other_axes(x, features)))
        if len(waiting) == TOGETHER:
            yield from jax.device_get(waiting)
            waiting.clear()
    yield from jax.device_get(waiting)


@functools.partial(jax.jit, static_argnums=2)
def _part(x: jax.Array, mask: jax.Array | None, reduced: tuple[int, ...]) -> _Part:
    center = moments(x, reduced, mask=mask).mean
    # Once more about the rounded mean: what it left over counts beside a small variance.
    left = moments(x.astype(center.dtype) - center, reduced, mask=mask)
    return _Part(*(jnp.squeeze(v, reduced) for v in (center, *left)))
