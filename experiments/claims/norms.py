"""Batch norm that a traced number switches on: arms with and without it are one program."""

from typing import Any

import jax
import jax.numpy as jnp

from jnorm.nn import batch_norm
from jnorm.nn.layers import Normalizer


def switched(on: Any, **options: Any) -> Normalizer:
    """Batch norm where ``on``, and nothing otherwise; the bias before it stays, for the arm without.

    ``options`` are those of `jnorm.nn.batch_norm.apply`.
    """

    def init(features: int) -> tuple[Any, Any]:
        params, state = batch_norm.init(features)
        return {"norm": params}, state

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        y, state = batch_norm.apply(params["norm"], state, x, train=train, **options)
        return jnp.where(on, y, x), state

    return Normalizer(init, apply)
