"""Where layers lead, and the metric in which they contract there: floats that proofs start from and do not rest on."""

import math

from jnorm.proofs._balls import decimal, working
from jnorm.proofs._domains import LARGEST
from jnorm.proofs._scaled_elu import moments_of
from jnorm.proofs._shapes import Activation, Target

Matrix = tuple[tuple[float, float], tuple[float, float]]


def approached(
    omega: float, tau: float, target: Target, start: tuple[float, float]
) -> tuple[tuple[float, float], Matrix | None]:
    """(mean, var) after up to 5000 layers, or once one changes no digit, and the Jacobian; None far from all points."""
    with working():
        activation, scaled = moments_of(target), not isinstance(target, Activation)
        small, layers, far = (
            (1e-18, 5000, LARGEST) if scaled else (1e-15, 300, 1e9)
        )  # as quadrature can tell in its time
        mean, var = map(decimal, start)
        for _ in range(layers):
            x = activation.at((mean * decimal(omega)).mid(), (var * decimal(tau)).mid())
            near = abs(x.mean - mean) < small and abs(x.var - var) < small * var
            last, (mean, var) = (mean, var), (x.mean.mid(), x.var.mid())
            if near or not 1 / far < var < far:
                break
        if not (near or abs(last[1] - var) < 1e-9 * var):
            return (float(start[0]), float(start[1])), None
        jacobian = (x.mean_m * omega, x.mean_v * tau), (x.var_m * omega, x.var_v * tau)
    a, b = ((float(left), float(right)) for left, right in jacobian)
    return (float(mean), float(var)), (a, b)


def scale(jacobian: Matrix | None, var: float, *, always: bool = False) -> float | None:
    """The scale of a metric in which the map contracts; None for the 2-norm where that does, unless ``always``."""
    if jacobian is None or (_norm(jacobian, 1.0) < 0.999 and not always):
        return None
    best = min((10.0 ** (k / 4) for k in range(-24, 25)), key=lambda q: _norm(jacobian, q))
    return float(f"{best / math.sqrt(var):.3g}")


def _norm(jacobian: Matrix, q: float) -> float:
    """Largest singular value of the Jacobian with its mean scaled by q."""
    (a, b), (c, d) = jacobian
    b, c = b * q, c / q
    return (math.hypot(a + d, c - b) + math.hypot(a - d, b + c)) / 2
