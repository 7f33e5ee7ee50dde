"""Layers and networks of finite width."""

from jnorm.theory.finite_width._depth import LengthLaw, length_law
from jnorm.theory.finite_width._layers import LayerLaw, layer_law
from jnorm.theory.finite_width._weights import WEIGHTS, WeightLaw, sparse

__all__ = ["WEIGHTS", "LayerLaw", "LengthLaw", "WeightLaw", "layer_law", "length_law", "sparse"]
