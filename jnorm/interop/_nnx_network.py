"""Any nnx module as a pair of pure functions."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jnorm.interop._common import WHEN_TRAINING, check_in_training, flag_like, mode_options, unknown_mode
from jnorm.nn.networks import Network


def network(make: Callable[..., nnx.Module], *, in_training: Mapping[str, bool] | None = None) -> Network:
    """An nnx module as a pair of pure functions, as `jnorm.train.loop.trainer` takes them.

    ``init(key) -> (params, state)`` calls ``make(rngs=nnx.Rngs(key))``: the variables of type ``nnx.Param``, and all
    others, such as batch statistics, as dictionaries of arrays. ``apply(params, state, x, *, train, key) -> (outputs,
    state)`` puts the module together, calls its ``train()`` or ``eval()``, and then itself, with those of the keywords
    ``train``, ``training``, ``deterministic`` and ``use_running_average`` that its ``__call__`` names. With ``train``
    the state moves, and every random stream in the module starts anew, as after ``nnx.reseed(module, default=key)``;
    in evaluation streams are the same at every call. What a module sows is left out. A module that holds dropout or
    batch statistics, and whose call takes a flag by another name, is refused unless ``in_training`` says what it is.

    Args:
        make: ``make(rngs=nnx.Rngs(key))`` builds the module: its class, or a function.
        in_training: Arguments of its call by other names, and what they are in training, such as
            ``{"is_training": True}``; in evaluation they are the opposite. ``{}`` leaves all of them as they are.

    Returns:
        The network; its ``apply`` has no ``tap``, and raises ``ValueError`` without a key for a module that has random
        streams.

    Raises:
        TypeError: Where ``make`` is a module or does not return one.
        ValueError: For a call with a flag of another name, as above, and names that it does not have.

    >>> from jnorm.interop.flax_nnx import BatchNorm
    >>> class Model(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.dense, self.norm = nnx.Linear(3, 4, rngs=rngs), BatchNorm(4, rngs=rngs)
    ...         self.dropout = nnx.Dropout(0.5, rngs=rngs)
    ...
    ...     def __call__(self, x):
    ...         return self.dropout(self.norm(self.dense(x)))
    >>> model = network(Model)
    >>> params, state = model.init(jax.random.key(0))
    >>> y, state = model.apply(params, state, jnp.ones((2, 3)), train=True, key=jax.random.key(1))
    >>> sorted(params), y.shape, state["norm"]["count"].tolist()
    (['dense', 'norm'], (2, 4), [2.0, 2.0, 2.0, 2.0])
    """
    if isinstance(make, nnx.Module) or not callable(make):
        raise TypeError(f"`make` must be a function, such as lambda rngs: Model(rngs=rngs); got {type(make).__name__}")
    kinds = (nnx.Param, nnx.RngState, nnx.Intermediate, ...)

    def split(module: nnx.Module) -> tuple[Any, ...]:
        if not isinstance(module, nnx.Module):
            raise TypeError(f"`make` must return a flax.nnx.Module; got {type(module).__name__}")
        return nnx.split(module, *kinds)

    # Values that `make` closes over, traced ones too, become part of the state.
    graph, params_like, rng_like, _, state_like = nnx.eval_shape(lambda: split(make(rngs=nnx.Rngs(0))))

    options = _modes(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))), in_training)

    def filled(like: Any, values: Any) -> Any:
        new = jax.tree.map(lambda leaf: leaf, like)
        nnx.replace_by_pure_dict(new, values)
        return new

    def init(key: jax.Array) -> tuple[Any, Any]:
        _, params, _, _, state = split(make(rngs=nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def apply(params: Any, state: Any, x: Any, *, train: bool, key: jax.Array | None) -> tuple[Any, Any]:
        rng = jax.tree.map(_blank, rng_like)
        module = nnx.merge(graph, filled(params_like, params), rng, filled(state_like, state))
        if not train:
            module.eval()
            return module(x, **options(False)), state
        module.train()
        _reseed(module, key)
        outputs = module(x, **options(True))
        return outputs, nnx.to_pure_dict(split(module)[-1])

    return Network(init, apply)


def _modes(module: nnx.Module, in_training: Mapping[str, bool] | None) -> Callable[[bool], dict[str, Any]]:
    """The keywords of a module's call by whether it trains; ``ValueError`` where one of them is not known."""
    name = type(module).__name__
    parameters = list(inspect.signature(type(module).__call__).parameters.values())[1:]
    if in_training is None:
        flags = [p.name for p in parameters[1:] if flag_like(p.name) and p.name not in WHEN_TRAINING]
        parts = [type(node).__name__ for _, node in nnx.iter_graph(module) if _has_modes(node)]
        if flags and parts and not mode_options(module, train=True):
            raise unknown_mode(name, f"it holds {parts[0]}", flags)
    else:
        open_call = any(p.kind == p.VAR_KEYWORD for p in parameters)
        check_in_training(in_training, name, None if open_call else {p.name for p in parameters})
    own = dict(in_training or {})
    return lambda train: mode_options(module, train=train) | {name: value == train for name, value in own.items()}


def _has_modes(node: Any) -> bool:
    return isinstance(node, nnx.Module) and (hasattr(node, "deterministic") or hasattr(node, "use_running_average"))


def _blank(leaf: Any) -> jax.Array:
    """A key or a count of the wanted shape."""
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jnp.broadcast_to(jax.random.key(0), leaf.shape) if key else jnp.zeros(leaf.shape, leaf.dtype)


def _reseed(module: nnx.Module, key: jax.Array | None) -> None:
    """Every stream in the module starts at a key of its own; ``nnx.reseed`` gives equal ones to streams of two tags."""
    streams = [node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.RngStream)]
    if not streams:
        return
    if key is None:
        raise ValueError("`key` must be a random key where train=True and the module has random streams; got None")
    draws = nnx.Rngs(key)
    for stream in streams:
        new, shape = draws(), stream.key.shape
        stream.key.set_value(jax.random.split(new, shape) if shape else new)
        stream.count.set_value(jnp.zeros(shape, jnp.uint32))
