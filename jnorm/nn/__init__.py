"""Layers as pairs of pure functions with explicit state, and reference networks made of them.

A normalizer is one file: a module with ``init(features) -> (params, state)`` and ``apply(params, state, x, *, train)
-> (y, state)`` (``apply(params, x) -> y`` where it keeps no statistics; ``init(kernel) -> params`` and ``apply(params)
-> kernel`` where it normalizes weights). It is listed below and nowhere else, with a test in ``tests/nn/`` and its laws
in ``tests/registry/nn.py``. The underscored modules hold what normalizers share: centred moments with a derivative rule
of their own, masks, members of a mapped axis, running statistics. Networks take it through `jnorm.nn.layers.Layer`,
which says what they expect of a normalizer, of weights and of dropout.
"""

from jnorm.nn import (
    batch_norm,
    batch_renorm,
    connections,
    convolution,
    dropout,
    feature_norm,
    layers,
    networks,
    spectral_norm,
    weight_norm,
)

__all__ = [
    "batch_norm",
    "batch_renorm",
    "connections",
    "convolution",
    "dropout",
    "feature_norm",
    "layers",
    "networks",
    "spectral_norm",
    "weight_norm",
]
