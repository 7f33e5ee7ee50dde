"""Layers as pairs of pure functions with explicit state, and reference networks made of them."""

from jnorm.nn import (
    batch_norm,
    batch_renorm,
    convolution,
    dropout,
    feature_norm,
    layers,
    networks,
    weight_norm,
)

__all__ = [
    "batch_norm",
    "batch_renorm",
    "convolution",
    "dropout",
    "feature_norm",
    "layers",
    "networks",
    "weight_norm",
]
