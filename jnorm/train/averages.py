"""Exponentially weighted averages, debiased: of a curve, and of the parameters that a training passes through.

``v_t = decay v_(t-1) + (1 - decay) x_t`` from ``v_0 = 0`` is too small at first; divided by ``1 - decay^t`` it is the
average of x_1, ..., x_t with weights in proportion to ``decay^(t - i)``, most of them within ``1 / (1 - decay)`` steps.
Both functions compute that as

    s_t = 1 + decay s_(t-1),    m_t = m_(t-1) + (x_t - m_(t-1)) / s_t,

which divides by no small difference, and for ``decay = 1`` is the mean of all.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "AverageState",
    "average_params",
    "exponential",
]

_RULE = "`{}` must satisfy 0 <= {} <= 1"


def exponential(values: ArrayLike, decay: ArrayLike, *, debias: bool = True) -> jax.Array:
    """The exponentially weighted averages of a sequence, ``v_t / (1 - decay^t)``, after each of its steps.

    From a value that is NaN on, all are. A traced ``decay`` outside [0, 1] gives NaN.

    Args:
        values: The sequence [steps, ...], real numbers.
        decay: What remains of the weight of a value one step later, in [0, 1]; may be traced.
        debias: Whether to divide by ``1 - decay^t``, static; otherwise ``v_t``, drawn to 0 at first.

    Returns:
        The averages, of the shape of ``values``.

    Raises:
        ValueError: ``decay`` outside [0, 1], or no axis of steps.

    >>> values = jnp.array([40.0, 49.0, 45.0])
    >>> [[f"{v:.3f}" for v in exponential(values, 0.9, debias=debias)] for debias in (True, False)]
    [['40.000', '44.737', '44.834'], ['4.000', '8.500', '12.150']]
    """
    checks.require(lambda d: (d >= 0) & (d <= 1), _RULE, decay=decay)
    dtype, (x,) = checks.wide_floats(values=values)
    if not x.ndim:
        raise ValueError(f"`values` must have shape [steps, ...]; got {x.shape}")
    return _exponential(x, jnp.asarray(decay).astype(x.dtype), debias).astype(dtype)


@partial(jax.jit, static_argnames="debias")
def _exponential(x: jax.Array, decay: jax.Array, debias: bool) -> jax.Array:
    def step(carry: tuple[jax.Array, jax.Array], value: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        mean, weight = carry[0], _more(carry[1], decay)
        mean = mean + (value - mean) / weight
        return (mean, weight), mean if debias else mean * ((1 - decay) * weight)

    start = jnp.zeros(x.shape[1:], x.dtype), jnp.zeros((), x.dtype)
    return lax.scan(step, start, x)[1]


def _more(weight: jax.Array, decay: jax.Array) -> jax.Array:
    """The sum of weights one step later, in which the newest has 1."""
    return 1 + jnp.where((decay >= 0) & (decay <= 1), decay, jnp.nan) * weight


class AverageState(NamedTuple):
    """What `average_params` keeps.

    Attributes:
        average: The average of the parameters, in at least float32.
        weight: The sum of the weights in it, that of the newest being 1.
        count: Steps so far.
    """

    average: Any
    weight: jax.Array
    count: jax.Array  # type: ignore[assignment]  # hides tuple.count


def average_params(decay: ArrayLike = 1.0, *, start: ArrayLike = 0) -> optax.GradientTransformation:
    """An average of the parameters after each step, beside any optimizer: the last part of an ``optax.chain``.

    Updates pass as they are. `jnorm.train.loop.trainer` evaluates, judges and returns the average; elsewhere it is
    ``optax.tree.get(state, "average")``. With ``decay = 1`` it is the mean of all steps (Polyak averaging; from
    ``start`` on, stochastic weight averaging), below the debiased exponential one. Running statistics belong to the
    parameters that were trained, not to their average: ``trainer(eval_state=evaluation.fresh_state)`` takes new ones.

    Args:
        decay: What remains of the weight of a step one step later, in [0, 1]; may be traced.
        start: Steps that do not enter; until then the average is the parameters themselves. May be traced.

    Returns:
        A transformation of Optax, whose state is an `AverageState`.

    Raises:
        ValueError: ``decay`` outside [0, 1], ``start < 0``; from its update, missing parameters.

    Source: Polyak, Juditsky 1992; Izmailov et al. 2018 (arXiv 1803.05407), algorithm 1, averaging after every step.

    >>> optimizer = optax.chain(optax.sgd(1.0), average_params())
    >>> w, state = jnp.array(0.0), optimizer.init(jnp.array(0.0))
    >>> for gradient in (-1.0, -2.0, 4.0):  # through 1, 3 and -1
    ...     updates, state = optimizer.update(jnp.array(gradient), state, w)
    ...     w = optax.apply_updates(w, updates)
    >>> float(w), float(optax.tree.get(state, "average"))
    (-1.0, 1.0)
    """
    checks.require(lambda d: (d >= 0) & (d <= 1), _RULE, decay=decay)
    checks.require(lambda s: s >= 0, "`{}` must satisfy {} >= 0", start=start)

    def wide(params: Any) -> Any:
        floating = lambda p: jnp.issubdtype(p.dtype, jnp.floating)
        return jax.tree.map(lambda p: p.astype(checks.wide(p.dtype)) if floating(p) else p, params)

    def init(params: Any) -> AverageState:
        params = jax.tree.map(jnp.array, params)  # a buffer of its own, so that all may be donated
        return AverageState(wide(params), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: AverageState, params: Any = None) -> tuple[Any, AverageState]:
        if params is None:
            raise ValueError("`params` must be given to an update that averages parameters; got None")
        new = wide(optax.apply_updates(params, updates))
        before = jnp.where(state.count > jnp.asarray(start).astype(jnp.int32), state.weight, 0)
        weight = _more(before, jnp.asarray(decay).astype(before.dtype))
        moved = lambda m, p: jnp.where(before == 0, p, m + (p - m) / weight.astype(p.dtype))
        average = jax.tree.map(moved, state.average, new)
        return updates, AverageState(average, weight, optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)
