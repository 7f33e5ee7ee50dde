"""Layers and networks of finite width: how far they stray from the limit of theory, and when it stops to hold.

In a layer of n units the mean and variance over the units vary with the weights, by ``1/sqrt(n)``, and their
expectations differ from the limit by ``1/n`` (`layer_law`). Over the layers this adds up, like ``depth / width`` where
lengths are passed on as they are (`length_law`). `reach` and `smallest_width` are where the limit stops to hold,
`smallest_fan_in` is about a single unit.

Common to the functions:

- **Activations and kinks** are as in `jnorm.theory.moments`; expectations are quadratures of `jnorm.gaussian`.
- **Weights** are named as in `jnorm.initializers`: a name of `WEIGHTS`, `sparse`, or any `WeightLaw`. Variances are
  ``sigma_w^2 / width``, biases are normal. Layers are square, drawn independently.
- **Shapes and types.** Arguments broadcast, ``width`` too; the dtype is kept, half precision is computed in float32.
- **Singular points.** A length that is not positive gives NaN in its own lane, and so do weights that leave none.
- **Compiling.** Each function is one program for each activation, shape, dtype and depth; laws of weights share it.

Source: Hanin and Rolnick 2018 (arXiv 1803.01719) for the growth with ``depth / width``; Roberts, Yaida and Hanin 2022
(arXiv 2106.10165), chapter 4, for the recursion of the variance to first order.
"""

from jnorm.theory.finite_width._depth import LengthLaw, length_law
from jnorm.theory.finite_width._layers import LayerLaw, layer_law
from jnorm.theory.finite_width._reach import FanIn, Reach, reach, smallest_fan_in, smallest_width
from jnorm.theory.finite_width._weights import WEIGHTS, WeightLaw, sparse

__all__ = [
    "WEIGHTS",
    "FanIn",
    "LayerLaw",
    "LengthLaw",
    "Reach",
    "WeightLaw",
    "layer_law",
    "length_law",
    "reach",
    "smallest_fan_in",
    "smallest_width",
    "sparse",
]
