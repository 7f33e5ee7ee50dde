"""Any linen module as a pair of pure functions."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jnorm.interop._common import WHEN_TRAINING, check_in_training, mode_options, unknown_mode
from jnorm.nn.networks import Network


def network(module: nn.Module, example: Any, *, in_training: Mapping[str, bool] | None = None) -> Network:
    """A linen module as a pair of pure functions, as `jnorm.train.loop.trainer` takes them.

    ``init(key) -> (params, state)`` is ``module.init(key, example)``: the collection "params", and a dictionary of all
    others, such as "batch_stats". ``apply(params, state, x, *, train, key) -> (outputs, state)`` computes
    ``module(x)``; with ``train`` the state moves, and ``key`` serves the stream "dropout" (others get one folded out
    of it).

    ``train`` reaches the module through the keywords ``train`` and ``training`` (True in training), ``deterministic``
    and ``use_running_average`` (False in training): those of its ``__call__``, or else its fields of these names.
    ``in_training`` adds others. A module with none of them computes the same in training and in evaluation, where its
    state must stay; one that holds dropout or batch statistics all the same is refused, or it would be trained in
    evaluation mode without a word.

    Args:
        module: The module, unbound.
        example: An input, or a pytree, of any number of examples.
        in_training: Arguments of its call, or fields, by other names, and what they are in training, such as
            ``{"is_training": True}``; in evaluation they are the opposite. ``{}`` says that both modes are the same.

    Returns:
        The network; its ``apply`` has no ``tap``.

    Raises:
        TypeError: For anything but a linen module.
        ValueError: For a module that cannot be told to train, as above, and names that it does not have.

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
    (['BatchNorm_0', 'Dense_0'], (2, 4), [2.0, 2.0, 2.0, 2.0])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a flax.linen.Module; got {module!r}")
    parameters = inspect.signature(type(module).__call__).parameters
    open_call = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    all_fields = {f.name for f in dataclasses.fields(module)} - {"name", "parent"}
    called = mode_options(module, train=False)
    fields = {} if called else {name: WHEN_TRAINING[name] for name in all_fields & set(WHEN_TRAINING)}
    if in_training is None:
        if not called and not fields:
            _refuse_modes(module, example)
        own_call, own_fields = {}, {}
    else:
        check_in_training(in_training, type(module).__name__, None if open_call else all_fields | set(parameters))
        own_call = {k: v for k, v in in_training.items() if k in parameters or k not in all_fields}
        own_fields = {k: v for k, v in in_training.items() if k not in own_call}

    def in_mode(train: bool) -> tuple[nn.Module, dict[str, Any]]:
        changed: dict[str, Any] = {name: value == train for name, value in (fields | own_fields).items()}
        options = {name: value == train for name, value in own_call.items()}
        return module.clone(**changed), mode_options(module, train=train) | options

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


def _refuse_modes(module: nn.Module, example: Any) -> None:
    """Raise ``ValueError`` for a module that holds dropout or batch statistics but knows no mode by a known name."""
    parameters = list(inspect.signature(type(module).__call__).parameters.values())[2:]
    flags = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    names = [p.name for p in flags if isinstance(p.default, bool) or p.annotation in (bool, "bool")]
    names += [p.name for p in flags if p.default is p.empty and p.name not in names]
    names += [f.name for f in dataclasses.fields(module) if f.type in (bool, "bool")]
    needed = [p.name for p in flags if p.default is p.empty]
    if needed:
        raise unknown_mode(type(module).__name__, f"its call cannot do without {', '.join(needed)}", names)
    seen: list[str] = []

    def watch(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        part = context.module
        dropout = isinstance(part, nn.Dropout) or bool(getattr(part, "dropout_rate", 0))
        if dropout or hasattr(part, "use_running_average"):
            seen.append(type(part).__name__)
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        shapes = jax.eval_shape(module.init, jax.random.key(0), example)
    if seen or "batch_stats" in shapes:
        raise unknown_mode(type(module).__name__, f"it holds {seen[0] if seen else 'batch_stats'}", names)
