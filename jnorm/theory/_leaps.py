"""Activations that jump: where one does, its derivative is a delta function, and the square of that has no mean."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.gaussian import places
from jnorm.gaussian._limits import leap
from jnorm.gaussian._panels import REACH, Static, at_points
from jnorm.theory._parts import Activation


def leaps(phi: Activation, mean: jax.Array, scale: jax.Array, kinks: Static) -> jax.Array | None:
    """Whether an activation jumps within the reach of a variable; None where it is known that it does nowhere.

    What is known while Python runs is looked at once, and costs a program nothing.

    Args:
        phi: The activation, settled for points ``[1, *shape]``.
        mean: Mean of the variable.
        scale: Its standard deviation.
        kinks: Where the activation may jump, None where its kinks have to be found.

    Returns:
        Booleans of the shape.
    """
    like = jax.ShapeDtypeStruct((1, *mean.shape), mean.dtype)
    zero: Any = np.zeros(mean.shape, mean.dtype)  # no array of a program
    try:
        with jax.ensure_compile_time_eval():
            if not np.asarray(_jumps(phi, places(phi, like, zero, zero + 1, kinks))).any():
                return None
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        pass  # numbers of the activation, or its kinks, are data
    at = places(phi, like, mean, scale, kinks)
    return jnp.any(_jumps(phi, at) & (jnp.abs(at - mean[None]) <= REACH * scale[None]), 0)


@jax.jit
def _jumps(phi: Activation, at: jax.Array) -> jax.Array:
    return leap(at_points(phi, 1), at) != 0
