"""Perceptrons before the first step: how large outputs are, and gradients by each kernel, predicted and measured.

Gradients are those of independent normal numbers in the place of a loss's gradient by the outputs. Sizes are log10 of
the root of a mean square.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.chains import DECADES
from experiments.claims.claim import Setup
from experiments.claims.foreseen import LIMIT, Foreseen, foreseen, of_width
from jnorm.predict import Gradient, Law, Row, predict

EPS = 1e-5  # of batch norm, as in `jnorm.nn.batch_norm`
Apply = Callable[[Sequence[jax.Array], jax.Array], jax.Array]


class Begun(NamedTuple):
    """Sizes at the start.

    Attributes:
        output: Of the outputs, ``[seed]``; of theory a number.
        slopes: Of the gradient by each kernel, over the weights in it, ``[seed, layer]`` or ``[layer]``.
    """

    output: np.ndarray
    slopes: np.ndarray


def perceptron(phi: Any, *, norm: bool = False) -> Apply:
    """``apply(kernels, x)`` without biases, which begin at zero; with batch norm before the activation, or not."""

    def apply(kernels: Sequence[jax.Array], x: jax.Array) -> jax.Array:
        for kernel in kernels[:-1]:
            z = x @ kernel
            if norm:
                z = (z - jnp.mean(z, 0, keepdims=True)) / jnp.sqrt(jnp.var(z, 0, keepdims=True) + EPS)
            x = phi(z)
        return x @ kernels[-1]

    return apply


def measured(setup: Setup, apply: Apply, widths: Sequence[int], stds: Sequence[float], x: np.ndarray) -> Begun:
    """Of networks with normal weights, each of its own key, all on the same examples."""

    def one(key: jax.Array, stds: jax.Array) -> tuple[jax.Array, jax.Array]:
        *keys, top = jax.random.split(jax.random.fold_in(key, 1), len(widths))
        shapes = zip(keys, widths[:-1], widths[1:], strict=True)
        kernels = [std * jax.random.normal(key, shape) for std, (key, *shape) in zip(stds, shapes, strict=True)]
        output, back = jax.vjp(lambda kernels: apply(kernels, jnp.asarray(x)), kernels)
        (slopes,) = back(jax.random.normal(top, output.shape))
        size = lambda a: jnp.sqrt(jnp.mean(a**2))
        return size(output), jnp.stack([size(slope) for slope in slopes]) / stds

    keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
    run = jax.jit(lambda keys, stds: jax.lax.map(lambda key: one(key, stds), keys))
    return Begun(*(np.log10(np.asarray(a, float)) for a in run(keys, jnp.asarray(stds, jnp.float32))))


def told(apply: Apply, widths: Sequence[int], stds: Sequence[float], x: np.ndarray) -> tuple[Begun, Begun]:
    """The same in wide layers, and what is to be added on average in those of these widths."""
    kernels = [jnp.zeros(shape) for shape in itertools.pairwise(widths)]
    laws = [Law("normal", float(std) ** 2) for std in stds]
    found = predict(apply, kernels, jnp.asarray(x, jnp.float32), laws=laws, gradients=True)
    slopes = list(found.slopes.values())
    size = lambda of: DECADES * np.log([one.second for one in of])
    less = lambda of: -DECADES * np.square([one.spread for one in of]) / 2
    last: list[Row | Gradient] = [found.rows[-1]]
    return Begun(size(last)[0], size(slopes) - np.log10(stds)), Begun(less(last)[0], less(slopes))


def rows(name: str, predicted: float, more: float, values: np.ndarray, width: int) -> list[Foreseen]:
    """A size in wide layers, and in those of this width where theory knows how much these vary."""
    own = [] if np.isnan(more) else [(predicted + more, of_width(width))]
    return [foreseen(name, said, values, theory=theory, base=10) for said, theory in ((predicted, LIMIT), *own)]
