"""A run in pieces: what it carries between two of them is a pytree of arrays, to be kept and read again.

Random keys within it, as an optimizer or a network's state may hold them, are given out as their data.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnorm.train import _runs, _steps, _stopping, early_stopping


class Carried(NamedTuple):
    """A run without a stopping rule, between two segments.

    Attributes:
        carry: What its steps hand on.
        rows: What steps and epochs have reported, in arrays for all of them; blank where they are still to come.
        epochs: How many there were.
    """

    carry: _steps.Carry
    rows: Any
    epochs: jax.Array


def pieces(bound: Callable[..., _runs.Run], segments: int, segment: int) -> dict[str, Any]:
    """What a training in segments has beside, by name; ``bound(key, data, hyperparameters)`` is a run."""

    def begin(key: jax.Array, data: Mapping[str, Any], start: Any = None, **hyperparameters: Any) -> Any:
        return _begun(bound(key, data, hyperparameters), segment, start)

    def advance(key: jax.Array, data: Mapping[str, Any], carried: Any, **hyperparameters: Any) -> Any:
        return _advanced(bound(key, data, hyperparameters), segment, carried)

    def finish(key: jax.Array, data: Mapping[str, Any], carried: Any, **hyperparameters: Any) -> dict[str, Any]:
        return _finished(bound(key, data, hyperparameters), segment, carried)

    return {"segments": segments, "begin": begin, "advance": advance, "finish": finish}


def _begun(run: _runs.Run, segment: int, given: Any) -> Any:
    """The run before its first segment."""
    length, each = _lengths(run, segment)
    start = _runs.begun(run, given)
    if run.course.patience is not None:
        how = _runs.judging(run, start.step)
        init = partial(early_stopping.init, run.course.patience)
        pair = start, _runs.view(run, start)
        return _bare(_stopping.begun(how.epoch, pair, length, init, value=how.value, keep=how.keep))
    _, shapes = jax.eval_shape(lambda carry: _runs.through(run, carry, each, carry.step), start)
    rows = jax.tree.map(lambda a: _stopping.blank((length // each * a.shape[0], *a.shape[1:]), a.dtype), shapes)
    return _bare(Carried(start, rows, jnp.zeros((), jnp.int32)))


def _advanced(run: _runs.Run, segment: int, carried: Any) -> Any:
    """The run after one more segment; one that has stopped or is at its end, as it is."""
    length, each = _lengths(run, segment)
    before = _with_keys(run, carried)
    if run.course.patience is not None:
        first = before.carry[0].step - before.known.epoch * run.plan.steps
        how, judge = _runs.judging(run, first), partial(early_stopping.update, run.course.patience)
        end = jnp.minimum(before.known.epoch + each, length)
        return _bare(_stopping.advanced(how.epoch, before, end, judge, value=how.value, keep=how.keep))
    carry, new = _runs.through(run, before.carry, each, before.carry.step)
    at = before.epochs, before.epochs // run.course.report.every
    put = lambda at: lambda rows, part: lax.dynamic_update_slice_in_dim(rows, part, at, 0)
    rows = tuple(jax.tree.map(put(at), *pair) for at, *pair in zip(at, before.rows, new, strict=True))
    after = _bare(Carried(carry, rows, before.epochs + each))
    return jax.tree.map(partial(jnp.where, before.epochs < length), after, carried)


def _finished(run: _runs.Run, segment: int, carried: Any) -> dict[str, Any]:
    """What the run returns; what is still to come is blank."""
    _lengths(run, segment)
    at = _with_keys(run, carried)
    if run.course.patience is None:
        return _runs.result(run, at.carry, _runs.flat(at.rows), _runs.view(run, at.carry))
    counts = {"epochs": at.known.epoch, "best_epoch": at.known.best_epoch}
    return counts | _runs.result(run, at.carry[0], _runs.flat(at.rows), at.best)


def _lengths(run: _runs.Run, segment: int) -> tuple[int, int]:
    """Epochs in all and in a segment, which counts steps where the budget does."""
    epochs, _ = _runs.budget(run)
    if run.course.steps is not None:
        if segment % run.plan.steps:
            must = f"a multiple of the {run.plan.steps} steps of an epoch, where `steps` is the budget"
            raise ValueError(f"`segment` must be {must}; got {segment}")
        segment //= run.plan.steps
    if segment % run.course.report.every:
        raise ValueError(f"`every` must divide the {segment} epochs of a segment; got {run.course.report.every}")
    return epochs, segment


def _bare(tree: Any) -> Any:
    """Random keys as their data, and dtypes that meet with no others."""
    return jax.tree.map(lambda a: jax.random.key_data(a) if _is_key(a) else jnp.asarray(a).astype(a.dtype), tree)


def _with_keys(run: _runs.Run, carried: Any) -> Any:
    """The data of random keys as such again."""
    kinds: dict[str, Any] = {}

    def began() -> None:
        start = _steps.start(run.recipe)
        parts: list[tuple[str, Any]] = [(".carry", start)]
        if run.course.patience is not None:
            seen = _runs.view(run, start)
            parts = [(".carry[0]", start), (".carry[1]", seen), (".best", seen)]
        for at, part in parts:
            for path, leaf in jax.tree_util.tree_leaves_with_path(part):
                if _is_key(leaf):
                    kinds[at + jax.tree_util.keystr(path)] = jax.random.key_impl(leaf)

    jax.eval_shape(began)
    made = lambda path, a: jax.random.wrap_key_data(a, impl=kinds[path]) if path in kinds else a
    return jax.tree_util.tree_map_with_path(lambda path, a: made(jax.tree_util.keystr(path), a), carried)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
