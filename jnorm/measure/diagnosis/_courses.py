"""Short trainings on one batch: an optimizer as it is, with other rates, and without its weight decay."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

RATES = (1.0, 1e-4, 1e-2, 1e2, 1e4)
"""Factors of the updates, the first lane as it is."""


class Course(NamedTuple):
    """A training on one batch.

    Attributes:
        losses: Before each step.
        params: Those after a quarter, a half and all of the steps, stacked.
    """

    losses: np.ndarray
    params: Any

    @property
    def last(self) -> float:
        """The median loss of the last tenth of the steps; infinite where it is NaN."""
        value = float(np.median(self.losses[-max(len(self.losses) // 10, 1) :]))
        return value if math.isfinite(value) else math.inf

    @classmethod
    def reference(cls, of_batch: Callable[..., Any], params: Any, batch: Any, steps: int) -> "Course":
        """Adam, at the better one of two rates."""
        scales = jnp.array([1e-3, 1e-2], jnp.float32)
        run = _runner(optax.adam(1.0), of_batch, steps)
        every = jax.jit(lambda params, batch, scales: lax.map(lambda s: run(params, batch, s), scales))
        losses, kept = every(params, batch, scales)[:2]
        return min(cls.each(losses, kept), key=lambda lane: lane.last)

    @classmethod
    def each(cls, losses: jax.Array, kept: Any) -> "list[Course]":
        """One for each row."""
        row = lambda i: jax.tree.map(lambda a: a[i], kept)
        return [cls(np.asarray(losses[i], np.float64), row(i)) for i in range(len(losses))]


class Courses(NamedTuple):
    """An optimizer on one batch.

    Attributes:
        lanes: A course for each factor of `RATES`, the first one as the optimizer is.
        slopes: Of each step of the first lane and each parameter the product of update and gradient.
        largest: Of each parameter the largest gradient and the largest update in all steps of the first lane.
        decay: The part of the first update that is made of the parameters, over the rest of it.
        update: The first update over the parameters, both as norms over all matrices.
        scaling: How many times larger the first update is for a gradient twice as large.
    """

    lanes: tuple[Course, ...]
    slopes: np.ndarray
    largest: tuple[np.ndarray, np.ndarray]
    decay: float
    update: float
    scaling: float

    @classmethod
    def of(cls, optimizer: Any, of_batch: Callable[..., Any], params: Any, batch: Any, steps: int) -> "Courses":
        """Run them, in one program."""
        run, first = _runner(optimizer, of_batch, steps), _first(optimizer, of_batch)

        @jax.jit
        def everything(params: Any, batch: Any, scales: jax.Array) -> Any:
            return lax.map(lambda s: run(params, batch, s), scales), first(params, batch)

        (losses, kept, slopes, gradients, updates), firsts = everything(params, batch, jnp.array(RATES, jnp.float32))
        host = lambda a: np.asarray(a[0], np.float64)
        return cls(
            tuple(Course.each(losses, kept)), host(slopes), (host(gradients), host(updates)), *map(float, firsts)
        )

    @property
    def own(self) -> Course:
        """The optimizer as it is."""
        return self.lanes[0]

    def best(self, *, above: bool) -> tuple[float, Course]:
        """The factor above or below one with the lowest last loss, and its course."""
        chosen = [(f, lane) for f, lane in zip(RATES, self.lanes, strict=True) if f != 1 and (f > 1) == above]
        return min(chosen, key=lambda pair: pair[1].last)


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
        return decay, norm(own) / jnp.maximum(norm(weights), tiny), scaling

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
