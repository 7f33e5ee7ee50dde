"""Layers as maps of kernels: what a layer makes of variances, covariance and tangent kernel of two inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks, nodes
from jnorm.theory._parts import Activation, numbers
from jnorm.theory.meanfield._dense import Dense, dense
from jnorm.theory.meanfield._pairs import KernelMap, Kernels, cast, entries, ratio


@nodes.register
@dataclass(frozen=True, eq=False)
class DenseKernels:
    """A layer of random weights as a map of kernels; made by `kernel_map`.

    Attributes:
        layer: The layer.
    """

    layer: Dense

    def __call__(self, x: Kernels) -> Kernels:
        """The kernels after the layer."""
        return _through_dense(self.layer.settled(**x._asdict()), x)


@nodes.register
@dataclass(frozen=True, eq=False)
class Residual:
    """A layer beside an identity, ``z + scale * branch(z)``; made by `residual`.

    Attributes:
        branch: The map of the branch.
        scale: What it is multiplied by.
    """

    branch: KernelMap
    scale: ArrayLike

    def __call__(self, x: Kernels) -> Kernels:
        """The kernels after the sum, whose parts are independent."""
        return _added(x, self.branch(x), self.scale)


@nodes.register
@dataclass(frozen=True, eq=False)
class Normalized:
    """A layer whose pre-activations are divided by their deviation first; made by `layer_norm`.

    Attributes:
        step: The map of the layer.
    """

    step: KernelMap

    def __call__(self, x: Kernels) -> Kernels:
        """The kernels after the layer."""
        return self.step(_divided(x))


def kernel_map(
    phi: Activation,
    *,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    dropout: ArrayLike = 0.0,
    kinks: Sequence[float] | None = None,
) -> DenseKernels:
    """The map of kernels through one layer, from pre-activations to pre-activations.

    ``cov' = sigma_w^2 E[phi(u) phi(v)] + sigma_b^2`` and ``tangent' = cov' + sigma_w^2 E[phi'(u) phi'(v)] tangent``,
    with ``u, v`` of the given variances and covariance. Exact for `relu`, `leaky_relu`, `identity`, `erf` and `sin` of
    `jnorm.activations`, by quadrature for others; dropout divides the second moments by ``1 - dropout``. An activation
    that jumps itself has the right ``cov``, but not ``tangent``, whose factor is infinite at equal inputs.
    Source: Lee et al. 2018 (arXiv 1711.00165), section 2; Jacot et al. 2018 (arXiv 1806.07572), theorem 1.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        sigma_w: Standard deviation of the weights times the root of the fan-in.
        sigma_b: Standard deviation of the biases.
        dropout: Share of the activations that is dropped, with masks of their own for either input.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The map, a function of `Kernels` and a pytree.

    Raises:
        ValueError: A known ``sigma_w < 0``, ``sigma_b < 0`` or ``dropout`` outside [0, 1).

    >>> from jnorm.activations import relu
    >>> [round(float(k), 4) for k in kernel_map(relu, sigma_w=2**0.5)(Kernels(1.0, 1.0, 0.5, 0.0))]
    [1.0, 1.0, 0.609, 0.609]
    """
    return DenseKernels(dense(phi, sigma_w, sigma_b, dropout, kinks))


def residual(branch: KernelMap, *, scale: ArrayLike = 1.0) -> Residual:
    """The map of a residual block ``z + scale * branch(z)``, whose branch is wide and random.

    The two parts are independent, so that kernels add up: ``x + scale^2 branch(x)``. With ``scale = 1 / sqrt(depth)``
    lengths, correlations and gradients have a limit at infinite depth.
    Source: Yang and Schoenholz 2017 (arXiv 1712.08969), section 3; Hayou et al. 2021 (arXiv 2010.12859).

    Args:
        branch: What the branch does to kernels, as `kernel_map` gives it.
        scale: What it is multiplied by.

    Returns:
        The map, a function of `Kernels` and a pytree.

    >>> from jnorm.activations import relu
    >>> block = residual(kernel_map(relu, sigma_w=2**0.5), scale=0.5)
    >>> [round(float(k), 4) for k in block(Kernels(1.0, 1.0, 0.5, 0.0))]
    [1.25, 1.25, 0.6522, 0.1522]
    """
    return Residual(branch, *numbers(scale))


def layer_norm(step: KernelMap) -> Normalized:
    """The map of a layer that normalizes its pre-activations over the units before the activation.

    In a wide layer their mean is zero and their variance that of a unit: the layer sees correlations alone, and its
    slopes are divided by the variance. Inputs of variance zero stay zero.
    Source: Ba et al. 2016 (arXiv 1607.06450), section 3, in the limit of many units.

    Args:
        step: What the layer without it does to kernels, as `kernel_map` gives it.

    Returns:
        The map, a function of `Kernels` and a pytree.

    >>> from jnorm.activations import tanh
    >>> step = layer_norm(kernel_map(tanh, sigma_w=1.0))
    >>> [round(float(k), 4) for k in step(Kernels(9.0, 4.0, 3.0, 0.0))]
    [0.3943, 0.3943, 0.1863, 0.1863]
    """
    return Normalized(step)


@jax.jit
def _through_dense(layer: Dense, x: Kernels) -> Kernels:
    dtype, layer, parts = layer.spread(**x._asdict())
    x = Kernels(*parts)
    cov, slope = layer.covariance(x.var1, x.var2, ratio(x)[0])
    return cast(dtype, layer.length(x.var1), layer.length(x.var2), cov, cov + slope * x.tangent)


@jax.jit
def _added(x: Kernels, branch: Kernels, scale: ArrayLike) -> Kernels:
    # Of the branch's tangent kernel the part that comes through the skip is in ``x`` as well: both add up.
    dtype, (scale, *parts) = checks.wide_floats(
        scale=scale, **x._asdict(), **{f"{k}_": v for k, v in branch._asdict().items()}
    )
    return cast(dtype, *(a + scale * scale * b for a, b in zip(parts[:4], parts[4:], strict=True)))


@jax.jit
def _divided(x: Kernels) -> Kernels:
    dtype, x = entries(Kernels(*x))
    corr, both = ratio(x)
    ones = [jnp.where(var == 0, 0.0, var / jnp.where(var == 0, 1.0, var)) for var in x[:2]]
    return cast(dtype, *ones, corr, jnp.where(ones[0] * ones[1] == 0, 0.0, x.tangent / both))
