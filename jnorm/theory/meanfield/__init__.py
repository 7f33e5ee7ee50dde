"""Mean-field theory of random weights: how lengths, correlations and gradients go through wide and deep networks.

Weights ``N(0, sigma_w^2 / fan_in)`` and biases ``N(0, sigma_b^2)`` are drawn independently. In a wide layer the
pre-activations of an input are then normal with mean zero and a variance, its *length*, and those of two inputs have a
*correlation*. `length` and `correlation` are where these stay, `chi` says whether near inputs separate (chaos, above
one) or meet (order), `depth_scales` how fast, `trainable_depth` how deep a network may be, `critical_line` and
`phase_diagram` for which weights. `kernel_map`, `residual` and `layer_norm` make layers out of which `propagate`,
`growth`, `nngp` and `ntk` build networks.

Common to the functions:

- **Activations and kinks** are as in `jnorm.theory.moments`. The derivative of ``E[phi(u) phi(v)]`` by the covariance
  is ``E[phi'(u) phi'(v)]``, also where ``u = v``; further ones there do not exist for an activation with a kink, and
  come out without the infinite part. Where an activation itself jumps (``jnp.sign``) `chi` is infinite, and so are the
  derivatives at one, gradients and diagonals of the tangent kernel; all that is finite is right.
- **Accuracy.** In closed form where there is one, for copies of leaky relu too, however they are written; for others by
  quadrature that is split at the kinks. In float64 its error is below 1e-12 for lengths up to 4, and below 1e-8 up to
  30, of ``E[phi^2]`` and ``E[phi'^2]``.
- **Shapes and types.** Arguments broadcast; the dtype is kept, and half precision is computed in float32.
- **Singular points.** A negative or NaN length gives NaN in its own lane. Length zero is allowed everywhere.
- **Compiling.** Each function is one program for each activation, shape and dtype, under ``jit`` or not.
"""

from jnorm.theory.meanfield._correlations import (
    CorrelationMap,
    TrainableDepth,
    correlation,
    correlation_map,
    depth_scales,
    trainable_depth,
)
from jnorm.theory.meanfield._dense import Dense as Dense
from jnorm.theory.meanfield._dense import Slopes
from jnorm.theory.meanfield._dense import dense as dense
from jnorm.theory.meanfield._dense import inner as inner
from jnorm.theory.meanfield._kernels import (
    DenseKernels,
    Normalized,
    Residual,
    kernel_map,
    layer_norm,
    residual,
)
from jnorm.theory.meanfield._layers import RandomWeights, layer_map
from jnorm.theory.meanfield._lengths import chi, length, slopes
from jnorm.theory.meanfield._networks import (
    NetworkKernel,
    batch_norm_growth,
    growth,
    inputs,
    nngp,
    ntk,
    propagate,
)
from jnorm.theory.meanfield._pairs import KernelMap, Kernels
from jnorm.theory.meanfield._phases import PhaseDiagram, critical_line, phase_diagram
from jnorm.theory.meanfield._steady import DepthScales

__all__ = [
    "CorrelationMap",
    "DenseKernels",
    "DepthScales",
    "KernelMap",
    "Kernels",
    "NetworkKernel",
    "Normalized",
    "PhaseDiagram",
    "RandomWeights",
    "Residual",
    "Slopes",
    "TrainableDepth",
    "batch_norm_growth",
    "chi",
    "correlation",
    "correlation_map",
    "critical_line",
    "depth_scales",
    "growth",
    "inputs",
    "kernel_map",
    "layer_map",
    "layer_norm",
    "length",
    "nngp",
    "ntk",
    "phase_diagram",
    "propagate",
    "residual",
    "slopes",
    "trainable_depth",
]
