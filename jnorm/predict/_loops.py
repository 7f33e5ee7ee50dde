"""Loops and branches, whose number of turns is known: opened turn by turn."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jnorm.predict._structure import rearranged, taken
from jnorm.predict._values import Random, Refused, Stack, Weight


def scan(site: Any, inputs: Sequence[Any], predictor: Any) -> list[Any]:
    """Turn by turn; slices of one parameter are parameters of their own, and one that all turns share stays one."""
    params, (body,) = site.params, site.bodies
    fixed, carried = params["num_consts"], params["num_carry"]
    consts, carry, xs = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
    turns = range(params["length"])
    rows = []
    for turn in reversed(turns) if params["reverse"] else turns:
        predictor.turns.append(turn)
        out = site.open(body, *consts, *carry, *(_row(x, turn, site, predictor) for x in xs))
        predictor.turns.pop()
        carry = out[:carried]
        rows.append(out[carried:])
    if params["reverse"]:
        rows.reverse()
    return [*carry, *map(_column, zip(*rows, strict=True))]


def _column(parts: Sequence[Any]) -> Any:
    random = any(isinstance(x, Random | Weight | Stack) for x in parts)
    return Stack(tuple(parts)) if random else np.stack([np.asarray(x) for x in parts])


def _row(x: Any, turn: int, site: Any, predictor: Any) -> Any:
    if isinstance(x, Stack):
        return x.parts[turn]
    if isinstance(x, Weight):
        return rearranged(x, x.shape[1:], site)._replace(key=(*x.key, "row", turn))
    if not isinstance(x, Random):
        return x[turn]
    if any(unit for _, unit in x.axes[0]):
        raise Refused("a loop over units")
    one = taken(x, [slice(turn, turn + 1), *(slice(None) for _ in x.axes[1:])], predictor)
    return one.like(one.axes[1:])


def cond(site: Any, inputs: Sequence[Any], predictor: Any) -> list[Any]:
    """The branch that is taken, which is known."""
    if isinstance(inputs[0], Random | Weight):
        raise Refused("a branch that depends on what is random")
    return site.open(site.bodies[int(np.clip(inputs[0], 0, len(site.bodies) - 1))], *inputs[1:])


def loop(site: Any, inputs: Sequence[Any], predictor: Any) -> list[Any]:
    """Turn by turn, while a condition holds that is known; it has no reverse pass."""
    params, (condition, body) = site.params, site.bodies
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    carry = list(inputs[second:])
    while True:
        (going,) = site.open(condition, *inputs[:first], *carry)
        if isinstance(going, Random | Weight):
            raise Refused("a loop whose end depends on what is random")
        if not going:
            return carry
        carry = site.open(body, *inputs[first:second], *carry)


RULES = {"scan": scan, "cond": cond, "while": loop}
