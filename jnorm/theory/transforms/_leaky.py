"""The leaky ReLU, whose slope on the left is a constant to choose: in closed form."""

import math
from functools import partial

import jax

from jnorm import activations
from jnorm._ground import checks
from jnorm.theory.transforms._laws import Measured
from jnorm.theory.transforms._networks import Network, rising
from jnorm.theory.transforms._results import Transform, transformed

LEAKY = (activations.leaky_relu, jax.nn.leaky_relu)
NOTHING = (1.0, 1.0, 0.0, 0.0)
"""Constants that leave an activation as it is."""


def tailored_leaky_relu(network: Network, *, correlation: float = 0.9) -> Transform:
    """The leaky ReLU ``a leaky_relu(z, negative_slope)`` with which a network makes a chosen correlation of zero.

    ``a = sqrt(2 / (1 + negative_slope^2))`` keeps lengths and gradients, ``Q(q) = q`` and ``C'(1) = 1``; what a network
    of relu makes of uncorrelated inputs falls with the slope, and the largest allowed is met.
    Source: Zhang et al. 2022 (arXiv 2203.08120), section on leaky ReLU.

    Args:
        network: As for `deep_kernel_shaping`; it is called with the correlation map of a layer, at 0.
        correlation: What becomes of inputs of correlation zero, between 0 and 1.

    Returns:
        The function, whose ``phi`` has the slope bound. Not converged where even relu stays below the correlation.

    Raises:
        ValueError: A ``correlation`` outside (0, 1).

    >>> from jnorm.theory.transforms import chain
    >>> found = tailored_leaky_relu(chain(50), correlation=0.9)
    >>> round(found.function.phi.keywords["negative_slope"], 5), round(found.predicted.chi, 12)
    (0.43052, 1.0)
    """
    checks.require(lambda c: (c > 0) & (c < 1), "`{}` must satisfy 0 < {} < 1", correlation=correlation)
    slope = rising(lambda s: -network(0.0, partial(_leaky_correlation, slope=s)), -correlation, 0.0, 1.0)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        phi = partial(activations.leaky_relu, negative_slope=slope or 0.0)
        constants = (math.sqrt(2 / (1 + (slope or 0.0) ** 2)), 1.0, 0.0, 0.0)
        reason = unreached("correlation", correlation) if slope is None else ""
        return transformed(Measured.of(phi, None), phi, constants, converged=not reason, reason=reason)


def shaped_leaky_relu(local: float | None, unreachable: str, rate: float) -> Transform:
    """`deep_kernel_shaping` of it by its slope alone, for the slope of the correlation map of a layer.

    With ``k = pi (1 - 1 / C'(1))`` the condition is ``(1 - s)^2 = k (1 + s^2)``.
    """
    reason = unreachable if local is None or local == 1.0 else ""
    k = math.pi * (1 - 1 / (local or 1.0))
    if not reason and k > 2:
        reason = f"C'(1) of a layer is at most pi / (pi - 2) = 2.752; needed is {local:.6g}"
    if not reason and rate != 1:
        reason = f"`rate` is 1 for every slope; asked is {rate:g}"
    slope = 0.0 if k > 2 else (1 - k) / (1 + math.sqrt(k * (2 - k)))
    var = (1 + slope**2) / 2 - (1 - slope) ** 2 / (2 * math.pi)
    a = 1 / math.sqrt(var) if var else 1.0
    constants = a, 1.0, 0.0, -a * (1 - slope) / math.sqrt(2 * math.pi)
    phi = partial(activations.leaky_relu, negative_slope=slope)
    return transformed(Measured.of(phi, None), phi, constants, converged=not reason, reason=reason)


def unreached(what: str, goal: float) -> str:
    """The reason of a network that does not have a quantity, whatever its layers have."""
    return f"no layers give this network a {what} of {goal:g}"


def _leaky_correlation(corr: float, slope: float) -> float:
    """The correlation map of a leaky ReLU: the arc-cosine kernel beside a line (Cho and Saul 2009)."""
    corr = min(corr, 1.0)
    bent = math.sqrt((1 - corr) * (1 + corr)) + (math.pi - math.acos(corr)) * corr
    return ((1 - slope) ** 2 * bent / math.pi + 2 * slope * corr) / (1 + slope**2)
