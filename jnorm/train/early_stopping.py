"""Early stopping inside a compiled loop: stop when a value no longer improves, and keep the best of what was carried.

The semantics of scikit-learn's ``MLPClassifier`` (``n_iter_no_change``, ``tol``) but for ties, and of moving averages.
A tie with the best is no progress here. There it is with ``tol=0``, and wherever the threshold is lost in rounding,
above 2048 in float32 with the default: a flat score never stops. Here differences are taken first, which loses nothing.

A stopped lane of a ``vmap`` is frozen, and the loop ends when all of its lanes have stopped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks, nodes
from jnorm.train import _stopping

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


@nodes.register
@dataclass(frozen=True, eq=False)
class Patience:
    """When to stop, a pytree; `patience` makes it and checks its numbers.

    Attributes:
        wait: Epochs without improvement that are waited for.
        tol: What counts as an improvement.
        rtol: The same relative to the best value, added to ``tol``.
        window: Epochs in the moving average that is judged.
        maximize: Whether larger values are better; None: for the trainer to know, by the metric.
        monitor: What `jnorm.train.loop.trainer` judges, ``"<part>_<metric>"``.
    """

    wait: ArrayLike
    tol: ArrayLike
    rtol: ArrayLike
    window: int = field(metadata={"static": True})
    maximize: bool | None = field(metadata={"static": True})
    monitor: str = field(metadata={"static": True})


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


_BETTER_WHEN_LARGER = {"loss": False, "error": False, "accuracy": True, "auc": True, "rsquared": True}
"""Whether larger values are better, by the last word of a metric's name."""


def patience(
    wait: ArrayLike,
    *,
    monitor: str = "dev_loss",
    tol: ArrayLike = 1e-4,
    rtol: ArrayLike = 0.0,
    window: int = 1,
    maximize: bool | None = None,
) -> Patience:
    """Stop after more than ``wait`` epochs in a row that do not beat the best by ``tol + rtol |best|``.

    With m_t the mean of the last ``window`` values and m* the best before: an epoch with ``m_t < m*`` becomes the best,
    and starts the count again if ``m* - m_t >= tol + rtol |m*|``. Epochs before the window is full are not judged. NaN
    never improves, and neither does a tie.

    ``patience(10)`` is scikit-learn's default, and ``patience(jnp.inf, window=10)`` the rule of Klambauer et al. 2017
    (100 epochs, moving averages of 10).

    Args:
        wait: Number of epochs, may be traced; ``jnp.inf`` goes through all epochs and keeps the best.
        monitor: What `jnorm.train.loop.trainer` judges, ``"<part>_<metric>"``: a part of the data, and the loss or one
            of the metrics.
        tol: What counts as an improvement, may be traced. For values that are large or of unknown scale, set it to 0
            and ``rtol``.
        rtol: The same relative to the best value, may be traced.
        window: Epochs in the moving average.
        maximize: Whether larger values are better. None: no for names that end in loss or error, yes for those that end
            in accuracy, auc or r_squared; for others `jnorm.train.loop.trainer` knows the metrics and losses of this
            library, and any else must be told.

    Raises:
        ValueError: ``wait < 0``, ``tol < 0``, ``rtol < 0``, or ``window`` is not a whole number >= 1.
        TypeError: A ``maximize`` that is neither None nor a boolean.

    >>> patience(5, monitor="dev_accuracy")
    Patience(wait=5, tol=0.0001, rtol=0.0, window=1, maximize=True, monitor='dev_accuracy')
    """
    checks.require(lambda v: v >= 0, "`{}` must satisfy {} >= 0", wait=wait, tol=tol, rtol=rtol)
    checks.whole(1, window=window)
    if maximize is None:
        words = re.split(r"_(?=[^_]+$)", monitor.replace("r_squared", "rsquared"))
        maximize = _BETTER_WHEN_LARGER.get(words[-1].lower())
    elif not isinstance(maximize, bool | np.bool_):
        raise TypeError(f"`maximize` must be True, False or None; got {maximize!r}")
    return Patience(wait, tol, rtol, int(window), maximize, monitor)


def init(patience: Patience, dtype: Any = jnp.float32) -> BestSoFar:
    """What is known before the first epoch.

    Args:
        patience: When to stop.
        dtype: The dtype of the values that will be judged; they are held in at least float32.

    Raises:
        ValueError: It is not known whether larger values are better.

    >>> init(patience(10)).best
    Array(inf, dtype=float32)
    """
    dtype = checks.wide(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    worst = jnp.asarray(jnp.inf * -_sign(patience), dtype)
    count = partial(jnp.zeros, (), jnp.int32)  # a buffer each, so that all may be donated
    return BestSoFar(worst, count() - 1, count(), jnp.zeros(patience.window, dtype), count())


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
    tol, rtol, wait = (jnp.asarray(v).astype(dtype) for v in (patience.tol, patience.rtol, patience.wait))
    sign = _sign(patience)
    gain = sign * (mean - known.best)
    improved = judged & (
        sign * mean > sign * known.best
    )  # and not gain > 0, which a fused mean - best rounds otherwise
    # The first best gains infinitely much, and is no measure of what is much.
    clearly = improved & (gain >= tol + rtol * jnp.abs(jnp.where(known.best_epoch < 0, 0, known.best)))
    waited = jnp.where(judged & ~clearly, known.waited + 1, 0)
    new = BestSoFar(
        jnp.where(improved, mean, known.best),
        jnp.where(improved, known.epoch, known.best_epoch),
        waited,
        recent,
        known.epoch + 1,
    )
    return new, improved, waited.astype(dtype) > wait


def _sign(patience: Patience) -> int:
    """1 where larger values are better, else -1."""
    if patience.maximize is None:
        raise ValueError(
            f"`maximize` must be given for {patience.monitor!r}: True if larger values are better, else False; got None"
        )
    return 1 if patience.maximize else -1


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
        ValueError: A window longer than ``length``; it is not known whether larger values are better.

    >>> losses = jnp.array([3.0, 1.0, 2.0, 2.0, 0.0])
    >>> done = scan(lambda c, t: (c + 1, losses[t]), 0, 5, patience(1), value=lambda loss: loss, keep=lambda c: c)
    >>> int(done.best), int(done.epochs), int(done.best_epoch), done.outputs.tolist()
    (2, 4, 1, [3.0, 1.0, 2.0, 2.0, nan])
    """
    how = {"value": value, "keep": keep}
    loop = _stopping.begun(epoch, carry, length, partial(init, patience), **how)
    loop = _stopping.advanced(epoch, loop, length, partial(update, patience), **how)
    return Stopped(loop.best, loop.carry, loop.rows, loop.known.epoch, loop.known.best_epoch)
