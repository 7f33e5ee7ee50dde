"""Functions as arguments of compiled programs, so that caches hit whoever made the function anew.

A program that takes a function compiles once for each function that it tells apart. Here a function becomes a callable
pytree: its numbers are leaves, arguments like any other, and what is left is static, compared and hashed by what it
does. `wrap` takes the callable's word for it and compares by identity; `settle` traces what was written on the spot (a
lambda, a closure), so that the same code with the same constants is the same function, and with others never is.
"""

import functools
import weakref
from collections.abc import Callable, Hashable, Iterator
from types import FunctionType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jnorm._ground import _programs

F = TypeVar("F", bound=Callable[..., Any])
Program = _programs.Program

_SETTLED = (_programs.JITTED, jax.custom_jvp, jax.custom_vjp, jnp.ufunc)
_NUMBERS = (float, complex, np.inexact, np.ndarray, jax.Array)
_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_DECLARED: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
_LEAF = object()  # the place of an argument that is a leaf


@jax.tree_util.register_static
class Static:
    """A callable without leaves, equal to another one of the same callable.

    Attributes:
        function: The callable. Its hash and equality are the node's; one that has no hash is equal to itself alone.

    >>> Static(jnp.tanh) == Static(jnp.tanh), jax.tree.leaves(Static(jnp.tanh))
    (True, [])
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.function(*args, **keywords)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and _same(self.function, other.function)

    def __hash__(self) -> int:
        return _hash(self.function)

    def __repr__(self) -> str:
        return f"Static({self.function!r})"


class Bound:
    """A function with some arguments fixed, and with places for others that come as leaves.

    Attributes:
        function: The function below the arguments.
        args: Positional arguments; a place that a leaf fills holds a marker.
        keywords: Fixed keyword arguments.
    """

    __slots__ = ("_key", "args", "function", "keywords")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.function, self.args, self.keywords = function, args, keywords
        self._key = _programs.key((args, sorted(keywords.items())))

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.function(*self._filled(iter(args)), **self.keywords, **keywords)

    def _filled(self, args: Iterator[Any]) -> tuple[Any, ...]:
        return (*(next(args) if a is _LEAF else a for a in self.args), *args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and _same(self.function, other.function) and self._key == other._key

    def __hash__(self) -> int:
        return hash((_hash(self.function), self._key))


def wrap(f: Callable[..., Any]) -> Callable[..., Any]:
    """A callable as a pytree.

    The floating arguments of a ``functools.partial`` (numbers and arrays) become leaves, its others (an axis, a flag)
    stay static. What is a registered pytree already stays as it is, and any other callable is static as a whole.

    Args:
        f: The callable.

    Returns:
        A callable pytree, hashable where it has no leaves.

    >>> f = wrap(functools.partial(jax.nn.leaky_relu, negative_slope=0.5))
    >>> f(-2.0).item(), jax.tree.leaves(f)
    (-1.0, [0.5])
    """
    if not callable(f):
        hint = ", not a name: pass one, such as jnorm.activations.relu" if isinstance(f, str) else ""
        raise TypeError(f"a function is needed{hint}; got {f!r}")
    if isinstance(f, functools.partial) and not isinstance(f, Partial):
        leaves = {name: value for name, value in f.keywords.items() if isinstance(value, _NUMBERS)}
        fixed = {name: value for name, value in f.keywords.items() if name not in leaves}
        places = tuple(_LEAF if isinstance(value, _NUMBERS) else value for value in f.args)
        plain = not fixed and all(place is _LEAF for place in places)
        function = f.func if plain else Bound(f.func, places, fixed)
        return Partial(function, *(value for value in f.args if isinstance(value, _NUMBERS)), **leaves)
    return Static(f) if _is_leaf(f) else f


def unwrap(f: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The function below ``functools.partial`` and the wrappers of this module, and its bound arguments.

    Args:
        f: The callable.

    Returns:
        The function, its first positional arguments, and its keyword arguments.

    >>> function, args, keywords = unwrap(wrap(functools.partial(jax.nn.leaky_relu, negative_slope=0.5)))
    >>> function is jax.nn.leaky_relu, args, keywords
    (True, (), {'negative_slope': 0.5})
    """
    if isinstance(f, Static):
        return unwrap(f.function)
    if isinstance(f, Bound):
        function, args, keywords = unwrap(f.function)
        return function, args + f.args, keywords | f.keywords
    if isinstance(f, functools.partial):  # Partial is one
        function, args, keywords = unwrap(f.func)
        if _LEAF in args:
            rest = iter(f.args)
            args = tuple(next(rest) if a is _LEAF else a for a in args)
            return function, (*args, *rest), keywords | f.keywords
        return function, args + f.args, keywords | f.keywords
    return f, (), {}


def settle(f: Callable[..., Any], *examples: Any, name: str = "f") -> Callable[..., Any]:
    """A function as a pytree that caches know again: `wrap`, or what ``f`` does, traced.

    Results of ``jax.jit``, objects with custom derivatives and ``jax.numpy``'s own functions are settled, and so are
    pytrees in which every callable is. Others (lambdas, closures, methods, partials of them) are traced on the
    examples: what they close over becomes leaves, and two traces of the same operations with the same literals are
    equal. A captured Python number is a literal: with another number the program is another one. Floating leaves of
    ``f`` itself (an argument of a partial) are inputs of the trace.

    Args:
        f: The callable, which must not care about anything but its arguments' values.
        *examples: Arguments that it will be called with: arrays, numbers, ``jax.ShapeDtypeStruct``, pytrees of them.
        name: The argument's name in error messages.

    Returns:
        A callable pytree. If it was traced it serves arguments of the examples' shapes and dtypes only.

    Raises:
        TypeError: ``f`` needs concrete numbers, as NumPy's functions and ``float`` do.

    >>> settled = [settle(lambda z: 2 * jnp.tanh(z), 0.5) for _ in range(2)]
    >>> jax.tree.structure(settled[0]) == jax.tree.structure(settled[1])
    True
    """
    wrapped = wrap(f)
    if _is_settled(wrapped):
        return wrapped
    leaves, tree = jax.tree.flatten(wrapped)
    moving = [isinstance(leaf, _NUMBERS) for leaf in leaves]
    inputs = [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves]

    def call(inputs: list[Any], *args: Any) -> Any:
        given = iter(inputs)
        filled = [next(given) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
        return jax.tree.unflatten(tree, filled)(*args)

    try:
        if inputs:
            try:
                return _programs.trace(call, inputs, *examples)
            except _CONCRETE:  # a number that Python looks at: it stays what it is
                pass
        return _programs.trace(lambda _, *args: f(*args), [], *examples)
    except _CONCRETE as error:
        raise TypeError(
            f"`{name}` must be made of jax.numpy operations: it is traced, and its arguments are no concrete numbers"
        ) from error


def settled(f: F) -> F:
    """Declare that a function depends on its arguments alone, always, so that it need not be traced to be known again.

    Args:
        f: A function that is defined once, such as one of a module.

    Returns:
        ``f``.
    """
    _DECLARED.add(f)
    return f


def is_jitted(f: Any) -> bool:
    """Whether ``f`` is a result of ``jax.jit``; its ``__wrapped__`` computes the same.

    >>> is_jitted(jax.jit(abs)), is_jitted(jax.grad(abs))
    (True, False)
    """
    return isinstance(f, _programs.JITTED)


def _is_leaf(f: Any) -> bool:
    return jax.tree_util.all_leaves([f])


def _is_settled(f: Any) -> bool:
    """Whether all callables in a callable pytree are settled and all leaves can be arguments of a program."""
    if isinstance(f, Static | Bound):
        return _is_settled_function(f.function)
    if isinstance(f, Partial):
        return _is_settled_function(f.func) and all(isinstance(leaf, _NUMBERS) for leaf in jax.tree.leaves(f))
    parts, _ = jax.tree.flatten(f, is_leaf=lambda part: part is not f and isinstance(part, Static | Partial))
    return all(_is_settled(p) if isinstance(p, Static | Partial) else isinstance(p, _NUMBERS) for p in parts)


def _is_settled_function(f: Any) -> bool:
    if isinstance(f, _SETTLED):
        return True
    return _is_settled(f) if isinstance(f, Static | Bound | Partial) else isinstance(f, FunctionType) and f in _DECLARED


def _same(a: Hashable, b: Hashable) -> bool:
    if a is b:
        return True
    try:
        return type(a) is type(b) and hash(a) == hash(b) and (a == b) is True
    except TypeError:  # no hash
        return False


def _hash(f: Any) -> int:
    try:
        return hash(f)
    except TypeError:
        return id(f)
