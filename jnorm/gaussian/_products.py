"""Products ``g(u) h(v)``: found in the program of a function of two variables, and their expectation on a fixed grid.

Given ``u``, the values of ``h`` are wanted at other points for each ``u``; but where the correlation is moderate the
density is smooth on the scale of a grid, so that ``g`` and ``h`` are computed on the nodes of one dimension alone and
the pairs of nodes see one exponential each.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnorm import jaxprs
from jnorm._ground import elementary
from jnorm.gaussian._panels import IN_PAIRS, PAIR_NODES, at_points, density, panels, quadrature, splits, total

MODERATE = 0.8
"""The correlation up to which the density is resolved by the widest spacing of nodes, on one panel of 17 deviations."""
NODES = {4: 40, 8: PAIR_NODES}
"""Of a panel, by bytes of the dtype. Their spacings of .67 and .48 integrate a Gaussian of the conditional deviation
``s = .6`` to ``2 exp(-2 (pi s/spacing)^2)``, 3e-7 and 1e-13; where it is split at the mean they are half as wide."""
FEW = 8  # points, up to which a CPU sums faster by a product of matrices
_PASSED = frozenset({"convert_element_type", "copy", "reshape", "broadcast_in_dim"})

Function = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(eq=False)
class _Part:
    """A result of an equation, with the variables that it depends on."""

    of: frozenset[int]
    site: jaxprs.Site | None = None
    inputs: tuple[Any, ...] = ()
    output: int = 0
    dtype: Any = None


def _hook(site: jaxprs.Site, *inputs: Any) -> list[Any]:
    of = frozenset[int]().union(*(part.of for part in inputs if isinstance(part, _Part)))
    if not of:
        return site.run(*inputs)
    likes: list[Any] = [variable.aval for variable in site.equation.outvars]
    return [_Part(of, site, inputs, i, like.dtype) for i, like in enumerate(likes)]


def factors(f: Callable[..., Any], points: jax.ShapeDtypeStruct) -> tuple[Function, Function] | None:
    """The functions ``g`` and ``h`` for which ``f(u, v) = g(u) h(v)``, or ``None`` where the program is no product.

    Args:
        f: The function of two arrays.
        points: Their shape and dtype.

    Returns:
        The two functions of such arrays, with their own derivatives.
    """
    u, v = _Part(frozenset({0})), _Part(frozenset({1}))
    program = jax.make_jaxpr(f)(points, points)
    results = jaxprs.evaluate(program, u, v, hook=_hook, opens=("jit", "pjit", "closed_call"))
    if len(results) != 1 or not isinstance(results[0], _Part) or program.out_avals[0].shape != points.shape:
        return None
    found = list(_divided(results[0], 1))
    if any(isinstance(part, _Part) and len(part.of) > 1 for part, _ in found):
        return None
    own = [[(p, power) for p, power in found if isinstance(p, _Part) and p.of == side.of] for side in (u, v)]
    if not all(own):
        return None
    numbers = [(part, power) for part, power in found if not isinstance(part, _Part)]
    return _made([*own[0], *numbers], u, points), _made(own[1], v, points)


def _divided(part: Any, power: int) -> Iterator[tuple[Any, int]]:
    """The factors of a product and their powers; what is none is its own."""
    if not isinstance(part, _Part) or len(part.of) < 2 or part.site is None:
        yield part, power
        return
    op, inputs = part.site.primitive, part.inputs
    if op in ("mul", "div"):
        yield from _divided(inputs[0], power)
        yield from _divided(inputs[1], power if op == "mul" else -power)
    elif op in ("square", "integer_pow"):
        yield from _divided(inputs[0], power * (2 if op == "square" else part.site.params["y"]))
    elif op == "neg":
        yield -1.0, 1
        yield from _divided(inputs[0], power)
    elif op in _PASSED and jnp.issubdtype(inputs[0].dtype, jnp.floating):
        yield from _divided(inputs[0], power)
    else:
        yield part, power


def _made(parts: Sequence[tuple[Any, int]], variable: _Part, points: jax.ShapeDtypeStruct) -> Function:
    def product(z: jax.Array) -> jax.Array:
        memo: dict[Any, list[Any]] = {}

        def value(part: Any) -> Any:
            if part is variable:
                return z
            if not isinstance(part, _Part):
                return part
            assert part.site is not None
            key = id(part.site.equation), tuple(map(id, part.inputs))
            if key not in memo:
                memo[key] = part.site.run(*map(value, part.inputs))
            return memo[key][part.output]

        result = jnp.ones(points.shape, points.dtype)
        for part, power in parts:
            factor = jnp.broadcast_to(jnp.asarray(value(part), points.dtype), points.shape)
            result = result * factor if power == 1 else result * lax.integer_pow(factor, power)
        return result

    return product


def are_moderate(cov: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """The lanes for which a fixed grid is exact: of positive variances, with a correlation up to `MODERATE`."""
    cuu, cuv, cvv = cov
    return (cuu > 0) & (cvv > 0) & (cuv * cuv <= MODERATE**2 * cuu * cvv)


def are_lost(cov: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """The lanes that are NaN by any rule, and so leave the choice to the others."""
    cuu, cuv, cvv = cov
    return (cuu < 0) | (cvv < 0) | jnp.isnan(cuu + cuv + cvv)


def on_a_grid(
    pair: tuple[Function, Function],
    mean: tuple[jax.Array, jax.Array],
    cov: tuple[jax.Array, jax.Array, jax.Array],
    kinks: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """The expectation of a product where the correlation is moderate; elsewhere a number without meaning, or NaN."""
    good = are_moderate(cov)
    cuu, cuv, cvv = (jnp.where(good, part, safe) for part, safe in zip(cov, (1.0, 0.0, 1.0), strict=True))
    deviations = jnp.sqrt(cuu), jnp.sqrt(cvv)
    correlation = cuv / (deviations[0] * deviations[1])
    narrow = jnp.sqrt((1 - correlation) * (1 + correlation))
    (x, of_x), (y, of_y) = (_nodes(*side) for side in zip(pair, mean, deviations, kinks, strict=True))
    of_y = of_y * density(y)

    def terms(block: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, of_x = block
        gap = (x[:, None] - correlation[None, None] * y[None]) / narrow[None, None]
        weight = elementary.exp(-gap * gap / 2)
        if math.prod(mean[0].shape) <= FEW:
            inner = jnp.einsum("ij...,j...->i...", weight, of_y, precision=lax.Precision.HIGHEST)
            return jnp.sum(inner * of_x, 0)
        return jnp.sum(weight * of_y[None] * of_x[:, None], (0, 1))

    value = total(terms, (x, of_x), y.size, axis=0, most=IN_PAIRS) / (math.sqrt(2 * math.pi) * narrow)
    lost = are_lost(cov)  # NaN with all derivatives, without a trace in the other lanes
    return value + jnp.where(lost, sum(cov), 0.0) * jnp.where(lost, jnp.nan, 0.0)


def _nodes(f: Function, mean: jax.Array, scale: jax.Array, kinks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nodes in standard units, ``[node, *shape]``, and the weighted values of a function there."""
    center, radius = panels(splits(kinks, mean, scale))
    nodes, weights = quadrature(NODES[center.dtype.itemsize], center)
    x = center[:, None] + radius[:, None] * nodes
    values = radius[:, None] * weights * at_points(f, 2)(mean[None, None] + scale[None, None] * x)
    return tuple(a.reshape(-1, *a.shape[2:]) for a in (x, values))  # type: ignore[return-value]
