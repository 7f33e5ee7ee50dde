"""Networks of equal layers: what depth makes of two inputs, of a small change, and the kernels of all pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import callables, checks, nodes
from jnorm.theory._parts import Activation, numbers
from jnorm.theory.meanfield._pairs import KernelMap, Kernels, cast, entries
from jnorm.theory.moments import activation_moments, gradient_factor


def inputs(x1: ArrayLike, x2: ArrayLike, *, sigma_w: ArrayLike = 1.0, sigma_b: ArrayLike = 0.0) -> Kernels:
    """The kernels of two inputs after the first, linear layer, ``sigma_w^2 <x1, x2> / features + sigma_b^2``.

    Args:
        x1: First inputs, ``[..., features]``.
        x2: Second inputs, which broadcast against the first.
        sigma_w: Standard deviation of the weights times the root of the number of features.
        sigma_b: Standard deviation of the biases.

    Returns:
        Kernels of the shape of the leading axes.

    Raises:
        ValueError: A known negative ``sigma_w`` or ``sigma_b``, or shapes that do not broadcast.

    >>> [round(float(k), 2) for k in inputs(jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0]), sigma_b=0.1)]
    [2.51, 5.01, 0.51, 0.51]
    """
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", sigma_w=sigma_w, sigma_b=sigma_b)
    return _inputs(x1, x2, sigma_w, sigma_b)


def propagate(step: KernelMap, start: Kernels, depth: int) -> Kernels:
    """The kernels layer after layer: what becomes of two inputs.

    Args:
        step: What a layer does to kernels.
        start: Kernels of the first pre-activations, as `inputs` gives them.
        depth: Layers; each number of them is a program of its own.

    Returns:
        ``depth + 1`` rows along a leading axis, ``start`` first.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 0.

    >>> from jnorm.activations import relu
    >>> from jnorm.theory.meanfield import kernel_map
    >>> start = inputs(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), sigma_w=2.0)
    >>> [round(float(c), 3) for c in propagate(kernel_map(relu, sigma_w=2**0.5), start, 3).correlation]
    [0.0, 0.318, 0.494, 0.605]
    """
    checks.whole(0, depth=depth)
    like = jax.eval_shape(_spread, start)
    return _rows(callables.settle(step, like, name="step"), start, int(depth))


def growth(step: KernelMap, length: ArrayLike, depth: int) -> jax.Array:
    """The squared size of a small change of the input, layer after layer, in units of its first one.

    It is the product of the derivatives of the covariance by itself, along the path that the length takes: `chi` a
    layer for a `kernel_map` where the length stays. The same product is that of the squared gradient, from the last
    layer back to the first, if nothing is dropped.
    Source: Schoenholz et al. 2017 (arXiv 1611.01232), sections 3 and 5.

    Args:
        step: What a layer does to kernels.
        length: Variance of the first pre-activations.
        depth: Layers.

    Returns:
        ``depth + 1`` rows along a leading axis, the first one 1.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 0, or a known negative ``length``.

    >>> from jnorm.activations import selu
    >>> from jnorm.theory.meanfield import kernel_map
    >>> round(float(growth(kernel_map(selu, sigma_w=1.0), 1.0, 100)[-1]), -1)  # while mean and variance stay
    1010.0
    """
    checks.whole(0, depth=depth)
    checks.require(lambda q: q >= 0, "`{}` must satisfy {} >= 0", length=length)
    like = jax.eval_shape(lambda q: _spread(Kernels(q, q, q, q)), length)
    return _growth(callables.settle(step, like, name="step"), length, int(depth))


def batch_norm_growth(phi: Activation, *, kinks: Sequence[float] | None = None) -> jax.Array:
    """What a layer with batch normalization before its activation multiplies the squared gradient by, going back.

    ``E[phi'(z)^2] / Var phi(z)``, ``z ~ N(0, 1)``, for wide layers and large batches. It is larger than one for all
    but straight lines (Gaussian Poincare inequality), whatever the initial weights: gradients explode with depth.
    Source: Yang et al. 2019 (arXiv 1902.08129), whose rate for relu and large batches is ``pi / (pi - 1)``.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The factor.

    Raises:
        ValueError: A ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu, tanh
    >>> round(float(batch_norm_growth(relu)), 4), round(float(batch_norm_growth(tanh)), 4)
    (1.4669, 1.1778)
    """
    shape = jnp.broadcast_shapes(*(jnp.shape(leaf) for leaf in jax.tree.leaves(callables.wrap(phi))))
    mean, var = jnp.zeros(shape), jnp.ones(shape)
    return gradient_factor(phi, mean, var, kinks=kinks) / activation_moments(phi, mean, var, kinks=kinks).var


@nodes.register
@dataclass(frozen=True, eq=False)
class NetworkKernel:
    """A kernel of all pairs of inputs, made by `nngp` and `ntk`; a pytree.

    Attributes:
        step: What a layer does to kernels.
        sigma_w: Of the first layer.
        sigma_b: Of the first layer.
        depth: Hidden layers.
        tangent: Whether the kernel is the tangent one.
    """

    step: KernelMap
    sigma_w: ArrayLike
    sigma_b: ArrayLike
    depth: int = field(metadata={"static": True})
    tangent: bool = field(metadata={"static": True})

    def __call__(self, x1: ArrayLike, x2: ArrayLike | None = None) -> jax.Array:
        """The kernel of every pair.

        Args:
            x1: First inputs, ``[..., features]``.
            x2: Second inputs, ``[..., features]``; None for the first ones again.

        Returns:
            The kernel, of the leading axes of ``x1`` and then those of ``x2``; positive semi-definite to rounding.

        Raises:
            ValueError: Numbers of features that differ.
        """
        x2 = x1 if x2 is None else x2
        shapes = [jnp.shape(x) for x in (x1, x2)]
        if any(len(shape) < 1 for shape in shapes) or shapes[0][-1] != shapes[1][-1]:
            raise ValueError(f"inputs must be [..., features] with as many features; got {shapes[0]} and {shapes[1]}")
        start = _pairs(x1, x2, self.sigma_w, self.sigma_b)
        like = jax.eval_shape(_spread, start)
        last = _last(callables.settle(self.step, like, name="step"), start, self.depth)
        return last.tangent if self.tangent else last.cov


def nngp(step: KernelMap, *, depth: int, sigma_w: ArrayLike = 1.0, sigma_b: ArrayLike = 0.0) -> NetworkKernel:
    """The covariance of an infinitely wide random network's output, as ``kernel(x1, x2)``.

    The network has a linear layer on the inputs, then ``depth`` times ``step``; its output is the pre-activation after
    the last one. Finite, with finite derivatives, where inputs are zero.
    Source: Lee et al. 2018 (arXiv 1711.00165), section 2.

    Args:
        step: What a layer does to kernels: `kernel_map`, or a `residual` block.
        depth: Number of hidden layers.
        sigma_w: Standard deviation of the first layer's weights times the root of the number of features.
        sigma_b: Standard deviation of the first layer's biases.

    Returns:
        The kernel.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 0, or a known negative ``sigma_w`` or ``sigma_b``.

    >>> from jnorm.activations import relu
    >>> from jnorm.theory.meanfield import kernel_map
    >>> kernel = nngp(kernel_map(relu, sigma_w=2**0.5), depth=2, sigma_w=2**0.5)
    >>> [f"{k:.4f}" for k in kernel(jnp.array([[1.0, 1.0], [0.0, 0.0]]), jnp.array([1.0, 0.0]))]
    ['1.1203', '0.0000']
    """
    return _kernel(step, depth, sigma_w, sigma_b, tangent=False)


def ntk(step: KernelMap, *, depth: int, sigma_w: ArrayLike = 1.0, sigma_b: ArrayLike = 0.0) -> NetworkKernel:
    """The neural tangent kernel of an infinitely wide network at its initialization, as ``kernel(x1, x2)``.

    In the NTK parametrization, all parameters trained, the first layer's too.
    Source: Jacot et al. 2018 (arXiv 1806.07572), theorem 1.

    Args:
        step: As for `nngp`.
        depth: As there.
        sigma_w: As there.
        sigma_b: As there.

    Returns:
        The kernel.

    Raises:
        ValueError: As `nngp`.

    >>> from jnorm.activations import relu
    >>> from jnorm.theory.meanfield import kernel_map
    >>> kernel = ntk(kernel_map(relu, sigma_w=2**0.5), depth=2, sigma_w=2**0.5)
    >>> [[f"{k:.3f}" for k in row] for row in kernel(jnp.array([[1.0, 1.0], [0.0, 0.0]]))]
    [['6.000', '0.000'], ['0.000', '0.000']]
    """
    return _kernel(step, depth, sigma_w, sigma_b, tangent=True)


def _kernel(step: KernelMap, depth: int, sigma_w: ArrayLike, sigma_b: ArrayLike, *, tangent: bool) -> NetworkKernel:
    checks.whole(0, depth=depth)
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", sigma_w=sigma_w, sigma_b=sigma_b)
    w, b = numbers(sigma_w, sigma_b)
    return NetworkKernel(callables.wrap(step), w, b, int(depth), tangent)


def _first(dtype: Any, var1: Any, var2: Any, cov: Any, w: Any, b: Any) -> Kernels:
    var1, var2, cov = (w * w * a + b * b for a in jnp.broadcast_arrays(var1, var2, cov))
    return cast(dtype, var1, var2, cov, cov)


@jax.jit
def _inputs(x1: ArrayLike, x2: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike) -> Kernels:
    dtype, (x1, x2) = checks.wide_floats(x1=x1, x2=x2)
    w, b = (jnp.asarray(a, x1.dtype) for a in (sigma_w, sigma_b))
    var1, var2, cov = (jnp.mean(a, -1) for a in (x1 * x1, x2 * x2, x1 * x2))
    return _first(dtype, var1, var2, cov, w, b)


@jax.jit
def _pairs(x1: ArrayLike, x2: ArrayLike, sigma_w: ArrayLike, sigma_b: ArrayLike) -> Kernels:
    dtype = jnp.result_type(*checks.floats(a=jnp.ravel(jnp.asarray(x1))[:1], b=jnp.ravel(jnp.asarray(x2))[:1]))
    x1, x2 = (jnp.asarray(x, checks.wide(dtype)) for x in (x1, x2))
    w, b = (jnp.asarray(a, x1.dtype) for a in (sigma_w, sigma_b))
    cov = jnp.tensordot(x1, x2, axes=(-1, -1), precision=jax.lax.Precision.HIGHEST) / x1.shape[-1]
    var1 = jnp.mean(x1 * x1, -1).reshape(*x1.shape[:-1], *(1,) * (x2.ndim - 1))
    var2 = jnp.mean(x2 * x2, -1).reshape(*(1,) * (x1.ndim - 1), *x2.shape[:-1])
    return _first(dtype, jnp.broadcast_to(var1, cov.shape), jnp.broadcast_to(var2, cov.shape), cov, w, b)


@jax.jit
def _spread(x: Kernels) -> Kernels:
    return entries(Kernels(*x))[1]


@partial(jax.jit, static_argnames="depth")
def _rows(step: KernelMap, start: Kernels, depth: int) -> Kernels:
    dtype, x = entries(Kernels(*start))

    def layer(x: Kernels, _: None) -> tuple[Kernels, Kernels]:
        y = _spread(Kernels(*step(x)))
        return y, y

    _, rows = jax.lax.scan(layer, x, length=depth)
    return cast(dtype, *(jnp.concatenate([a[None], b]) for a, b in zip(x, rows, strict=True)))


@partial(jax.jit, static_argnames="depth")
def _last(step: KernelMap, start: Kernels, depth: int) -> Kernels:
    dtype, x = entries(Kernels(*start))
    x, _ = jax.lax.scan(lambda x, _: (_spread(Kernels(*step(x))), None), x, length=depth)
    return cast(dtype, *x)


@partial(jax.jit, static_argnames="depth")
def _growth(step: KernelMap, length: ArrayLike, depth: int) -> jax.Array:
    dtype, x = entries(Kernels(length, length, length, length))
    zero, one = jnp.zeros_like(x.cov), jnp.ones_like(x.cov)

    def layer(carry: tuple[Kernels, jax.Array], _: None) -> tuple[tuple[Kernels, jax.Array], jax.Array]:
        x, size = carry
        y, push = jax.jvp(lambda x: _spread(Kernels(*step(x))), (x,), (Kernels(zero, zero, one, zero),))
        after = size * push.cov
        return (Kernels(y.var1, y.var1, y.var1, zero), after), after

    _, rows = jax.lax.scan(layer, (x, one), length=depth)
    return jnp.concatenate([one[None], rows]).astype(dtype)
