"""Activations made self-normalizing, ``phi -> a * phi(b * z + c) + d``, and what their nonlinearity costs.

`self_normalizing` gives any activation a stable fixed point of mean and variance, with a rate or a gradient factor of
choice. `gaussian_poincare` keeps second moments and gradients. `deep_kernel_shaping` and `tailored` choose the
correlation map of a layer by that of a whole network, which is described by a function such as `chain`, `residual` or
`graph` give. `hermite` and `budget` say how nonlinear an activation is and who pays, `for_depth` spends it for a depth.

Common to the functions:

- **Results** are a `Transform`: the function, an activation like any other, its constants, whether they are what was
  asked for, and what theory predicts. What cannot be had is said by ``converged`` and ``reason``, beside the nearest
  that was found; there are no NaN.
- **Numbers.** Transforms are solved on the host in double precision, whatever the session's, also while a program is
  traced; constants are Python numbers, so that functions keep the dtype of what they are given. The activation and
  the targets must not be traced themselves. `hermite` is a function of arrays.
- **Accuracy.** Conditions are met to 1e-9 of what distinguishes them from a straight line, and mostly to rounding.
- **Speed.** A quadrature is compiled once for each activation, and serves all transforms of it.
"""

from jnorm.theory.transforms._budget import Budget, budget, for_depth
from jnorm.theory.transforms._fixed import self_normalizing
from jnorm.theory.transforms._graphs import Graph, graph
from jnorm.theory.transforms._hermite import hermite
from jnorm.theory.transforms._leaky import tailored_leaky_relu
from jnorm.theory.transforms._networks import Chain, Network, ResidualNet, chain, residual
from jnorm.theory.transforms._poincare import gaussian_poincare
from jnorm.theory.transforms._results import Affine, Prediction, Transform
from jnorm.theory.transforms._shaping import deep_kernel_shaping, tailored

__all__ = [
    "Affine",
    "Budget",
    "Chain",
    "Graph",
    "Network",
    "Prediction",
    "ResidualNet",
    "Transform",
    "budget",
    "chain",
    "deep_kernel_shaping",
    "for_depth",
    "gaussian_poincare",
    "graph",
    "hermite",
    "residual",
    "self_normalizing",
    "tailored",
    "tailored_leaky_relu",
]
