"""The gradient of a step: mean loss over the valid examples of a batch, in one piece or in microbatches, and penalties.

What is done with gradients afterwards is Optax's: ``clip_by_global_norm``, ``add_noise`` (annealed, Neelakantan et al.
2015: variance eta / (1 + t)^gamma), ``add_decayed_weights`` (decoupled decay), ``chain``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.data import batches
from jnorm.train import _gradients
from jnorm.train._gradients import Gradient

__all__ = [
    "Gradient",
    "gradient",
]


def gradient(
    loss: _gradients.Loss,
    params: Any,
    state: Any,
    batch: Any,
    mask: jax.Array | None,
    key: jax.Array,
    *,
    penalty: Callable[[Any], jax.Array] | None = None,
    accumulate: int = 1,
) -> Gradient:
    """Gradient of ``sum_i mask_i loss_i / sum_i mask_i + penalty(params)``.

    With ``accumulate`` the batch goes through in microbatches of equal size, one after another: the same gradient up to
    rounding, in a fraction of the memory, of any loss that treats examples one by one. What looks at the whole batch
    sees the microbatch: statistics of batch norm, and the key, which is ``fold_in(key, i)`` in the i-th; the state
    passes from one to the next.

    What stands in examples that are not valid does not matter, NaN and labels of -1 included: a valid example stands in
    for them. Without any the loss is NaN and its gradient 0. To be called inside ``jit``, as whole training steps are.

    Args:
        loss: ``loss(params, state, batch, mask, key)`` returns one number an example, and the new state.
        params: The parameters, a pytree of floating arrays.
        state: What ``loss`` keeps from batch to batch, any pytree.
        batch: A pytree of arrays with the examples first.
        mask: Booleans [examples], True where an example is valid; None: all are.
        key: A random key for ``loss``.
        penalty: A function of the parameters that is added to the mean loss.
        accumulate: Number of microbatches, static.

    Raises:
        ValueError: ``accumulate`` does not divide the batch, a mask of another shape, and a loss that is not one number
            an example, a mean already say.

    >>> def loss(w, state, x, mask, key):
    ...     return (w * x) ** 2, state
    >>> x, mask = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([True, True, True, False])
    >>> for accumulate in (1, 2):
    ...     print(gradient(loss, 0.5, (), x, mask, jax.random.key(0), accumulate=accumulate).params.round(4))
    4.6667
    4.6667
    """
    checks.whole(1, accumulate=accumulate)
    size = batches.length(batch)
    if size % accumulate:
        raise ValueError(f"`accumulate` must divide the batch of {size} examples; got {accumulate}")
    if mask is not None:
        if jnp.shape(mask) != (size,):
            must = f"`mask` must hold a boolean for each of the {size} examples"
            raise ValueError(f"{must}; got shape {jnp.shape(mask)}")
        batch = _gradients.without_invalid(batch, jnp.asarray(mask))
    return _gradients.of_clean(loss, params, state, batch, mask, key, penalty=penalty, accumulate=accumulate)
