"""The top of a spectrum along a training: vectors that are carried from step to step, and the edge of stability."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.measure.curvature._operators import Operator, dot, flat, real


class Tracked(NamedTuple):
    """The largest eigenvalues of an operator that changes.

    Attributes:
        values: Eigenvalues [k], the largest first; NaN before the first step.
        vectors: Unit vectors [k, size], in the order of `jax.flatten_util.ravel_pytree`.
        residuals: Within so much of each value [k] there is an eigenvalue.
    """

    values: jax.Array
    vectors: jax.Array
    residuals: jax.Array


def start_tracking(params: Any, *, top: int = 1, key: jax.Array | None = None) -> Tracked:
    """Random vectors to begin with.

    Args:
        params: A tree of floating arrays.
        top: How many eigenvalues.
        key: A random key; None: ``jax.random.key(0)``.

    Returns:
        What `track` goes on from.

    Raises:
        TypeError: ``params`` is no tree of floating arrays.
        ValueError: ``top`` is not between 1 and the number of parameters.

    >>> start_tracking(jnp.zeros(3), top=2).vectors.shape
    (2, 3)
    """
    like, _ = ravel_pytree(real(params=params))
    checks.whole(1, top=top)
    if top > like.size:
        raise ValueError(f"`top` must be at most the {like.size} parameters; got {top}")
    key = keys.stream(jax.random.key(0) if key is None else key, "measure.tracking")
    none = jnp.full(top, jnp.nan, like.dtype)
    return Tracked(none, _orthonormal(jax.random.normal(key, (top, like.size), like.dtype)), none + jnp.nan)


def track(operator: Operator, tracked: Tracked, *, depth: int = 2) -> Tracked:
    """The largest eigenvalues of an operator that differs little from that before.

    The best of the space that the vectors before and ``depth`` products of them span, by Rayleigh and Ritz: exact where
    the operator has not changed, and better in each step where it changes slowly. Each value is at most the eigenvalue,
    and its residual is measured. It takes ``top (depth + 1)`` products, and belongs inside the scan of a training.
    Source: Cullum and Donath 1974, A block Lanczos algorithm.

    Args:
        operator: The operator at the parameters of now.
        tracked: What was before, of `start_tracking` at first.
        depth: Products beyond the first, at least 1.

    Returns:
        What is now.

    Raises:
        ValueError: A ``depth`` below 1, or more directions than there are parameters.

    >>> from jnorm.measure.curvature import operator
    >>> eigenvalues = jnp.array([5.0, 1.0, 0.5, 0.0, -2.0])
    >>> slow = lambda t: operator(lambda v: (1 + 0.1 * t) * eigenvalues * v, jnp.zeros(5))
    >>> step = lambda tracked, t: (track(slow(t), tracked), tracked.values[0])
    >>> last, _ = jax.lax.scan(step, start_tracking(jnp.zeros(5)), jnp.arange(6.0))
    >>> f"{last.values[0]:.4f}"
    '7.5000'
    """
    checks.whole(1, depth=depth)
    top, size = tracked.vectors.shape
    if top * (depth + 1) > size:
        raise ValueError(f"top (depth + 1) must be at most the {size} parameters; got {top * (depth + 1)}")
    return _track(operator, tracked, depth)


@partial(jax.jit, static_argnames=("depth",))
def _track(operator: Operator, tracked: Tracked, depth: int) -> Tracked:
    return _followed(flat(operator)[0], tracked, depth)


def _followed(matvec: Callable[[jax.Array], jax.Array], tracked: Tracked, depth: int) -> Tracked:
    old = tracked.vectors
    top, size = old.shape
    # A step whose loss was NaN leaves no vectors: begin anew, with any.
    first = _orthonormal(jnp.where(jnp.all(jnp.isfinite(old)), old, jnp.eye(top, size, dtype=old.dtype)))
    none = jnp.zeros((top * (depth + 1), size), old.dtype)

    def step(i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        basis, images, block = carry
        row = (i * top, jnp.zeros_like(i))
        rest = lax.map(matvec, block)
        basis, images = lax.dynamic_update_slice(basis, block, row), lax.dynamic_update_slice(images, rest, row)
        for _ in range(2):  # of what has converged rounding alone is left, which is orthogonal after the second time
            rest = _orthonormal(rest - dot(dot(rest, basis.T), basis))
        return basis, images, rest

    basis, images, _ = lax.fori_loop(jnp.int32(0), jnp.int32(depth + 1), step, (none, none, first))
    values, turn = jnp.linalg.eigh(dot(basis, images.T))
    values, turn = values[::-1][:top], turn[:, ::-1][:, :top].T
    vectors = dot(turn, basis)
    return Tracked(values, vectors, jnp.linalg.norm(dot(turn, images) - values[:, None] * vectors, axis=1))


def _orthonormal(rows: jax.Array) -> jax.Array:
    return jnp.linalg.qr(rows.T)[0].T


def stability_threshold(rate: ArrayLike, *, momentum: ArrayLike = 0.0, nesterov: bool = False) -> jax.Array:
    """The sharpness above which descent at a fixed rate is unstable on the quadratic that the loss looks like.

    Gradient descent: ``2 / rate``; with momentum m: ``2 (1 + m) / rate``; with Nesterov's: ``2 (1 + m) / (rate (1 + 2
    m))``. For Adam and its kin it is compared with the top eigenvalue of the `preconditioned` Hessian, with momentum an
    average of weight 1 - m: ``2 (1 + m) / ((1 - m) rate)``, which is that of the rate ``(1 - m) rate``.
    Source: Cohen et al. 2021 (arXiv 2103.00065), section 2 and appendix B; 2022 (arXiv 2207.14484), section 2.

    Args:
        rate: The learning rate, positive.
        momentum: m, in [0, 1).
        nesterov: Whether the gradient is taken ahead.

    Returns:
        The threshold, of the broadcast shape.

    Raises:
        ValueError: A known ``rate <= 0``, or a ``momentum`` outside [0, 1).

    >>> stability_threshold(0.1).item(), f"{stability_threshold(0.1, momentum=0.9):.4g}"
    (20.0, '38')
    """
    checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rate=rate)
    checks.require(lambda m: (m >= 0) & (m < 1), "`{}` must satisfy 0 <= {} < 1", momentum=momentum)
    checks.boolean(nesterov=nesterov)
    rate, momentum = checks.floats(rate=rate, momentum=momentum)
    plain = 2 * (1 + momentum) / rate
    return plain / (1 + 2 * momentum) if nesterov else plain


class TrackingState(NamedTuple):
    """What `tracking` keeps in an optimizer's state.

    Attributes:
        tracked: The largest eigenvalues at the last step's parameters, and where they point.
        steps: Steps so far.
    """

    tracked: Tracked
    steps: jax.Array


def tracking(
    of: Callable[[Any], Operator] | None = None, *, top: int = 1, depth: int = 2, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """A part of an optimizer that changes no update, and keeps the sharpness in its state: for scans of any training.

    In ``optax.chain(tracking(), optax.sgd(0.1))`` it follows the largest eigenvalues of the Hessian of the very loss of
    the step, of its batch and its dropout, which it gets from the training as ``grad_fn``, as
    `jnorm.train.loop.trainer` passes it, or of what ``of`` makes of the parameters. `tracked` finds them in the
    optimizer's state.

    Args:
        of: ``of(params)`` returns the operator. None: the Hessian of the loss of the step.
        top: As for `start_tracking`.
        depth: As for `track`.
        every: Steps from one look to the next; between them values stay as they are.

    Returns:
        The transformation. Its ``update`` takes ``params``, and ``grad_fn`` where there is no ``of``.

    Raises:
        ValueError: Counts below 1; from ``update``, no ``params``, or neither ``of`` nor ``grad_fn``.

    >>> bowl = lambda w: w[0] ** 2 + 4 * w[1] ** 2
    >>> optimizer = optax.chain(tracking(depth=1), optax.sgd(0.1))
    >>> w = jnp.ones(2)
    >>> state = optimizer.init(w)
    >>> updates, state = optimizer.update(jax.grad(bowl)(w), state, w, grad_fn=jax.grad(bowl))
    >>> tracked(state).values.round(4)
    Array([8.], dtype=float32)
    """
    checks.whole(1, top=top, depth=depth, every=every)

    def init(params: Any) -> TrackingState:
        return TrackingState(start_tracking(params, top=top), jnp.zeros((), jnp.int32))

    def update(
        updates: Any,
        state: TrackingState,
        params: Any = None,
        *,
        grad_fn: Callable[[Any], Any] | None = None,
        **others: Any,
    ) -> tuple[Any, TrackingState]:
        if params is None or (of is None and grad_fn is None):
            raise ValueError("`update` must get params, and grad_fn where `tracking` has no `of`; got none")
        params = real(params=params)

        def look(before: Tracked) -> Tracked:
            if of is not None:
                return track(of(params), before, depth=depth)
            point, unravel = ravel_pytree(params)
            slope = lambda w: ravel_pytree(grad_fn(unravel(w)))[0]  # type: ignore[misc]
            return _followed(jax.linearize(slope, point)[1], before, depth)

        seen = lax.cond(state.steps % every == 0, look, lambda before: before, state.tracked)
        return updates, TrackingState(seen, state.steps + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def tracked(state: Any) -> Tracked:
    """What `tracking` has seen, from the state of an optimizer that it is a part of.

    Args:
        state: The optimizer's state.

    Returns:
        The largest eigenvalues at the parameters before the last step.

    Raises:
        ValueError: `tracking` is no part of the optimizer, or several times.

    >>> tracked((tracking().init(jnp.zeros(2)), ())).values
    Array([nan], dtype=float32)
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, TrackingState))
    found = [node for node in nodes if isinstance(node, TrackingState)]
    if len(found) != 1:
        raise ValueError(f"`state` must be that of an optimizer with one `tracking` in its chain; got {len(found)}")
    return found[0].tracked


def tracked_sharpness(step: Any) -> dict[str, jax.Array]:
    """A probe of steps for `jnorm.train.loop.Report`: ``steps=[tracked_sharpness]`` with `tracking` in the optimizer.

    Args:
        step: A `jnorm.train.loop.Step`.

    Returns:
        ``"sharpness"`` [k], the largest eigenvalues before the step, and ``"sharpness_residual"`` [k].

    Raises:
        ValueError: As `tracked`.

    >>> from types import SimpleNamespace
    >>> step = SimpleNamespace(optimizer_state=tracking().init(jnp.zeros(2)))
    >>> tracked_sharpness(step)["sharpness"]
    Array([nan], dtype=float32)
    """
    seen = tracked(step.optimizer_state)
    return {"sharpness": seen.values, "sharpness_residual": seen.residuals}
