"""Traced functions that are equal when they do the same: a jaxpr with a structural hash.

Equal keys must mean equal functions. Where that is in doubt keys are unequal, which costs a compilation and no more.
"""

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn  # at run time where it is needed: it takes longer to import than jnorm


JITTED = type(jax.jit(lambda: None))
_STEADY = (  # what does not change without being another object, or is compared by content
    *(int, float, complex, str, np.dtype, np.generic, np.ndarray, jax.Array, type, ModuleType, FunctionType),
    *(BuiltinFunctionType, JITTED, type(functools.cache(len)), jax.custom_jvp, jax.custom_vjp, jnp.ufunc),
)


class Key:
    """A value by which things are compared, whose hash is computed once."""

    __slots__ = ("_hash", "parts")

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self._hash = hash(parts)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Key) and self._hash == other._hash and self.parts == other.parts  # by identity first
        )

    def __hash__(self) -> int:
        return self._hash


class _Itself:
    """An object that is equal to itself alone, whatever its own equality says; kept alive, so that no id returns."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def key(value: Any) -> Any:
    """What a static value is compared by: numbers by type and bits, arrays by content, jaxprs by structure.

    Args:
        value: The value.

    Returns:
        Something hashable.
    """
    from jax.extend.core import ClosedJaxpr, Jaxpr

    if isinstance(value, ClosedJaxpr):
        return Key(_jaxpr_key(value.jaxpr), *(key(const) for const in value.consts))
    if isinstance(value, Jaxpr):
        return _jaxpr_key(value)
    if isinstance(value, jax.Array):
        return _Itself(value)  # it cannot change
    if isinstance(value, float | complex):
        return (type(value), repr(value))  # -0.0 is not 0.0, and nan is nan
    if isinstance(value, tuple | list):
        return Key(type(value), *(key(part) for part in value))
    if isinstance(value, dict):
        return Key(dict, *((name, key(part)) for name, part in value.items()))
    if isinstance(value, np.ndarray | np.generic) or type(value).__name__ == "TypedNdArray":
        array = np.asarray(value)
        content = _Itself(value) if array.dtype.hasobject else array.tobytes()
        return Key(type(value), array.dtype, array.shape, content)
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return (type(value), value)


_KEYS: "weakref.WeakKeyDictionary[Jaxpr, Key]" = weakref.WeakKeyDictionary()  # jitted functions hand out the same jaxpr


def _jaxpr_key(jaxpr: "Jaxpr") -> Key:
    if jaxpr in _KEYS:
        return _KEYS[jaxpr]
    from jax.extend.core import Literal

    numbers: dict[Any, int] = {}

    def define(variables: Sequence[Any]) -> tuple[Any, ...]:
        for variable in variables:
            numbers[variable] = len(numbers)
        return tuple(variable.aval for variable in variables)

    def read(atoms: Sequence[Any]) -> tuple[Any, ...]:
        return tuple((a.aval, key(a.val)) if isinstance(a, Literal) else numbers[a] for a in atoms)

    heads = define(jaxpr.constvars), define(jaxpr.invars)
    equations = [
        Key(e.primitive, read(e.invars), define(e.outvars), _params_key(e), getattr(e, "ctx", None)) for e in jaxpr.eqns
    ]
    _KEYS[jaxpr] = Key(*heads, *equations, read(jaxpr.outvars))
    return _KEYS[jaxpr]


def _params_key(equation: "JaxprEqn") -> Key:
    params = dict(equation.params)
    rule = params.pop("jvp_jaxpr_fun", None)
    return Key(key(params), rule and _rule_key(rule))


def _rule_key(rule: Any) -> Any:
    """A derivative rule by the function that was declared: each trace of what it belongs to wraps that one anew."""
    try:
        own = inspect.getclosurevars(inspect.getclosurevars(rule.f).nonlocals["fn"]).nonlocals["jvp"]
    except (TypeError, KeyError):  # a JAX that keeps rules elsewhere
        return _Itself(rule)
    if len(own.transforms) > 1:  # what more there is binds arguments that are not differentiated
        return _Itself(rule)
    try:
        return _function_key(own.f)
    except _Unclear:
        return _Itself(rule)


class _Unclear(Exception):
    """A function reads something that may change without being another object."""


def _function_key(value: Any, above: tuple[Any, ...] = ()) -> Any:
    """A function by its code and the values that it reads: one written anew is the same if these are.

    Functions that it closes over count likewise, those of its module by identity; one that it is itself part of, by how
    far up that stands.
    """
    for up, outer in enumerate(above):
        if outer is value:
            return up - len(above)
    within = (*above, value)
    if isinstance(value, jax.custom_jvp):
        return Key(jax.custom_jvp, *(_function_key(part, within) for part in (value.fun, value.jvp)))
    if not isinstance(value, FunctionType):
        return _read_key(value)
    try:
        cells = [_function_key(cell.cell_contents, within) for cell in value.__closure__ or ()]
    except ValueError:  # a variable that has no value yet
        raise _Unclear from None
    reads = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
    return Key(value.__code__, *cells, _read_key(reads), _read_key((value.__defaults__, value.__kwdefaults__)))


def _names(code: CodeType) -> Iterator[str]:
    """What the code may look up, the functions inside it included."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _read_key(value: Any) -> Any:
    if not all(isinstance(leaf, _STEADY) for leaf in jax.tree.leaves(value)):
        raise _Unclear
    return key(value)


@jax.tree_util.register_static
class _Code:
    """The operations of a program, equal to others that do the same."""

    __slots__ = ("examples", "jaxpr", "key", "out")

    def __init__(self, jaxpr: "Jaxpr", examples: Any, out: Any) -> None:
        self.jaxpr, self.examples, self.out = jaxpr, examples, out
        self.key = Key(_jaxpr_key(jaxpr), examples, out)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Code) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@jax.tree_util.register_pytree_node_class
class Program:
    """A traced function; its leaves are the numbers that the function held and the arrays that it closed over.

    Called with arguments of the shapes and dtypes that it was traced with, it does what the function did, custom
    derivatives included. `jnorm._ground.callables.settle` makes it.
    """

    __slots__ = ("code", "consts", "inputs")

    def __init__(self, code: _Code, consts: Sequence[Any], inputs: Any) -> None:
        self.code, self.consts, self.inputs = code, tuple(consts), inputs

    def __call__(self, *args: Any) -> Any:
        leaves, tree = jax.tree.flatten((self.inputs, *args))
        if tree != self.code.examples:
            raise TypeError(f"traced for arguments of structure {self.code.examples}; got {tree}")
        for leaf, variable in zip(leaves, self.code.jaxpr.invars, strict=True):
            like: Any = variable.aval
            shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
            if (shape, dtype) != (like.shape, like.dtype):
                raise TypeError(f"traced for {like.str_short()}; got shape {shape} and dtype {dtype}")
        out = jax.core.eval_jaxpr(self.code.jaxpr, self.consts, *leaves)
        return jax.tree.unflatten(self.code.out, out)

    def tree_flatten(self) -> tuple[tuple[Any, ...], _Code]:
        """Its leaves and what is static."""
        return (self.consts, self.inputs), self.code

    @classmethod
    def tree_unflatten(cls, code: _Code, children: Any) -> "Program":
        """The program with other leaves."""
        return cls(code, *children)


def trace(call: Callable[..., Any], inputs: list[Any], *examples: Any) -> Program:
    """``call(inputs, *examples)`` as a program of the examples that holds the inputs."""
    closed, shapes = jax.make_jaxpr(call, return_shape=True)(inputs, *examples)
    structure = jax.tree.structure((inputs, *examples))
    return Program(_Code(closed.jaxpr, structure, jax.tree.structure(shapes)), closed.consts, inputs)
