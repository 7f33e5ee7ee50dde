"""Early stopping inside a compiled loop: stop when a value no longer improves, and keep the best of what was carried.

The semantics of scikit-learn's ``MLPClassifier`` (``n_iter_no_change``, ``tol``), and of moving averages. A stopped
lane of a ``vmap`` is frozen, and the loop ends when all of its lanes have stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks

__all__ = [
    "BestSoFar",
    "Patience",
    "Stopped",
    "init",
    "patience",
    "scan",
    "update",
]

_Carry = TypeVar("_Carry")


@partial(jax.tree_util.register_dataclass, data_fields=("wait", "tol"), meta_fields=("window", "maximize", "monitor"))
@dataclass(frozen=True, eq=False)
class Patience:
    """When to stop, a pytree; `patience` makes it and checks its numbers.

    Attributes:
        wait: Epochs without improvement that are waited for.
        tol: What counts as an improvement.
        window: Epochs in the moving average that is judged.
        maximize: Whether larger values are better.
        monitor: What `jnorm.train.loop.trainer` judges, ``"<part>_<metric>"``.
    """

    wait: ArrayLike
    tol: ArrayLike
    window: int
    maximize: bool
    monitor: str


class BestSoFar(NamedTuple):
    """What is known after some epochs.

    Attributes:
        best: The best value; infinite before any.
        best_epoch: Its epoch, counted from 0; -1 before any.
        waited: Epochs in a row that did not clearly beat the best.
        recent: The last values [window].
        epoch: Epochs so far.
    """

    best: jax.Array
    best_epoch: jax.Array
    waited: jax.Array
    recent: jax.Array
    epoch: jax.Array


class Stopped(NamedTuple):
    """What `scan` returns.

    Attributes:
        best: What was kept of the best epoch; of the last one where there is no best.
        last: The carry after the last epoch.
        outputs: The outputs of all epochs, ``length`` rows; NaN (integers and booleans: zero) from the stop on.
        epochs: How many epochs there were.
        best_epoch: The best epoch, counted from 0; -1 for none.
    """

    best: Any
    last: Any
    outputs: Any
    epochs: jax.Array
    best_epoch: jax.Array


def patience(
    wait: ArrayLike,
    *,
    monitor: str = "dev_loss",
    tol: ArrayLike = 1e-4,
    window: int = 1,
    maximize: bool = False,
) -> Patience:
    """Stop after more than ``wait`` epochs in a row that do not beat the best by ``tol``.

    With m_t the mean of the last ``window`` values and m* the best before: an epoch with ``m_t <= m* - tol`` starts the
    count again, and whatever is below m* becomes the best, also by less than ``tol``. Epochs before the window is full
    are not judged. NaN never improves.

    ``patience(10)`` is scikit-learn's default, and ``patience(jnp.inf, window=10)`` the rule of Klambauer et al. 2017
    (100 epochs, moving averages of 10).

    Args:
        wait: Number of epochs, may be traced; ``jnp.inf`` goes through all epochs and keeps the best.
        monitor: What `jnorm.train.loop.trainer` judges, ``"<part>_<metric>"``: a part of the data, and the loss or one
            of the metrics.
        tol: What counts as an improvement, may be traced.
        window: Epochs in the moving average.
        maximize: Turns the signs: an accuracy is better the larger it is.

    Raises:
        ValueError: ``wait < 0``, ``tol < 0``, or ``window`` is not a whole number >= 1.

    >>> patience(5, monitor="dev_accuracy", maximize=True)
    Patience(wait=5, tol=0.0001, window=1, maximize=True, monitor='dev_accuracy')
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", wait=wait, tol=tol)
    checks.whole(1, window=window)
    return Patience(wait, tol, int(window), maximize, monitor)


def init(patience: Patience, dtype: Any = jnp.float32) -> BestSoFar:
    """What is known before the first epoch.

    Args:
        patience: When to stop.
        dtype: The dtype of the values that will be judged.

    >>> init(patience(10)).best
    Array(inf, dtype=float32)
    """
    worst = jnp.asarray(-jnp.inf if patience.maximize else jnp.inf, dtype)
    zero = jnp.zeros((), jnp.int32)
    return BestSoFar(worst, zero - 1, zero, jnp.zeros(patience.window, dtype), zero)


def update(patience: Patience, known: BestSoFar, value: ArrayLike) -> tuple[BestSoFar, jax.Array, jax.Array]:
    """Judge an epoch.

    Args:
        patience: When to stop.
        known: What is known before the epoch.
        value: The epoch's value, a number.

    Returns:
        What is known now; whether this epoch is the best so far; whether to stop.

    >>> twice = patience(1)  # a second epoch without improvement is the last
    >>> known, decisions = init(twice), []
    >>> for value in (1.0, 0.5, 0.7, 0.6):
    ...     known, best, stop = update(twice, known, value)
    ...     decisions.append((bool(best), bool(stop)))
    >>> decisions
    [(True, False), (True, False), (False, False), (False, True)]
    """
    dtype = known.best.dtype
    recent = jnp.roll(known.recent, -1).at[-1].set(jnp.asarray(value).astype(dtype))
    mean = jnp.mean(recent)
    judged = known.epoch + 1 >= patience.window
    sign = -1 if patience.maximize else 1
    improved = judged & (sign * mean < sign * known.best)
    clearly = sign * mean <= sign * known.best - jnp.asarray(patience.tol).astype(dtype)
    waited = jnp.where(judged & ~clearly, known.waited + 1, 0)
    new = BestSoFar(
        jnp.where(improved, mean, known.best),
        jnp.where(improved, known.epoch, known.best_epoch),
        waited,
        recent,
        known.epoch + 1,
    )
    return new, improved, waited.astype(dtype) > jnp.asarray(patience.wait).astype(dtype)


def scan(
    epoch: Callable[[_Carry, jax.Array], tuple[_Carry, Any]],
    carry: _Carry,
    length: int,
    patience: Patience,
    *,
    value: Callable[[Any], jax.Array],
    keep: Callable[[_Carry], Any],
) -> Stopped:
    """``lax.scan(epoch, carry, jnp.arange(length))`` that may end early and keeps something of the best epoch.

    Cannot be differentiated in reverse mode, as its length is not known. To be called inside ``jit``: outside, every
    call compiles its loop.

    Args:
        epoch: ``epoch(carry, number)`` returns the next carry and the epoch's output, both pytrees of arrays.
        carry: The first carry.
        length: The most epochs, static.
        patience: When to stop.
        value: ``value(output)`` is judged, a number.
        keep: ``keep(carry)`` is what is kept of the carry after the best epoch.

    Raises:
        ValueError: A window longer than ``length``.

    >>> losses = jnp.array([3.0, 1.0, 2.0, 2.0, 0.0])
    >>> done = scan(lambda c, t: (c + 1, losses[t]), 0, 5, patience(1), value=lambda loss: loss, keep=lambda c: c)
    >>> int(done.best), int(done.epochs), int(done.best_epoch), done.outputs.tolist()
    (2, 4, 1, [3.0, 1.0, 2.0, 2.0, nan])
    """
    if patience.window > length:
        raise ValueError(f"`window` must satisfy window <= {length}, the number of epochs; got {patience.window}")
    _, shapes = jax.eval_shape(epoch, carry, jnp.zeros((), jnp.int32))
    rows = jax.tree.map(lambda a: _blank((length, *a.shape), a.dtype), shapes)

    def going(loop: tuple[Any, ...]) -> jax.Array:
        _, _, _, known, stop = loop
        return ~stop & (known.epoch < length)

    def body(loop: tuple[Any, ...]) -> tuple[Any, ...]:
        carry, best, rows, known, _ = loop
        carry, output = epoch(carry, known.epoch)
        rows = jax.tree.map(lambda a, row: a.at[known.epoch].set(row), rows, output)
        known, improved, stop = update(patience, known, value(output))
        chosen = improved | (known.best_epoch < 0)
        best = jax.tree.map(lambda new, old: jnp.where(chosen, new, old), keep(carry), best)
        return carry, best, rows, known, stop

    known = init(patience, jax.eval_shape(value, shapes).dtype)
    start = (carry, keep(carry), rows, known, jnp.zeros((), bool))
    carry, best, rows, known, _ = lax.while_loop(going, body, start)
    return Stopped(best, carry, rows, known.epoch, known.best_epoch)


def _blank(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jnp.full(shape, jnp.nan, dtype) if jnp.issubdtype(dtype, jnp.inexact) else jnp.zeros(shape, dtype)
