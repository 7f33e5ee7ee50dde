"""What a weight of few inputs makes of a gradient along the inputs that it had in the forward pass.

For ``z = W x`` of n units, a gradient ``y`` that is made of each of them and of anything else, and ``W`` normal with
variance ``s``, integration by parts gives ``W' y`` the covariance ``n s E[y^2] (1 + rho x x' / |x|^2)``, where
``1 + rho = E[z^2 y^2] / (E[z^2] E[y^2])``. Along ``x`` it is that much larger or smaller: of c inputs a share of 1 / c.
So nothing changes behind hundreds of units; of positions that a mixer mixes there are few, and a scale before that
layer has the gradient ``x W' y``, nothing but that part.
"""

from typing import Any, NamedTuple

import numpy as np

from jnorm.predict._copies import positions
from jnorm.predict._together import sampled
from jnorm.predict._values import LARGE, Random, added


class Forward(NamedTuple):
    """A product with a weight, of random positions.

    Attributes:
        x: What was multiplied.
        places: Which of its numbers, ``[output, input]``.
        z: What came of it.
    """

    x: Random
    places: np.ndarray
    z: Random


def along(made: Random, y: Random, forward: Forward, axis: int, last: bool, pool: Any) -> Random:
    """``W' y``, whose ``axis`` is that of the inputs, with what it has along ``x``.

    Args:
        made: What it is if the weight were another one.
        y: What is multiplied; as many numbers as the forward product has.
        forward: That product.
        axis: The axis of ``made`` where the inputs are.
        last: Whether that is behind the axes of the outputs, or before.
        pool: Samples.
    """
    shape = forward.places.shape
    apart = None if y.deps.isdisjoint(forward.z.deps) else positions(made, {axis})
    if apart is None or apart.size != forward.places.size or y.size != shape[0] or apart.size > LARGE:
        return made
    z, other = pool.rows(forward.z), pool.rows(y)
    count = min(len(z), len(other))
    z, other = z[:count] ** 2, other[:count] ** 2
    rho = np.mean(z * other) / np.maximum(np.mean(z, 0) * np.mean(other, 0), 1e-300).mean() - 1.0

    def further(x: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        inputs = x[:, forward.places]  # [count, output, input]
        drawn = drawn.reshape(-1, *shape) if last else drawn.reshape(-1, *shape[::-1]).swapaxes(1, 2)
        size = np.maximum(np.sum(inputs**2, -1, keepdims=True), 1e-300)
        out = (np.sqrt(max(1.0 + rho, 0.0)) - 1.0) * inputs * np.sum(inputs * drawn, -1, keepdims=True) / size
        return (out if last else out.swapaxes(1, 2)).reshape(len(out), -1)

    return added(apart, sampled(further, [forward.x, apart], apart.axes, pool))
