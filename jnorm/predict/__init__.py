"""Prediction of a model of your own: moments of its values over random parameters, from its jaxpr, before it runs.

The limit of wide layers in one pass over the program. Each value has axes of *units*, which are alike and independent,
and axes of examples and positions, between which all covariances are kept.

- **Parameters** are draws of a law (`Law`) or known numbers; none is drawn.
- **Units** arise where a weight's own axis outlives a product. An average over units is a known number, a sum over them
  of random products is Gaussian; nothing else is averaged.
- **Numbers** are computed in float64 on the host, whatever the model's dtype is.
- **Rules** are in one file a family. An operation that has none raises ``NotImplementedError`` with its line.
"""

from jnorm.predict._certificate import ChainBounds, LayerBounds, certificate
from jnorm.predict._formats import FormatRow, Formats, Risk
from jnorm.predict._gains import gains
from jnorm.predict._laws import Law, laws
from jnorm.predict._predict import predict
from jnorm.predict._prediction import Gradient, Prediction, Row
from jnorm.predict._sizes import Sizes
from jnorm.predict._transforms import Replaced, Transforms, transforms

__all__ = [
    "ChainBounds",
    "FormatRow",
    "Formats",
    "Gradient",
    "Law",
    "LayerBounds",
    "Prediction",
    "Replaced",
    "Risk",
    "Row",
    "Sizes",
    "Transforms",
    "certificate",
    "gains",
    "laws",
    "predict",
    "transforms",
]
