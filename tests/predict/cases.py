"""A program for each operation that has a rule, and one for each reason to refuse it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

UNITS = 256


class Case(NamedTuple):
    """A function ``apply(weights, x)``, shapes of its weights N(0, 1 / fan in), and data.

    Attributes:
        gradients: Whether it has a reverse pass.
        left: What the theory leaves out at 256 units, relative: averages over units are O(1 / units).
    """

    apply: Callable[..., Any]
    shapes: Any
    x: Any
    gradients: bool = True
    left: float = 0.0


def zeros(case: Case) -> Any:
    """Its weights, of which only shapes count."""
    return jax.tree.map(jnp.zeros, case.shapes, is_leaf=is_shape)


def is_shape(x: Any) -> bool:
    return isinstance(x, tuple)


def data(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape)


def of(f: Callable[[jax.Array], Any], *lead: int, left: float = 0.0) -> Case:
    """``f(z)`` of the product ``z [*lead, units]`` of data and a weight."""
    return Case(lambda w, x: f(x @ w), (3, UNITS), data(*(lead or (2,)), 3), left=left)


def two(f: Callable[[jax.Array, jax.Array], Any]) -> Case:
    """``f(u, v)`` of two layers of their own."""
    return Case(lambda w, x: f(x @ w[0], x @ w[1]), [(3, UNITS)] * 2, data(2, 3))


def where(f: Callable[[jax.Array], Any]) -> Case:
    """``z`` where ``f`` says so."""
    return of(lambda z: jnp.where(f(z), z, 0.5))


def inside(f: Callable[[jax.Array], Any]) -> Case:
    """``f`` of numbers in (-1, 1)."""
    return of(lambda z: f(0.9 * jnp.tanh(z)))


def above(f: Callable[[jax.Array], Any]) -> Case:
    """``f`` of numbers from 1 1/2 on."""
    return of(lambda z: f(z * z + 1.5))


def _loop(w: jax.Array, x: jax.Array) -> jax.Array:
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0, x))[1]


def _convolved(w: Any, x: jax.Array) -> jax.Array:
    for kernel in w:
        x = jnp.tanh(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
    return x


def _windows(f: Callable[..., Any], start: float) -> Case:
    return of(lambda z: lax.reduce_window(z, start, f, (1, 2, 1), (1, 1, 1), "VALID"), 2, 4)


ELEMENTWISE = {
    "abs": of(jnp.abs),
    "acos": inside(lax.acos),
    "acosh": above(lax.acosh),
    "add": of(lambda z: z + jnp.tanh(z)),
    "add_any": of(lambda z: z * jnp.tanh(z)),
    "and": where(lambda z: (z > 0) & (z < 1)),
    "asin": inside(lax.asin),
    "asinh": of(lax.asinh),
    "atan": of(lax.atan),
    "atan2": of(lambda z: lax.atan2(z, z * z + 1.0)),
    "atanh": inside(lax.atanh),
    "cbrt": above(lax.cbrt),
    "ceil": of(lax.ceil),
    "clamp": of(lambda z: lax.clamp(-1.0, z, 0.5)),
    "convert_element_type": of(lambda z: jnp.tanh(z.astype(jnp.bfloat16).astype(jnp.float32))),
    "copy": of(lambda z: jnp.tanh(jnp.copy(z))),
    "cos": of(jnp.cos),
    "cosh": of(lambda z: lax.cosh(0.5 * z)),
    "digamma": above(lax.lgamma),
    "div": of(lambda z: z / (z * z + 1.0)),
    "eq": where(lambda z: jnp.sign(z) == 1.0),
    "erf": of(lax.erf),
    "erf_inv": inside(lax.erf_inv),
    "erfc": of(lax.erfc),
    "exp": of(lambda z: jnp.exp(0.3 * z)),
    "exp2": of(lambda z: lax.exp2(0.3 * z)),
    "expm1": of(lambda z: jnp.expm1(0.3 * z)),
    "floor": of(lax.floor),
    "ge": where(lambda z: z >= 0.5),
    "gt": where(lambda z: z > 0.5),
    "integer_pow": of(lambda z: z**3),
    "is_finite": where(jnp.isfinite),
    "le": where(lambda z: z <= 0.5),
    "lgamma": above(lax.lgamma),
    "log": above(jnp.log),
    "log1p": of(lambda z: jnp.log1p(z * z)),
    "logistic": of(lax.logistic),
    "lt": where(lambda z: z < 0.5),
    "max": of(lambda z: jnp.maximum(z, 0.3)),
    "min": of(lambda z: jnp.minimum(z, 0.3)),
    "mul": two(lambda u, v: jnp.tanh(u) * v),
    "ne": where(lambda z: jnp.sign(z) != 1.0),
    "neg": of(lambda z: -jnp.tanh(z)),
    "not": where(lambda z: ~(z > 0.5)),
    "optimization_barrier": of(lambda z: jnp.tanh(lax.optimization_barrier(z))),
    "or": where(lambda z: (z > 1) | (z < 0)),
    "pow": above(lambda z: lax.pow(z, 0.7)),
    "reduce_precision": of(lambda z: jnp.tanh(lax.reduce_precision(z, 8, 10))),
    "rem": of(lambda z: lax.rem(z, 1.0)),
    "round": of(lax.round),
    "rsqrt": above(lax.rsqrt),
    "select_n": two(lambda u, v: jnp.where(u > 0, u, v)),
    "sign": of(jnp.sign),
    "sin": of(jnp.sin),
    "sinh": of(lambda z: lax.sinh(0.5 * z)),
    "sqrt": above(jnp.sqrt),
    "square": of(jnp.square),
    "stop_gradient": of(lambda z: z * lax.stop_gradient(jnp.tanh(z))),
    "sub": two(lambda u, v: jnp.tanh(u) - v),
    "tan": inside(jnp.tan),
    "tanh": of(jnp.tanh),
    "xor": where(lambda z: (z > 0) ^ (z > 1)),
}


def _unstacked(u: jax.Array, v: jax.Array) -> jax.Array:
    """Of two halves of the units, and the first of three positions."""
    first, *_ = jnp.unstack(jnp.tanh(u))
    return first[None] * v


MOVES = {
    "reshape": of(lambda z: jnp.tanh(z.reshape(2, 2, UNITS)), 4),
    "transpose": of(lambda z: jnp.tanh(z.swapaxes(0, 1)), 2, 3),
    "squeeze": of(lambda z: jnp.tanh(lax.squeeze(z, (1,))), 2, 1),
    "broadcast_in_dim": of(lambda z: jnp.tanh(z)[:, None] + z[None], 2),
    "slice": of(lambda z: jnp.tanh(z[:2]), 3),
    "split": of(lambda z: jnp.tanh(jnp.split(z, 2, -1)[0]) * jnp.split(z, 2, -1)[1]),
    "rev": of(lambda z: jnp.tanh(z[::-1]) + z),
    "gather": of(lambda z: jnp.tanh(z[jnp.array([0, 2, 2])]), 3),
    "dynamic_slice": of(lambda z: jnp.tanh(lax.dynamic_slice_in_dim(z, 1, 2, axis=0)), 3),
    "concatenate": of(lambda z: jnp.concatenate([z, jnp.tanh(z)]) * 2.0),
    "dynamic_update_slice": of(lambda z: jnp.tanh(lax.dynamic_slice_in_dim(z, 1, 2, axis=0)), 3),
    "pad": of(lambda z: jnp.tanh(lax.pad(z, 0.0, ((1, 2, 0), (0, 0, 0))))),
    "scatter-add": of(lambda z: jnp.tanh(z[jnp.array([0, 2, 2])]), 3),
    "stack": of(lambda z: jnp.stack([z, jnp.tanh(z), jnp.full((2, UNITS), 0.5)], 1) * 2.0),
    "unstack": of(lambda z: _unstacked(*jnp.unstack(z.reshape(3, 2, -1), axis=1)), 3),
    "tile": of(lambda z: jnp.tanh(jnp.tile(z, (2, 2))), 3),
}
SUMS = {
    "reduce_window_sum": _windows(lax.add, 0.0),
    "reduce_window_max": _windows(lax.max, -jnp.inf),
    "reduce_window_min": _windows(lax.min, jnp.inf),
    "select_and_scatter_add": _windows(lax.max, -jnp.inf),
    "reduce_sum": of(lambda z: z - jnp.square(z).mean(-1, keepdims=True), left=0.02),
    "reduce_max": of(lambda z: z.max(0), 3),
    "reduce_min": of(lambda z: z.min(0), 3),
    "reduce_and": of(lambda z: jnp.where(jnp.all(jnp.isfinite(z)) & jnp.all(z > -1, 0, keepdims=True), z, 0.0), 3),
    "reduce_or": of(lambda z: jnp.where(jnp.any(z > 1, 0, keepdims=True), z, 0.0), 3),
    "cumsum": of(lambda z: jnp.tanh(jnp.cumsum(z, 0)), 3),
}
WEIGHTS = {
    "dot_general": Case(lambda w, x: jnp.tanh(x @ w[0]) @ w[1], [(3, UNITS), (UNITS, UNITS)], data(2, 3), left=0.02),
    "conv_general_dilated": Case(_convolved, [(3, 3, 3, 64), (3, 3, 64, 64)], data(2, 4, 4, 3), left=0.03),
    "scan": Case(
        lambda w, x: lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, None, length=4)[0],
        (UNITS, UNITS),
        data(2, UNITS),
        left=0.05,
    ),
    "cond": of(lambda z: lax.cond(jnp.arange(2)[1] > 0, jnp.tanh, jnp.sin, z)),
    "while": Case(_loop, (UNITS, UNITS), data(2, UNITS), gradients=False, left=0.05),
}
CASES: dict[str, Case] = ELEMENTWISE | MOVES | SUMS | WEIGHTS
"""By the operation."""


def _images(w: jax.Array, x: jax.Array, **options: int) -> Any:
    return lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), **options)


def _largest(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "VALID")


def _pair(f: Callable[[jax.Array, jax.Array], Any], *sizes: int) -> Case:
    return Case(lambda w, x: f(*(x @ part for part in w)), [(3, size) for size in sizes], data(2, 3), gradients=False)


def _forward(f: Callable[[jax.Array], Any], *lead: int) -> Case:
    return of(f, *lead)._replace(gradients=False)


REFUSED: dict[str, Case] = {
    "known numbers that differ from unit to unit in a product": Case(
        lambda w, x: (x @ w) @ jnp.eye(UNITS), (3, UNITS), data(16, 3), gradients=False
    ),
    "an axis that is of units in one factor and of positions in the other": Case(
        lambda w, x: (x[:2] @ w[0]) @ (x @ w[1]), [(3, 64), (3, 8)], data(64, 3), gradients=False
    ),
    "groups of examples in a convolution": Case(
        lambda w, x: _images(w[1], x @ w[0], batch_group_count=2),
        [(3, 64), (3, 64, 64)],
        data(2, 4, 3),
        gradients=False,
    ),
    "a convolution whose kernel is no fresh parameter": Case(
        lambda w, x: _images(jnp.ones((3, 64, 8)), x @ w), (3, 64), data(2, 4, 3), gradients=False
    ),
    "a convolution over so many units": Case(
        lambda w, x: _images(w[1], (x @ w[0])[..., None]), [(3, 64), (3, 1, 64)], data(64, 3), gradients=False
    ),
    "a convolution whose channels are positions": Case(
        lambda w, x: _images(w[1], x @ w[0]), [(3,), (3, 4, 64)], data(2, 5, 4, 3), gradients=False
    ),
    "groups of channels of data": Case(
        lambda w, x: _images(w, x, feature_group_count=2), (3, 2, 64), data(2, 5, 4), gradients=False
    ),
    "groups of channels in the gradient by a kernel": Case(
        lambda w, x: _images(jnp.tanh(w[1]), x @ w[0], feature_group_count=2),
        [(3, 64), (3, 32, 64)],
        data(2, 5, 3),
        gradients=False,
    ),
    "axis N is of units in one operand and of positions in another": _forward(lambda z: z + z.T, UNITS),
    "a random number that all units of a layer share": _pair(lambda u, v: u + v, 64, 1),
    "parameters side by side": Case(lambda w, x: x @ jnp.concatenate(w, 1), [(3, 64)] * 2, data(2, 3), gradients=False),
    "positions side by side on an axis that was merged from several": _forward(
        lambda z: jnp.concatenate([z.reshape(4, UNITS)] * 2), 2, 2
    ),
    "units of layers of several sizes side by side": _pair(lambda u, v: jnp.concatenate([u, v], -1), 64, 32),
    "known numbers beside units": _forward(lambda z: jnp.concatenate([z, jnp.ones((2, UNITS))], -1)),
    "padding with other numbers than zero": _forward(lambda z: lax.pad(z, 1.0, ((1, 1, 0), (0, 0, 0)))),
    "padding of parameters": Case(lambda w, x: x @ jnp.pad(w, ((0, 0), (1, 1))), (3, 64), data(2, 3), gradients=False),
    "indices that are random": _forward(lambda z: z[jnp.sign(z[0]).astype(jnp.int32)]),
    "numbers written over others": _forward(lambda z: lax.dynamic_update_slice(z, z[:1], (1, 0))),
    "padding of so many units": _forward(lambda z: lax.pad(z, 0.0, ((0, 0, 0), (1, 1, 0))), 9),
    "sums at some places of what is random": _forward(lambda z: z.at[jnp.array([0])].add(z[:1])),
    "sums at some places of what is not zero": _forward(lambda z: jnp.ones((4, UNITS)).at[jnp.array([0, 3])].add(z)),
    "indices among units": _forward(lambda z: z[:, jnp.array([0, 3])]),
    "a stack of parameters": Case(
        lambda w, x: jnp.tanh(lax.scan(lambda c, w: (c, w.T), x, w)[1]), (3, 64, 64), data(2, 64), gradients=False
    ),
    "a loop over units": _forward(lambda z: lax.scan(lambda c, z: (c + z, None), jnp.zeros(2), z.T)[0]),
    "a branch that depends on what is random": _forward(lambda z: lax.cond(z[0, 0] > 0, jnp.tanh, jnp.sin, z)),
    "a loop whose end depends on what is random": _forward(
        lambda z: lax.while_loop(lambda z: z[0, 0] < 1, lambda z: z + 1.0, z)
    ),
    "known numbers that differ from unit to unit, too many of them": Case(
        lambda w, x: (x @ w) * jnp.arange(64.0)[None], (3, 64), jnp.ones((2**17 + 1, 3)), gradients=False
    ),
    "overlapping slices of units": _forward(lambda z: z[:, :128] * z[:, 64:192]),
    "a slice of units of what is no function of one Gaussian": _pair(lambda u, v: (u * v)[:, :32], 64, 64),
    "windows over so many units": _forward(lambda z: lax.reduce_window(z, 0.0, lax.add, (1, 2), (1, 1), "VALID"), 9),
    "maxima of what is known": Case(
        lambda w, x: jax.vjp(_largest, x)[1](x[1:] @ w)[0], (3, 3), data(4, 3), gradients=False
    ),
    "a function whose kinks cannot be read": _forward(lambda z: jnp.where(jnp.sin(z) > 0.5, z, 0.0)),
    "sums along so many units": _forward(lambda z: jnp.cumsum(z, -1), 9),
    "a reshape that cuts across axes": _forward(lambda z: z.reshape(4, -1), 6),
    "a slice of an axis that is a product of units and positions": _forward(
        lambda z: z.reshape(2, 3 * UNITS)[:, 10:], 2, 3
    ),
    "so many positions as if they were units": Case(
        lambda w, x: lax.conv_general_dilated(lax.conv_general_dilated(x, w, (1,), "SAME"), w, (1,), "SAME"),
        (UNITS, UNITS, 9),
        data(1, UNITS, 4),
    ),
}
"""By the reason."""
