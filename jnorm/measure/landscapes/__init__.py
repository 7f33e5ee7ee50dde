"""What a loss looks like along lines and planes of parameters, and what curvature a picture of it does not show.

>>> import jax
>>> import jax.numpy as jnp
>>> toy = lambda w: (1 - w[0] * w[1]) ** 2
>>> line(toy, jnp.array([-1.0, -1.0]), jnp.array([1.0, 1.0]), at=(0.0, 0.5, 1.0)).values
Array([0., 1., 0.], dtype=float32)

- **Functions.** A loss is ``loss(params)`` or ``loss(params, data)`` and returns one number, or an array of any shape,
  as one number for each example. Points are computed one after another, or ``chunk`` of them side by side: memory is
  that of so many evaluations, and it is one program whatever the points are.
- **Seeds.** All works under ``vmap``: mapped over trees of parameters with the seeds first, and over keys of
  directions, it returns lines and planes with the seeds first, of which `jnorm.plots.band` draws the band, and
  `barrier` says how high what lies between is, with an interval.
- **State.** Running statistics of batch norm belong to the parameters at which they were taken. Either they are *taken
  again* at each point, ``state=`` a function of parameters and data, or they are *moved* like parameters: then the tree
  is the pair of both. A loss at other weights with the old statistics is that of no network.
- **Scale.** A random direction is as long as its normalization says: with ``"filter"`` as the weights into each unit,
  so that pictures of two networks that differ by the scale of their layers, but compute the same, are the same.
  Source: Li, Xu, Taylor, Studer, Goldstein 2018 (arXiv 1712.09913), section 3; its code goes along the first axis of
  kernels, which holds the units in PyTorch. Here units are the last axis.
"""

from jnorm.measure.landscapes._barriers import Barrier, barrier
from jnorm.measure.landscapes._directions import NORMALIZATIONS, PathPlane, path_plane, random_direction
from jnorm.measure.landscapes._surfaces import Line, Plane, line, plane

__all__ = [
    "NORMALIZATIONS",
    "Barrier",
    "Line",
    "PathPlane",
    "Plane",
    "barrier",
    "line",
    "path_plane",
    "plane",
    "random_direction",
]
