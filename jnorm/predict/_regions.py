"""Elementwise functions that a program computes, as functions of an array of any shape."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm._ground import _programs
from jnorm.predict._signals import Origin

SCALARS = frozenset({"broadcast_in_dim", "reshape", "squeeze"})
POINTS = np.array([-2.7, -1.3, -0.4, 0.6, 1.1, 2.9])


def function(origin: Origin, core: int, base: int) -> Callable[[jax.Array], jax.Array]:
    """That which makes a value of an origin from another one."""
    numbers = origin.needed(core, base)

    def phi(z: jax.Array) -> jax.Array:
        z = jnp.asarray(z)
        values = {base: z}
        for number in numbers:
            step = origin.values[number].step
            assert step is not None
            inputs = [k if j is None else values[j] for j, k in zip(step.inputs, step.known, strict=True)]
            values[number] = _run(step.site, z, inputs)
        return jnp.broadcast_to(values[core].astype(z.dtype), z.shape)

    return phi


def _run(site: Any, z: jax.Array, inputs: Sequence[Any]) -> Any:
    hook = lambda site, *inputs: [_bound(site, z, inputs)]
    if site.primitive in jaxprs.CALLS:
        return jaxprs.evaluate(site.bodies[0], *inputs, hook=hook, opens=jaxprs.CALLS)[0]
    return _bound(site, z, inputs)


def _bound(site: Any, z: jax.Array, inputs: Sequence[Any]) -> Any:
    """What an equation computes, in the shape and the dtype of ``z``."""
    if site.primitive in SCALARS:
        return inputs[0]
    kinds = [
        z.dtype if jnp.issubdtype(atom.aval.dtype, jnp.floating) else atom.aval.dtype for atom in site.equation.invars
    ]
    values = [jnp.broadcast_to(jnp.asarray(x, kind), z.shape) for x, kind in zip(inputs, kinds, strict=True)]
    params: dict[str, Any] = {name: None if name == "accuracy" else value for name, value in site.params.items()}
    if site.primitive == "convert_element_type" and jnp.issubdtype(params["new_dtype"], jnp.floating):
        params["new_dtype"] = z.dtype
    return site.equation.primitive.bind(*values, **params)


def signature(origin: Origin, core: int, base: int) -> Hashable:
    """What is equal of functions of the same equations; others of equal shapes may compute the same."""
    numbers = origin.needed(core, base)
    at = {base: 0, **{number: i for i, number in enumerate(numbers, 1)}}
    rows = []
    for step in (origin.values[number].step for number in numbers):
        assert step is not None
        does = step.site.bodies if step.site.primitive in jaxprs.CALLS else step.site.params
        inputs = tuple(None if k is None else at[k] for k in step.inputs)
        rows.append((step.site.primitive, inputs, tuple(map(repr, step.known)), _programs.key(does)))
    return tuple(rows)


def at_points(origin: Origin, core: int, base: int) -> np.ndarray:
    """The function at some points, in float64."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        return np.asarray(function(origin, core, base)(jnp.asarray(POINTS)), np.float64)


def square(origin: Origin, core: int, base: int) -> float | None:
    """The factor if it is a multiple of the square, else None."""
    factors = at_points(origin, core, base) / POINTS**2
    return float(factors[0]) if np.ptp(factors) <= 1e-6 * abs(factors[0]) else None


def is_straight(origin: Origin, core: int, base: int) -> bool:
    """Whether it is a straight line."""
    values = at_points(origin, core, base)
    line = np.polyval(np.polyfit(POINTS, values, 1), POINTS)
    return bool(np.abs(line - values).max() <= 1e-6 * np.abs(values).max())


def name(origin: Origin, core: int, base: int) -> str:
    """What a table calls it: the function of ``jax.nn`` or the call that it is inside of, else its operations."""
    sites = [step.site for step in (origin.values[k].step for k in origin.needed(core, base)) if step]
    called = {_called(site) for site in sites}
    if len(called) == 1 and hasattr(jax.nn, str(found := called.pop())):
        return str(found)
    return " ".join(dict.fromkeys(site.name for site in sites))


def _called(site: Any) -> str | None:
    """The function of JAX that the user's line calls."""
    while site.outer is not None and site.outer.is_of_jax:
        site = site.outer
    traceback, line = site.equation.source_info.traceback, site.line
    names = [] if traceback is None or line is None else [(f.function_name, f.file_name) for f in traceback.frames]
    outside = next((i for i, (_, file) in enumerate(names) if line and file == line.file), 0)
    inside = [name for name, _ in names[:outside] if hasattr(jax.nn, name)]
    return inside[-1] if inside else None
