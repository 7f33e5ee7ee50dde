"""Checks of what a run begins with, and of the names of what it returns."""

import warnings
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp


def distinct(results: Iterable[tuple[str, str]]) -> None:
    """Names of results, each with what it stands for: two may meet, of a part, a metric and what they are joined by."""
    meanings: dict[str, str] = {}
    for name, what in results:
        if name in meanings:
            both = f"two are called {name!r}, {meanings[name]} and {what}: rename one"
            raise ValueError(f"names of parts, metrics and probes must not meet in one result; {both}")
        meanings[name] = what


def beginning(given: Any, network: Any, optimizer: Any, carry: Any) -> Any:
    """What a training begins with in the place of fresh parameters, a pair or a ``carry``, if it is of their shapes."""
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    if isinstance(given, carry):
        step = jax.ShapeDtypeStruct((), jnp.int32)
        expected = carry(params, state, jax.eval_shape(optimizer.init, params), step)
    elif isinstance(given, tuple | list) and len(given) == 2:
        given, expected = tuple(given), (params, state)
    else:
        raise TypeError(
            f"`start` must be a pair (params, state), or the carry of a training; got {type(given).__name__}"
        )
    of_model, of_start = (dict(jax.tree_util.tree_flatten_with_path(tree)[0]) for tree in (expected, given))
    for path in [*of_model, *(path for path in of_start if path not in of_model)]:
        own, other = (jnp.shape(tree[path]) if path in tree else "nothing" for tree in (of_model, of_start))
        if own != other:
            at = jax.tree_util.keystr(path)
            raise ValueError(
                f"`start` must hold what the model and the optimizer begin with, {own} at {at}; got {other}"
            )
    own, other = (str(jax.tree.structure(tree)) for tree in (expected, given))
    if own != other:
        raise ValueError(
            f"`start` must be of the structure that the model and the optimizer begin with, {own}; got {other}"
        )
    return given


def warn_of_half(params: Any) -> None:
    """Parameters of half precision lose small updates."""
    dtypes = [jnp.result_type(p) for p in jax.tree.leaves(params)]
    half = next((d for d in dtypes if jnp.issubdtype(d, jnp.floating) and jnp.finfo(d).bits < 32), None)
    if half is not None:
        warnings.warn(
            f"`model` has parameters in {half}: updates below {float(jnp.finfo(half).eps) / 4:.0e} of a parameter are "
            f"lost in rounding, those of a rate of 1e-4 nearly all. Keep parameters in float32, compute with copies in "
            f"{half}",
            stacklevel=5,
        )
