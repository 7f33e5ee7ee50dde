"""How high a loss is between two points, with an interval."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks, keys


class Barrier(NamedTuple):
    """A barrier between the ends of a line.

    Attributes:
        height: How far the mean loss rises above the straight line between its ends; not negative.
        place: The number of the point where it does most.
        low: The lower end of the interval of the height; above 0 there is a barrier.
        high: Its upper end.
    """

    height: jax.Array
    place: jax.Array
    low: jax.Array
    high: jax.Array


def barrier(
    losses: ArrayLike,
    at: ArrayLike | None = None,
    *,
    key: jax.Array | None = None,
    level: ArrayLike = 0.05,
    draws: int = 4000,
) -> Barrier:
    """The barrier of a loss along a line, ``max_t L(t) - ((1 - t) L(0) + t L(1))``, with an interval.

    ``L`` is the mean over samples: examples, for the barrier of one pair of networks on the population that they are
    from, or seeds, for that of a typical pair. The interval is that of a band that holds the true mean at all points at
    once, ``mean(t) +- c se(t)``; so the largest of many noisy points is not taken for a rise. c is the ``1 - level``
    quantile of ``max_t |Z(t)|`` for a Student process with the correlations of the samples.
    Source: Frankle, Dziugaite, Roy, Carbin 2020 (arXiv 1912.05671), section 2, for the height.

    Args:
        losses: One line for each sample ``[samples, points]``, two of both at least; the ends are the first and last
            points. Lines of one pair with the loss of each example are ``line(...).values.T``.
        at: The places t of the points; None: evenly from 0 to 1.
        key: A random key for the quantile, ``jax.random.key(0)`` by default.
        level: The interval fails with this probability at most, for normal samples.
        draws: Draws for the quantile.

    Returns:
        The barrier.

    Raises:
        ValueError: Losses of another shape, a level outside (0, 1).

    >>> walls = jnp.array([[0.0, 1.0, 0.2], [0.1, 1.2, 0.1], [0.0, 1.1, 0.2]])
    >>> found = barrier(walls)
    >>> f"{found.height:.2f}, from {found.low:.1f} to {found.high:.1f}"
    '1.00, from 0.7 to 1.3'
    """
    values = jnp.asarray(losses)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"`losses` must be of shape [samples, points], two of both at least; got {values.shape}")
    checks.require(lambda p: (p > 0) & (p < 1), "`{}` must satisfy 0 < {} < 1", level=level)
    checks.whole(1, draws=draws)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.result_type(float))
    values = values.astype(checks.wide(values.dtype))
    places = jnp.linspace(0.0, 1.0, values.shape[1]) if at is None else jnp.asarray(at)
    key = jax.random.key(0) if key is None else keys.typed(key)
    return _barrier(values, places.astype(values.dtype), key, jnp.asarray(level, values.dtype), int(draws))


@partial(jax.jit, static_argnames="draws")
def _barrier(values: jax.Array, at: jax.Array, key: jax.Array, level: Any, draws: int) -> Barrier:
    samples = len(values)
    share = ((at - at[0]) / (at[-1] - at[0]))[None]
    rise = values - (values[:, :1] * (1 - share) + values[:, -1:] * share)
    mean = jnp.mean(rise, 0)
    centred = rise - mean[None]
    error = jnp.sqrt(jnp.sum(centred**2, 0) / (samples * (samples - 1)))
    there = error > jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    unit = jnp.where(there[None], centred / jnp.where(there, error, 1)[None], 0) / math.sqrt(samples * (samples - 1))
    noise, spread = jax.random.split(key)
    normal = jax.random.normal(noise, (draws, samples), values.dtype) @ unit
    chi = 2 * jax.random.gamma(spread, (samples - 1) / 2, (draws, 1), values.dtype) / (samples - 1)
    width = jnp.quantile(jnp.max(jnp.abs(normal) / jnp.sqrt(chi), 1), 1 - level) * jnp.where(there, error, 0)
    low = jnp.maximum(jnp.max(mean - width), 0)
    return Barrier(jnp.maximum(jnp.max(mean), 0), jnp.argmax(mean), low, jnp.max(mean + width))
