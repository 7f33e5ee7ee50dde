"""Expectations under two correlated Gaussians."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import callables, checks
from jnorm.gaussian._kinks import fixed, located, read
from jnorm.gaussian._lattice import on_a_lattice
from jnorm.gaussian._limits import is_line, on_a_line, root
from jnorm.gaussian._panels import (
    IN_PAIRS,
    PAIR_NODES,
    REACH,
    Static,
    at_points,
    density,
    panels,
    quadrature,
    splits,
    static,
    total,
)
from jnorm.gaussian._pieces import DEGREE, expected, pieces
from jnorm.gaussian._products import Function, are_lost, are_moderate, factors, on_a_grid


def expectation2(
    f: Callable[[jax.Array, jax.Array], Any], mean: ArrayLike, cov: ArrayLike, *, kinks: Sequence[float] | None = None
) -> jax.Array:
    """Mean of a function of two correlated Gaussians, ``E[f(u, v)]``, ``(u, v) ~ N(mean, cov)``.

    Integrates ``v`` given ``u`` inside, ``u`` outside. Both are split at ``kinks``; the outer rule also where
    the conditional mean of ``v`` meets a kink, and on either side of that as far as the conditional spread reaches, so
    that correlations near one are as exact as small ones. Products ``g(u) h(v)`` are found in the program. Where one
    of the two is a polynomial of degree two at most between its kinks, the other alone is integrated; else they are
    taken on a fixed grid where correlations are at most .8, and if both are smooth on a lattice up to .96, where that
    says that it has converged; in a fraction of the time, if all lanes are so. The error is below
    ``1e-10 * max(E[f^2], 1e-3)`` in float64 for products ``phi(u) * phi(v)`` of the elementwise functions of
    `jnorm.activations` where ``|mean| <= 3`` and both standard deviations are at most 2.

    Correlations of one and zero variances are allowed. The derivatives by ``cov`` are those of the integral, and on the
    edge their limits from inside: ``E[f_uv]`` by the covariance, which is ``E[phi'(z)^2]`` for ``phi(u) * phi(v)`` and
    ``u = v = z``, and by a variance of zero half the second derivative, infinite where the first one jumps. (If ``f``
    itself jumps the limits by the correlation are infinite, and what comes out has no meaning.) On a device a matrix
    that is not positive semidefinite gives NaN, and of one that is not symmetric the entry above the diagonal counts,
    and its derivative is that by the covariance.

    Args:
        f: The integrand ``f(u, v)``.
        mean: ``[..., 2]``.
        cov: ``[..., 2, 2]``; leading axes broadcast against those of ``mean``.
        kinks: Where ``f`` is not analytic, in ``u`` and in ``v``. ``None`` reads them from the program of ``f``, of
            each variable its own; where ``u`` and ``v`` meet, as in ``max(u, v)``, only the integral inside is split.

    Returns:
        The expectation, ``[...]``.

    Raises:
        ValueError: A known ``cov`` that is not symmetric and positive semidefinite, other shapes, or an ``f`` that is
            not elementwise.
        TypeError: Complex or boolean input, or an ``f`` that needs concrete numbers.

    >>> cov = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    >>> expectation2(lambda u, v: u * v, jnp.zeros(2), cov).round(5)
    Array(0.5, dtype=float32)
    """
    mean, cov = (jnp.asarray(a) if _holds_arrays(a) else np.asarray(a) for a in (mean, cov))
    if mean.shape[-1:] != (2,) or cov.shape[-2:] != (2, 2):
        raise ValueError(f"`mean` must be [..., 2] and `cov` [..., 2, 2]; got {mean.shape} and {cov.shape}")
    _require_covariance(cov)
    mean, cov = jnp.asarray(mean), jnp.asarray(cov)
    like = jax.eval_shape(_wide, mean, cov)[0]
    points = jax.ShapeDtypeStruct((1, *like.shape), like.dtype)
    return _expectation2(callables.settle(f, points, points), mean, cov, static(kinks))


def _holds_arrays(value: Any) -> bool:
    return any(isinstance(part, jax.Array) for part in jax.tree.leaves(value))


def _parts(mean: jax.Array, cov: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
    means = {f"mean_{i}": mean[..., i] for i in (0, 1)}
    return checks.wide_floats(**means, **{f"cov_{i}{j}": cov[..., i, j] for i in (0, 1) for j in (0, 1)})


@jax.jit  # whose traces are kept, so that the second look costs nothing
def _wide(mean: jax.Array, cov: jax.Array) -> tuple[jax.Array, ...]:
    return _parts(mean, cov)[1]


@partial(jax.jit, static_argnames="kinks")
def _expectation2(f: Callable[..., Any], mean: jax.Array, cov: jax.Array, kinks: Static) -> jax.Array:
    dtype, (mu, mv, cuu, cuv, _, cvv) = _parts(mean, cov)
    point = jax.ShapeDtypeStruct((1, *mu.shape), mu.dtype)
    pair, law = factors(f, point), ((mu, mv), (cuu, cuv, cvv))
    own = [read(side, (point,)) for side in pair] if pair and kinks is None else []
    degrees = [side.degree for side in own] or [None, None]
    solved = [degree is not None and degree <= DEGREE for degree in degrees]
    if pair and solved == [True, False]:  # the one whose conditional expectation is known goes inside
        f, pair, degrees = jax.tree_util.Partial(_turned, f), pair[::-1], degrees[::-1]
        law = ((mv, mu), (cvv, cuv, cuu))
    (first, second), (var1, _, var2) = law
    places = _places(f, (first, root(var1)), (second, root(var2)), kinks)
    if pair and any(solved):
        return _given_u(f, _Solved(pair, places.of_v, degrees[1] or 0, second, var2), law, places).astype(dtype)
    general = partial(_given_u, f, _Summed(f, pair, places), law, places)
    if pair is None:
        return general().astype(dtype)
    moderate = are_moderate(law[1]) | are_lost(law[1])
    on_grid = partial(on_a_grid, pair, *law, (places.of_u, places.of_v))
    if not own or not all(side.smooth for side in own):
        return jax.lax.cond(jnp.all(moderate), on_grid, general).astype(dtype)
    zero = jnp.zeros_like(mu)
    blank, lattice = lambda: (zero, zero > 0), partial(on_a_lattice, pair, *law)
    value, exact = jax.lax.cond(jnp.all(moderate), blank, lattice)
    grid = lambda: jax.lax.cond(jnp.any(moderate), on_grid, lambda: zero)
    product = lambda: jnp.where(moderate, grid(), value)
    return jax.lax.cond(jnp.all(exact | moderate), product, general).astype(dtype)


def _turned(f: Callable[..., Any], u: jax.Array, v: jax.Array) -> Any:
    return f(v, u)


class _Summed(NamedTuple):
    """The terms of ``E[f(u, v)]`` given ``u`` by a rule, behind two axes more.

    ``f`` is the product of ``pair``, if that is not ``None``.
    """

    f: Callable[..., Any]
    pair: tuple[Function, Function] | None
    kinks: "_Kinks"

    @property
    def nodes(self) -> int:
        """How many values it takes for a ``u``."""
        return self.kinks.inside

    def __call__(self, u: jax.Array, along: jax.Array, across: jax.Array) -> jax.Array:
        """For arrays [panel, node, ...] of ``u`` and the mean and deviation that ``v`` has given it."""
        middle, half = panels(splits(self.kinks.given(self.f, u, along, across), along, across))
        nodes, weights = quadrature(PAIR_NODES, middle)  # [inner panel, inner node, panel, node, ...]
        y = middle[:, None] + half[:, None] * nodes
        v = along[None, None] + across[None, None] * y
        if self.pair is None:
            values = at_points(self.f, 4)(jnp.broadcast_to(u[None, None], v.shape), v)
        else:
            values = at_points(self.pair[0], 2)(u)[None, None] * at_points(self.pair[1], 4)(v)
        return half[:, None] * weights * density(y) * values


class _Solved(NamedTuple):
    """``g(u) E[h(v)]`` given ``u``, for an ``h`` that is a polynomial between its kinks."""

    pair: tuple[Function, Function]
    at: jax.Array
    degree: int
    mean: jax.Array
    var: jax.Array

    @property
    def nodes(self) -> int:
        """How many values it takes for a ``u``."""
        return len(self.at) + 1

    def __call__(self, u: jax.Array, along: jax.Array, across: jax.Array) -> jax.Array:
        """The whole, for such arrays."""
        g, h = self.pair
        parts, _ = pieces(h, self.at, self.mean, root(self.var), self.degree)
        (inner,) = expected(parts, along, across)
        return at_points(g, 2)(u) * jnp.where(self.var[None, None] == 0, at_points(h, 0)(self.mean)[None, None], inner)


def _given_u(
    f: Callable[..., Any],
    inside: _Summed | _Solved,
    law: tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
    kinks: "_Kinks",
) -> jax.Array:
    """The expectation by a rule for ``u``, of what is expected given ``u``."""
    (mu, mv), (cuu, cuv, cvv) = law
    su, line = root(cuu), is_line(cuu, cuv, cvv)
    # Of E[v | x] in the standard units x of u; on a line it is the deviation of v, whatever the covariance rounds to.
    slope = jnp.where(line, jnp.sign(cuv) * root(cvv), cuv / jnp.where(cuu == 0, 1.0, su))
    slope = jnp.where((cuu == 0) & (cuv == 0), 0.0, jnp.where(cuu == 0, jnp.nan, slope))
    sv = root(jnp.where(line, 0.0, cvv - slope * slope))
    steep = jnp.maximum(jnp.abs(slope), 8 * jnp.finfo(mu.dtype).eps * root(cvv))
    crossings = splits(kinks.of_v, mv, slope) * jnp.where(slope == 0, 0.0, 1.0)[None]
    spread = jnp.where(steep == 0, REACH, REACH * sv / jnp.where(steep == 0, 1.0, steep))[None]
    inner = jnp.concatenate([splits(kinks.of_u, mu, su), crossings, crossings - spread, crossings + spread])
    center, radius = panels(jnp.sort(jnp.clip(inner, -REACH, REACH), 0))  # [outer panel, ...]

    def terms(block: tuple[jax.Array, jax.Array]) -> jax.Array:
        """A block of nodes, [panel, node, ...], summed."""
        x = center[:, None] + radius[:, None] * block[0]
        along, across = mv[None, None] + slope[None, None] * x, jnp.broadcast_to(sv[None, None], x.shape)
        given = inside(mu[None, None] + su[None, None] * x, along, across)
        more = given.ndim - x.ndim
        weight = (radius[:, None] * block[1] * density(x)).reshape((1,) * more + x.shape)
        return jnp.sum(weight * given, tuple(range(more + 2)))

    whole = total(terms, quadrature(PAIR_NODES, center), inside.nodes * center.size, most=IN_PAIRS)
    return whole + on_a_line((kinks.of_u, kinks.of_v), f, *law)


class _Kinks(NamedTuple):
    """The kinks of two variables, ``[k, *shape]``, and the number of nodes inside.

    Where ``f`` compares the two, those in ``v`` depend on ``u``.
    """

    of_u: jax.Array
    of_v: jax.Array
    inside: int
    mixed: bool = False

    def given(self, f: Callable[..., Any], u: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
        """Those in ``v``, ``[k, panel, node, *shape]``, for the mean and deviation that it has given ``u``."""
        if not self.mixed:
            return self.of_v[:, None, None]
        rows = jax.vmap(jax.vmap(partial(_of_v, f)))(u, mean, scale)
        return jnp.moveaxis(rows, 2, 0)


def _of_v(f: Callable[..., Any], u: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    point = jax.ShapeDtypeStruct((1, *u.shape), u.dtype)
    return located(read(lambda v: f(u[None], v), (point,)), point, mean, scale)


def _places(f: Callable[..., Any], u: Any, v: Any, kinks: Static) -> _Kinks:
    """The kinks for variables given by mean and deviation."""
    if kinks is not None:
        places = fixed(kinks, u[0])
        return _Kinks(places, places, PAIR_NODES * (len(places) + 1))
    point = jax.ShapeDtypeStruct((1, *u[0].shape), u[0].dtype)
    found = [read(f, (point, point), index) for index in (0, 1)]
    of_u, of_v = (located(own, point, *law) for own, law in zip(found, (u, v), strict=True))
    mixed = found[1].mixed
    count = jax.eval_shape(partial(_of_v, f), u[0], *v).shape[0] if mixed else len(of_v)
    return _Kinks(of_u, of_v, PAIR_NODES * (count + 1), mixed)


def _require_covariance(cov: Any) -> None:
    """Refuse a NumPy array with a matrix that is none of a distribution; the first such matrix is named."""
    if isinstance(cov, jax.Array):
        return
    a, b, c, d = cov[..., 0, 0], cov[..., 0, 1], cov[..., 1, 0], cov[..., 1, 1]
    slack = 1e-6 if cov.dtype.itemsize <= 4 else 1e-12
    rules = {
        "not symmetric": b != c,
        "with a negative variance": (a < 0) | (d < 0),
        "with a covariance above the root of the variances' product": b * b > a * d * (1 + slack),
    }
    bad = np.logical_or.reduce(list(rules.values())) & ~np.isnan(cov).any((-2, -1))
    if not bad.any():
        return
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    broken = next(rule for rule, breaks in rules.items() if np.asarray(breaks)[place])
    where = f" at cov[{', '.join(map(str, place))}]" if place else ""
    raise ValueError(f"`cov` must be symmetric and positive semidefinite; got {cov[place].tolist()}{where}, {broken}")
