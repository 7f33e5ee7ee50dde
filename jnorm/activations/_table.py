"""The table of activations: of each the function, its kinks, and its Gaussian moments where a closed form is known."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, overload

from jnorm._ground import callables

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of an activation.

    Attributes:
        function: The activation itself.
        kinks: The points where it or a derivative of it jumps, or where a smooth one has its features; ``None`` where
            they are to be read from its program.
        closed_form: ``closed_form(mean, var, **parameters)`` returns E f(z), Var f(z) and E f'(z)^2 for
            z ~ N(mean, var); its parameters are named as those of the function.
    """

    function: Callable[..., Any]
    kinks: tuple[float, ...] | None = None
    closed_form: Callable[..., Any] | None = None


_ENTRIES: dict[Callable[..., Any], Entry] = {}
_SAME: dict[Callable[..., Any], Callable[..., Any]] = {}  # of another library: the function that it is
_NAMED: dict[str, Callable[..., Any]] = {}
ELEMENTWISE: Mapping[str, Callable[..., Any]] = MappingProxyType(_NAMED)
"""Every registered activation that needs no parameter, by name."""


@overload
def register(
    phi: F,
    *,
    kinks: Sequence[float] | None = None,
    closed_form: Callable[..., Any] | None = None,
    same: Iterable[Callable[..., Any]] = (),
) -> F: ...
@overload
def register(
    phi: None = None,
    *,
    kinks: Sequence[float] | None = None,
    closed_form: Callable[..., Any] | None = None,
    same: Iterable[Callable[..., Any]] = (),
) -> Callable[[F], F]: ...
def register(
    phi: Any = None,
    *,
    kinks: Sequence[float] | None = None,
    closed_form: Callable[..., Any] | None = None,
    same: Iterable[Callable[..., Any]] = (),
) -> Any:
    """Enter an activation into the table that quadrature and theory read; a decorator too.

    A second call for the same function replaces what it names and keeps the rest.

    Args:
        phi: The elementwise function, ``phi(x, **parameters)``. Without it the call returns a decorator.
        kinks: The points where ``phi`` or a derivative of it jumps, or where a smooth function has its features;
            integrals are split there. If not given they are read, as `jnorm.gaussian.kinks` says.
        closed_form: ``closed_form(mean, var, **parameters)`` returns the mean and variance of ``phi(z)`` and
            E[phi'(z)^2], z ~ N(mean, var), with parameters named as those of ``phi``. If not given: quadrature.
        same: Functions of other libraries that compute the same, with parameters of the same names.

    Returns:
        ``phi``, or the decorator.

    Raises:
        ValueError: The name is that of one of the library's own functions.

    >>> import jax.numpy as jnp
    >>> @register(kinks=(-1.0, 1.0))
    ... def shrink(x, width):
    ...     return x - width * jnp.clip(x, -1.0, 1.0)
    >>> kinks(partial(shrink, width=0.5))
    (-1.0, 1.0)
    """
    if phi is None:
        return partial(register, kinks=kinks, closed_form=closed_form, same=same)
    before = _ENTRIES.get(phi, Entry(phi))
    name = getattr(phi, "__name__", "")
    taken = _NAMED.get(name, phi)
    if taken is not phi and taken.__module__.startswith(__package__):
        raise ValueError(f"`{name}` is the name of one of jnorm's own activations: give yours another one")
    _ENTRIES[phi] = Entry(
        phi,
        before.kinks if kinks is None else tuple(float(k) for k in kinks),
        before.closed_form if closed_form is None else closed_form,
    )
    _SAME.update(dict.fromkeys(same, phi))
    if name.isidentifier() and _needs_no_parameter(phi):
        _NAMED[name] = phi
    return phi


def _needs_no_parameter(phi: Callable[..., Any]) -> bool:
    try:
        _, *parameters = inspect.signature(phi).parameters.values()
    except (TypeError, ValueError):  # a callable without a signature, or without an argument
        return False
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _find(phi: Callable[..., Any]) -> tuple[Entry | None, tuple[Any, ...], dict[str, Any]]:
    """The entry of the function below partials and ``jax.jit``, and the arguments that they bind."""
    function, args, keywords = callables.unwrap(phi)
    try:
        entry = _ENTRIES.get(_SAME.get(function, function))
    except TypeError:  # no hash
        return None, args, keywords
    if entry is None and callables.is_jitted(function):
        entry, first, others = _find(function.__wrapped__)  # type: ignore[attr-defined]
        return entry, first + args, others | keywords
    return entry, args, keywords


def kinks(phi: Callable[..., Any]) -> tuple[float, ...] | None:
    """The registered points where ``phi`` or a derivative jumps; 0 for smooth functions whose features sit there.

    Sees through ``functools.partial`` and ``jax.jit``. Of anything else `jnorm.gaussian.kinks` finds them.

    Args:
        phi: Any callable.

    Returns:
        The points, as they were registered, or ``None`` of a function that was not: as an argument ``kinks=`` it means
        that they are found.

    >>> from jnorm.activations import hard_tanh, sin, tanh
    >>> kinks(hard_tanh), kinks(partial(hard_tanh)), kinks(sin), kinks(tanh), kinks(lambda x: x)
    ((-1.0, 1.0), (-1.0, 1.0), (), (0.0,), None)
    """
    entry, _, _ = _find(phi)
    return None if entry is None else entry.kinks


def closed_form(phi: Callable[..., Any]) -> Callable[..., Any] | None:
    """The exact Gaussian moments of an activation with its bound parameters, or ``None`` where none are known.

    Sees through ``functools.partial`` with keywords and ``jax.jit``. `jax.nn`'s ``relu``, ``leaky_relu``, ``elu``,
    ``celu``, ``selu`` and ``identity`` and ``jax.numpy.sin`` have those of ours: other libraries hand out the same.

    Args:
        phi: Any callable.

    Returns:
        ``form(mean, var)``, see `register`.

    >>> import jax
    >>> from jnorm.theory import closed_forms
    >>> closed_form(jax.nn.selu) is closed_forms.selu, closed_form(jax.nn.gelu) is None
    (True, True)
    """
    entry, args, keywords = _find(phi)
    if entry is None or entry.closed_form is None or args:
        return None
    return partial(entry.closed_form, **keywords) if keywords else entry.closed_form
