"""Deep kernel shaping, and tailored activations: the correlation map of a whole network by that of its layers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import callables, checks
from jnorm.theory._parts import Activation
from jnorm.theory.transforms._laws import Law, Measured
from jnorm.theory.transforms._leaky import LEAKY, NOTHING, shaped_leaky_relu, unreached
from jnorm.theory.transforms._networks import Network, rising
from jnorm.theory.transforms._results import Transform, transformed
from jnorm.theory.transforms._search import Found, Residual, newton

STARTS = [
    [(0.5, 0.3), (-0.5, 0.3), (0.5, 1.0), (-0.5, 1.0)],
    [(0.5, 0.1), (-0.5, 0.1), (1.5, 1.0), (-1.5, 1.0)],
    [(0.1, 1.0), (-0.1, 1.0), (0.1, 3.0), (-0.1, 3.0)],
    [(2.5, 0.5), (-2.5, 0.5), (0.3, 0.03), (-0.3, 0.03)],
]
"""Shifts and scales of the argument that searches begin with, one row after another until something is found."""


def deep_kernel_shaping(
    phi: Activation,
    network: Network,
    *,
    slope: float = 1.5,
    rate: float = 1.0,
    kinks: Sequence[float] | None = None,
) -> Transform:
    """The function ``a phi(b z + c) + d`` with which a network's correlation map has a chosen slope at one.

    Four conditions for ``z ~ N(0, 1)`` and weights of variance ``1 / fan_in``: lengths stay, ``Q(1) = 1``, with slope
    ``Q'(1) = rate``; ``C(0) = 0``; and ``C'(1)`` of a layer is such that ``network`` makes ``slope`` of it.

    Of `relu`, and of what else is positively homogeneous, only ``c / b`` matters: ``c`` is 1, or -1 beyond the slope
    that no shift has, and ``rate`` is what comes out, as ``reason`` says. `leaky_relu` without a ``negative_slope`` has
    that one chosen instead, by a closed form. Source: Martens et al. 2021 (arXiv 2110.01765).

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        network: What the architecture makes of the slope of its layers: `chain`, `residual`, or ``network(x, layer)``
            of one's own, which maps a number by what ``layer`` does to it and is called with a product by a slope.
        slope: Slope of the network's correlation map at one, above 1.
        rate: Slope of the length map of a layer.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The function. Not converged, with the reason, where the network or the activation cannot have the slope.

    Raises:
        ValueError: A ``slope <= 1``, or a ``phi`` that jumps itself, is not elementwise or whose kinks cannot be read.

    >>> from jnorm.activations import tanh
    >>> from jnorm.theory.transforms import chain
    >>> found = deep_kernel_shaping(tanh, chain(100), slope=1.5)
    >>> found.converged, round(found.predicted.slope**100, 6), round(found.predicted.rate, 9)
    (True, 1.5, 1.0)
    """
    checks.require(lambda s: s > 1, "`{}` must satisfy {} > 1", slope=slope)
    local = rising(lambda s: network(1.0, lambda y: s * y), slope, 1.0, 2.0)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        if callables.unwrap(phi) in [(function, (), {}) for function in LEAKY]:
            return shaped_leaky_relu(local, unreached("slope", slope), rate)
        measured = Measured.of(phi, kinks)
        if torn := measured.jumps.value:
            raise ValueError(f"`phi` must not jump: C'(1) is infinite; it does at {torn[0]:g}")
        if local is None or local == 1.0:
            return transformed(measured, phi, NOTHING, converged=False, reason=unreached("slope", slope))
        return centred(measured, phi, local, rate)


def tailored(
    phi: Activation, network: Network, *, curvature: float = 0.3, kinks: Sequence[float] | None = None
) -> Transform:
    """The function ``a phi(b z + c) + d`` with which a network's correlation map has a chosen curvature at one.

    Four conditions for ``z ~ N(0, 1)`` and weights of variance ``1 / fan_in``: ``Q(1) = Q'(1) = 1``, ``C'(1) = 1``, so
    that gradients stay, and ``C''(1)`` of a layer is such that ``network`` makes ``curvature`` of it. Of several
    solutions that with the smallest ``a b`` is taken. Source: Zhang et al. 2022 (arXiv 2203.08120).

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        network: As for `deep_kernel_shaping`; it is called with a sum with a curvature, at 0.
        curvature: Second derivative of the network's correlation map at one, positive.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The function. Not converged, with the reason, where the network or the activation cannot have the curvature.

    Raises:
        ValueError: A ``curvature <= 0``, or a ``phi`` whose derivative jumps: its ``C''(1)`` is infinite. For
            `leaky_relu` there is `tailored_leaky_relu`.

    >>> from jnorm.activations import softplus
    >>> from jnorm.theory.transforms import chain
    >>> found = tailored(softplus, chain(100), curvature=0.3)
    >>> round(100 * found.predicted.curvature, 6), round(found.predicted.chi, 12)
    (0.3, 1.0)
    """
    checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", curvature=curvature)
    local = rising(lambda k: network(0.0, lambda y: y + k), curvature, 0.0, 1.0)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        measured = Measured.of(phi, kinks)
        torn, bent = measured.jumps
        if torn or bent:
            raise ValueError(
                f"`phi` must have a derivative that does not jump: C''(1) is infinite; it does at {(torn + bent)[0]:g}"
                + "; use `tailored_leaky_relu`" * (callables.unwrap(phi)[0] in LEAKY)
            )
        if not local:
            return transformed(measured, phi, NOTHING, converged=False, reason=unreached("curvature", curvature))
        signs = np.array([1.0, 1.0, -1.0, -1.0])
        pairs = [2 * row[i : i + 2] for row in STARTS for i in (0, 2)]  # with either sign
        residual = partial(_balance, local=local, sign=signs)
        found, best = _best(measured, residual, pairs, lambda law: law.slope**-0.5)
        law = found.law.lane(best)
        with np.errstate(all="ignore"):
            a, mean = (float(part[best]) for part in _poincare(found.law, signs))
        constants = a, math.sqrt(law.at[1]), law.at[0], mean - a * law.mean
        reason = "" if found.converged[best] else f"no constants found for C''(1) = {local:.6g} of a layer"
        return transformed(measured, phi, constants, law=law, converged=not reason, reason=reason)


def centred(measured: Measured, phi: Activation, slope: float, rate: float) -> Transform:
    """The function of mean zero and variance one with slopes of the correlation map and of the length map."""
    loose = bool(measured.jumps.slope) and _is_homogeneous(measured)
    shifted = [[(float(side), sd) for sd in pair for side in (1, -1)] for pair in ((1.0, 0.3), (3.0, 0.1))]
    residual = partial(_beside, slope=slope) if loose else partial(_steady, slope=slope, rate=rate)
    factor = lambda law: np.sqrt(law.at[1] / law.var)
    found, best = _best(measured, residual, shifted if loose else STARTS, factor)
    law = found.law.lane(best)
    a = law.var**-0.5
    constants = a, math.sqrt(law.at[1]), law.at[0], -a * law.mean
    if not found.converged[best]:
        reason = f"no constants found for C'(1) = {slope:.6g} of a layer; nearest {_steep(law):.6g}"
        return transformed(measured, phi, constants, law=law, converged=False, reason=reason)
    reason = f"`phi` is positively homogeneous: its Q'(1) is {_growth(law):.6g}" if loose else ""
    return transformed(measured, phi, constants, law=law, reason=reason)


def _steep(law: Law) -> Any:
    """``C'(1)`` of the function of mean zero and variance one."""
    return law.at[1] * law.slope / law.var


def _growth(law: Law) -> Any:
    """Its ``Q'(1)``."""
    return law.at[1] * law.var_by[1] / law.var


def _steady(law: Law, *, slope: Any, rate: Any) -> tuple[Any, Any]:
    return (_growth(law) - rate) / (slope - 1), jnp.log((_steep(law) - 1) / (slope - 1))


def _beside(law: Law, *, slope: Any) -> tuple[Any, Any]:
    """With a shift of one, as the scale alone matters."""
    return (law.at[0] - jnp.sign(law.at[0])) / jnp.sqrt(law.at[1]), jnp.log((_steep(law) - 1) / (slope - 1))


def _poincare(law: Law, sign: Any) -> tuple[Any, Any]:
    """The factor, and the mean of the function: `gaussian_poincare` of ``phi(u)``."""
    a = (law.at[1] * law.slope) ** -0.5
    return a, sign * (1 - a * a * law.var) ** 0.5


def _balance(law: Law, *, local: Any, sign: Any) -> tuple[Any, Any]:
    a, mean = _poincare(law, sign)
    growth = law.at[1] * a * (2 * mean * law.mean_by[1] + a * law.var_by[1])
    return (growth - 1) / local, jnp.log(law.at[1] * law.curvature / law.slope / local)


def _best(measured: Measured, residual: Residual, tries: Any, factor: Callable[[Law], np.ndarray]) -> tuple[Found, int]:
    """The first search that finds something, and its solution with the smallest factor, then that with ``c > 0``."""
    kept: Found | None = None
    for starts in tries:
        found = newton(measured, residual, starts)
        if found.converged.any():
            with np.errstate(all="ignore"):
                size = np.where(found.converged, factor(found.law), np.inf)
            return found, int(np.argmin(np.round(size / np.min(size), 6) - 1e-7 * np.sign(found.law.at[0])))
        kept = found if kept is None or found.gap.min() < kept.gap.min() else kept
    assert kept is not None
    return kept, int(np.argmin(kept.gap))


def _is_homogeneous(measured: Measured) -> bool:
    """Whether ``phi(2 u) = 2 phi(u)``, by its moments under two Gaussians."""
    mean, sd = np.array([0.0, 0.0, 0.7, 1.4]), np.array([1.0, 2.0, 1.0, 2.0])
    law = measured.at(mean, sd * sd)
    pairs = [(part[::2] * factor, part[1::2]) for part, factor in ((law.mean, 2), (law.var, 4), (law.slope, 1))]
    return all(np.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in pairs)
