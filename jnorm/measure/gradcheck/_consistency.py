"""What must agree without any step: two ways to the same number."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jnorm.measure.gradcheck import _remainders
from jnorm.measure.gradcheck._problems import Leaves, Problem, draw, host, moved, pair, size, total
from jnorm.measure.gradcheck._remainders import Verdict

UNDEFINED = "no such derivative"


class Agreement(NamedTuple):
    """Two ways to the same number.

    Attributes:
        name: Which two.
        verdict: ``right``, ``wrong``, ``rounding`` or, where JAX has no such derivative, ``not defined``.
        distance: Of the two, relative to the larger.
        bar: How far rounding may take them apart.
        leaf: The leaf with the largest excess, ``loss`` for the value.
    """

    name: str
    verdict: Verdict | str
    distance: float
    bar: float
    leaf: str


def compare(name: str, names: Sequence[str], one: Any, two: Any, eps: float, spread: Any = None) -> Agreement:
    """Two lists of arrays, leaf by leaf; the same NaN or infinity in both is no difference.

    Args:
        name: What is compared.
        names: Of the leaves.
        one: Arrays.
        two: Arrays.
        eps: Their rounding.
        spread: How far each moves where what it comes from moves by a rounding.

    Returns:
        The row of the leaf with the largest excess.
    """
    worst = Agreement(name, "right", 0.0, 0.0, names[0])
    excess = -np.inf
    for i, (leaf, a, b) in enumerate(zip(names, one, two, strict=True)):
        a, b = host(a), host(b)
        alike = ~np.isfinite(a) & ((a == b) | (np.isnan(a) & np.isnan(b)))  # such as points outside of the domain
        a, b = np.where(alike, 0, a), np.where(alike, 0, b)
        scale = max(np.linalg.norm(a), np.linalg.norm(b))
        apart = np.linalg.norm(a - b) if not np.array_equal(a, b) else 0.0
        bar = min(1024 * eps, np.sqrt(eps)) * scale + 8 * (spread[i] if spread is not None else 0.0)
        over = np.nan_to_num(apart - bar, nan=np.inf) if apart else -bar
        if over > excess:
            excess = over
            unit = float(scale) or 1.0
            worst = Agreement(name, "wrong" if over > 0 else "right", float(apart) / unit, float(bar) / unit, leaf)
    return worst


def spread(gradient: Callable[[Leaves], Any], problem: Problem, rng: np.random.Generator) -> list[float]:
    """How far the loss and each leaf's gradient move where the leaves move by a rounding."""
    x = [np.asarray(a) for a in problem.x]
    here = gradient(x)
    apart = [0.0] * (len(problem.x) + 1)
    for _ in range(3):
        there = gradient(moved(x, np.float64(problem.eps), draw(rng, x)))
        for i, (a, b) in enumerate(zip((here[0], *here[1]), (there[0], *there[1]), strict=True)):
            apart[i] = max(apart[i], float(np.linalg.norm(host(a) - host(b))))
    return apart


def ways(problem: Problem, gradient: Callable[[Leaves], Any], rng: np.random.Generator) -> list[Agreement]:
    """Value with and without gradient, forward against reverse mode, vmap against a loop, jit against eager.

    Args:
        problem: The loss.
        gradient: Its value and gradient, compiled.
        rng: A stream of random numbers.

    Returns:
        A row for each.
    """
    f, x, names, eps = problem
    apart = spread(gradient, problem, rng)
    value, slopes = gradient(x)
    both = ("loss", *names)
    rows = [compare("value without and with gradient", ("loss",), [jax.jit(f)(x)], [value], eps, apart)]
    v = draw(rng, x)
    try:
        forward = jax.jit(lambda x, v: jax.jvp(f, (x,), (v,))[1])(x, v)
        rounding = eps * size(slopes, v) + sum(
            width * np.linalg.norm(host(a)) for width, a in zip(apart[1:], v, strict=True)
        )
        rows.append(compare("J v and J^T u", ("loss",), [forward], [pair(slopes, v)], eps, [64 * rounding]))
    except TypeError:  # of a custom_vjp
        rows.append(Agreement("J v and J^T u", UNDEFINED, 0.0, 0.0, "loss"))
    host_x, step = [np.asarray(a) for a in x], np.float64(2.0**-6)
    others = [host_x, moved(host_x, step, v), moved(host_x, step, draw(rng, x))]
    mapped = jax.jit(jax.vmap(jax.value_and_grad(f)))([np.stack(parts) for parts in zip(*others, strict=True)])
    loop = [gradient(other) for other in others]
    looped = [np.stack([np.asarray(a) for a in parts]) for parts in zip(*((o[0], *o[1]) for o in loop), strict=True)]
    rows.append(compare("vmap and loop", both, (mapped[0], *mapped[1]), looped, eps, apart))
    eager = jax.value_and_grad(f)(x)
    rows.append(compare("jit and eager", both, (value, *slopes), (eager[0], *eager[1]), eps, apart))
    return rows


def second(problem: Problem, rng: np.random.Generator) -> list[Agreement]:
    """Symmetry of second derivatives, ``<u, H v> = <v, H u>``, and Taylor's formula for the gradient.

    Args:
        problem: The loss.
        rng: A stream of random numbers.

    Returns:
        A row for each.
    """
    f, x, eps = problem.f, problem.x, problem.eps
    name = "u H v and v H u"
    u, v = draw(rng, x), draw(rng, x)
    try:
        # Reverse over reverse: a forward rule that calls its own function has no forward mode.
        product = jax.jit(jax.grad(lambda x, v: total(jax.grad(f)(x), v)))
        hv, hu = product(x, v), product(x, u)
    except (TypeError, NotImplementedError, ValueError):
        return [Agreement(name, UNDEFINED, 0.0, 0.0, "all")]
    one, two = pair(hv, u), pair(hu, v)
    terms = size(hv, u) + size(hu, v)
    rows = [compare(name, ("all",), [one], [two], eps, [64 * eps * terms])]
    phi = _remainders.along(lambda x: total(jax.grad(f)(x), u))
    line = _remainders.read("all", phi(x, v, _remainders.steps(eps)), one, terms, eps)
    apart = abs(line.slope - line.difference) / max(abs(line.slope), abs(line.difference), 1e-300)
    rows.append(Agreement("H v and differences of the gradient", line.verdict, apart, line.resolution, "all"))
    return rows
