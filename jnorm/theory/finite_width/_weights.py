"""What a law of random weights means for a layer of finite width: three numbers."""

from typing import NamedTuple

import jax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.initializers._scaled import STANDARD


class WeightLaw(NamedTuple):
    """Fourth-order cumulants of weights with mean zero and variance ``sigma_w^2 / n``, times ``n^2 / sigma_w^4``.

    Given inputs x of length ``q``, the part of it that is due to the weights, pre-activations have the fourth cumulant
    ``q^2 (kurtosis E[x^4] / E[x^2]^2 + square - 3 shared) / (n + shared)``, and the squares of two units the covariance
    ``-shared q^2 / (n + shared)`` at equal inputs.

    Attributes:
        kurtosis: Excess kurtosis of one weight.
        square: What sets a fixed number of nonzero weights apart from independent ones.
        shared: 2 for square orthogonal matrices, which keep the norm, else 0.
    """

    kurtosis: ArrayLike
    square: ArrayLike = 0.0
    shared: ArrayLike = 0.0


def _cut_kurtosis(bound: float) -> float:
    """Of the normal law that is cut at its bound: ``E[w^4] = 3 E[w^2] - 2 b^3 density(b) / mass``."""
    deviation = STANDARD["truncated_normal"].numbers[1]
    square = deviation**2
    return (3 * square - bound**2 * (1 - square)) / square**2 - 3


WEIGHTS: dict[str, WeightLaw] = {
    "normal": WeightLaw(0.0),
    "truncated_normal": WeightLaw(_cut_kurtosis(STANDARD["truncated_normal"].numbers[0])),
    "uniform": WeightLaw(-1.2),
    "orthogonal": WeightLaw(0.0, 0.0, 2.0),
}
"""The laws of `jnorm.initializers` by the names that they have there; `sparse` makes more."""


def sparse(sparsity: ArrayLike) -> WeightLaw:
    """The law of `jnorm.initializers.sparse`: each unit has the same number of nonzero weights, which are normal.

    Args:
        sparsity: The share of weights that is zero.

    Returns:
        The law.

    Raises:
        ValueError: A known ``sparsity`` outside [0, 1).

    >>> [round(float(number), 2) for number in sparse(0.75)]
    [9.0, -9.0, 0.0]
    """
    checks.require(lambda s: (s >= 0) & (s < 1), "`{}` must satisfy 0 <= {} < 1", sparsity=sparsity)
    return _sparse(sparsity)


def law(weights: str | WeightLaw) -> WeightLaw:
    """The law of a name, or the one that is given."""
    if isinstance(weights, WeightLaw):
        return weights
    checks.choice("weights", weights, WEIGHTS)
    return WEIGHTS[weights]


@jax.jit
def _sparse(sparsity: ArrayLike) -> WeightLaw:
    dtype, (s,) = checks.wide_floats(sparsity=sparsity)
    kurtosis = 3 * s / (1 - s)
    return WeightLaw(*(a.astype(dtype) for a in (kurtosis, -kurtosis, 0 * kurtosis)))
