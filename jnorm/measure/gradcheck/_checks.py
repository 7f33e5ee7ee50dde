"""All that can be known about a gradient, in the order in which it makes sense to ask."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import checks
from jnorm.measure.gradcheck import _consistency, _entries, _problems, _remainders, _rules
from jnorm.measure.gradcheck._consistency import Agreement
from jnorm.measure.gradcheck._entries import Leaf
from jnorm.measure.gradcheck._problems import Leaves, Problem
from jnorm.measure.gradcheck._remainders import Remainder, Verdict
from jnorm.measure.gradcheck._reports import Report

WORST: tuple[Verdict, ...] = ("not deterministic", "not finite", "wrong", "rounding", "kink", "right")
BESIDE = 2.0**-10  # of the leaves' sizes: how far from a kink the gradient is looked at again


def check(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    key: jax.Array | None = None,
    directions: int = 2,
    entries: int = 16,
    order: int = 2,
) -> Report:
    """Whether the gradient that JAX computes is that of the loss's values, and if not, which equation is to blame.

    First whether two runs and two traces agree. Then, in float64 where the loss can be traced so:

    - Along random lines the remainder ``(f(x + h v) - f(x - h v)) / 2 - h <grad f, v>`` falls as h^3 where the gradient
      is right and as h where it is wrong, down to the noise of f. No step is chosen, and the noise is measured.
    - Entries beside centred differences: ``|a - n| / (|a| + |n|)``, with an error bar.
    - Without any step: forward against reverse mode, vmap against a loop, jit against eager, symmetry of second
      derivatives; and the gradient as the loss stands against that in float64.

    Where it is wrong every custom derivative is checked in the same way, with the values that occur.

    Bfloat16 and other leaves are checked at their values, in float64. Of a complex leaf the gradient is JAX's,
    ``f_x - i f_y``. Leaves of integers are held fixed. A loss that draws random numbers is another function in
    float64, and is checked as it stands.
    Source: Cauchy's remainder; noise by differences: More and Wild 2011 (SIAM J. Sci. Comput. 33, 1292).

    Args:
        loss: ``loss(params, *args)`` returns one real number.
        params: A pytree of arrays, floating ones among them.
        *args: Data; not differentiated.
        key: For directions and entries; ``jax.random.key(0)`` by default, so that a check repeats.
        directions: How many in all leaves together; each leaf has one of its own besides.
        entries: How many entries of each leaf are compared, at most.
        order: 1 leaves second derivatives out.

    Returns:
        The report.

    Raises:
        TypeError: A leaf that is no array, no floating leaf, or a loss that is not one real floating number.
        ValueError: A count below one, or another order than 1 and 2.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> @jax.custom_jvp
    ... def square(x):
    ...     return x * x
    >>> _ = square.defjvp(lambda x, dx: (square(*x), x[0] * dx[0]))  # forgets a factor of 2
    >>> loss = lambda params: jnp.sum(square(params["w"]) + params["b"])
    >>> report = check(loss, {"w": jnp.arange(1.0, 4.0), "b": jnp.ones(())})
    >>> report.verdict, [row.leaf for row in report.leaves if row.verdict == "wrong"]
    ('wrong', ["`params['w']`"])
    >>> report.faults[0].primitive, report.faults[0].line.function
    ('custom_jvp_call', '<lambda>')
    """
    checks.whole(1, directions=directions, entries=entries)
    if order not in (1, 2):
        raise ValueError(f"`order` must be 1 or 2; got {order!r}")
    array = lambda a: jnp.asarray(a) if isinstance(a, np.ndarray | np.generic) else a
    params, args = jax.tree.map(array, (params, args))
    problem = _problems.own(loss, params, args)
    dtype = str(max((a.dtype for a in problem.x), key=lambda dtype: float(jnp.finfo(dtype).eps)))
    noisy, *streams = _problems.generators(jax.random.key(0) if key is None else key, 6)
    gradient = jax.jit(jax.value_and_grad(problem.f))
    value, slopes = gradient(problem.x)
    agreements = _repeated(problem, gradient, (value, *slopes))
    if any(row.verdict == "wrong" for row in agreements):
        return Report("not deterministic", (), (), (), tuple(agreements), dtype)
    if not bool(jnp.isfinite(value)):
        return Report("not finite", tuple(_rules.began(problem)), (), (), tuple(agreements), dtype)
    options = streams, directions, entries, order
    apart = _consistency.spread(gradient, problem, noisy)[1:]
    with jax.enable_x64(True):
        fine = _problems.wide(loss, params, args, problem.eps)
        if fine is not None:
            exactly = jax.jit(jax.value_and_grad(fine.f))
            again, exact = exactly(fine.x)
            # Another value: it draws random numbers, which are others in float64.
            if np.isclose(float(again), float(value), rtol=np.sqrt(problem.eps), atol=problem.eps):
                row = _consistency.compare(f"{dtype} and float64", problem.names, slopes, exact, problem.eps, apart)
                agreements.append(row._replace(verdict="rounding") if row.verdict == "wrong" else row)
                return _checked(fine, exactly, *options, agreements, "float64")
    return _checked(problem, gradient, *options, agreements, dtype)


def assert_gradients(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    allow: Collection[Verdict] = ("right", "kink"),
    **options: Any,
) -> None:
    """Raise unless the gradient of a loss is right: for tests.

    Args:
        loss: As for `check`.
        params: As there.
        *args: As there.
        allow: The verdicts that pass.
        **options: Those of `check`.

    Raises:
        AssertionError: Another verdict; the report is its text.
        TypeError: As `check`.
        ValueError: As `check`, or an unknown verdict.

    >>> assert_gradients(lambda params, x: jnp.sum(jnp.tanh(x @ params)), jnp.ones((3, 2)), jnp.eye(3))
    """
    for verdict in allow:
        checks.choice("allow", verdict, WORST)
    report = check(loss, params, *args, **options)
    if report.verdict not in allow:
        raise AssertionError(str(report))


def _repeated(problem: Problem, gradient: Any, first: Sequence[jax.Array]) -> list[Agreement]:
    """Two runs of one program, and two traces."""
    names = ("loss", *(f"gradient of {name}" for name in problem.names))
    again = gradient(problem.x)
    traced = jax.jit(jax.value_and_grad(lambda x: problem.f(x)))(problem.x)
    pairs = (("two runs", again), ("two traces", traced))
    return [_consistency.compare(name, names, first, (o[0], *o[1]), problem.eps) for name, o in pairs]


def _checked(
    problem: Problem,
    gradient: Any,
    streams: Sequence[np.random.Generator],
    directions: int,
    entries: int,
    order: int,
    before: list[Agreement],
    dtype: str,
) -> Report:
    """The report of a deterministic loss, after the agreements that came before."""
    on_ways, on_second, on_lines, on_faults, on_shift = streams
    if not all(np.isfinite(_problems.host(g)).all() for g in gradient(problem.x)[1]):
        faults = _rules.faults(problem, on_faults)
        return Report("not finite", tuple(faults), (), (), tuple(before), dtype)
    agreements = [*before, *_consistency.ways(problem, gradient, on_ways)]
    along, moved = _remainders.along(problem.f), _entries.evaluator(problem.f)

    def looked(x: Leaves) -> tuple[list[Remainder], list[Leaf]]:
        here = problem._replace(x=x)
        slopes = gradient(x)[1]
        of_entries = _entries.compare(here, slopes, moved, on_lines, entries)
        return _lines(here, slopes, along, on_lines, directions), of_entries

    lines, leaves = looked(problem.x)
    verdict = _worst(lines, leaves)
    if verdict == "kink":
        beside = looked(_problems.moved(problem.x, np.float64(BESIDE), _problems.draw(on_shift, problem.x)))
        if _worst(*beside) == "wrong":
            verdict, (lines, leaves) = "wrong", beside
    faults = _rules.faults(problem, on_faults, kinks=verdict == "kink") if verdict in ("wrong", "kink") else []
    if order == 2:
        more = _consistency.second(problem, on_second)
        if verdict == "right" and any(row.verdict == "wrong" for row in more):
            faults = _rules.faults(problem, on_faults, order=2)
        agreements += more
    if any(row.verdict == "wrong" for row in agreements):
        verdict = "wrong"
    elif verdict != "wrong" and any(row.verdict == "rounding" for row in before):
        verdict = "rounding"
    return Report(verdict, tuple(faults), tuple(lines), tuple(leaves), tuple(agreements), dtype)


def _lines(problem: Problem, slopes: Leaves, along: Any, rng: np.random.Generator, directions: int) -> list[Remainder]:
    """All leaves together, then each alone."""
    ways = [("all", _problems.draw(rng, problem.x)) for _ in range(directions)]
    if len(problem.x) > 1:
        for i, name in enumerate(problem.names):
            drawn = _problems.draw(rng, problem.x)
            ways.append((name, [a if j == i else np.zeros_like(a) for j, a in enumerate(drawn)]))
    steps = _remainders.steps(problem.eps)
    return [
        _remainders.read(
            *(name, along(problem.x, v, steps), _problems.pair(slopes, v), _problems.size(slopes, v), problem.eps)
        )
        for name, v in ways
    ]


def _worst(lines: list[Remainder], leaves: list[Leaf]) -> Verdict:
    return min([*(row.verdict for row in lines), *(row.verdict for row in leaves)], key=WORST.index)
