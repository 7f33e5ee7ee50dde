"""How far one layer moves mean, variance and gradient, and which weights attract: enclosed numbers (extra: verify)."""

from typing import Unpack

from jnorm.proofs._certificates import Arguments, Certificate
from jnorm.proofs._domains import OMEGA, TAU
from jnorm.proofs._provers import Options, intervals, prove, prove_of
from jnorm.proofs._search import TOL
from jnorm.proofs._shapes import IntervalLike, number


def image_box(
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    **options: Unpack[Options],
) -> Certificate:
    """Least and largest mean and variance after one layer, enclosed.

    Args:
        mean: Interval of the mean before the layer.
        var: Interval of the variance before the layer, > 0.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        **options: ``target``, ``weights``, ``tol`` and ``budget``: see `Options`.

    Returns:
        The certificate; ``extremes`` hold an enclosure for each of the four.

    >>> [round(ends[0], 7) for ends in image_box((-0.1, 0.1), (0.8, 1.5)).extremes.values()]
    [-0.0310605, 0.0677251, 0.8037118, 1.481575]
    """
    return _enclosed("image", intervals(mean, var, omega, tau), **options)


def gradient_bounds(
    mean: IntervalLike,
    var: IntervalLike,
    omega: IntervalLike = OMEGA,
    tau: IntervalLike = TAU,
    **options: Unpack[Options],
) -> Certificate:
    """Least and largest backward factor tau*E[f'(z)^2], enclosed.

    Args:
        mean: Interval of the mean on the way forward.
        var: Interval of the variance on the way forward, > 0.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights, > 0.
        **options: ``target``, ``weights``, ``tol`` and ``budget``: see `Options`.

    Returns:
        The certificate; ``extremes`` hold an enclosure for each of the two.

    >>> {name: round(ends[0], 6) for name, ends in gradient_bounds((-0.1, 0.1), (0.8, 1.5)).extremes.items()}
    {'gradient factor at least': 0.952669, 'gradient factor at most': 1.208966}
    """
    return _enclosed("gradient factor", intervals(mean, var, omega, tau), **options)


def _enclosed(quantity: str, domain: Arguments, **options: Unpack[Options]) -> Certificate:
    arguments = {"quantity": quantity, **domain, "tol": number("tol", options.get("tol", TOL), positive=True)}
    return prove_of("extremes", arguments, **options)


def omega_range(var: float = 1.0, tau: float = 1.0) -> Certificate:
    """Ends of the omegas for which the fixed point (0, var) at tau attracts: exactly the open range between them.

    Args:
        var: Variance of the fixed point, > 0; lam and alpha are those of (0, var) at omega = 0 and ``tau``.
        tau: Sum of a unit's squared weights, > 0.

    Returns:
        The certificate; ``extremes`` hold an enclosure for each of the two ends.

    Raises:
        ValueError: Where the closed form does not cover this fixed point.

    >>> {name: round(ends[0], 5) for name, ends in omega_range().extremes.items()}
    {'lowest omega at least': -1.03079, 'highest omega at most': 0.90166}
    """
    return prove("omega_range", {"var": number("var", var), "tau": number("tau", tau)})


def tau_range(var: float = 1.0) -> Certificate:
    """Ends of the taus for which, with omega = 0, a positive fixed point exists: exactly the open range between them.

    There it is the only one and attracts.

    Args:
        var: Variance of the fixed point (0, var) at omega = 0 and tau = 1 that defines lam and alpha, > 0.

    Returns:
        The certificate; ``extremes`` hold an enclosure for each of the two ends.

    >>> [round(ends[0], 6) for name, ends in tau_range().extremes.items() if "tau" in name]
    [0.495589, 2.65757]
    """
    return prove("tau_range", {"var": number("var", var)})
