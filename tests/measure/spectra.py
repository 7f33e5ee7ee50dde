"""Matrices and losses whose curvature is known."""

import jax.numpy as jnp
import numpy as np

from jnorm.measure import curvature


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def planted(eigenvalues, seed=0, like=None):
    """An operator with these eigenvalues, of dense vectors that hide them."""
    turn = rotation(len(eigenvalues), seed)
    matrix = jnp.asarray(turn * eigenvalues @ turn.T)
    return curvature.operator(lambda v: matrix @ v, jnp.zeros(len(eigenvalues)) if like is None else like)


def regression(size=7, examples=40, classes=3, seed=0):
    """Inputs, targets of each kind, and weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, size))
    y = rng.normal(size=examples)
    labels = rng.integers(0, classes, examples)
    return x, y, labels, rng.normal(size=(size, classes))
