"""The search for the first NaN or infinity: a state that goes through the program."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnorm import jaxprs
from jnorm.measure._calls import Call
from jnorm.measure._places import Spot
from jnorm.measure._slopes import ELEMENTWISE

Kind = tuple[tuple[int, ...], str]
"""Shape and dtype."""
Test = Callable[[jax.Array], jax.Array]


def search(call: Call, found: Sequence[Spot]) -> dict[str, Any]:
    """The state of the search after the program: arguments with NaN, then equations, then infinite arguments."""
    search_all = jax.jit(lambda given: _search(call, found, given))
    return search_all([*call.leaves, *call.program.consts])


def _search(call: Call, found: Sequence[Spot], given: Sequence[jax.Array]) -> dict[str, Any]:
    numbers = {spot.site.index: i for i, spot in enumerate(found) if spot.output is not None}
    deepest = max((len(spot.place.loops) for spot in found), default=0)
    state = _blank([*(kinds_of(spot.site) for spot in found), *([kind(x)] for x in given if is_number(x))], deepest)
    for i, x in enumerate(given):
        state = _entered(state, x, len(found) + i, jnp.isnan)

    def hook(site: jaxprs.Site, state: Any, *inputs: Any) -> tuple[list[Any], Any]:
        out = site.run(*inputs)
        number = numbers.get(site.index)
        return out, state if number is None else _looked(state, number, site, out, inputs)

    _, state = jaxprs.thread(call.program, state, *given[: len(call.leaves)], hook=hook)
    for i, x in enumerate(given):
        state = _entered(state, x, len(found) + i, lambda x: ~jnp.isfinite(x))
    return state


def kind(x: Any) -> Kind:
    """The shape and dtype of an array, or of a variable's type."""
    return tuple(x.shape), str(x.dtype)


def kinds_of(site: jaxprs.Site) -> list[Kind]:
    """Those of an equation's inputs that are numbers."""
    types: list[Any] = [atom.aval for atom in site.equation.invars]
    return [kind(aval) for aval in types if is_number(aval)]


def is_number(x: Any) -> bool:
    """Whether an array or a type has numbers, which random keys have not."""
    return hasattr(x, "dtype") and not jnp.issubdtype(x.dtype, jax.dtypes.extended)


def _looked(state: Any, number: int, site: jaxprs.Site, out: Sequence[Any], inputs: Sequence[Any]) -> Any:
    """The state after an equation: NaN arises where none goes in, an infinity where neither goes in.

    Of elementwise operations each entry is looked at by itself. A NaN that the code writes does arise; an infinity that
    it writes, as masks do, does not.
    """
    written = tuple(not isinstance(x, jax.Array) for x in inputs if _is_inexact(x))
    results = [lax.stop_gradient(x) for x in out if _is_inexact(x)]
    given = [lax.stop_gradient(x) for x in inputs if _is_inexact(x)]
    arises, position = _fresh(results, given, written, site.primitive in ELEMENTWISE)
    values = [lax.stop_gradient(x) for x in map(jnp.asarray, inputs) if is_number(x)]
    return _noted(state, arises, number, position, values, site.turns)


@partial(jax.jit, static_argnums=(2, 3))
def _fresh(
    results: Sequence[jax.Array], given: Sequence[jax.Array], written: Sequence[bool], alone: bool
) -> tuple[jax.Array, jax.Array]:
    """Whether something arises, and in which entry of the first result; traced once for each kind of equation."""
    over = (lambda x: x) if alone else jnp.any
    known = list(zip(given, written, strict=True))
    nan_in = [over(jnp.isnan(x)) for x, by_hand in known if not by_hand]
    bad_in = [over(jnp.isinf(x) if by_hand else ~jnp.isfinite(x)) for x, by_hand in known]
    fresh = [(jnp.isnan(x) & ~_either(nan_in)) | (jnp.isinf(x) & ~_either(bad_in)) for x in results]
    first = fresh[0].reshape(-1)
    return _either([jnp.any(bad) for bad in fresh]), jnp.argmax(first) if first.size else jnp.int32(0)


def _either(tests: Iterable[jax.Array]) -> jax.Array:
    found = jnp.bool_(False)
    for test in tests:
        found = jnp.logical_or(*jnp.broadcast_arrays(found, test))
    return found


def _entered(state: Any, x: jax.Array, number: int, test: Test) -> Any:
    """The state after a look at an argument."""
    if not _is_inexact(x) or not x.size:
        return state
    bad = test(lax.stop_gradient(x)).reshape(-1)
    return _noted(state, jnp.any(bad), number, jnp.argmax(bad), [lax.stop_gradient(x)], ())


@jax.jit
def _noted(
    state: Any, arises: jax.Array, number: int, position: Any, inputs: Sequence[jax.Array], turns: Sequence[Any]
) -> Any:
    """The state with a place as the first one, if it is."""
    when = jnp.stack([jnp.asarray(turn, jnp.int32) for turn in turns]) if turns else jnp.zeros(0, jnp.int32)

    def here() -> Any:
        return {
            "found": jnp.bool_(True),
            "number": jnp.asarray(number, jnp.int32),
            "turns": lax.dynamic_update_slice(state["turns"], when, (0,)),
            "position": jnp.asarray(position, jnp.int32),
            "buffers": _packed(state["buffers"], inputs),
        }

    return lax.cond(arises & ~state["found"], here, lambda: state)


def _packed(buffers: Mapping[str, jax.Array], inputs: Sequence[jax.Array]) -> dict[str, jax.Array]:
    filled = dict(buffers)
    for dtype, buffer in buffers.items():
        mine = [x.reshape(-1) for x in inputs if str(x.dtype) == dtype]
        if mine:
            filled[dtype] = lax.dynamic_update_slice(buffer, jnp.concatenate(mine), (0,))
    return filled


def _blank(kinds: Iterable[Sequence[Kind]], deepest: int) -> dict[str, Any]:
    """The state before the program, with room for the inputs of the largest equation."""
    sizes: dict[str, int] = {}
    for parts in kinds:
        mine: dict[str, int] = {}
        for shape, dtype in parts:
            mine[dtype] = mine.get(dtype, 0) + math.prod(shape)
        sizes = {dtype: max(sizes.get(dtype, 0), mine.get(dtype, 0)) for dtype in {**sizes, **mine}}
    return {
        "found": jnp.bool_(False),
        "number": jnp.int32(-1),
        "turns": jnp.full((deepest,), -1, jnp.int32),
        "position": jnp.int32(-1),
        "buffers": {dtype: jnp.zeros(size, dtype) for dtype, size in sizes.items()},
    }


def _is_inexact(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)
