"""How deep a network can be and still train, as depth scales predict."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory._parts import Activation
from jnorm.theory.meanfield._correlations import depth_scales
from jnorm.theory.meanfield._lengths import slopes
from jnorm.theory.meanfield._steady import scale


class TrainableDepth(NamedTuple):
    """Layers up to which a network trains, arrays of one shape.

    Attributes:
        depth: The smaller one of the other two, infinite at a critical point.
        signal: Layers over which two inputs can be told apart.
        gradient: Layers over which gradients neither vanish nor explode.
    """

    depth: jax.Array
    signal: jax.Array
    gradient: jax.Array


def trainable_depth(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    scales: float = 6.0,
    start: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
) -> TrainableDepth:
    """The depth up to which a network of these weights is predicted to train: six depth scales.

    After as many layers what two inputs differ by, or what the squared gradient has been, is down by ``exp(6)``, or up:
    ``signal`` counts scales of the correlation, ``1 / |log C'(c)|`` where it stays, ``gradient`` those of the squared
    gradient, ``1 / |log chi|``. In the ordered phase both are one. Six is what was seen for tanh networks on MNIST with
    a few hundred steps; longer training and tuned rates add to it, and it is a rule of thumb, not a bound.
    Source: Schoenholz et al. 2017 (arXiv 1611.01232), section 5 and figure 5.

    Args:
        phi: As for `jnorm.theory.meanfield.length`.
        sigma_w: As there.
        sigma_b: As there.
        dropout: As there.
        scales: How many depth scales.
        start: As there.
        kinks: As there.

    Returns:
        Depths, NaN where no length stays.

    Raises:
        ValueError: A known ``scales <= 0``, or as `jnorm.theory.meanfield.length`.

    >>> from jnorm.activations import tanh
    >>> found = trainable_depth(tanh, sigma_w=jnp.array([0.9, 1.3, 3.0]), sigma_b=0.05**0.5)
    >>> [f"{d:.0f}" for d in found.depth], [bool(d) for d in found.gradient < found.signal]
    (['14', '384', '10'], [False, False, True])
    """
    checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", scales=scales)
    weights = {"sigma_w": sigma_w, "sigma_b": sigma_b, "dropout": dropout, "start": start, "kinks": kinks}
    signal = depth_scales(phi, **weights).correlation
    return _counted(signal, slopes(phi, **weights).backward, scales)


@jax.jit
def _counted(signal: jax.Array, slope: jax.Array, scales: ArrayLike) -> TrainableDepth:
    signal, gradient = (jnp.asarray(scales, signal.dtype) * a for a in (signal, scale(slope) + 0 * signal))
    return TrainableDepth(jnp.minimum(signal, gradient), signal, gradient)
