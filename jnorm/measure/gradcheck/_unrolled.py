"""Branches and loops step by step, on values that know whether they depend on what is differentiated."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jnorm import jaxprs


class Value(NamedTuple):
    """A value of a program.

    Attributes:
        array: The value.
        moves: Whether it depends on what is differentiated.
    """

    array: Any
    moves: bool


def rolled_out(site: jaxprs.Site, inputs: Sequence[Any]) -> list[Value] | None:
    """What a branch or a loop computes, step by step with the hook inside; ``None`` for any other equation."""
    if site.primitive not in _LOOPS or site.params.get("length") == 0:
        return None
    return _LOOPS[site.primitive](site, [a if isinstance(a, Value) else Value(a, False) for a in inputs])


def _cond(site: jaxprs.Site, inputs: list[Value]) -> list[Value]:
    chosen = min(max(int(inputs[0].array), 0), len(site.bodies) - 1)
    return _values(site.open(site.bodies[chosen], *inputs[1:]))


def _while(site: jaxprs.Site, inputs: list[Value]) -> list[Value]:
    condition, body = site.bodies
    first = site.params["cond_nconsts"]
    second = first + site.params["body_nconsts"]
    carry = inputs[second:]
    while bool(_values(site.open(condition, *inputs[:first], *carry))[0].array):
        carry = _values(site.open(body, *inputs[first:second], *carry))
    return carry


def _scan(site: jaxprs.Site, inputs: list[Value]) -> list[Value]:
    params, (body,) = site.params, site.bodies
    fixed, carried, length = params["num_consts"], params["num_carry"], params["length"]
    consts, carry, xs = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    rows: list[list[Value]] = []
    for i in reversed(range(length)) if params["reverse"] else range(length):
        out = _values(site.open(body, *consts, *carry, *(Value(x.array[i], x.moves) for x in xs)))
        carry = out[:carried]
        rows.append(out[carried:])
    ordered = rows[::-1] if params["reverse"] else rows
    stacked = [
        Value(jnp.stack([v.array for v in column]), any(v.moves for v in column))
        for column in zip(*ordered, strict=True)
    ]
    return [*carry, *stacked]


def _values(out: Sequence[Any]) -> list[Value]:
    return [a if isinstance(a, Value) else Value(a, False) for a in out]


_LOOPS = {"cond": _cond, "while": _while, "scan": _scan}
