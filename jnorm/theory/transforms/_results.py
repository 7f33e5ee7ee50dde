"""What transforms return: the function with its constants, and what theory says of it."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnorm._ground import callables, nodes
from jnorm.theory import meanfield
from jnorm.theory._parts import Activation
from jnorm.theory.transforms._laws import Law, Measured


@nodes.register
@dataclass(frozen=True, eq=False)
class Affine:
    """An activation between two straight lines, ``a * phi(b * z + c) + d``; a pytree, whose numbers keep any dtype.

    Attributes:
        phi: The activation.
        a: Factor of its values.
        b: Factor of its arguments.
        c: What is added to these.
        d: What is added to the values.
    """

    phi: Activation
    a: jax.Array | Any
    b: jax.Array | Any
    c: jax.Array | Any
    d: jax.Array | Any

    def __call__(self, z: jax.Array) -> jax.Array:
        """The function, elementwise."""
        return self.a * self.phi(self.b * z + self.c) + self.d


class Prediction(NamedTuple):
    """What a layer does where ``z`` has the mean and variance that the transform is made for, numbers.

    The correlation map ``C`` is that of two inputs of this length through wide layers of random weights.

    Attributes:
        mean: ``E[f(z)]``.
        var: ``Var[f(z)]``.
        rate: What a layer multiplies small deviations by: of mean and variance in `self_normalizing`, their spectral
            radius, else of the length, ``Q'(1)``.
        chi: ``tau E[f'(z)^2]``, the factor of the squared gradient, a layer back.
        at_zero: ``C(0) = E[f]^2 / E[f^2]``.
        slope: ``C'(1)``.
        curvature: ``C''(1)``, infinite for a function with a kink.
    """

    mean: float
    var: float
    rate: float
    chi: float
    at_zero: float
    slope: float
    curvature: float


@nodes.register
@dataclass(frozen=True, eq=False)
class Transform:
    """An activation that has been transformed, ``f(z) = a * phi(b * z + c) + d``.

    Attributes:
        function: The function ``f``, an activation like any other.
        converged: Whether it is what was asked for. If not, it is the nearest that was found.
        predicted: What theory says of it.
        reason: Why it has not converged, or what could not be chosen; empty elsewhere.
    """

    function: Affine
    converged: bool
    predicted: Prediction
    reason: str = field(default="", metadata={"static": True})

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """The numbers ``(a, b, c, d)``."""
        f = self.function
        return float(f.a), float(f.b), float(f.c), float(f.d)

    @property
    def scales(self) -> meanfield.DepthScales:
        """`jnorm.theory.meanfield.depth_scales` for weights of variance ``1 / fan_in``, in double precision."""
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            return jax.tree.map(float, meanfield.depth_scales(self.function, sigma_w=1.0))


class Seen(NamedTuple):
    """The Gaussian that a layer is made for: of its pre-activations, and of its inputs how they depend on these.

    Attributes:
        mean: Mean of ``z``.
        var: Variance of ``z``.
        omega: Its derivative by the mean of the inputs.
        tau: Its variance by theirs.
    """

    mean: float = 0.0
    var: float = 1.0
    omega: float = 0.0
    tau: float = 1.0


def transformed(
    measured: Measured,
    phi: Activation,
    constants: tuple[float, float, float, float],
    *,
    law: Law | None = None,
    seen: Seen | None = None,
    converged: bool = True,
    reason: str = "",
) -> Transform:
    """The result for constants ``(a, b, c, d)``, whose law may be known; of fixed weights where ``seen`` is given."""
    a, b, c, d = constants
    z = seen or Seen()
    law = law or measured.at_one(b * z.mean + c, b * b * z.var)
    mean, var = a * law.mean + d, a * a * law.var
    second, slope = mean * mean + var, a * a * b * b * law.slope
    torn, bent = map(bool, measured.jumps)
    curvature = (a * b * b * z.var) ** 2 * law.curvature / second if second else math.nan
    curvature = math.inf if torn or bent else curvature
    slope = math.inf if torn else slope
    growth = b * b * (2 * mean * a * law.mean_by[1] + a * a * law.var_by[1])  # of E[f^2] by the variance of z
    rate = abs(growth) if seen is None else float(eigenvalue(law, a, b, z))
    share, steep = (mean * mean / second, z.var * slope / second) if second else (math.nan, math.nan)
    predicted = Prediction(mean, var, rate, z.tau * slope, share, steep, curvature)
    return Transform(Affine(callables.wrap(phi), a, b, c, d), converged, predicted, reason)


def eigenvalue(law: Law, a: Any, b: Any, z: Seen) -> jax.Array:
    """The spectral radius of the map of mean and variance for fixed weights, as `jnorm.theory.fixed_points.stability`
    has it.
    """
    by_mean, by_var = b * z.omega, b * b * z.tau
    p, q = a * law.mean_by[0] * by_mean, a * law.mean_by[1] * by_var
    r, s = a * a * law.var_by[0] * by_mean, a * a * law.var_by[1] * by_var
    half, disc = (p + s) / 2, ((p - s) / 2) ** 2 + q * r
    twist = disc < 0
    pair = jnp.sqrt(jnp.where(twist, half * half - disc, 0.0))
    return jnp.where(twist, pair, jnp.where(half < 0, -half, half) + jnp.sqrt(jnp.where(twist, 0.0, disc)))
