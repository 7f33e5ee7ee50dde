"""How nonlinear an activation may be: what gradients and correlations pay for it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax

from jnorm._ground import checks
from jnorm.theory._parts import Activation
from jnorm.theory.transforms._laws import Measured
from jnorm.theory.transforms._leaky import NOTHING
from jnorm.theory.transforms._results import Transform, transformed
from jnorm.theory.transforms._shaping import centred


class Budget(NamedTuple):
    """Shares of an activation under N(0, 1), numbers; with ``a_k^2`` its squared `hermite` coefficients by their sum.

    Attributes:
        constant: ``a_0^2 = C(0)``.
        linear: ``a_1^2``.
        nonlinear: The rest, the sum of ``a_k^2`` from ``k = 2`` on.
        price: ``C'(1) - 1 + C(0)``, the sum of ``(k - 1) a_k^2`` from ``k = 2`` on; at least ``nonlinear``.
        slope: ``C'(1)``.
        curvature: ``C''(1)``, at least twice the price; infinite for an activation with a kink.
        depth: Layers over which the squared gradient changes by a factor of e where lengths stay, ``1 / |log C'(1)|``.
    """

    constant: float
    linear: float
    nonlinear: float
    price: float
    slope: float
    curvature: float
    depth: float

    @property
    def used(self) -> float:
        """The share of the price that nonlinearity has been bought for, one where all of it is of degree two."""
        return self.nonlinear / self.price if self.price else math.nan


def budget(phi: Activation, *, kinks: Sequence[float] | None = None) -> Budget:
    """What an activation's nonlinearity costs: ``nonlinear <= C'(1) - 1 + C(0) <= C''(1) / 2``.

    With the shares ``a_k^2`` of degree k, ``C'(1) - 1`` is the sum of ``(k - 1) a_k^2``, in which the constant counts
    -1, the line nothing and the rest at least 1. So for ``C(0) = 0`` gradients grow with the nonlinearity, which is the
    Gaussian Poincare inequality: if their square may grow by e over ``depth`` layers, at most ``exp(1 / depth) - 1`` of
    a layer's variance is nonlinear. A mean can pay instead, and correlations then run together: with ``C'(1) = 1`` the
    nonlinear share is at most ``C(0)``, and the correlation of near inputs closes its gap to one as ``2 / (C''(1)
    layers)``. The bounds are met where all nonlinearity is of degree two.

    Args:
        phi: The activation, or the ``function`` of a `Transform`; ``kinks`` as in `jnorm.theory.moments`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The shares and what they cost, in double precision.

    Raises:
        ValueError: A ``phi`` that is not elementwise, or whose kinks cannot be read.

    >>> from jnorm.activations import relu, selu
    >>> [[round(part, 4) for part in budget(phi)[:4]] for phi in (relu, selu)]
    [[0.3183, 0.5, 0.1817, 0.3183], [0.0, 0.9707, 0.0293, 0.0716]]
    """
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        measured = Measured.of(phi, kinks)
        law, (torn, bent) = measured.at_one(0.0, 1.0), measured.jumps
    second = law.var + law.mean**2
    if not 0 < second < math.inf:
        return Budget(*(math.nan,) * 7)
    line = law.mean_by[0] ** 2
    slope = math.inf if torn else law.slope / second
    rate = abs(math.log(slope)) if slope else math.inf
    return Budget(
        law.mean**2 / second,
        line / second,
        (law.var - line) / second,
        math.inf if torn else (law.slope - law.var) / second,
        slope,
        math.inf if torn or bent else law.curvature / second,
        1 / rate if rate > 8e-16 else math.inf,
    )


def for_depth(phi: Activation, depth: float, *, kinks: Sequence[float] | None = None) -> Transform:
    """The most nonlinear function ``a phi(b z + c) + d`` whose squared gradient grows by e over ``depth`` layers.

    Mean zero and variance one, ``C'(1) = exp(1 / depth)``, and the most of the `budget` that a length which does not
    run away, ``Q'(1) <= 1``, allows.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        depth: Layers over which the squared gradient grows by a factor of e, positive.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The function. Not converged, with the reason, where the activation cannot.

    Raises:
        ValueError: A ``depth <= 0``, or a ``phi`` that is not elementwise or whose kinks cannot be read.

    >>> from jnorm.activations import tanh
    >>> found = for_depth(tanh, 50)
    >>> spent = budget(found.function)
    >>> round(spent.depth, 6), round(spent.nonlinear, 5), round(spent.used, 3)
    (50.0, 0.02004, 0.992)
    """
    checks.require(lambda n: n > 0, "`{}` must satisfy {} > 0", depth=depth)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        measured = Measured.of(phi, kinks)
        if torn := measured.jumps.value:
            reason = f"`phi` jumps at {torn[0]:g}: gradients are infinite"
            return transformed(measured, phi, NOTHING, converged=False, reason=reason)
        return centred(measured, phi, math.exp(1 / depth), 1.0)
