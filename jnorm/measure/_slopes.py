"""Which equations are activations, and what their slopes are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jnorm import jaxprs

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

_BENT = frozenset({"clamp", "erf", "logistic", "max", "min", "sin", "tanh"})
"""Primitives that are activations by themselves."""

ELEMENTWISE = _BENT | {
    *(
        "abs",
        "add",
        "add_any",
        "and",
        "atan",
        "cbrt",
        "ceil",
        "copy",
        "convert_element_type",
        "cos",
        "cosh",
        "div",
        "eq",
    ),
    *("erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p"),
    *("lt", "mul", "ne", "neg", "not", "or", "pow", "reduce_precision", "round", "rsqrt", "select_n", "sign", "sinh"),
    *("sqrt", "square", "stop_gradient", "sub", "tan", "xor"),
}
"""Primitives that compute each entry from the entries at the same place."""


def argument(site: jaxprs.Site) -> int | None:
    """Which input an activation bends: the one of its output's shape, all others being numbers; None for others."""
    called = site.primitive in jaxprs.CALLS
    if not (called or site.primitive in _BENT) or len(site.equation.outvars) != 1:
        return None
    out: Any = site.equation.outvars[0].aval
    if not out.shape or not jnp.issubdtype(out.dtype, jnp.floating):
        return None
    shapes = [getattr(atom.aval, "shape", ()) for atom in site.equation.invars]
    bent = [i for i, shape in enumerate(shapes) if shape == out.shape]
    if len(bent) != 1 or any(shape != () for i, shape in enumerate(shapes) if i != bent[0]):
        return None
    if called and not _bends(site.bodies[0]):
        return None
    return bent[0]


def slope(site: jaxprs.Site, at: int, inputs: Sequence[Any]) -> jax.Array:
    """The derivative of every entry by its own argument."""
    fixed = [jax.lax.stop_gradient(value) for value in inputs]
    phi = lambda z: site.run(*fixed[:at], z, *fixed[at + 1 :])[0]
    return jax.jvp(phi, (fixed[at],), (jnp.ones_like(fixed[at]),))[1]


def _bends(program: "ClosedJaxpr") -> bool:
    """Whether a program works on each entry by itself, and does more than scale it."""
    sites = [site for site in jaxprs.walk(program) if site.primitive not in jaxprs.CALLS]
    plain = lambda site: (
        site.primitive in ELEMENTWISE
        or (site.primitive == "broadcast_in_dim" and getattr(site.equation.invars[0].aval, "shape", None) == ())
    )
    names = {site.primitive for site in sites}
    return all(plain(site) for site in sites) and bool(
        names - {"add", "sub", "mul", "div", "neg", "convert_element_type"}
    )
