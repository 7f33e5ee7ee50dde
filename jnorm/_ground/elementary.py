"""Elementary functions for theory, as exact as the machine can have them.

A TPU's own ``exp`` and ``expm1`` of float32 are off by a hundred and by more than a thousand units in the last place,
and by 2 where these are asked for (docs.jax.dev, Numerical accuracy). CPUs and GPUs have one version alone.
"""

from functools import partial

from jax import lax

exp = partial(lax.exp, accuracy=lax.AccuracyMode.HIGHEST)
expm1 = partial(lax.expm1, accuracy=lax.AccuracyMode.HIGHEST)
