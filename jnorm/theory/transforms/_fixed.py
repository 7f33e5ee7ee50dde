"""A fixed point of mean and variance for any activation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import checks, nodes
from jnorm.theory._parts import Activation
from jnorm.theory.transforms._laws import LANES, Law, Measured
from jnorm.theory.transforms._results import Seen, Transform, eigenvalue, transformed
from jnorm.theory.transforms._search import newton

SCALES = (1.0, 0.3, 3.0, 10.0)  # of the argument, to begin with
SHIFTS = (0.5, -0.5, 1.5, -1.5)
FAR = (2.0, -2.0, 5.0, -5.0)  # shifts beside which the scale is chosen, where nothing nearer will do


def self_normalizing(
    phi: Activation,
    mean: float = 0.0,
    var: float = 1.0,
    *,
    omega: float = 0.0,
    tau: float = 1.0,
    rate: float | None = None,
    chi: float | None = None,
    kinks: Sequence[float] | None = None,
) -> Transform:
    """The function ``a phi(b z + c) + d`` whose layer map has the stable fixed point ``(mean, var)``.

    The map is `jnorm.theory.moments.layer_map`, ``z ~ N(mean * omega, var * tau)``. For any ``b, c`` there are ``a =
    sqrt(var / Var[phi])`` and ``d = mean - a E[phi]``, so that the two are free: ``rate``, the spectral radius of the
    map's Jacobian, and ``chi``, the factor of the squared gradient, choose them. Without either, ``b = 1`` and ``c =
    0``. With one of them the nearest ``b`` with ``c = 0``; where none will do the nearest ``c`` with ``b = 1``; else a
    ``b`` beside some other ``c``.
    Source: Klambauer et al. 2017, sections 2 and 3, who do it for ELU.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        mean: Mean of the fixed point, a number like the others.
        var: Its variance, positive.
        omega: Sum of a unit's weights.
        tau: Sum of their squares, positive.
        rate: What a layer multiplies small deviations of mean and variance by, between 0 and 1.
        chi: What a layer back multiplies the squared gradient by, positive.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The function. Not converged, with the reason, where the point repels or what is asked for is not found.

    Raises:
        ValueError: Numbers out of their ranges, or a ``phi`` that is not elementwise or whose kinks cannot be read.

    >>> from jnorm.activations import tanh
    >>> found = self_normalizing(tanh, 0.0, 1.0, rate=0.9)
    >>> found.converged, round(found.predicted.rate, 6), found.constants[2]
    (True, 0.9, 0.0)
    """
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var, tau=tau)
    checks.require(lambda r: (r > 0) & (r < 1), "`{}` must satisfy 0 < {} < 1", rate=0.5 if rate is None else rate)
    checks.require(lambda x: x > 0, "`{}` must satisfy {} > 0", chi=1.0 if chi is None else chi)
    asked = {name: goal for name, goal in (("rate", rate), ("chi", chi)) if goal is not None}
    z = Seen(mean * omega, var * tau, omega, tau)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        measured = Measured.of(phi, kinks)
        torn = measured.jumps.value
        reason = f"`phi` jumps at {torn[0]:g}: gradients are infinite" if torn and chi is not None else ""
        b, c = 1.0, 0.0
        if asked and not reason:
            b, c, reason = _chosen(measured, z, var, asked)
        law = measured.at_one(b * z.mean + c, b * b * z.var)
        if not 0 < law.var < math.inf:
            constants, reason = (1.0, b, c, 0.0), f"the variance of `phi` is {law.var:g}"
        else:
            a = math.sqrt(var / law.var)
            constants = (a, b, c, mean - a * law.mean)
        found = transformed(measured, phi, constants, law=law, seen=z, converged=not reason, reason=reason)
    if not reason and not found.predicted.rate < 1 - 1e-9:  # rounding hides what is neutral
        reason = f"the point does not attract: deviations are multiplied by {found.predicted.rate:.6g} a layer"
        return Transform(found.function, False, found.predicted, reason)
    return found


@nodes.register
@dataclass(frozen=True, eq=False)
class _Goal:
    """What is asked of the function, as residuals of a search; a pytree.

    Attributes:
        z: The Gaussian that the layer sees at the point.
        var: The variance that it shall make of it.
        asked: The rate, chi, or both.
        shift: The shift that is kept, where one of both is asked, ``[lane]``; NaN keeps the scale.
    """

    z: Seen
    var: float
    asked: dict[str, float]
    shift: np.ndarray = field(default_factory=lambda: np.full(LANES, np.nan))

    def inner(self, law: Law) -> tuple[Any, Any]:
        """Scale and shift of the argument."""
        b = (law.at[1] / self.z.var) ** 0.5
        return b, law.at[0] - b * self.z.mean

    def reached(self, law: Law) -> dict[str, jax.Array]:
        """What is asked for, as it is."""
        a, b = jnp.sqrt(self.var / law.var), self.inner(law)[0]
        found = {"rate": eigenvalue(law, a, b, self.z), "chi": self.z.tau * (a * b) ** 2 * law.slope}
        return {name: found[name] for name in self.asked}

    def __call__(self, law: Law) -> tuple[Any, Any]:
        off = [jnp.log(got / self.asked[name]) for name, got in self.reached(law).items()]
        if len(off) == 2:
            return off[0], off[1]
        b, c = self.inner(law)
        keeps_scale = jnp.isnan(self.shift)
        shifted = (c - self.shift) / jnp.sqrt(law.at[1])
        return jnp.where(keeps_scale, off[0], shifted), jnp.where(keeps_scale, 2 * jnp.log(b), off[0])


def _chosen(measured: Measured, z: Seen, var: float, asked: dict[str, float]) -> tuple[float, float, str]:
    """The constants ``b`` and ``c`` that have what is asked for, and why not if they have not."""
    goal = _Goal(z, var, asked)
    keeping = partial(replace, goal)
    mixed = [[(s, side * c) for c in (0.3, 1.5) for side in (1, -1)] for s in (1.0, 0.3, 3.0, 0.1)]
    tries = [(goal, starts) for starts in mixed]
    if len(asked) == 1:
        tries = [(keeping(shift=np.zeros(LANES)), [(s, 0.0) for s in SCALES]), (goal, [(1.0, c) for c in SHIFTS])]
        tries += [(keeping(shift=np.array(FAR)), [(s, c) for c in FAR]) for s in SCALES[2:]]
    nearest: tuple[float, float, float] = (math.inf, 1.0, 0.0)
    for residual, starts in tries:
        found = newton(measured, residual, [(b * z.mean + c, b * math.sqrt(z.var)) for b, c in starts])
        b, c = goal.inner(found.law)
        if found.converged.any():
            away = np.where(found.converged, np.abs(np.log(b)) + np.abs(c), np.inf)
            best = int(np.argmin(np.round(away, 9) - 1e-10 * np.sign(c)))
            return float(b[best]), float(c[best]) if abs(c[best]) > 1e-12 else 0.0, ""
        best = int(np.argmin(found.gap))
        nearest = min(nearest, (float(found.gap[best]), float(b[best]), float(c[best])))
    _, b_near, c_near = nearest
    got = goal.reached(measured.at_one(b_near * z.mean + c_near, b_near**2 * z.var))
    text = ", ".join(f"`{name}` {wanted:g}, nearest {float(got[name]):.4g}" for name, wanted in asked.items())
    return b_near, c_near, f"not found: {text}"
