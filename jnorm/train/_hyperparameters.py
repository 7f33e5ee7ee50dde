"""Hyperparameters by name: each part of a training run is a function that names those it needs.

The values are traced arguments, so that one compiled program serves all of them; a name that no part accepts, or that a
part misses, is an error before anything compiles.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import keys


class Names(NamedTuple):
    """What a function accepts by name: names without and with a default, and whether it accepts any other."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    anything: bool


def names(function: Callable[..., Any], skip: int = 0, hidden: Collection[str] = ()) -> Names:
    """The hyperparameters of a function, after ``skip`` arguments that it gets by position.

    Names in ``hidden`` that have a default are none of them.

    >>> names(lambda outputs, targets, *, smoothing=0.0: None, skip=2)
    Names(required=(), optional=('smoothing',), anything=False)
    """
    parameters = list(inspect.signature(function).parameters.values())
    named = [p for p in parameters[skip:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Names(
        tuple(p.name for p in named if p.default is p.empty),
        tuple(p.name for p in named if p.default is not p.empty and p.name not in hidden),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def bind(
    function: Callable[..., Any], values: Mapping[str, Any], skip: int = 0, hidden: Collection[str] = ()
) -> Callable[..., Any]:
    """The function with those of the values that it names, as `names` has them.

    >>> bind(lambda x, *, scale: scale * x, {"scale": 3, "rate": 0.1}, skip=1)(2)
    6
    """
    accepted = names(function, skip, hidden)
    chosen = {k: v for k, v in values.items() if accepted.anything or k in accepted.required + accepted.optional}
    return lambda *arguments: function(*arguments, **chosen)


def require(accepted: Iterable[Names], passed: Iterable[str], reserved: Iterable[str] = ()) -> None:
    """Raise ``TypeError`` for hyperparameters that are missing, or that nothing accepts.

    >>> require([names(lambda learning_rate: None)], ["learnin_rate"])
    Traceback (most recent call last):
    ...
    TypeError: missing hyperparameters: `learning_rate`; got `learnin_rate`
    """
    accepted, passed, reserved = list(accepted), list(passed), list(reserved)
    required = {n for a in accepted for n in a.required}
    known = {n for a in accepted for n in a.required + a.optional} | set(reserved)
    if missing := sorted(required - set(passed) - set(reserved)):
        raise TypeError(f"missing hyperparameters: {_quoted(missing)}; got {_quoted(passed)}")
    if not any(a.anything for a in accepted) and (unknown := [n for n in passed if n not in known]):
        raise TypeError(f"unknown hyperparameters: {_quoted(unknown)}; known are {_quoted(sorted(known))}")


def refuse(accepted: Iterable[Names], taken: Iterable[str]) -> None:
    """Raise ``TypeError`` for hyperparameters of a name that a training's own arguments have.

    >>> refuse([names(lambda start: None)], ["start"])
    Traceback (most recent call last):
    ...
    TypeError: hyperparameters must have other names than `start`, which a training's own arguments have
    """
    named = {n for a in accepted for n in a.required + a.optional}
    if both := [n for n in taken if n in named]:
        raise TypeError(
            f"hyperparameters must have other names than {_quoted(both)}, which a training's own arguments have"
        )


def signature(positional: Iterable[str], accepted: Iterable[Names], reserved: Iterable[str]) -> inspect.Signature:
    """The signature of a function of these positional arguments and all of the names, for whoever inspects it."""
    accepted = list(accepted)
    required = dict.fromkeys(n for a in accepted for n in a.required if n not in reserved)
    optional = dict.fromkeys(n for a in accepted for n in a.optional if n not in required and n not in reserved)
    kind = inspect.Parameter
    parameters = [kind(n, kind.POSITIONAL_OR_KEYWORD) for n in positional]
    parameters += [kind(n, kind.KEYWORD_ONLY) for n in required]
    parameters += [kind(n, kind.KEYWORD_ONLY, default=None) for n in [*optional, *reserved]]
    if any(a.anything for a in accepted):
        parameters.append(kind("hyperparameters", kind.VAR_KEYWORD))
    return inspect.Signature(parameters)


def as_key(name: str, value: ArrayLike) -> jax.Array:
    """A random key from a key, typed or raw of any implementation, or from a whole number, its seed; may be traced.

    Raises ``TypeError`` for anything else.

    >>> bool(as_key("init_key", 3) == jax.random.key(3))
    True
    >>> jax.random.key_impl(as_key("init_key", jax.random.key_data(jax.random.key(3, impl="rbg"))))
    'rbg'
    """
    array = jnp.asarray(value)
    if array.shape == () and jnp.issubdtype(array.dtype, jnp.integer):
        return jax.random.key(array)
    if array.dtype == jnp.uint32 or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        key = keys.typed(array, name)
        if key.shape == ():
            return key
    hint = "; a sweep hands over whole numbers where the name is in its `integers`" if array.shape == () else ""
    raise TypeError(f"`{name}` must be a random key or a whole number; got {array.dtype} of shape {array.shape}{hint}")


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "none"
