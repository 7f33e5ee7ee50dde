"""Activations: plain functions whose values and derivatives of every order are accurate over the whole range.

Common to the elementwise functions:

- **Shapes and types.** ``x`` is an array of any shape. The result has its shape and floating dtype; bfloat16 and
  float16 are computed in float32 and rounded once, in the derivatives too. Integers become floats as in
  ``jax.numpy``, and weak types stay weak. Parameters may be traced and differentiated; they broadcast against ``x``.
- **Kinks.** At a kink the function and all its derivatives take the branch on the left, x <= kink: relu'(0) = 0,
  elu'(0) = alpha, hard_tanh'(-1) = 0, hard_tanh'(1) = 1, softsign''(0) = 2.
- **Accuracy.** For |x| <= 1e4 the value and the first two derivatives f^(k) are within 8*eps*max(|f^(k)|, |x f^(k+1)|),
  a few times what rounding x does; in half precision they are rounded right to within .51 eps. Nothing is lost to
  cancellation: selu'(-20) = lam*alpha*exp(-20).
- **Underflow.** Below the smallest normal number results are flushed on the CPU. Of sigmoid, softplus, silu, mish and
  erf the result alone is, not a factor of it; gelu, gelu' and tanh' may be 0 below 20 times that number.
- **Singular points.** f(NaN) is NaN; at +-inf the function and its derivatives take their limits where these exist.
- **Errors.** ``TypeError`` for boolean or complex input, ``ValueError`` for shapes that do not broadcast.
- **Cost.** Each is compiled once for a shape and dtype; an eager call is one dispatch. For a gradient they keep
  their arguments alone, in their own dtype; those of straight lines one byte an element.

An activation is one entry of a table: the function, its kinks, its exact Gaussian moments if they are known. `register`
adds one, `ELEMENTWISE` lists those of the library and of the user by name, and the theory reads the rest.
"""

from jnorm.activations._piecewise import (
    SELU_ALPHA,
    SELU_LAMBDA,
    celu,
    elu,
    hard_tanh,
    identity,
    leaky_relu,
    relu,
    scaled_elu,
    selu,
)
from jnorm.activations._powers import softsign, squareplus
from jnorm.activations._probabilities import hardmax, log_softmax, softmax
from jnorm.activations._smooth import erf, gelu, mish, sigmoid, silu, sin, softplus, tanh
from jnorm.activations._table import ELEMENTWISE, closed_form, kinks, register

__all__ = [
    "ELEMENTWISE",
    "SELU_ALPHA",
    "SELU_LAMBDA",
    "celu",
    "closed_form",
    "elu",
    "erf",
    "gelu",
    "hard_tanh",
    "hardmax",
    "identity",
    "kinks",
    "leaky_relu",
    "log_softmax",
    "mish",
    "register",
    "relu",
    "scaled_elu",
    "selu",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "softsign",
    "squareplus",
    "tanh",
]
