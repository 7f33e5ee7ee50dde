"""A long run in pieces, traced: what it carries from one segment to the next is a dictionary of arrays."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Call = Callable[..., Any]
Piece = Callable[[Any, Any], dict[str, jax.Array]]
"""From what is one run's and from the shared data."""


@dataclass(frozen=True)
class Pieces:
    """A run in segments.

    Attributes:
        segments: how many there are.
        begin: what a run carries at first, from what tells runs apart.
        advance: what it carries a segment later, from a pair of that and of what it carries.
        finish: the outputs, from such a pair.
        carried: what it carries.
    """

    segments: int
    begin: Piece
    advance: Piece
    finish: Piece
    carried: dict[str, jax.ShapeDtypeStruct]

    def whole(self, lane: Any, shared: Any) -> dict[str, jax.Array]:
        """The outputs of a run, from its beginning to its end."""
        more = lambda _, carried: self.advance((lane, carried), shared)
        return self.finish((lane, lax.fori_loop(0, self.segments, more, self.begin(lane, shared))), shared)


def functions_of(train: Any) -> tuple[int, Call, Call, Call] | None:
    """``train.segments``, ``begin``, ``advance`` and ``finish``, None for a function that lacks one of them.

    Of a ``functools.partial`` with keywords, those of its function with the same keywords.
    """
    fixed: dict[str, Any] = {}
    while isinstance(train, functools.partial) and not train.args:
        fixed, train = train.keywords | fixed, train.func
    found = [getattr(train, name, None) for name in ("begin", "advance", "finish")]
    segments = getattr(train, "segments", None)
    if segments is None or not all(map(callable, found)):
        return None
    if not isinstance(segments, int) or segments < 1:
        raise ValueError(f"`train.segments` must be a whole number >= 1; got {segments!r}")
    begin, advance, finish = (functools.partial(f, **fixed) if fixed else f for f in found if f is not None)
    return segments, begin, advance, finish


def traced(
    functions: tuple[int, Call, Call, Call],
    call: Callable[..., Any],
    arrays: Callable[[Any], dict[str, jax.Array]],
    lane: Any,
    shared: Any,
) -> Pieces:
    """The pieces, with ``call(function, lane, shared, **more)``, and ``arrays`` to make outputs of what is returned.

    Raises ``TypeError`` where what is carried is no pytree of arrays, or another one after a segment.
    """
    segments, begin, advance, finish = functions
    kinds: list[Any] = []

    def first(lane: Any, shared: Any) -> dict[str, jax.Array]:
        leaves, structure = jax.tree_util.tree_flatten_with_path(call(begin, lane, shared))
        kinds[:] = [structure]
        return {f"{i:04d}": _array(jax.tree_util.keystr(path), leaf) for i, (path, leaf) in enumerate(leaves)}

    def tree(carried: Mapping[str, jax.Array]) -> Any:
        return jax.tree.unflatten(kinds[0], list(carried.values()))

    def next_one(pair: tuple[Any, dict[str, jax.Array]], shared: Any) -> dict[str, jax.Array]:
        lane, carried = pair
        after, structure = jax.tree_util.tree_flatten_with_path(call(advance, lane, shared, carried=tree(carried)))
        if structure != kinds[0]:
            raise TypeError(f"`train.advance` must return what `train.begin` does, {kinds[0]}; got {structure}")
        made = {}
        for (name, old), (path, leaf) in zip(carried.items(), after, strict=True):
            at = jax.tree_util.keystr(path)
            new = made[name] = _array(at, leaf)
            if (new.shape, new.dtype) != (old.shape, old.dtype):
                must = f"`train.advance` must return what `train.begin` does, {old.dtype}{list(old.shape)} as `{at}`"
                raise TypeError(f"{must}; got {new.dtype}{list(new.shape)}")
        return made

    def last(pair: tuple[Any, dict[str, jax.Array]], shared: Any) -> dict[str, jax.Array]:
        lane, carried = pair
        return arrays(call(finish, lane, shared, carried=tree(carried)))

    began = jax.jit(first, inline=True)
    carried = dict(began.trace(lane, shared).out_info)
    shapes = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in carried.items()}
    return Pieces(segments, began, jax.jit(next_one, inline=True), jax.jit(last, inline=True), shapes)


def _array(at: str, leaf: Any) -> jax.Array:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
        raise TypeError(f"`train.begin` and `train.advance` must return arrays; `{at}` is a {type(leaf).__name__}")
    array = jnp.asarray(leaf)
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise TypeError(f"`train.begin` must return arrays; for the key `{at}` return jax.random.key_data of it")
    return lax.convert_element_type(array, array.dtype)  # without a weak type, so that it stays the same
