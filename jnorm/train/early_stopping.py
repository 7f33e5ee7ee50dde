"""Early stopping inside a compiled loop: stop when a value no longer improves, and keep the best of what was carried.

The semantics of scikit-learn's ``MLPClassifier`` (``n_iter_no_change``, ``tol``), and of moving averages. A stopped
lane of a ``vmap`` is frozen, and the loop ends when all of its lanes have stopped.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "Carry",
    "Rule",
    "State",
    "Stopped",
    "init",
    "rule",
    "scan",
    "update",
]

Carry = TypeVar("Carry")


class Rule(NamedTuple):
    """When to stop: see `rule`, which checks what it makes."""

    patience: ArrayLike
    tol: ArrayLike
    window: int
    maximize: bool


class State(NamedTuple):
    """``best`` value so far and its epoch (-1: none yet), the epochs ``waited`` since it was clearly beaten."""

    best: jax.Array
    best_epoch: jax.Array
    waited: jax.Array
    recent: jax.Array
    epoch: jax.Array


class Stopped(NamedTuple):
    """What `scan` returns: the kept best, the outputs of all epochs, and how many epochs there were."""

    best: Any
    last: Any
    outputs: Any
    epochs: jax.Array
    best_epoch: jax.Array


def rule(patience: ArrayLike, *, tol: ArrayLike = 1e-4, window: int = 1, maximize: bool = False) -> Rule:
    """Stop after more than ``patience`` epochs in a row that do not beat the best by ``tol``.

    With m_t the mean of the last ``window`` values and m* the best before: an epoch with ``m_t <= m* - tol`` starts the
    count again, and whatever is below m* becomes the best, also by less than ``tol``. Epochs before the window is full
    are not judged. ``maximize`` turns the signs. NaN never improves. ``patience`` and ``tol`` may be traced;
    ``patience=jnp.inf`` goes through all epochs and keeps the best.

    Of two rules in use, ``rule(10)`` is scikit-learn's default, and ``rule(jnp.inf, window=10)`` that of Klambauer et
    al. 2017 (100 epochs, moving averages of 10).

    Raises ``ValueError`` unless ``patience >= 0``, ``tol >= 0`` and ``window`` is a whole number >= 1.

    >>> rule(10).tol
    0.0001
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", patience=patience, tol=tol)
    checks.whole(1, window=window)
    return Rule(patience, tol, int(window), maximize)


def init(rule: Rule, dtype: Any = jnp.float32) -> State:
    """The state before the first epoch."""
    worst = jnp.asarray(-jnp.inf if rule.maximize else jnp.inf, dtype)
    zero = jnp.zeros((), jnp.int32)
    return State(worst, zero - 1, zero, jnp.zeros(rule.window, dtype), zero)


def update(rule: Rule, state: State, value: ArrayLike) -> tuple[State, jax.Array, jax.Array]:
    """The state after an epoch, whether that epoch is the best so far, and whether to stop.

    >>> patience = rule(1)
    >>> state, decisions = init(patience), []
    >>> for value in (1.0, 0.5, 0.7, 0.6):
    ...     state, best, stop = update(patience, state, value)
    ...     decisions.append((bool(best), bool(stop)))
    >>> decisions
    [(True, False), (True, False), (False, False), (False, True)]
    """
    dtype = state.best.dtype
    recent = jnp.roll(state.recent, -1).at[-1].set(jnp.asarray(value).astype(dtype))
    mean = jnp.mean(recent)
    judged = state.epoch + 1 >= rule.window
    sign = -1 if rule.maximize else 1
    improved = judged & (sign * mean < sign * state.best)
    clearly = sign * mean <= sign * state.best - jnp.asarray(rule.tol).astype(dtype)
    waited = jnp.where(judged & ~clearly, state.waited + 1, 0)
    new = State(
        jnp.where(improved, mean, state.best),
        jnp.where(improved, state.epoch, state.best_epoch),
        waited,
        recent,
        state.epoch + 1,
    )
    return new, improved, waited.astype(dtype) > jnp.asarray(rule.patience).astype(dtype)


def scan(
    epoch: Callable[[Carry, jax.Array], tuple[Carry, Any]],
    carry: Carry,
    length: int,
    rule: Rule,
    *,
    value: Callable[[Any], jax.Array],
    keep: Callable[[Carry], Any],
) -> Stopped:
    """``lax.scan(epoch, carry, jnp.arange(length))`` that may end early, with ``keep(carry)`` of the best epoch.

    ``value(output)`` of an epoch's output is what the rule judges. Outputs have ``length`` rows, NaN (integers and
    booleans: zero) from the stop on. Without any best epoch (all values NaN) what is kept is the last. Cannot be
    differentiated in reverse mode, as its length is not known.

    Raises ``ValueError`` for a window longer than ``length``.

    >>> losses = jnp.array([3.0, 1.0, 2.0, 2.0, 0.0])
    >>> done = scan(lambda c, t: (c + 1, losses[t]), 0, 5, rule(1), value=lambda loss: loss, keep=lambda c: c)
    >>> int(done.best), int(done.epochs), int(done.best_epoch), done.outputs.tolist()
    (2, 4, 1, [3.0, 1.0, 2.0, 2.0, nan])
    """
    if rule.window > length:
        raise ValueError(f"`window` must satisfy window <= {length}, the number of epochs; got {rule.window}")
    _, shapes = jax.eval_shape(epoch, carry, jnp.zeros((), jnp.int32))
    rows = jax.tree.map(lambda a: _blank((length, *a.shape), a.dtype), shapes)

    def going(loop: tuple[Any, ...]) -> jax.Array:
        _, _, _, state, stop = loop
        return ~stop & (state.epoch < length)

    def body(loop: tuple[Any, ...]) -> tuple[Any, ...]:
        carry, best, rows, state, _ = loop
        carry, output = epoch(carry, state.epoch)
        rows = jax.tree.map(lambda a, row: a.at[state.epoch].set(row), rows, output)
        state, improved, stop = update(rule, state, value(output))
        chosen = improved | (state.best_epoch < 0)
        best = jax.tree.map(lambda new, old: jnp.where(chosen, new, old), keep(carry), best)
        return carry, best, rows, state, stop

    state = init(rule, jax.eval_shape(value, shapes).dtype)
    start = (carry, keep(carry), rows, state, jnp.zeros((), bool))
    carry, best, rows, state, _ = lax.while_loop(going, body, start)
    return Stopped(best, carry, rows, state.epoch, state.best_epoch)


def _blank(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jnp.full(shape, jnp.nan, dtype) if jnp.issubdtype(dtype, jnp.inexact) else jnp.zeros(shape, dtype)
