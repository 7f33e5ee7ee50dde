"""Gaussian-Poincare normalization: second moments of function and derivative are one."""

import math
from collections.abc import Sequence

import jax

from jnorm.theory._parts import Activation
from jnorm.theory.transforms._laws import Measured
from jnorm.theory.transforms._results import Transform, transformed


def gaussian_poincare(phi: Activation, *, kinks: Sequence[float] | None = None) -> Transform:
    """The function ``f = a phi + d`` with ``E[f(z)^2] = E[f'(z)^2] = 1``, ``z ~ N(0, 1)``.

    Layers of weights of variance ``1 / fan_in`` then keep both signals and gradients. ``a = 1 / sqrt(E[phi'^2])``, and
    ``a E[phi] + d = +-sqrt(1 - a^2 Var[phi])``, which exists by the Gaussian Poincare inequality ``Var[phi] <=
    E[phi'^2]``. Of the two the one with the smaller ``|d|`` is taken, of equal ones the positive.
    Source: Lu, Gould and Ajanthan 2020 (arXiv 2006.12169).

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The function, with ``b = 1`` and ``c = 0``; not converged where ``E[phi'^2]`` is zero or infinite.

    Raises:
        ValueError: A ``phi`` that is not elementwise, or whose kinks cannot be read.

    >>> from jnorm.activations import tanh
    >>> found = gaussian_poincare(tanh)
    >>> [round(number, 4) for number in found.constants], found.predicted.chi
    ([1.4674, 1.0, 0.0, 0.3885], 1.0)
    """
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        measured = Measured.of(phi, kinks)
        law = measured.at_one(0.0, 1.0)
        torn = measured.jumps.value
        if torn or not 0 < law.slope < math.inf:
            what = f"`phi` jumps at {torn[0]:g}: E[phi'^2] is infinite" if torn else f"E[phi'^2] is {law.slope:g}"
            return transformed(measured, phi, (1.0, 1.0, 0.0, 0.0), converged=False, reason=what)
        a = law.slope**-0.5
        mean = math.sqrt(max(1 - a * a * law.var, 0.0))
        d = min(mean - a * law.mean, -mean - a * law.mean, key=lambda d: (round(abs(d), 12), -d))
        return transformed(measured, phi, (a, 1.0, 0.0, d), law=law)
