"""Mean-field theory of random weights: the layer map of a network whose weights are drawn independently."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
from jax.typing import ArrayLike

from jnorm._ground import callables, checks, nodes
from jnorm.theory._parts import Activation, Moments, numbers, static
from jnorm.theory.moments import LayerMap

__all__ = [
    "RandomWeights",
    "layer_map",
]


@nodes.register
@dataclass(frozen=True, eq=False)
class RandomWeights:
    """Weights drawn anew for every unit: moments of the input to those of the pre-activation, over the units.

    Its mean is zero and its variance ``sigma_w^2 (nu + mu^2) + sigma_b^2``.

    Attributes:
        sigma_w: Standard deviation of the weights times the root of the fan-in.
        sigma_b: Standard deviation of the biases.
    """

    sigma_w: ArrayLike
    sigma_b: ArrayLike

    def __call__(self, x: Moments) -> Moments:
        """The moments of the pre-activation."""
        return _through_random(self, x)


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
    does not. The result is of the same type: moments over the units of a wide layer, for one example. Activations and
    ``kinks`` are as there. Source: Poole et al. 2016 (arXiv 1606.05340), equation 3.

    Args:
        phi: The activation.
        sigma_w: Standard deviation of the weights times the root of the fan-in; arrays broadcast against the points.
        sigma_b: Standard deviation of the biases; arrays broadcast against the points.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The map, a function of `Moments` and a pytree.

    Raises:
        ValueError: A known negative ``sigma_w`` or ``sigma_b``.

    >>> from jnorm.activations import selu
    >>> out = layer_map(selu, sigma_w=1.0)(Moments(1.0, 0.5))
    >>> round(float(out.mean), 3), round(float(out.var), 3)
    (0.045, 1.372)
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", sigma_w=sigma_w, sigma_b=sigma_b)
    return LayerMap(callables.wrap(phi), RandomWeights(*numbers(sigma_w, sigma_b)), static(kinks))


@jax.jit
def _through_random(weights: RandomWeights, x: Moments) -> Moments:
    mean, var, w, b = checks.floats(mean=x[0], var=x[1], sigma_w=weights.sigma_w, sigma_b=weights.sigma_b)
    return Moments(0 * mean, w * w * (var + mean * mean) + b * b)
