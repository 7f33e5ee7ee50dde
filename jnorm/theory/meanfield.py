"""Mean-field theory of random weights: the layer map of a network whose weights are drawn independently."""

from collections.abc import Sequence

from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.theory.moments import Activation, LayerMap, Moments, activation_moments

__all__ = [
    "layer_map",
]


def layer_map(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    kinks: Sequence[float] | None = None,
) -> LayerMap:
    """The map of one layer with random weights, ``z ~ N(0, sigma_w^2 (nu + mu^2) + sigma_b^2)``.

    Weights ``N(0, sigma_w^2 / fan_in)`` and biases ``N(0, sigma_b^2)`` are drawn independently for every unit, so that
    the mean of the inputs turns into variance; in `jnorm.theory.moments.layer_map`, where the weights are fixed, it
    does not. The result is of the same type: moments over the units of a wide layer, for one example.

    ``sigma_w`` and ``sigma_b`` are standard deviations and broadcast against the points. Raises ``ValueError`` for
    known negative ones; the map itself for a known negative variance. Source: Poole et al. 2016 (arXiv 1606.05340),
    equation 3.

    >>> from jnorm.activations import selu
    >>> out = layer_map(selu, sigma_w=1.0)(Moments(1.0, 0.5))
    >>> round(float(out.mean), 3), round(float(out.var), 3)
    (0.045, 1.372)
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", sigma_w=sigma_w, sigma_b=sigma_b)

    def apply(x: Moments) -> Moments:
        checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", var=x.var)
        mean, var, w, b = checks.floats(mean=x.mean, var=x.var, sigma_w=sigma_w, sigma_b=sigma_b)
        return activation_moments(phi, 0 * mean, w * w * (var + mean * mean) + b * b, kinks=kinks)

    return apply
