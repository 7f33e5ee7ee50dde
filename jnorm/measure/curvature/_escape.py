"""Ways out of saddles, and ways into critical points."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.measure.curvature._eigenpairs import eigenpairs
from jnorm.measure.curvature._losses import hessian
from jnorm.measure.curvature._operators import Operator, flat, real
from jnorm.measure.curvature._products import mean_of

STEPS = 24  # lengths that are tried, each half of the one before
DAMPING = (1e-12, 1e12)


class Escape(NamedTuple):
    """A step along the most negative curvature.

    Attributes:
        direction: The eigenvector, a unit vector like the parameters, pointing down.
        curvature: Its eigenvalue; not below zero where there is no such way out.
        residual: Within so much of it there is an eigenvalue.
        step: The length that lowers the loss most, of those that were tried; 0 for none.
        params: The parameters after the step.
        before: The loss before it.
        after: The loss after it.
    """

    direction: Any
    curvature: jax.Array
    residual: jax.Array
    step: jax.Array
    params: Any
    before: jax.Array
    after: jax.Array


class Found(NamedTuple):
    """What a search for a critical point ended with.

    Attributes:
        params: The parameters.
        gradient_norm: The length of the gradient there.
        steps: Steps that were taken.
        converged: Whether the gradient is as short as was asked.
    """

    params: Any
    gradient_norm: jax.Array
    steps: jax.Array
    converged: jax.Array


def saddle_escape(
    loss: Callable[..., jax.Array],
    params: Any,
    data: Any = None,
    *,
    microbatch: int | None = None,
    longest: ArrayLike = 1.0,
    key: jax.Array | None = None,
) -> Escape:
    """The way down from a saddle: along the eigenvector of the smallest eigenvalue, to the side where the loss falls.

    Gradient descent leaves a saddle as slowly as its gradient is small. Along an eigenvector u of eigenvalue -c the
    loss falls by ``c t^2 / 2`` at once. Both sides are tried, at lengths ``longest``, a half, a quarter, ...

    Args:
        loss: As for `hessian`.
        params: As there.
        data: As there.
        microbatch: As there.
        longest: The longest step, positive.
        key: As for `eigenpairs`.

    Returns:
        The step; of length 0 where the smallest eigenvalue is not negative or no length lowers the loss.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian`, and a ``longest`` that is not positive.

    >>> toy = lambda w: (1 - w[0] * w[1]) ** 2
    >>> escape = saddle_escape(toy, jnp.zeros(2), longest=2**0.5)
    >>> escape.curvature.item(), jnp.abs(escape.params).round(3).tolist(), f"{escape.after:.3f}"
    (-2.0, [1.0, 1.0], '0.000')
    """
    checks.require(lambda t: t > 0, "`{}` must satisfy {} > 0", longest=longest)
    operator = hessian(loss, params, data, microbatch=microbatch)
    pair = eigenpairs(operator, top=0, bottom=1, key=key)
    return _escape(operator, pair.values[0], pair.residuals[0], jax.tree.map(lambda a: a[0], pair.vectors), longest)


@jax.jit
def _escape(operator: Operator, curvature: jax.Array, residual: jax.Array, u: Any, longest: ArrayLike) -> Escape:
    moved = lambda t: jax.tree.map(lambda w, d: w + t * d, operator.like, u)
    value = lambda t: operator.product.mean(lambda functions, data: mean_of(functions[0], moved(t), data))
    lengths = jnp.asarray(longest, curvature.dtype) * 0.5 ** jnp.arange(STEPS, dtype=curvature.dtype)
    steps = jnp.concatenate([jnp.zeros(1, curvature.dtype), lengths, -lengths])
    losses = lax.map(value, steps)
    best = jnp.where(curvature < 0, jnp.nanargmin(jnp.where(jnp.isnan(losses[0]), 0, losses)), 0)
    sign = jnp.where(steps[best] < 0, -1, 1).astype(curvature.dtype)
    direction = jax.tree.map(lambda d: sign * d, u)
    return Escape(direction, curvature, residual, jnp.abs(steps[best]), moved(steps[best]), losses[0], losses[best])


def find_critical_point(
    loss: Callable[..., jax.Array],
    params: Any,
    data: Any = None,
    *,
    microbatch: int | None = None,
    tol: ArrayLike | None = None,
    steps: int = 100,
    inner: int = 100,
) -> Found:
    """A critical point near the parameters, whatever its kind: where the gradient is zero, saddles included.

    Levenberg and Marquardt's method for the equation ``grad = 0``: each step solves ``(H^2 + m) d = -H grad``, and m
    grows where the gradient did not get shorter; exactly for up to ``2 inner`` parameters, whose Hessian takes no more
    products than that, and by conjugate gradients for more. Near a point of regular Hessian it converges quadratically.
    It can end where ``H grad = 0`` and the gradient is not, as most searches in networks do: ``converged`` says so.
    Source: Marquardt 1963; for saddles of networks Frye et al. 2019 (arXiv 1901.10603).

    Args:
        loss: As for `hessian`.
        params: As there, to begin with.
        data: As there.
        microbatch: As there.
        tol: Length of the gradient that ends the search; None: ``eps^(2/3)`` times that at the beginning.
        steps: Steps at most.
        inner: Conjugate gradients at most, of two products each, in a step.

    Returns:
        The point.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian`, and counts below 1.

    >>> toy = lambda w: (1 - w[0] * w[1]) ** 2
    >>> found = find_critical_point(toy, jnp.array([0.2, -0.1]))
    >>> found.converged.item(), bool(jnp.all(jnp.abs(found.params) < 1e-4))
    (True, True)
    """
    checks.whole(1, steps=steps, inner=inner)
    operator = hessian(loss, real(params=params), data, microbatch=microbatch)
    return _found(operator, tol, jnp.int32(steps), inner)


@partial(jax.jit, static_argnames=("inner",))
def _found(operator: Operator, tol: ArrayLike | None, steps: jax.Array, inner: int) -> Found:
    start, unravel = ravel_pytree(operator.like)
    eps, dtype = float(jnp.finfo(start.dtype).eps), start.dtype
    gradient = lambda w: ravel_pytree(operator.product.value_and_grad(unravel(w))[1])[0]
    first = gradient(start)
    limit = jnp.asarray(eps ** (2 / 3) * jnp.linalg.norm(first) if tol is None else tol, dtype)

    def step(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        w, slope, damping, count = carry
        here = replace(operator, product=replace(operator.product, params=unravel(w)))
        d = _exactly(here, slope, damping) if start.size <= 2 * inner else _nearly(here, slope, damping, inner)
        after = gradient(w + d)
        better = jnp.linalg.norm(after) < jnp.linalg.norm(slope)
        w, slope = jnp.where(better, w + d, w), jnp.where(better, after, slope)
        return w, slope, jnp.clip(damping * jnp.where(better, 0.1, 10), *DAMPING).astype(dtype), count + 1

    def going(carry: tuple[jax.Array, ...]) -> jax.Array:
        _, slope, damping, count = carry
        return (jnp.linalg.norm(slope) > limit) & (count < steps) & (damping < DAMPING[1])

    begin: tuple[jax.Array, ...] = start, first, jnp.full((), 1e-2, dtype), jnp.int32(0)
    w, slope, _, count = lax.while_loop(going, step, begin)
    norm = jnp.linalg.norm(slope)
    return Found(unravel(w), norm, count, norm <= limit)


def _exactly(operator: Operator, slope: jax.Array, damping: jax.Array) -> jax.Array:
    values, vectors = jnp.linalg.eigh(operator.dense())
    along = vectors.T @ slope
    scale = jnp.vdot(values * along, values * along) / jnp.vdot(slope, slope)  # of H^2
    return -vectors @ (values * along / (values**2 + damping * scale))


def _nearly(operator: Operator, slope: jax.Array, damping: jax.Array, inner: int) -> jax.Array:
    matvec, _ = flat(operator)
    scale = jnp.vdot(slope, matvec(matvec(slope))) / jnp.vdot(slope, slope)
    normal = lambda d: matvec(matvec(d)) + damping * scale * d
    return cg(normal, -matvec(slope), tol=1e-4, maxiter=inner)[0]
