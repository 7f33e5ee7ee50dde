"""What the training experiments share: data in three standardized parts, and perceptrons by the name of their kind."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.checks import Refused
from jnorm import initializers
from jnorm.activations import ELEMENTWISE
from jnorm.data import datasets, splits, standardize
from jnorm.nn import batch_norm, networks
from jnorm.nn.dropout import alpha_dropout
from jnorm.nn.layers import Layer, Normalizer

KINDS = {
    "selu": ("selu", initializers.lecun_normal, False),
    "relu": ("relu", initializers.he_normal, False),
    "elu": ("elu", initializers.he_normal, False),
    "tanh": ("tanh", initializers.glorot_normal, False),
    "sigmoid": ("sigmoid", initializers.glorot_normal, False),
    "relu+bn": ("relu", initializers.he_normal, True),
}
"""Kinds of perceptron: activation, the initializer that its authors propose, and whether batch norm goes before it."""


class Sets(NamedTuple):
    """Pairs (inputs, class numbers) by part, and the number of classes."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    classes: int


def load(name: str, folder: Path | None, *, dev: float = 0.15, standardized: bool = True) -> Sets:
    """Train, dev and test set, standardized by the training set or not; the same split every time, stratified.

    Features are standardized one by one, but images by the mean and variance of all pixels together: a pixel of the
    margin that is lit in one image would come out as large as the square root of their number.
    A published test set is kept and the share ``dev`` of the rest is the dev set; else each is that share of all.
    ``dev=0`` leaves the dev set out, where the test set is published. Raises `Refused` for
    data that are missing, broken, or without classes.
    """
    try:
        data = datasets.load(name, folder)
        given = datasets.published(name, folder).holdout if name == "mnist" or name.startswith("uci/") else None
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from None
    if not data.classes:
        raise Refused(f"`data` must have classes; {name!r} is a regression")
    key, x, y = jax.random.key(0), np.asarray(data.x), np.asarray(data.y)
    if given is None:
        split = splits.stratified(key, y, dev=dev, test=dev)
    else:
        rest = splits.stratified(key, y[given.train], dev=dev, test=0)
        split = splits.Split(given.train[rest.train], given.train[rest.dev], given.test)
    if len(data.shape) > 1:
        x = x.reshape(len(x), -1, 1)
    state = standardize.fit(x[split.train])
    values = np.asarray(standardize.apply(state, x)) if standardized else x
    parts = {part: (values[at].reshape(len(at), -1), y[at]) for part, at in split._asdict().items() if len(at)}
    return Sets(parts, len(data.classes))


def perceptron(
    kind: str, inputs: int, outputs: int, *, units: int, depth: int, dropout: Any = None
) -> networks.Network:
    """A rectangular perceptron of one of the `KINDS`; ``dropout`` is the rate of alpha dropout after hidden layers."""
    activation, initializer, normalized = KINDS[kind]
    drop: Callable[..., jax.Array] | None = None if dropout is None else partial(alpha_dropout, rate=dropout)
    layer = Layer(
        ELEMENTWISE[activation],
        initializer(),
        normalizer=Normalizer(batch_norm.init, batch_norm.apply) if normalized else None,
        dropout=drop,
    )
    return networks.mlp(networks.rectangular(inputs, outputs, units=units, depth=depth), layer)
