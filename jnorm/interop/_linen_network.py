"""Any linen module as a pair of pure functions."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from jnorm.interop._common import WHEN_TRAINING, mode_options
from jnorm.nn.networks import Network


def network(module: nn.Module, example: Any) -> Network:
    """A linen module as a pair of pure functions, as `jnorm.train.loop.trainer` takes them.

    ``init(key) -> (params, state)`` is ``module.init(key, example)``: the collection "params", and a dictionary of all
    others, such as "batch_stats". ``apply(params, state, x, *, train, key) -> (outputs, state)`` computes
    ``module(x)``; with ``train`` the state moves, and ``key`` serves the stream "dropout" (others get one folded out
    of it).

    ``train`` reaches the module through the keywords ``train`` and ``training`` (True in training), ``deterministic``
    and ``use_running_average`` (False in training): those of its ``__call__``, or else its fields of these names. A
    module with none of them computes the same in training and in evaluation, where its state must stay.

    Args:
        module: The module, unbound.
        example: An input, or a pytree, of any number of examples.

    Returns:
        The network; its ``apply`` has no ``tap``.

    Raises:
        TypeError: For anything but a linen module.

    >>> import jax.numpy as jnp
    >>> from jnorm.interop.flax_linen import BatchNorm
    >>> class Model(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, train):
    ...         x = BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
    ...         return nn.Dropout(0.5, deterministic=not train)(x)
    >>> model = network(Model(), jnp.ones((1, 3)))
    >>> params, state = model.init(jax.random.key(0))
    >>> y, state = model.apply(params, state, jnp.ones((2, 3)), train=True, key=jax.random.key(1))
    >>> sorted(params), y.shape, state["batch_stats"]["BatchNorm_0"]["count"].tolist()
    (['BatchNorm_0', 'Dense_0'], (2, 4), [1.0, 1.0, 1.0, 1.0])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a flax.linen.Module; got {module!r}")
    called = mode_options(module, train=False)
    fields = {} if called else {f.name for f in dataclasses.fields(module)} & set(WHEN_TRAINING)

    def in_mode(train: bool) -> tuple[nn.Module, dict[str, Any]]:
        changed: dict[str, Any] = {name: WHEN_TRAINING[name] == train for name in fields}
        return module.clone(**changed), mode_options(module, train=train)

    def init(key: jax.Array) -> tuple[Any, Any]:
        evaluated, options = in_mode(False)
        state = dict(evaluated.init(key, example, **options))
        return state.pop("params", {}), state

    def apply(params: Any, state: Any, x: Any, *, train: bool, key: jax.Array | None) -> tuple[Any, Any]:
        chosen, options = in_mode(train)
        variables = {"params": params, **state}
        if not train:
            return chosen.apply(variables, x, **options), state
        # Flax takes the stream "params" for any that it is not given.
        rngs = None if key is None else {"dropout": key, "params": jax.random.fold_in(key, 0)}
        outputs, new = chosen.apply(variables, x, rngs=rngs, mutable=list(state), **options)
        return outputs, dict(new)

    return Network(init, apply)
