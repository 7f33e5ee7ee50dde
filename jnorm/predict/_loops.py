"""Loops and branches, whose number of turns is known: opened turn by turn, for whatever goes through."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from jnorm.predict._structure import rearranged, taken
from jnorm.predict._values import Random, Refused, Stack, Weight


def scanned(
    site: Any,
    inputs: Sequence[Any],
    turns: list[int],
    row: Callable[[Any, int], Any],
    column: Callable[[Sequence[Any]], Any],
) -> list[Any]:
    """Turn by turn; ``turns`` says which one it is, behind those of the loops around."""
    params, (body,) = site.params, site.bodies
    fixed, carried = params["num_consts"], params["num_carry"]
    consts, carry, xs = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
    order = range(params["length"])
    rows = []
    for turn in reversed(order) if params["reverse"] else order:
        turns.append(turn)
        out = site.open(body, *consts, *carry, *(row(x, turn) for x in xs))
        turns.pop()
        carry = out[:carried]
        rows.append(out[carried:])
    if params["reverse"]:
        rows.reverse()
    return [*carry, *map(column, zip(*rows, strict=True))]


def chosen(site: Any, inputs: Sequence[Any]) -> list[Any]:
    """The branch that is taken, whose number is known."""
    return list(site.open(site.bodies[int(np.clip(inputs[0], 0, len(site.bodies) - 1))], *inputs[1:]))


def repeated(site: Any, inputs: Sequence[Any], turns: list[int], known: Callable[[Any], bool]) -> list[Any]:
    """Turn by turn, while a condition holds, which ``known`` looks at first."""
    params, (condition, body) = site.params, site.bodies
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    carry, turn = list(inputs[second:]), 0
    while known(site.open(condition, *inputs[:first], *carry)[0]):
        turns.append(turn)
        carry = site.open(body, *inputs[first:second], *carry)
        turns.pop()
        turn += 1
    return carry


def columns(parts: Sequence[Any], random: tuple[type, ...]) -> Any:
    """What turns leave behind, as one value."""
    held = any(isinstance(x, (*random, Stack)) for x in parts)
    return Stack(tuple(parts)) if held else np.stack([np.asarray(x) for x in parts])


def row_of(x: Any, turn: int, site: Any) -> Any:
    """What a turn has of a stack, a parameter (which is one of its own) or numbers."""
    if isinstance(x, Stack):
        return x.parts[turn]
    if isinstance(x, Weight):
        return rearranged(x, x.shape[1:], site)._replace(key=(*x.key, "row", turn))
    return x[turn]


def scan(site: Any, inputs: Sequence[Any], predictor: Any) -> list[Any]:
    """Turn by turn; slices of one parameter are parameters of their own, and one that all turns share stays one."""
    row = lambda x, turn: _row(x, turn, site, predictor)
    return scanned(site, inputs, predictor.turns, row, partial(columns, random=(Random, Weight)))


def _row(x: Any, turn: int, site: Any, predictor: Any) -> Any:
    if not isinstance(x, Random):
        return row_of(x, turn, site)
    if any(unit for _, unit in x.axes[0]):
        raise Refused("a loop over units")
    one = taken(x, [slice(turn, turn + 1), *(slice(None) for _ in x.axes[1:])], predictor)
    return one.like(one.axes[1:])


def cond(site: Any, inputs: Sequence[Any], predictor: Any) -> list[Any]:
    """The branch that is taken, which is known."""
    if isinstance(inputs[0], Random | Weight):
        raise Refused("a branch that depends on what is random")
    return chosen(site, inputs)


def loop(site: Any, inputs: Sequence[Any], predictor: Any) -> list[Any]:
    """Turn by turn, while a condition holds that is known; it has no reverse pass."""

    def known(going: Any) -> bool:
        if isinstance(going, Random | Weight):
            raise Refused("a loop whose end depends on what is random")
        return bool(going)

    return repeated(site, inputs, [], known)  # without a reverse pass no turn needs its number


RULES = {"scan": scan, "cond": cond, "while": loop}
