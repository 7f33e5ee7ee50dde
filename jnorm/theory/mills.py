"""Mills' ratio of the normal distribution, its divided differences, and the scaled complementary error function.

``R(x) = (1 - Phi(x)) / phi(x) = sqrt(pi / 2) erfcx(x / sqrt 2)``. Differences of ``R`` are what Gaussian moments of
exponentials on a half-line consist of; here they come without subtracting nearby values, from one polynomial.
"""

from jnorm._ground.mills import Differences, differences, erfcx

__all__ = [
    "Differences",
    "differences",
    "erfcx",
]
