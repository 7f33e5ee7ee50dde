"""Programs that were compiled before: a sweep that differs in numbers only, as in a search, compiles nothing.

Whether two programs are the same is decided by what JAX traced, constants included, never by the function that it came
from: what a closure holds may have changed between two sweeps, and then its program is another one.
"""

from collections import OrderedDict
from typing import Any

import jax
from jax.sharding import Mesh

from jnorm.sweeps import _fingerprints as fingerprints
from jnorm.sweeps import _identity as identity
from jnorm.sweeps import _programs as programs
from jnorm.sweeps._programs import Lanes, Program

KEPT = 32
"""Programs that are kept, those of the widths that are tried and of the values that are static among them."""
_lowered: OrderedDict[Any, list[jax.stages.Lowered]] = OrderedDict()


def lower(
    program: Program, mesh: Mesh, lanes: Lanes, shared: Any, *, width: int, groups: int
) -> list[jax.stages.Lowered]:
    """What `programs.lower` returns; if it has done so for the same program and shapes, that, which is compiled once.

    Programs that JAX cannot see into, or that print or call out on their way, are not recognized.
    """
    new = lambda: programs.lower(program, mesh, lanes, shared, width=width, groups=groups)
    known = fingerprints.of_program(program.jaxpr)
    if known.opaque or program.jaxpr.effects:
        return new()
    names = jax.tree.structure((lanes, shared)), tuple(program.outputs)  # types are part of the program
    parts = program.pieces is None
    same = known.digest, names, parts, mesh, width, groups, tuple(identity.settings().items())
    if same not in _lowered:
        _lowered[same] = new()
    _lowered.move_to_end(same)
    while len(_lowered) > KEPT:
        _lowered.popitem(last=False)
    return _lowered[same]
