"""Traced functions that are equal when they do the same: a jaxpr with a structural hash.

Equal keys must mean equal functions. Where that is in doubt keys are unequal, which costs a compilation and no more.
"""

import inspect
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn  # at run time where it is needed: it takes longer to import than jnorm


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


def key(value: Any, above: tuple[Any, ...] = ()) -> Any:
    """What a static value is compared by: numbers by type and bits, arrays by content, jaxprs by structure.

    Args:
        value: The value.
        above: The derivative rules inside which it was found.

    Returns:
        Something hashable.
    """
    from jax.extend.core import ClosedJaxpr, Jaxpr

    if isinstance(value, ClosedJaxpr):
        return Key(_jaxpr_key(value.jaxpr, above), *(key(const, above) for const in value.consts))
    if isinstance(value, Jaxpr):
        return _jaxpr_key(value, above)
    if isinstance(value, jax.Array):
        return _Itself(value)  # it cannot change
    if isinstance(value, float | complex):
        return (type(value), repr(value))  # -0.0 is not 0.0, and nan is nan
    if isinstance(value, tuple | list):
        return Key(type(value), *(key(part, above) for part in value))
    if isinstance(value, dict):
        return Key(dict, *((name, key(part, above)) for name, part in value.items()))
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


def _jaxpr_key(jaxpr: "Jaxpr", above: tuple[Any, ...] = ()) -> Key:
    if not above and jaxpr in _KEYS:
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
        Key(e.primitive, read(e.invars), define(e.outvars), _params_key(e, above), getattr(e, "ctx", None))
        for e in jaxpr.eqns
    ]
    found = Key(*heads, *equations, read(jaxpr.outvars))
    if not above:
        _KEYS[jaxpr] = found
    return found


def _params_key(equation: "JaxprEqn", above: tuple[Any, ...]) -> Key:
    params = dict(equation.params)
    rule = params.pop("jvp_jaxpr_fun", None)
    return Key(key(params, above), rule and _rule_key(rule, params, above))


def _rule_key(rule: Any, params: dict[str, Any], above: tuple[Any, ...]) -> Any:
    """A derivative rule by what it does: each trace of the function wraps the same rule anew.

    A rule calls its own function, or another one whose rule calls it; such a call counts by how far up its rule stands.
    """
    count = len(params["call_jaxpr"].jaxpr.invars) - params["num_consts"]
    try:
        own = inspect.getclosurevars(inspect.getclosurevars(rule.f).nonlocals["fn"]).nonlocals["jvp"]
        plain = len(own.transforms) == 1  # what else there is binds arguments that are not differentiated
        own = Key(_Itself(own.f), key(params["call_jaxpr"].in_avals))
        if not plain or count > 2 or len(above) > 8:
            return _Itself(rule)
        if own in above:
            return above.index(own) - len(above)
        patterns = [zeros for zeros in itertools.product((False, True), repeat=count) if not all(zeros)]
        traced = [rule.call_wrapped(*pattern) for pattern in patterns]
    except Exception:  # a rule that does not serve every pattern, or a JAX that keeps rules elsewhere
        return _Itself(rule)
    return Key(*(Key(_jaxpr_key(jaxpr, (*above, own)), key(consts), key(zeros)) for jaxpr, consts, zeros in traced))


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
