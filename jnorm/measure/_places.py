"""The values of a program that have a name: each with the user's line and the module path where there is one."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm import jaxprs

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

MOVES = frozenset(
    {"broadcast_in_dim", "convert_element_type", "copy", "copy_p", "dynamic_slice", "expand_dims", "gather", "iota"}
    | {"optimization_barrier", "pad", "reduce_precision", "reshape", "rev", "sharding_constraint", "slice", "split"}
    | {"squeeze", "stop_gradient", "transpose", "concatenate", "dynamic_update_slice", "random_bits", "random_wrap"}
    | {"stack", "tile", "unstack"}
)
"""Primitives that make no new values."""


_KEPT = frozenset(
    {"broadcast_in_dim", "convert_element_type", "copy", "dynamic_slice", "expand_dims", "reshape", "slice"}
)
_KEPT |= {"squeeze", "transpose"}


class Place(NamedTuple):
    """An equation's value, and where it is from.

    Attributes:
        name: ``"<module path>/<operation>"``, or ``"<file>:<line>/<operation>"`` where no module is known; equations
            of a derivative's backward pass have ``"backward/"`` before it, and repetitions ``"#2"`` behind.
        module: The path of the Flax module, of a ``jax.named_scope``, or of the parameters that are used; or empty.
        line: The user's line, or ``None``.
        operation: The name of the primitive, or of the function of JAX that is called.
        backward: Whether it belongs to the backward pass of a derivative inside the program, or computes slopes that
            this alone uses; in the forward loop of a differentiated scan the latter are not told apart.
        shape: Of its value.
        dtype: Of its value.
        loops: Of each loop around, from outside, the number of turns; ``None`` where that is not known.
    """

    name: str
    module: str
    line: jaxprs.Line | None
    operation: str
    backward: bool
    shape: tuple[int, ...]
    dtype: str
    loops: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{list(self.shape)}" + (f" at {self.line}" if self.line else "")


class Spot(NamedTuple):
    """A place in its program: the site, and which of its outputs; ``None`` where none is floating."""

    site: jaxprs.Site
    place: Place
    output: int | None


def paths_of(tree: Any) -> list[str]:
    """The path of each leaf of a call's arguments below the argument; empty where the argument is a leaf itself."""
    flat, _ = jax.tree.flatten_with_path(tree)
    keys = [[jax.tree_util.keystr((key,), simple=True, separator="/") for key in path[1:]] for path, _ in flat]
    wrapped = ("value", "raw_value", "params")  # what Flax puts around a parameter
    return ["/".join(key for key in path if key not in wrapped) for path in keys]


def spots(program: "ClosedJaxpr", paths: Sequence[str], *, inside: bool = False) -> list[Spot]:
    """Every equation that computes something, in order.

    Args:
        program: The program.
        paths: Of its arguments, by which an equation that uses a parameter knows its module.
        inside: Whether functions of JAX are opened; else a call of one is one equation.
    """
    used: dict[tuple[int, ...], str] = {}
    _follow(program, list(paths), (), used)
    slopes = _slopes(program)
    found, counts = [], dict[str, int]()
    for site in jaxprs.walk(program):
        if not inside and any(outer.is_of_jax for outer in site.around):
            continue
        whole = site.is_of_jax or site.primitive in jaxprs.CUSTOM
        opened = site.primitive in jaxprs.CALLS | jaxprs.LOOPS and not whole
        if opened or (inside and site.is_of_jax and site.primitive not in jaxprs.CUSTOM):
            continue
        place, output = _place(site, used.get(site.index, ""), site.index in slopes)
        counts[place.name] = counts.get(place.name, 0) + 1
        if (count := counts[place.name]) > 1:
            place = place._replace(name=f"{place.name}#{count}")
        found.append(Spot(site, place, output))
    return found


def _slopes(program: "ClosedJaxpr") -> set[tuple[int, ...]]:
    """The equations that compute derivatives in the forward pass, which only the backward pass uses."""
    found: set[tuple[int, ...]] = set()
    kept = set(map(id, program.jaxpr.outvars))
    uses: dict[int, list[bool]] = {}
    for number, equation in reversed(list(enumerate(program.jaxpr.eqns))):
        names = [str(element.name) for element in equation.source_info.name_stack.stack]
        users = [use for v in equation.outvars for use in uses.get(id(v), [])]
        only = bool(users) and all(users) and kept.isdisjoint(map(id, equation.outvars))
        if "transpose" not in names and "jvp" in names and only:
            found.add((number,))
        backward = "transpose" in names or (number,) in found
        for atom in equation.invars:
            uses.setdefault(id(atom), []).append(backward)
    return found


def _place(site: jaxprs.Site, parameter: str, slope: bool) -> tuple[Place, int | None]:
    scopes, backward = _scopes(site)
    backward |= slope
    module = "/".join(scopes)
    if parameter and (not scopes or scopes[-1].startswith("eqx.")):  # Equinox names the class, not the place
        module = parameter.rpartition("/")[0]
    operation = (site.function if site.primitive in jaxprs.CALLS else "") or site.primitive
    line = site.line
    there = f"{os.path.basename(line.file)}:{line.number}" if line else ""
    parts = ("backward" if backward else "", module or there, operation)
    avals: list[Any] = [v.aval for v in site.equation.outvars]
    floating = [i for i, a in enumerate(avals) if jnp.issubdtype(a.dtype, jnp.inexact)]
    aval: Any = avals[floating[0] if floating else 0] if avals else jax.ShapeDtypeStruct((), jnp.float32)
    loops = [outer.params.get("length") for outer in site.around if outer.primitive in ("scan", "while")]
    place = Place(
        "/".join(part for part in parts if part),
        *(module, line, operation, backward),
        *(tuple(aval.shape), str(aval.dtype), tuple(loops)),
    )
    return place, floating[0] if floating else None


def _scopes(site: jaxprs.Site) -> tuple[list[str], bool]:
    """The named scopes around an equation from outside, and whether it is of a backward pass."""
    scopes: list[str] = []
    transposed = again = False
    for part in (*site.around, site):
        stack = part.equation.source_info.name_stack.stack
        kinds = [type(element).__name__ for element in stack]
        names = [str(element.name) for element in stack]
        transposed |= any(k == "Transform" and n == "transpose" for k, n in zip(kinds, names, strict=True))
        again |= "rematted_computation" in names
        mine = [n for k, n in zip(kinds, names, strict=True) if k == "Scope" and n != "rematted_computation"]
        half = len(mine) // 2
        if names.count("jvp") > 1 and mine[:half] == mine[half:]:  # a backward call has the scopes of both passes
            mine = mine[half:]
        scopes += mine
    return scopes, transposed and not again


def _follow(
    program: "ClosedJaxpr", paths: Sequence[str], place: tuple[int, ...], used: dict[tuple[int, ...], str]
) -> list[str]:
    """Note which parameter each equation uses, as it stands or moved about; return the paths of the results."""
    from jax.extend.core import Literal

    known: dict[Any, str] = dict(zip(program.jaxpr.invars, paths, strict=True))
    read = lambda atom: "" if isinstance(atom, Literal) else known.get(atom, "")
    for number, equation in enumerate(program.jaxpr.eqns):
        index, primitive = (*place, number), equation.primitive.name
        inputs = [read(atom) for atom in equation.invars]
        first = next(filter(None, inputs), "")
        if first:
            used[index] = first
        results = [""] * len(equation.outvars)
        for i, (body, given) in enumerate(_bodies(equation, inputs)):
            inner = _follow(body, given, (*index, i), used)
            results = inner if primitive in jaxprs.CALLS else results
        if primitive in _KEPT:
            results = [first]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def _bodies(equation: Any, inputs: list[str]) -> "list[tuple[ClosedJaxpr, list[str]]]":
    """The programs inside with the paths of their inputs; what a loop carries is no parameter."""
    bodies, params, primitive = jaxprs.bodies(equation), equation.params, equation.primitive.name
    if primitive == "cond":
        return [(body, inputs[1:]) for body in bodies]
    if primitive == "scan":
        fixed, carried = params["num_consts"], params["num_carry"]
        return [(bodies[0], [*inputs[:fixed], *[""] * carried, *inputs[fixed + carried :]])]
    if primitive == "while":
        counts = (params["cond_nconsts"], params["body_nconsts"])
        starts = (inputs[: counts[0]], inputs[counts[0] : sum(counts)])
        carry = [""] * (len(inputs) - sum(counts))
        return [(body, [*start, *carry]) for body, start in zip(bodies, starts, strict=True)]
    return [
        (body, inputs if len(inputs) == len(body.jaxpr.invars) else [""] * len(body.jaxpr.invars)) for body in bodies
    ]
