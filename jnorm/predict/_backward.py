"""Gradients: the program of a model and of its reverse pass, with a probe at every value that matters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jnorm import jaxprs

_OPENED = jaxprs.CALLS - {"custom_jvp_call", "custom_vjp_call"}  # whose derivatives would be lost


def program(forward: Any, flat: Sequence[Any], rest: Sequence[Any], matters: set[int]) -> tuple[Any, list[Any]]:
    """The program ``(params, x, probes, cotangents) -> gradients of the params and of the probes``.

    A probe is added to each value that matters; the gradient by it is the gradient at the value. Values inside loops
    and inside custom derivatives have none.

    Returns:
        The program, and the probes: zeros in the order of computation.
    """
    shapes: list[Any] = []

    def run(hooked: Callable[[Any, Any], Any], flat: Sequence[Any]) -> list[Any]:
        def hook(site: Any, *inputs: Any) -> Sequence[Any]:
            inner = site.primitive in _OPENED
            out = site.open(site.bodies[0], *inputs) if inner else site.run(*inputs)
            return [hooked(site, value) for value in out] if id(site.equation) in matters else out

        return jaxprs.evaluate(forward, *flat, hook=hook, opens=())

    def note(site: Any, value: Any) -> Any:
        shapes.append(jax.ShapeDtypeStruct(value.shape, value.dtype))
        return value

    jax.eval_shape(lambda *a: run(note, a), *flat, *rest)
    moving = [i for i, leaf in enumerate(flat) if moves(leaf)]

    def both(flat: Sequence[Any], rest: Sequence[Any], probes: Sequence[Any], cotangents: Sequence[Any]) -> Any:
        def f(part: Sequence[Any], probes: Sequence[Any]) -> list[Any]:
            left = iter(probes)
            whole = list(flat)
            for i, leaf in zip(moving, part, strict=True):
                whole[i] = leaf
            return run(lambda _, value: value + next(left), [*whole, *rest])

        _, back = jax.vjp(f, [flat[i] for i in moving], list(probes))
        return back(list(cotangents))

    probes = [jnp.zeros(s.shape, s.dtype) for s in shapes]
    cotangents = [jnp.zeros(v.aval.shape, v.aval.dtype) for v in forward.jaxpr.outvars]
    return jax.make_jaxpr(both)(list(flat), list(rest), probes, cotangents), probes


def is_hidden(site: Any) -> bool:
    """Whether a value is inside of a loop or of a custom derivative."""
    return site.outer is not None and (site.outer.primitive not in _OPENED or is_hidden(site.outer))


def moves(leaf: Any) -> bool:
    """Whether there is a gradient by a parameter."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
