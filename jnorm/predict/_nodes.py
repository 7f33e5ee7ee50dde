"""Functions of a Gaussian at each index, made of the operations of a program."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special


class Node:
    """A function of a Gaussian at each index; ``at`` takes values ``[..., E]``."""

    smooth = False  # whether it is known to have no kinks

    def __init__(self, key: Any, compute: Callable[..., Any], inputs: Sequence[Any]) -> None:
        self.compute, self.inputs = compute, tuple(inputs)  # nodes, and known numbers [E] or of one number
        parts = [x.key if isinstance(x, Node) else None if np.ndim(x) else np.asarray(x).tobytes() for x in self.inputs]
        # Of equal functions, where all indices have the same one.
        self.key: int | None = None if None in parts else hash((key, *parts))

    def at(self, z: Any, memo: dict[int, Any] | None = None) -> Any:
        memo = {} if memo is None else memo
        if id(self) not in memo:
            values = [part.at(z, memo) if isinstance(part, Node) else part for part in self.inputs]
            memo[id(self)] = self.compute(*values)
        return memo[id(self)]

    def selected(self, index: np.ndarray, memo: dict[int, Any] | None = None) -> "Node":
        memo = {} if memo is None else memo
        if id(self) not in memo:
            parts = [
                part.selected(index, memo) if isinstance(part, Node) else part[index] if np.ndim(part) else part
                for part in self.inputs
            ]
            memo[id(self)] = Node(self.key, self.compute, parts) if self.inputs else self
        return memo[id(self)]


class _Identity(Node):
    def __init__(self) -> None:
        super().__init__("identity", lambda: None, ())

    def at(self, z: Any, memo: dict[int, Any] | None = None) -> Any:
        return z


IDENTITY = _Identity()


def bind(site: Any, *inputs: Any) -> Any:
    """What an equation computes, of numbers in float64 of any shapes that broadcast."""
    with jax.enable_x64(True):
        if site.primitive in ("stop_gradient", "copy", "optimization_barrier", "reduce_precision"):
            return inputs[0]
        if site.primitive in NUMPY and not any(isinstance(x, jax.core.Tracer) for x in inputs):
            with np.errstate(all="ignore"):
                return NUMPY[site.primitive](site.params, *_typed(site, inputs, np))
        values = _typed(site, inputs, jnp)
        if site.primitive == "convert_element_type":
            target = np.dtype(site.params["new_dtype"])
            return _out(values[0].astype(jnp.float64 if jnp.issubdtype(target, jnp.floating) else target))
        if len({x.dtype for x in values if x.dtype != bool}) > 1:  # sums of whole numbers are made as those of others
            values = [x if x.dtype == bool else x.astype(jnp.float64) for x in values]
        most = max(x.ndim for x in values)
        values = jnp.broadcast_arrays(*(x.reshape(*(1,) * (most - x.ndim), *x.shape) for x in values))
        params = {name: None if name == "accuracy" else value for name, value in site.params.items()}
        return _out(site.equation.primitive.bind(*values, **params))


def _typed(site: Any, inputs: Sequence[Any], xp: Any) -> list[Any]:
    """Floats in float64, and truth values as such: samples of them are floats."""
    kinds = [
        bool if atom.aval.dtype == bool else np.float64 if _is_float(atom.aval) else None
        for atom in site.equation.invars
    ]
    return [xp.asarray(x, kind) for x, kind in zip(inputs, kinds, strict=True)]


def _plain(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, *x: f(*x)


_SAME: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "add_any": np.add,
    "cos": np.cos,
    "div": np.divide,
    "eq": np.equal,
    "erf": special.erf,
    "erfc": special.erfc,
    "exp": np.exp,
    "expm1": np.expm1,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": special.expit,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "pow": np.power,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": np.subtract,
    "tanh": np.tanh,
}
NUMPY: dict[str, Callable[..., Any]] = {
    **{name: _plain(f) for name, f in _SAME.items()},
    "clamp": lambda params, low, x, high: np.clip(x, low, high),
    "integer_pow": lambda params, x: np.power(x, float(params["y"])),
    "rsqrt": lambda params, x: 1 / np.sqrt(x),
    "select_n": lambda params, which, *cases: np.choose(np.asarray(which, int), cases),
}
"""Operations on numbers, which need no compiling in NumPy."""


def _out(value: Any) -> Any:
    return value if isinstance(value, jax.core.Tracer) else np.asarray(value)


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype, jnp.floating)
