"""The singular values of the input-output Jacobian of wide, deep, random networks.

``J = D_L W_L ... D_1 W_1`` has independent Gaussian or orthogonal weights, ``W W^T = sigma_w^2``, and the slopes
``D = diag(phi'(z))`` of pre-activations whose length stays. Chi says what happens to the mean of its squared singular
values; here is how they are spread. `moments` has their mean and variance, `support` the smallest and largest one and
the atoms, `density` what is between; `isometry` says whether depth must spread them, and `critical_point` for which
weights they are spread no more than is wanted.

Common to the functions:

- **Free probability.** For wide layers the factors are free, and the moments of their product follow from those of the
  squared slopes alone. The distribution of a network of width n is away from this by terms of the order ``L / n``.
- **The law of the slopes** is a quadrature that is split at the kinks, as in `jnorm.gaussian`; it is cut off at 8.5
  standard deviations. Where an activation jumps the mean is infinite, and what rests on the law is NaN.
- **Shapes and types.** Arguments broadcast, depth too; the dtype is kept. Deep networks need float64: singular values
  are spread over more decades than float32 has.
"""

from jnorm.theory.spectra._density import Density, density
from jnorm.theory.spectra._isometry import CriticalPoint, Isometry, critical_point, isometry
from jnorm.theory.spectra._moments import Support, moments, support

__all__ = [
    "CriticalPoint",
    "Density",
    "Isometry",
    "Support",
    "critical_point",
    "density",
    "isometry",
    "moments",
    "support",
]
