"""The length that stays, and what a layer of it multiplies gradients by."""

from collections.abc import Sequence

import jax
from jax.typing import ArrayLike

from jnorm.theory._parts import Activation
from jnorm.theory.meanfield._dense import Dense, Slopes, dense


def length(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """The variance of the pre-activations that stays, ``q = sigma_w^2 E[phi(z)^2] / (1 - dropout) + sigma_b^2``.

    Here ``z ~ N(0, q)``. It is where the layers lead from ``start``: up where one layer makes ``start`` longer, down
    where shorter. Where they shrink every input it is 0, where they let all grow it is infinite, and where they change
    none it is ``start``. Derivatives are those of the implicit function theorem, and zero where it is 0 or infinite.
    Source: Poole et al. 2016 (arXiv 1606.05340), equation 3; dropout: Schoenholz et al. 2017 (arXiv 1611.01232).

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        sigma_w: Standard deviation of the weights times the root of the fan-in.
        sigma_b: Standard deviation of the biases.
        dropout: Share of the activations that is dropped; the others are divided by what is kept.
        start: Length to begin with, positive.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The length, of the broadcast shape.

    Raises:
        ValueError: A known ``sigma_w < 0``, ``sigma_b < 0``, ``dropout`` outside [0, 1) or ``start <= 0``, shapes that
            do not broadcast, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu, tanh
    >>> import jax.numpy as jnp
    >>> [f"{q:.3f}" for q in length(tanh, sigma_w=jnp.array([0.9, 1.0, 1.5, 4.0]))]
    ['0.000', '0.000', '0.793', '12.501']
    >>> [f"{q:.4f}" for q in length(relu, sigma_w=jnp.array([1.2, 1.6]), sigma_b=0.1)]
    ['0.0357', 'inf']
    """
    layer = dense(phi, sigma_w, sigma_b, dropout, kinks, start)
    return _length(layer.settled(start=start), start)


def slopes(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> Slopes:
    """What a layer multiplies small deviations by where its `length` stays.

    A length of zero stands for the limit, and an infinite one for 1e4.
    Source: Poole et al. 2016 (arXiv 1606.05340), section 3; Schoenholz et al. 2017 (arXiv 1611.01232), sections 3 to 5.

    Args:
        phi: As for `length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        start: As there.
        kinks: As there.

    Returns:
        Slopes of the length map, of the squared distance and of the squared gradient.

    Raises:
        ValueError: As `length`.

    >>> from jnorm.activations import selu
    >>> [round(float(slope), 4) for slope in slopes(selu, sigma_w=1.0)]
    [0.7826, 1.0716, 1.0716]
    """
    layer = dense(phi, sigma_w, sigma_b, dropout, kinks, start)
    return _slopes(layer.settled(start=start), start)


def chi(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> jax.Array:
    """The slope of the correlation map at one, ``sigma_w^2 E[phi'(z)^2]``, ``z ~ N(0, length)``.

    Inputs that are close come closer where it is below one and separate where it is above: order and chaos, with the
    `critical_line` between them.

    Args:
        phi: As for `length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        start: As there.
        kinks: As there.

    Returns:
        ``forward`` of `slopes`.

    Raises:
        ValueError: As `length`.

    >>> from jnorm.activations import selu, tanh
    >>> round(float(chi(selu, sigma_w=1.0)), 4), round(float(chi(tanh, sigma_w=1.5)), 4)
    (1.0716, 1.1393)
    """
    return slopes(phi, sigma_w=sigma_w, sigma_b=sigma_b, dropout=dropout, start=start, kinks=kinks).forward


@jax.jit
def _length(layer: Dense, start: ArrayLike) -> jax.Array:
    dtype, layer, (start,) = layer.spread(start=start)
    return layer.stays(start).astype(dtype)


@jax.jit
def _slopes(layer: Dense, start: ArrayLike) -> Slopes:
    dtype, layer, (start,) = layer.spread(start=start)
    return Slopes(*(a.astype(dtype) for a in layer.slopes(layer.stays(start))))
