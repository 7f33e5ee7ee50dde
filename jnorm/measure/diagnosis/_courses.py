"""Short trainings on one batch: an optimizer as it is, with other rates, and without its weight decay."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

FACTORS, USUAL = (1e-4, 1e-2, 1e2, 1e4), 5e-3
"""Of the updates, where those as they are do not do; and the size of a first update, over that of the parameters."""


class Course(NamedTuple):
    """A training on one batch.

    Attributes:
        losses: Before each step.
        params: Those after a quarter, a half and all of the steps, stacked.
        slopes: Of each step and each parameter the product of update and gradient.
        gradients: The largest one of each parameter in all steps.
        updates: In the same way.
    """

    losses: np.ndarray
    params: Any
    slopes: np.ndarray
    gradients: np.ndarray
    updates: np.ndarray

    @property
    def last(self) -> float:
        """The median loss of the last tenth of the steps; infinite where it is NaN."""
        value = float(np.median(self.losses[-max(len(self.losses) // 10, 1) :]))
        return value if math.isfinite(value) else math.inf


class First(NamedTuple):
    """The first update that moves anything.

    Attributes:
        decay: The part that is made of the parameters, over the rest of it.
        norm: Over all matrices.
        size: That over the norm of the parameters.
        scaling: How many times larger it is for a gradient twice as large.
    """

    decay: float
    norm: float
    size: float
    scaling: float


class Courses:
    """An optimizer on one batch, as it is and with updates of another size; each is run when it is asked for."""

    def __init__(self, optimizer: Any, of_batch: Callable[..., Any], params: Any, batch: Any, steps: int) -> None:
        self._optimizer, self._of_batch = optimizer, of_batch
        self._run = jax.jit(_runner(optimizer, of_batch, steps))
        self._at = params, batch
        self._known: dict[float, Course] = {}

    def course(self, factor: float) -> Course:
        """With updates so many times as large."""
        if factor not in self._known:
            losses, params, *rest = self._run(*self._at, jnp.asarray(factor, jnp.float32))
            self._known[factor] = Course(
                np.asarray(losses, np.float64), params, *(np.asarray(a, np.float64) for a in rest)
            )
        return self._known[factor]

    @property
    def own(self) -> Course:
        """The optimizer as it is."""
        return self.course(1.0)

    def best(self, *, above: bool) -> tuple[float, Course]:
        """The factor above or below one with the lowest last loss, and its course: of `FACTORS`, or a usual size."""
        size = self.first.size
        usual = [10.0 ** round(math.log10(USUAL / size))] if 1e-30 < size < math.inf else []
        factors = [f for f in (*FACTORS, *usual) if f != 1 and (f > 1) == above]
        return min(((f, self.course(f)) for f in factors), key=lambda pair: pair[1].last)

    @cached_property
    def first(self) -> First:
        """What the first update is made of."""
        return First(*map(float, jax.jit(_first(self._optimizer, self._of_batch))(*self._at)))

    def second(self, params: Any, *batch: Any) -> Any:
        """The second update at the start: a function of its own, to be looked into."""
        optimizer = _lenient(self._optimizer)
        value_of = lambda p: self._of_batch(p, *batch)[0]
        value, gradient = jax.value_and_grad(value_of)(params)
        extra = {"value": value, "grad": gradient, "value_fn": value_of}
        _, state = optimizer.update(gradient, optimizer.init(params), params, **extra)
        return optimizer.update(gradient, state, params, **extra)[0]


def adam(of_batch: Callable[..., Any], params: Any, batch: Any, steps: int) -> Course:
    """Adam on the batch, at the better one of two rates."""
    courses = Courses(optax.adam(1.0), of_batch, params, batch, steps)
    return min((courses.course(rate) for rate in (1e-3, 1e-2)), key=lambda course: course.last)


def _runner(optimizer: Any, of_batch: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """``run(params, batch, factor)``: losses, kept parameters, slopes, largest gradients and updates."""
    optimizer = _lenient(optimizer)
    marks = tuple(max(steps * share // 4, 1) for share in (1, 2, 4))

    def run(params: Any, batch: Any, factor: jax.Array) -> Any:
        value_of = lambda p: of_batch(p, *batch)[0]

        def step(carry: Any, number: jax.Array) -> Any:
            params, state, kept, largest = carry
            value, gradient = jax.value_and_grad(value_of)(params)
            extra = {"value": value, "grad": gradient, "value_fn": value_of}
            updates, state = optimizer.update(gradient, state, params, **extra)
            updates = jax.tree.map(lambda u: u * factor.astype(u.dtype), updates)
            slopes = jnp.stack(
                [_inner(u, g) for u, g in zip(jax.tree.leaves(updates), jax.tree.leaves(gradient), strict=True)]
            )
            found = tuple(
                jnp.maximum(old, jnp.stack([jnp.max(jnp.abs(a)).astype(jnp.float32) for a in jax.tree.leaves(tree)]))
                for old, tree in zip(largest, (gradient, updates), strict=True)
            )
            params = optax.apply_updates(params, updates)
            place = jnp.stack([number + 1 == mark for mark in marks])
            spread = lambda new: place.reshape((-1,) + (1,) * new.ndim)
            kept = jax.tree.map(lambda old, new: jnp.where(spread(new), new[None], old), kept, params)
            return (params, state, kept, found), (value.astype(jnp.float32), slopes)

        kept = jax.tree.map(lambda a: jnp.stack([a] * len(marks)), params)
        zeros = jnp.zeros(len(jax.tree.leaves(params)), jnp.float32)
        carry = (params, optimizer.init(params), kept, (zeros, zeros))
        (_, _, kept, largest), (losses, slopes) = lax.scan(step, carry, jnp.arange(steps))
        return losses, kept, slopes, *largest

    return run


def _first(optimizer: Any, of_batch: Callable[..., Any]) -> Callable[..., Any]:
    """Numbers of the first update that moves anything: what of it is weight decay, its size, and how that scales."""
    optimizer = _lenient(optimizer)

    def matrices(tree: Any) -> list[jax.Array]:
        return [a.astype(jnp.float32) for a in jax.tree.leaves(tree) if a.ndim > 1] or [
            a.astype(jnp.float32) for a in jax.tree.leaves(tree)
        ]

    def norm(parts: list[jax.Array]) -> jax.Array:
        return jnp.sqrt(jnp.sum(jnp.stack([jnp.sum(jnp.square(a)) for a in parts])))

    def first(params: Any, batch: Any) -> Any:
        value_of = lambda p: of_batch(p, *batch)[0]
        value, gradient = jax.value_and_grad(value_of)(params)
        state = optimizer.init(params)
        extra = {"value": value, "grad": gradient, "value_fn": value_of}
        zeros, twice = jax.tree.map(jnp.zeros_like, params), jax.tree.map(lambda g: g + g, gradient)
        _, doubled = optimizer.update(twice, state, zeros, **extra)
        _, state = optimizer.update(gradient, state, zeros, **extra)  # the first rate of a warm-up is zero
        with_decay, _ = optimizer.update(gradient, state, params, **extra)
        without, _ = optimizer.update(gradient, state, zeros, **extra)
        larger, _ = optimizer.update(twice, doubled, zeros, **extra)
        own, rest, weights = matrices(with_decay), matrices(without), matrices(params)
        apart = [a - b for a, b in zip(own, rest, strict=True)]
        along = jnp.sum(jnp.stack([jnp.sum(a * w) for a, w in zip(apart, weights, strict=True)]))
        tiny = jnp.finfo(jnp.float32).tiny
        is_decay = along < -0.5 * norm(apart) * norm(weights)
        decay = jnp.where(is_decay, norm(apart) / jnp.maximum(norm(rest), tiny), 0.0)
        scaling = norm(matrices(larger)) / jnp.maximum(norm(rest), tiny)
        return decay, norm(own), norm(own) / jnp.maximum(norm(weights), tiny), scaling

    return first


def _lenient(optimizer: Any) -> Any:
    """The optimizer with extra arguments, and with the promotion of dtypes that Optax counts on."""
    full = optax.with_extra_args_support(optimizer)

    def update(*args: Any, **extra: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return full.update(*args, **extra)

    return optax.GradientTransformationExtraArgs(full.init, update)


def _inner(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a.astype(jnp.float32) * b.astype(jnp.float32))
