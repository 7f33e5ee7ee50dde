"""Which equation's derivative is not that of its values: every custom derivative, at the values that occur."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.measure._origins import first_nonfinite
from jnorm.measure.gradcheck import _remainders
from jnorm.measure.gradcheck._problems import Leaves, Problem, draw, host, inexact, normal, pair, size, total
from jnorm.measure.gradcheck._remainders import Verdict
from jnorm.measure.gradcheck._unrolled import Value, rolled_out

DIRECTIONS = 2


class Fault(NamedTuple):
    """An equation and what is wrong with it; prints as a sentence.

    Attributes:
        primitive: What the equation is.
        function: Of a custom derivative the function that has it, and where it is defined.
        line: The user's line that calls it.
        path: Names of the calls, branches and loops around it.
        verdict: ``wrong``, ``not finite`` or ``kink``.
        what: What is seen.
    """

    primitive: str
    function: str
    line: jaxprs.Line | None
    path: tuple[str, ...]
    verdict: Verdict
    what: str

    def __str__(self) -> str:
        of = f" of {self.function}" if self.function else ""
        return f"`{self.primitive}`{of}" + (f", called at {self.line}" if self.line else "") + f": {self.what}"


def faults(problem: Problem, rng: np.random.Generator, *, order: int = 1, kinks: bool = False) -> list[Fault]:
    """The equations whose derivative by what depends on the leaves is wrong.

    Custom derivatives and ``stop_gradient`` are looked at first, all other equations where none of these is at fault. A
    ``stop_gradient`` counts where the gradient is another without it: not so in a log-sum-exp that subtracts its
    maximum. Loops go step by step, outside ``jit``.

    Args:
        problem: The loss.
        rng: A stream of random numbers.
        order: Of the derivative; second ones are looked at in custom derivatives alone.
        kinks: Also those that have a kink just there.

    Returns:
        One fault for an equation, in order of computation.
    """
    program = jax.make_jaxpr(problem.f)(problem.x)
    suspect = lambda site: site.primitive in jaxprs.CUSTOM or (site.primitive == "stop_gradient" and order == 1)
    for looked_at in (suspect, lambda site: not suspect(site) and not site.bodies) if order == 1 else (suspect,):
        found = _Looking(looked_at, rng, order)
        _evaluated(program, problem.x, found)
        wanted = ("wrong", "not finite", "kink") if kinks else ("wrong", "not finite")
        some = [
            fault
            for equation, fault in found.faults.values()
            if fault is not None
            and fault.verdict in wanted
            and (fault.primitive != "stop_gradient" or _matters(program, problem, equation))
        ]
        if some:
            return some
    return []


def began(problem: Problem) -> list[Fault]:
    """Where the first NaN or infinity arises."""
    place = first_nonfinite(problem.f, problem.x).place
    if place is None:
        return []
    return [Fault(place.operation, "", place.line, (), "not finite", "the first NaN or infinity arises here")]


def _evaluated(program: Any, x: Leaves, look: Callable[[jaxprs.Site, list[Any], list[int]], None]) -> None:
    """Compute a program outside ``jit``, with a look at each equation some of whose inputs, by number, depend on x."""

    def hook(site: jaxprs.Site, *inputs: Any) -> list[Value]:
        out = rolled_out(site, inputs)
        if out is not None:
            return out
        arrays = [a.array if isinstance(a, Value) else a for a in inputs]
        moving = [i for i, a in enumerate(inputs) if isinstance(a, Value) and a.moves]
        if moving:
            look(site, arrays, moving)
        return [Value(a, bool(moving)) for a in site.run(*arrays)]

    opens = jaxprs.CALLS - jaxprs.CUSTOM
    jaxprs.evaluate(program, *(Value(a, True) for a in x), hook=hook, opens=opens)


class _Looking:
    """Checks equations; of one that runs several times the first fault is kept."""

    def __init__(self, wanted: Callable[[jaxprs.Site], bool], rng: np.random.Generator, order: int) -> None:
        self.wanted, self.rng, self.order = wanted, rng, order
        self.faults: dict[int, tuple[Any, Fault | None]] = {}
        self.programs: dict[int, tuple[Any, Any]] = {}

    def __call__(self, site: jaxprs.Site, inputs: list[Any], moving: list[int]) -> None:
        mine = id(site.equation)
        seen = self.faults.get(mine, (None, None))[1]
        if not self.wanted(site) or (seen is not None and seen.verdict != "kink"):
            return
        arrays = [jnp.asarray(a) if i in moving else a for i, a in enumerate(inputs)]
        moving = [i for i in moving if inexact(arrays[i]) and arrays[i].size]
        if moving and any(inexact(v.aval) for v in site.equation.outvars):
            self.faults[mine] = (site.equation, self._check(site, arrays, moving) or seen)

    def _check(self, site: jaxprs.Site, arrays: list[Any], moving: list[int]) -> Fault | None:
        if id(site.equation) not in self.programs:
            f = _scalar(site, moving, self.order)
            self.programs[id(site.equation)] = (jax.jit(jax.value_and_grad(f)), _remainders.along(f))
        gradient, values = self.programs[id(site.equation)]
        x, eps = [arrays[i] for i in moving], _eps(site)
        fixed = [None if i in moving else a for i, a in enumerate(arrays)]
        w = [normal(self.rng, v.aval) for v in site.equation.outvars if inexact(v.aval)]
        u = draw(self.rng, x)
        value, slopes = gradient(x, fixed, w, u)
        if not all(np.isfinite(host(g)).all() for g in slopes):
            return _fault(site, "not finite", "its derivative is not finite")
        plain = [a for a in site.run(*arrays) if inexact(a)]
        if self.order == 1 and abs(float(value) - pair(plain, w)) > min(1024 * eps, np.sqrt(eps)) * size(plain, w):
            return _fault(site, "wrong", "its forward rule returns another value than the function")
        kink = None
        for _ in range(DIRECTIONS):
            for i, v in enumerate(draw(self.rng, x)):
                along = [v if j == i else np.zeros_like(a) for j, a in enumerate(x)]
                terms = size(slopes, along)
                points = values(x, along, _remainders.steps(eps), fixed, w, u)
                line = _remainders.read("", points, pair(slopes, along), terms, eps)
                if line.verdict == "wrong":
                    return _fault(site, "wrong", self._said(line, moving[i]))
                if line.verdict == "kink":
                    kink = _fault(site, "kink", f"a kink just here, by input {moving[i]}")
        return kink

    def _said(self, line: _remainders.Remainder, argument: int) -> str:
        name = "derivative" if self.order == 1 else "second derivative"
        by = f"by input {argument}" if self.order == 1 else "of its rule"
        return f"its {name} {by} is {line.slope:.6g} along a line where values say {line.difference:.6g}"


def _scalar(site: jaxprs.Site, moving: list[int], order: int) -> Callable[..., jax.Array]:
    """The outputs, weighted: a function of the inputs that move; for the second order its slope along ``u``."""

    def f(x: Leaves, fixed: list[Any], w: Leaves, u: Leaves) -> jax.Array:
        full = list(fixed)
        for i, a in zip(moving, x, strict=True):
            full[i] = a
        return total([a for a in site.run(*full) if inexact(a)], w)

    def slope(x: Leaves, fixed: list[Any], w: Leaves, u: Leaves) -> jax.Array:
        return total(jax.grad(f)(x, fixed, w, u), u)

    return f if order == 1 else slope


def _eps(site: jaxprs.Site) -> float:
    inside = (inner.equation for body in site.bodies for inner in jaxprs.walk(body))
    avals = [v.aval for e in (site.equation, *inside) for v in (*e.invars, *e.outvars)]
    return max(float(jnp.finfo(a.dtype).eps) for a in avals if hasattr(a, "dtype") and inexact(a))


def _matters(program: Any, problem: Problem, equation: Any) -> bool:
    """Whether the gradient is another one without a ``stop_gradient``."""

    def gradient(hook: Any) -> Leaves:
        opens = (jaxprs.CALLS - jaxprs.CUSTOM) | jaxprs.LOOPS
        return jax.jit(jax.grad(lambda x: jaxprs.evaluate(program, *x, hook=hook, opens=opens)[0]))(problem.x)

    through = lambda site, *inputs: list(inputs) if site.equation is equation else site.run(*inputs)
    pairs = [(host(a), host(b)) for a, b in zip(gradient(None), gradient(through), strict=True)]
    largest = max(float(np.abs(a).max()) for pair in pairs for a in pair)
    return any(np.abs(a - b).max() > max(1e-7, 64 * problem.eps) * largest for a, b in pairs)


def _fault(site: jaxprs.Site, verdict: Verdict, what: str) -> Fault:
    info = site.bodies[0].jaxpr.debug_info if site.primitive in jaxprs.CUSTOM else None  # "name at file:line"
    return Fault(site.primitive, str(getattr(info, "func_src_info", "") or ""), site.line, site.path, verdict, what)
