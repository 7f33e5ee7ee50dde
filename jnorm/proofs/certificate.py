"""Interval proofs about SELU, and any elementwise activation, as a map of (mean, var) (extra: verify).

The three theorems of Klambauer, Unterthiner, Mayr and Hochreiter, *Self-Normalizing Neural Networks* (2017), with tight
constants; larger domains, global convergence, bounds of the backward factor and exact ranges beyond them; and
certificate files that are verified again without searching.

mean and var are those of a layer's input, omega and tau the sum and the sum of squares of a unit's weights; mean~ and
var~ are those of its output f(z), f(z) = lam*z for z > 0 and lam*alpha*(e^z - 1) otherwise, z ~ N(mean*omega, var*tau).
lam and alpha are enclosed from the fixed point that they are to have. With ``phi`` f is any elementwise function of
`jax.numpy` operations that python-flint encloses, read from its jaxpr, its numbers those of the program in float64, its
moments from quadrature with proven errors. Limit sets, global convergence and ranges are of scaled ELU alone.

Each of mean, var, omega and tau is given by an interval (low, high), or a number, read as the decimal that it prints
as; omega and tau are free within theirs and, but for fixed points, free to change from layer to layer. Bounds are
rounded outward.

A certificate's outcome is True, proved; False only with a counterexample, verified at 60 digits; or None, undecided.
Its ``title`` and ``proposition`` are made from its numbers, those of a file that is checked as well.

All raise ``ValueError`` for intervals that are empty or inverted, ends past 1e100, var or tau that are not positive or
below 1e-100, a tol, budget or p that is no positive number, numbers that are NaN, texts or truth values, and constants
that do not exist; ``NotImplementedError`` for an operation of ``phi`` that is not enclosed, with its line; and
``ModuleNotFoundError``, which names the extra, without python-flint.
"""

from jnorm.proofs._boxes import contraction_box
from jnorm.proofs._certificates import Certificate
from jnorm.proofs._domains import Domain
from jnorm.proofs._extremes import gradient_bounds, image_box, omega_range, tau_range
from jnorm.proofs._files import Verified, check, write
from jnorm.proofs._fixed_points import fixed_point
from jnorm.proofs._inequalities import Inequality, Proof
from jnorm.proofs._limits import global_convergence, limit_set
from jnorm.proofs._provers import Effort, Options
from jnorm.proofs._shapes import Point
from jnorm.proofs._theorems import (
    contraction,
    theorem1,
    theorem2,
    theorem3,
    variance_decreases,
    variance_increases,
)

__all__ = [
    "Certificate",
    "Domain",
    "Effort",
    "Inequality",
    "Options",
    "Point",
    "Proof",
    "Verified",
    "check",
    "contraction",
    "contraction_box",
    "fixed_point",
    "global_convergence",
    "gradient_bounds",
    "image_box",
    "limit_set",
    "omega_range",
    "tau_range",
    "theorem1",
    "theorem2",
    "theorem3",
    "variance_decreases",
    "variance_increases",
    "write",
]
