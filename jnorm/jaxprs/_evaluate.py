"""Evaluating a program with a hook on every equation, alone or with a state that goes through all of them."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnorm.jaxprs._sites import CALLS, CUSTOM, LOOPS, Site

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

Hook = Callable[..., Sequence[Any]]
Results = tuple[list[Any], Any]
"""Outputs and the state."""

_REMAT = frozenset({"remat", "remat2", "checkpoint"})


def evaluate(
    jaxpr: "ClosedJaxpr",
    *args: Any,
    hook: Hook | None = None,
    opens: Collection[str] = CALLS | LOOPS,
) -> list[Any]:
    """Compute a program equation by equation.

    ``hook(site, *inputs)`` returns the outputs of an equation; ``site.run(*inputs)`` is what it computes. Calls that
    are opened do not come to the hook, what is inside does. Branches and loops that are opened run as such, with the
    hook inside, and then take arrays only; of others the hook may ``site.open`` the bodies itself.

    Args:
        jaxpr: What ``jax.make_jaxpr`` returns.
        *args: Its flat arguments.
        hook: What to compute in the place of an equation; ``None`` computes it.
        opens: Names of the primitives to open, among `CALLS` and `LOOPS`.

    Returns:
        The flat results.

    Raises:
        ValueError: Another number of arguments, or of what the hook returns, or an unknown name in ``opens``.

    >>> program = jax.make_jaxpr(lambda x: jax.nn.relu(x) * 2)(1.0)
    >>> def louder(site, *inputs):
    ...     return [2 * value if site.primitive == "max" else value for value in site.run(*inputs)]
    >>> [float(value) for value in evaluate(program, 3.0, hook=louder)]
    [12.0]
    """
    unknown = sorted(set(opens) - CALLS - LOOPS)
    if unknown:
        raise ValueError(f"`opens` must name calls and loops ({', '.join(sorted(CALLS | LOOPS))}); got {unknown[0]!r}")
    compute = hook or Site.run
    course = _Course(lambda site, _, *inputs: (compute(site, *inputs), ()), lambda site: site.primitive in opens, False)
    return course.run(jaxpr, args, (), _Place())[0]


def thread(
    jaxpr: "ClosedJaxpr",
    state: Any,
    *args: Any,
    hook: Callable[..., tuple[Sequence[Any], Any]],
    opens: Callable[[Site], bool] = lambda site: True,
) -> tuple[list[Any], Any]:
    """Compute a program with a state that is handed from one equation to the next, through calls, branches and loops.

    ``hook(site, state, *inputs)`` returns the outputs of an equation and the new state, of the same shapes and dtypes:
    loops carry it, of a ``cond`` the branch that is taken changes it, and ``site.turns`` says which turn of which loop
    it is. The condition of a ``while`` is computed without the hook. A call with custom derivatives comes to the hook
    as a whole, after a copy of what is inside, without derivatives; so the outputs keep them. What is in
    ``jax.checkpoint`` stays in it.

    Args:
        jaxpr: What ``jax.make_jaxpr`` returns.
        state: A pytree of arrays.
        *args: The flat arguments of the program.
        hook: What to compute in the place of an equation.
        opens: Which calls, branches and loops are opened; others come to the hook.

    Returns:
        The flat results, and the state after the last equation.

    Raises:
        ValueError: Another number of arguments, or of what the hook returns.

    >>> def count(site, state, *inputs):
    ...     return site.run(*inputs), state + 1
    >>> program = jax.make_jaxpr(lambda x: lax.fori_loop(0, 5, lambda i, x: jnp.sin(jnp.cos(x)), x))(1.0)
    >>> thread(program, 0, 1.0, hook=count)[1].item()  # cos, sin, and the loop's own counting
    15
    """
    openable = lambda site: site.primitive in CALLS | LOOPS and opens(site)
    return _Course(hook, openable, True).run(jaxpr, args, state, _Place())


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a program stands: in which site, the numbers of its index, and the turns of the loops around."""

    outer: Site | None = None
    index: tuple[int, ...] = ()
    turns: tuple[Any, ...] = ()


class _Course(NamedTuple):
    """How to go through a program; ``threads`` says whether there is a state, and derivatives to keep."""

    hook: Callable[..., tuple[Sequence[Any], Any]]
    opens: Callable[[Site], bool]
    threads: bool

    def run(self, jaxpr: "ClosedJaxpr", args: Sequence[Any], state: Any, place: _Place) -> Results:
        from jax.extend.core import Literal

        inner = jaxpr.jaxpr
        if len(args) != len(inner.invars):
            raise ValueError(f"the program takes {len(inner.invars)} arguments; got {len(args)}")
        values = dict(zip((*inner.constvars, *inner.invars), (*jaxpr.consts, *args), strict=True))
        read = lambda atom: atom.val if isinstance(atom, Literal) else values[atom]
        alone = None if self.threads else self.inside
        for number, equation in enumerate(inner.eqns):
            site = Site(equation, place.outer, (*place.index, number), inner, alone, place.turns)
            inputs = [read(atom) for atom in equation.invars]
            with equation.ctx.manager:
                out, state = self.compute(site, inputs, state)
            if len(out) != len(equation.outvars):
                raise ValueError(f"{site} has {len(equation.outvars)} outputs; the hook returned {len(out)}")
            values.update(zip(equation.outvars, out, strict=True))
        return [read(atom) for atom in inner.outvars], state

    def compute(self, site: Site, inputs: list[Any], state: Any) -> Results:
        """One equation: opened, or handed to the hook."""
        if not self.opens(site):
            out, state = self.hook(site, state, *inputs)
            return list(out), state
        if site.primitive in LOOPS:
            return _LOOPS[site.primitive](self, site, inputs, state)
        if self.threads and site.primitive in _REMAT:
            return _rematerialized(self, site, inputs, state)
        if self.threads and site.primitive in CUSTOM:
            state = self.body(site, lax.stop_gradient(inputs), state)[1]
            out, state = self.hook(site, state, *inputs)
            return list(out), state
        return self.body(site, inputs, state)

    def body(self, site: Site, inputs: Sequence[Any], state: Any, number: int = 0, turn: Any = None) -> Results:
        """One of the programs inside, in a turn where the site is a loop."""
        turns = site.turns if turn is None else (*site.turns, turn)
        return self.run(site.bodies[number], inputs, state, _Place(site, (*site.index, number), turns))

    def inside(self, body: "ClosedJaxpr", inputs: Sequence[Any], site: Site, number: int) -> list[Any]:
        return self.run(body, inputs, (), _Place(site, (*site.index, number)))[0]


def _cond(course: _Course, site: Site, inputs: list[Any], state: Any) -> Results:
    def branch(number: int) -> Callable[..., Results]:
        return lambda state, *operands: course.body(site, operands, state, number)

    out, state = lax.switch(inputs[0], [branch(i) for i in range(len(site.bodies))], state, *inputs[1:])
    return list(out), state


def _scan(course: _Course, site: Site, inputs: list[Any], state: Any) -> Results:
    params = site.params
    fixed, carried = params["num_consts"], params["num_carry"]
    consts, carry, xs = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    turns = jnp.arange(params["length"]) if course.threads else None

    def step(carry: tuple[list[Any], Any], x: tuple[Any, list[Any]]) -> tuple[tuple[list[Any], Any], list[Any]]:
        (values, state), (turn, slices) = carry, x
        out, state = course.body(site, [*consts, *values, *slices], state, turn=turn)
        return (out[:carried], state), out[carried:]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    (last, state), rows = lax.scan(step, (carry, state), (turns, xs), **options)
    return [*last, *rows], state


def _while(course: _Course, site: Site, inputs: list[Any], state: Any) -> Results:
    params = site.params
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    condition = course if not course.threads else _Course(_untouched, course.opens, False)
    turn = jnp.int32(0) if course.threads else None

    def go_on(carry: tuple[list[Any], Any, Any]) -> Any:
        return condition.body(site, [*inputs[:first], *carry[0]], ())[0][0]

    def step(carry: tuple[list[Any], Any, Any]) -> tuple[list[Any], Any, Any]:
        values, state, turn = carry
        out, state = course.body(site, [*inputs[first:second], *values], state, 1, turn)
        return out, state, None if turn is None else turn + 1

    last, state, _ = lax.while_loop(go_on, step, (inputs[second:], state, turn))
    return list(last), state


def _untouched(site: Site, state: Any, *inputs: Any) -> Results:
    return site.run(*inputs), state


def _rematerialized(course: _Course, site: Site, inputs: list[Any], state: Any) -> Results:
    """The same call of a program that hands the state on; it may be one of a derivative already, and then stays so."""
    leaves, tree = jax.tree.flatten(state)
    leaves = [jnp.asarray(leaf) for leaf in leaves]

    def inner(*args: Any) -> list[Any]:
        out, after = course.body(site, args[: len(inputs)], jax.tree.unflatten(tree, args[len(inputs) :]))
        return [*out, *jax.tree.leaves(after)]

    program = jax.make_jaxpr(inner)(*inputs, *leaves)
    opened = program.jaxpr.replace(constvars=(), invars=(*program.jaxpr.constvars, *program.jaxpr.invars))
    given = (*program.consts, *inputs, *leaves)
    results = site.equation.primitive.bind(*given, **(site.params | {"jaxpr": opened}))
    count = len(site.equation.outvars)
    return list(results[:count]), jax.tree.unflatten(tree, results[count:])


_LOOPS: dict[str, Callable[[_Course, Site, list[Any], Any], Results]] = {"cond": _cond, "scan": _scan, "while": _while}
