"""Which equations of a program become rows of a table."""

from typing import Any

import jax.numpy as jnp

from jnorm import jaxprs

CONTRACTIONS = frozenset({"dot_general", "conv_general_dilated"})
QUIET = frozenset(
    {"broadcast_in_dim", "concatenate", "convert_element_type", "copy", "dynamic_slice", "gather"}
    | {"optimization_barrier", "pad", "reshape", "rev", "slice", "split", "squeeze", "stop_gradient", "transpose"}
    | {"stack", "tile", "unstack"}
)
"""What moves numbers only, and has no row of its own."""


def chosen(program: Any) -> set[int]:
    """The equations that matter, by ``id``: contractions, and what another line or module takes up.

    A call is one row where it holds no contraction, as `jax.nn.gelu` does; else its equations are.
    """
    found: set[int] = set()
    _choose(getattr(program, "jaxpr", program), found)
    return found


def _choose(program: Any, found: set[int]) -> None:
    outputs = {id(atom) for atom in program.outvars}
    uses: dict[int, list[Any]] = {}
    for equation in program.eqns:
        for atom in equation.invars:
            uses.setdefault(id(atom), []).append(equation)
    for equation in program.eqns:
        name = equation.primitive.name
        if name in jaxprs.LOOPS or (name in jaxprs.CALLS and _contracts(equation)):
            for body in jaxprs.bodies(equation):
                _choose(body.jaxpr, found)
            continue
        if name in QUIET or not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating):
            continue
        ends = (id(atom) in outputs or _elsewhere(atom, equation, uses) for atom in equation.outvars)
        if name in CONTRACTIONS or any(ends):
            found.add(id(equation))


def _contracts(equation: Any) -> bool:
    return any(
        site.primitive in CONTRACTIONS or site.primitive in jaxprs.LOOPS
        for body in jaxprs.bodies(equation)
        for site in jaxprs.walk(body)
    )


def _elsewhere(atom: Any, equation: Any, uses: dict[int, list[Any]]) -> bool:
    """Whether another line or module takes up a value, seen through what only moves it."""
    for user in uses.get(id(atom), []):
        if user.primitive.name in CONTRACTIONS or _place(user) != _place(equation):
            return True
        if user.primitive.name in QUIET and any(_elsewhere(out, equation, uses) for out in user.outvars):
            return True
    return False


def _place(equation: Any) -> tuple[str, Any]:
    return str(equation.source_info.name_stack), jaxprs.line(equation)
