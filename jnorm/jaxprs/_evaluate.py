"""Evaluating a program with a hook on every equation."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from jax import lax

from jnorm.jaxprs._sites import CALLS, LOOPS, Site

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

Hook = Callable[..., Sequence[Any]]


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

    >>> import jax
    >>> program = jax.make_jaxpr(lambda x: jax.nn.relu(x) * 2)(1.0)
    >>> def louder(site, *inputs):
    ...     return [2 * value if site.primitive == "max" else value for value in site.run(*inputs)]
    >>> [float(value) for value in evaluate(program, 3.0, hook=louder)]
    [12.0]
    """
    unknown = sorted(set(opens) - CALLS - LOOPS)
    if unknown:
        raise ValueError(f"`opens` must name calls and loops ({', '.join(sorted(CALLS | LOOPS))}); got {unknown[0]!r}")
    return _evaluate(jaxpr, args, None, hook or Site.run, frozenset(opens))


def _evaluate(
    jaxpr: "ClosedJaxpr", args: Sequence[Any], outer: Site | None, hook: Hook, opens: frozenset[str]
) -> list[Any]:
    from jax.extend.core import Literal

    inner = jaxpr.jaxpr
    if len(args) != len(inner.invars):
        raise ValueError(f"the program takes {len(inner.invars)} arguments; got {len(args)}")
    values = dict(zip((*inner.constvars, *inner.invars), (*jaxpr.consts, *args), strict=True))
    read = lambda atom: atom.val if isinstance(atom, Literal) else values[atom]
    inside = lambda body, inputs, outer: _evaluate(body, inputs, outer, hook, opens)
    for equation in inner.eqns:
        site = Site(equation, outer, inner, inside)
        inputs = [read(atom) for atom in equation.invars]
        with equation.ctx.manager:
            if site.primitive not in opens:
                out = list(hook(site, *inputs))
            elif site.primitive in LOOPS:
                out = _LOOPS[site.primitive](site, inputs)
            else:
                out = site.open(site.bodies[0], *inputs)
        if len(out) != len(equation.outvars):
            raise ValueError(f"{site} has {len(equation.outvars)} outputs; the hook returned {len(out)}")
        values.update(zip(equation.outvars, out, strict=True))
    return [read(atom) for atom in inner.outvars]


def _cond(site: Site, inputs: list[Any]) -> list[Any]:
    branches = [lambda *operands, body=body: site.open(body, *operands) for body in site.bodies]
    return list(lax.switch(inputs[0], branches, *inputs[1:]))


def _scan(site: Site, inputs: list[Any]) -> list[Any]:
    params, (body,) = site.params, site.bodies
    fixed, carried = params["num_consts"], params["num_carry"]
    consts, carry, xs = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        out = site.open(body, *consts, *carry, *x)
        return out[:carried], out[carried:]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    last, rows = lax.scan(step, carry, xs, **options)
    return [*last, *rows]


def _while(site: Site, inputs: list[Any]) -> list[Any]:
    params, (condition, body) = site.params, site.bodies
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    go_on = lambda carry: site.open(condition, *inputs[:first], *carry)[0]
    return list(lax.while_loop(go_on, lambda carry: site.open(body, *inputs[first:second], *carry), inputs[second:]))


_LOOPS: dict[str, Callable[[Site, list[Any]], list[Any]]] = {"cond": _cond, "scan": _scan, "while": _while}
