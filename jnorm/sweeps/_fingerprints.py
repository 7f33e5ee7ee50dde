"""What a program computes and what data hold, as hashes: equal for equal ones, also in another process.

A program is read as JAX traced it, down through every nested program: operations, types, wiring, parameters and all
constants. Names, places in files and addresses do not count. What JAX itself cannot see into is not hashed but listed:
functions of the host, kernels, operations that are not JAX's own.
"""

import dataclasses
import enum
import functools
import hashlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec, Sharding

_UNUSED = {
    # A program that is traced is batched, never differentiated again: what derivatives it has are in it.
    ("custom_jvp_call", "jvp_jaxpr_fun"),
    ("custom_vjp_call", "fwd_jaxpr_thunk"),
    ("custom_vjp_call", "bwd"),
    ("custom_vjp_call", "out_trees"),
    ("remat2", "policy"),
    ("reduce", "computation"),  # its program stands beside it
    ("jit", "name"),
}
_SILENT = {"debug_callback", "debug_print"}  # they hand nothing back
_OUTSIDE = {"ffi_call": "target_name", "infeed": "", "pallas_call": "name"}  # code of others, by the parameter it is in
_PLAIN = {int, bool, str, type(None)}
_GENERATORS = ("threefry2x32", "rbg", "unsafe_rbg")


class Fingerprint(NamedTuple):
    """The hash of a program, and what in it could not be hashed, as an operation and a description each."""

    digest: str
    opaque: tuple[str, ...]


def of_program(program: Any) -> Fingerprint:
    """The fingerprint of a closed jaxpr.

    >>> f = lambda scale: of_program(jax.make_jaxpr(jax.jit(lambda x: scale * x))(1.0))
    >>> f(2.0) == f(2.0), f(2.0) == f(3.0), f(2.0).opaque
    (True, False, ())
    """
    reader = _Reader()
    digest = reader.value("program", program)
    return Fingerprint(digest.hex(), tuple(reader.opaque))


def of_data(data: Any) -> tuple[str | None, dict[str, str]]:
    """The hash of a pytree of arrays, of structure, types and contents, ``None`` for no data; and of its arrays.

    Of each array, by its path, type, shape and the beginning of its hash.
    """
    if data is None:
        return None, {}
    leaves, structure = jax.tree_util.tree_flatten_with_path(data)
    hashes = [_array(leaf) for _, leaf in leaves]
    text = lambda leaf, digest: f"{leaf.dtype.name}{list(leaf.shape)} {digest.hex()[:16]}"
    arrays = {jax.tree_util.keystr(p): text(leaf, h) for (p, leaf), h in zip(leaves, hashes, strict=True)}
    return _hash("data", str(structure).encode(), *hashes).hex(), arrays


class _Reader:
    """Reads one program. ``opaque`` collects what it cannot see into, in order."""

    def __init__(self) -> None:
        self.opaque: dict[str, None] = {}
        self._types: dict[Any, bytes] = {}
        self._known: dict[tuple[int, ...], bytes] = {}  # programs that were read, which may be nested in many places

    def value(self, where: str, value: Any) -> bytes:
        """A constant or a parameter of an operation; ``where`` says of which."""
        kind = type(value)
        if kind in _PLAIN or (kind is tuple and all(type(inner) in _PLAIN for inner in value)):
            return repr(value).encode()
        if isinstance(value, enum.Enum):
            return f"{kind.__qualname__}.{value.name}".encode()
        if isinstance(value, int | float | complex | str | bytes | np.dtype | PartitionSpec):
            return f"{kind.__name__} {value!r}".encode()
        if isinstance(value, type):
            known = _is_of_jax(value.__module__) or value.__module__ in ("builtins", "numpy", "ml_dtypes")
            return _hash("class", _named(value).encode()) if known else self._hidden(f"{where} {_named(value)}")
        if isinstance(value, jex.ClosedJaxpr):
            return self._program(where, value.jaxpr, value.consts)
        if isinstance(value, jex.Jaxpr):
            return self._program(where, value, ())
        if isinstance(value, jax.Array | np.ndarray | np.generic) or hasattr(value, "__array__"):
            return self._constant(where, value)
        if hasattr(value, "random_bits"):
            known = value in _generators()
            text = f"the generator {value.name} of random keys"
            return _hash("generator", value.name.encode()) if known else self._hidden(f"{text}, which is not JAX's own")
        if isinstance(value, Mapping):
            return _hash("mapping", *sorted(self._all(where, value.items())))
        if isinstance(value, set | frozenset):
            return _hash("set", *sorted(self._all(where, value)))
        if isinstance(value, tuple | list):
            return _hash(f"sequence {kind.__name__}", *self._all(where, value))
        if isinstance(value, slice | range):
            return _hash(kind.__name__, *self._all(where, (value.start, value.stop, value.step)))
        if isinstance(value, functools.partial):
            return _hash("partial", *self._all(where, (value.func, value.args, value.keywords)))
        return self._object(where, value)

    def _all(self, where: str, values: Iterable[Any]) -> list[bytes]:
        return [self.value(where, value) for value in values]

    def _object(self, where: str, value: Any) -> bytes:
        """Objects of JAX by what decides a result: which devices compute does not, how many may."""
        kind = type(value)
        if _is_own_function(value):
            return _hash("function", _named(value).encode())
        if isinstance(value, Mesh | AbstractMesh):
            return _hash("mesh", repr(tuple(value.shape.items())).encode())
        if isinstance(value, NamedSharding):
            return _hash("sharding", *self._all(where, (value.mesh, value.spec)))
        if isinstance(value, Sharding | jax.Device):
            return _hash("place", kind.__qualname__.encode())
        if hasattr(value, "str_short"):
            return self._type(where, value)
        if isinstance(value, jax.tree_util.PyTreeDef) and " at 0x" not in str(value):
            return _hash("structure", str(value).encode())
        if _generator(value) is not None:
            return _hash("type of keys", self.value(where, _generator(value)))
        if (dataclasses.is_dataclass(value) and _is_of_jax(kind.__module__)) or _holds_its_fields(value):
            fields = getattr(kind, "__dataclass_fields__", None) or vars(value)
            return _hash(f"object {kind.__qualname__}", self.value(where, {n: getattr(value, n) for n in fields}))
        return self._hidden(f"{where} {_named(value)}")

    def _hidden(self, description: str) -> bytes:
        self.opaque[description] = None
        return _hash("hidden", description.encode())

    def _constant(self, where: str, value: Any) -> bytes:
        generator = _generator(value.dtype)
        if value.dtype == object:
            return self._hidden(f"{where} an array of objects")
        return _array(value) if generator is None else _hash("keys", _array(value), self.value(where, generator))

    def _type(self, where: str, aval: Any) -> bytes:
        if aval not in self._types:
            generator, text = _generator(getattr(aval, "dtype", None)), aval.str_short().encode()
            keys = () if generator is None else (self.value(where, generator),)
            self._types[aval] = _hash("type", text, *keys)
        return self._types[aval]

    def _program(self, where: str, jaxpr: Any, constants: Iterable[Any]) -> bytes:
        constants = tuple(constants)
        same = (id(jaxpr), *map(id, constants))
        if same in self._known:
            return self._known[same]
        numbers = {variable: number for number, variable in enumerate([*jaxpr.constvars, *jaxpr.invars])}

        def operand(variable: Any) -> bytes:
            if hasattr(variable, "val"):
                return _hash("literal", self._type(where, variable.aval), self.value(where, variable.val))
            return str(numbers.setdefault(variable, len(numbers))).encode()

        parts = [*self._all(where, constants), *(self._type(where, v.aval) for v in numbers)]
        for equation in jaxpr.eqns:
            ends = [*map(operand, equation.invars), b">", *map(operand, equation.outvars)]
            types = [self._type(where, variable.aval) for variable in equation.outvars]
            parts.append(_hash("operation", *ends, *types, *self._operation(equation)))
        digest = _hash("program", *parts, b">", *map(operand, jaxpr.outvars))
        self._known[same] = digest
        return digest

    def _operation(self, equation: Any) -> list[bytes]:
        """The name and the parameters of an equation."""
        primitive, parameters = equation.primitive, equation.params
        name = primitive.name
        parts = [name.encode()]
        if name in _OUTSIDE:
            self._hidden(f"{name} {parameters.get(_OUTSIDE[name], '')}".strip())
        elif not _is_primitive_of_jax(primitive):
            self._hidden(f"{name}, which is no operation of JAX")
        for parameter, value in sorted(parameters.items()):
            if name not in _SILENT and (name, parameter) not in _UNUSED:
                parts += [parameter.encode(), self.value(name, value)]
        return parts


def _hash(kind: str, *parts: bytes) -> bytes:
    total = hashlib.sha256(repr((kind, *map(len, parts))).encode())
    for part in parts:
        total.update(part)
    return total.digest()


def _generator(dtype: Any) -> Any:
    """The generator of keys that have this dtype, None for numbers."""
    return getattr(dtype, "_impl", None)


@functools.cache
def _generators() -> list[Any]:
    """Those that JAX brings; users may define others, of which only the functions say what they draw."""
    made = (jax.eval_shape(lambda name=name: jax.random.key(0, impl=name)) for name in _GENERATORS)
    return [_generator(key.dtype) for key in made]


def _array(value: Any) -> bytes:
    kind = f"array {value.dtype} {value.shape}"
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    contents = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    return _hash(kind, contents.data)  # type: ignore[arg-type]


def _is_own_function(value: Any) -> bool:
    """Whether a value is a function of this library, or wraps one: its name and the library's version say what it does.

    Such as the rule by which a convolution learns that ``vmap`` has batched its kernel.
    """
    module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
    return callable(value) and module.split(".")[0] == "jnorm" and hasattr(sys.modules.get(module), name)


def _is_of_jax(module: str) -> bool:
    return module.split(".")[0] == "jax"


def _holds_its_fields(value: Any) -> bool:
    """Whether all that an object holds is in its ``__dict__``: JAX's own, without a base that is not."""
    bases = type(value).__mro__[:-1]
    return hasattr(value, "__dict__") and all(_is_of_jax(base.__module__) and _has_no_slots(base) for base in bases)


def _has_no_slots(kind: type) -> bool:
    return not vars(kind).get("__slots__", ())


def _named(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


_primitives: dict[int, Any] = {}


def _is_primitive_of_jax(primitive: Any) -> bool:
    """Whether JAX itself defines an operation: then its name and the version of JAX say what it does."""
    if id(primitive) not in _primitives:  # modules are loaded late
        for name, module in tuple(sys.modules.items()):
            if _is_of_jax(name) and module is not None:
                primitives = (value for value in tuple(vars(module).values()) if isinstance(value, jex.Primitive))
                _primitives.update((id(value), value) for value in primitives)
    return id(primitive) in _primitives
