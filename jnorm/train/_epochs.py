"""An epoch of training: the order of its examples, cut into batches, and a step on each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.data import batches
from jnorm.train import _steps

UNROLL = 2
"""Steps at a time: XLA's copies of what they hand on are made half as often, 4 % of the time of wide networks."""

Order = str | ArrayLike | Callable[[jax.Array, jax.Array], ArrayLike]


class Plan(NamedTuple):
    """How epochs go through the data.

    Attributes:
        batches: ``batches(number)``, the batches of an epoch; None: all of the data are one.
        steps: Steps in an epoch.
        rest: Examples in the last of them, where it is not full; else 0.
    """

    batches: Callable[[jax.Array], batches.Batches] | None
    steps: int
    rest: int


def planned(order: Order, key: jax.Array, size: int, batch_size: int, *, drop_remainder: bool, in_pieces: bool) -> Plan:
    """The way through ``size`` examples; ``key`` is the stream of their order.

    A batch of all examples is taken as it is, where nobody chose its order and it does not go ``in_pieces``.
    """
    cut = partial(batches.divide, batch_size=batch_size, drop_remainder=drop_remainder)
    own = lambda number: jax.random.fold_in(key, number)
    length = size
    if isinstance(order, str):
        if batch_size == size and not in_pieces:
            return Plan(None, 1, 0)
        shuffled = lambda number: batches.epoch(own(number), size, batch_size, drop_remainder=drop_remainder)
        first = shuffled(0) if order == "fixed" else None
        of = shuffled if first is None else lambda _: first
    elif callable(order):
        given = lambda number: _numbers(order(own(number), number), size)
        length = len(jax.eval_shape(given, jnp.zeros((), jnp.int32)))
        of = lambda number: cut(given(number))
    else:
        fixed = _numbers(order, size)
        length = len(fixed)
        of = lambda _: cut(fixed)
    rule = f"`{{}}` must satisfy {{}} <= {length}, the examples of an epoch"
    checks.require(lambda b: b <= length, rule, batch_size=batch_size)
    rest = 0 if drop_remainder else length % batch_size
    return Plan(of, batches.steps(length, batch_size, drop_remainder=drop_remainder), rest)


def epoch(
    recipe: _steps.Recipe, carry: _steps.Carry, data: tuple[Any, Any], plan: Plan, number: ArrayLike, steps: int
) -> tuple[_steps.Carry, dict[str, jax.Array]]:
    """The first steps of the epoch of that number: what it hands on, and the steps' reports, ``[steps]`` each."""
    if plan.batches is None:
        carry, reports = _steps.step(recipe, carry, jax.tree.map(jnp.asarray, data), None)
        return carry, jax.tree.map(lambda a: a[None], reports)
    indices, mask = plan.batches(jnp.asarray(number))
    rest = plan.rest if steps == plan.steps else 0
    indices, mask = indices[:steps], mask[:steps]

    def scanned(carry: _steps.Carry, batch: tuple[jax.Array, Any]) -> tuple[_steps.Carry, dict[str, jax.Array]]:
        return _steps.step(recipe, carry, batches.take(data, batch[0]), batch[1])

    scan = partial(lax.scan, unroll=UNROLL)
    if not rest:
        return scan(scanned, carry, (indices, None))
    if _steps.takes_mask(recipe.network):
        # What fills up the last batch is its first example, so that it brings in nothing that is not there.
        return scan(scanned, carry, (jnp.where(mask, indices, indices[:, :1]), mask))
    # Nobody knows whether a network looks at the batch as a whole, as one with batch norm does, state or not.
    carry, reports = scan(scanned, carry, (indices[:-1], None))
    try:
        carry, last = scanned(carry, (indices[-1, :rest], None))
    except (ValueError, TypeError) as error:  # of a network that took the full batches
        raise ValueError(
            f"{error}; this is the last batch, of {rest} examples: `drop_remainder` leaves it out"
        ) from error
    for name, value in last.items():
        if value.shape != reports[name].shape[1:]:
            must = f"`steps` must report arrays of one shape in all steps; got {value.shape} as {name!r}"
            raise ValueError(f"{must} in the last batch, of {rest} examples: `drop_remainder` leaves it out")
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), reports, last)


def _numbers(order: Any, size: int) -> jax.Array:
    """An order, if it holds numbers of examples."""
    array = order if isinstance(order, jax.Array) else np.asarray(order)
    if array.ndim != 1 or not len(array) or not jnp.issubdtype(array.dtype, jnp.integer):
        must = "`order` must hold the numbers of the examples of an epoch, whole ones"
        raise ValueError(f"{must}; got {array.dtype} of shape {array.shape}")
    checks.require(lambda i: (i >= 0) & (i < size), f"`{{}}` must satisfy 0 <= {{}} < {size}", order=array)
    return jnp.asarray(array).astype(jnp.int32)
