"""Expectations under one Gaussian, or two correlated ones, by quadrature that is split at the kinks.

An integrand that is analytic between its kinks is integrated to rounding by Gauss-Legendre panels that end there: their
nodes crowd toward both ends, where a kink, or the pole of a tanh seen from ten standard deviations, has its features.
Gauss-Hermite nodes straddle the kink and are off by tenths of a unit in ``E[phi'(z)^2]``.

Common to the functions:

- **Integrands** act elementwise and are made of `jax.numpy` operations. They see points of the shape of
  the arguments behind one more axis, and are mapped over the nodes; arrays that they close over broadcast against the
  points from the right. Each function is one program for an integrand, shape and dtype, under ``jit`` or not: a lambda
  written anew is the same integrand, with other captured values it is another one.
- **Memory and loops.** All nodes of all points are one evaluation and one sum, without a loop, as long as these are at
  most 2^17 values: up to 512 points in one dimension, 4 in two. For more points a loop takes as many nodes at a time as
  need no more, at least one of each panel, and derivatives keep nothing of a turn. In two dimensions a CPU takes 2^13
  values at a time, which its caches hold. What `jax.vmap` adds does not count, so that a mapped point takes 256 values
  (in two dimensions 31 360): hand arrays over where they are very many.
- **Kinks** are the points at which the integrand or a derivative of it jumps, or where a smooth one has its features.
  They are found (`kinks`), also where they are traced: a threshold that is learned has its derivative. A comparison
  that has no inverse and holds traced numbers is searched within the reach, on 255 points, for up to seven zeros;
  with more of them the result is NaN. What cannot be read raises ``ValueError``, and is given as ``kinks=``.
- **Piecewise polynomials** of degree two at most, such as a relu in whatever spelling and the square of it, are
  recognized where kinks are found, and have their expectations in closed form. Giving ``kinks`` forces the quadrature.
- **Shapes and types.** Arguments broadcast; the dtype is kept, and half precision is computed in float32.
- **Singular points.** A negative or NaN variance gives NaN in its own lane; a negative one among Python numbers and
  NumPy arrays raises ``ValueError``.
- **Digits.** Stated errors are those of the rule. Rounding comes on top and depends on the machine: `jnorm.theory`.
"""

from jnorm.gaussian._kinks import kinks
from jnorm.gaussian._kinks import places as places
from jnorm.gaussian._pair import expectation2
from jnorm.gaussian._single import expectation, moments

__all__ = ["expectation", "expectation2", "kinks", "moments"]
