"""Every public function of jnorm: how to call it for the laws of test_laws.py, a module a room.

Which names are public is what the rooms' ``__all__`` say (`public`); types and constants need no entry. An array
function needs one line, ``add(name, call, *arguments)``. The first axis of every argument counts lanes (points, rows,
keys): ``call`` must treat them independently and put the same axis first in its results. Options are bound in ``call``;
functions are handed over as they are. Floating arguments are cast to the dtype under test, others stay. A law that does
not hold by design is named with the reason: ``add(..., gradient="piecewise constant")``.

A function that works on the host (files, texts, Python numbers, the caller's functions) needs ``host(name, call)`` with
a ``call()`` that uses it: called twice it returns the same, and the second time compiles nothing. ``host(..., pure="why
not")`` and ``host(..., compile="why not")`` leave a law out, ``host(..., nans="why")`` says that results hold NaN.
"""

import importlib
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jnorm

LAWS = ("jit", "batch", "gradient", "dtype", "compile", "nan", "flags")
HOST_LAWS = ("pure", "compile", "nans")
LAYER = ("bfloat16", "float16", "float32", "float64")
THEORY = ("float32", "float64")


class Entry(NamedTuple):
    call: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]
    dtypes: tuple[str, ...]
    exceptions: dict[str, str]  # law: why it does not hold; of "nan" the NaN that comes out


class Host(NamedTuple):
    call: Callable[[], Any]
    exceptions: dict[str, str]


FUNCTIONS: dict[str, Entry] = {}
HOSTED: dict[str, Host] = {}


def add(name: str, call: Callable[..., Any], *arguments: Any, dtypes: tuple[str, ...] = THEORY, **why: str) -> None:
    FUNCTIONS[name] = Entry(call, tuple(np.asarray(a) for a in arguments), dtypes, why)


def host(name: str, call: Callable[[], Any], **why: str) -> None:
    HOSTED[name] = Host(call, why)


def last_to_first(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), tree)


def each(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one lane, mapped; the first argument of a lane is a vector (a key, a row) or a matrix (a batch)."""
    return lambda first, *rest: (jax.vmap(f) if first.shape[0] == LANES else f)(first, *rest)


def drawn(init: Callable[..., jax.Array], *shape: int) -> Callable[..., jax.Array]:
    """An initializer as a function of keys; the second argument only carries the dtype."""
    return each(lambda key, like: init(key, shape, like.dtype))


LANES = 5
# Five lanes: off the kinks, on either side of them, near and far.
X = np.array([-7.3, -0.6, 0.2, 1.7, 5.1])
MEAN = np.array([-2.0, -0.3, 0.05, 0.6, 3.0])
VAR = np.array([0.3, 1.1, 0.02, 4.0, 2.0])
OMEGA = np.array([0.1, -0.3, 0.0, 0.2, 0.5])
TAU = np.array([1.0, 0.9, 1.2, 1.05, 1.1])
POSITIVE = np.array([0.5, 1.0, 1.3, 0.2, 2.0])
ROWS = np.random.default_rng(0).normal(size=(5, 4))
ROOT = np.random.default_rng(1).normal(size=(5, 2, 2))
COV = ROOT @ ROOT.transpose(0, 2, 1) + 0.1 * np.eye(2)
KEYS = np.random.default_rng(2).integers(0, 2**32, (5, 2), dtype=np.uint32)  # raw ones: an array like any other
BATCHES = np.random.default_rng(3).normal(size=(5, 6, 3))
CLASSES = np.array([0, 3, 1, 1, 2])
OFFSETS = np.array([[0, 1], [-2, 0], [1, 1], [0, 0], [9, -1]])
SIGNS = np.array([1, -1, 1, -1, 1])


def public(module: types.ModuleType = jnorm, within: str = "") -> Iterator[tuple[str, Any]]:
    """Name and object of all that is public: what ``__all__`` lists, and what the modules that it lists do."""
    for name in module.__all__:
        thing = getattr(module, name)
        full = f"{within}.{name}" if within else name
        if isinstance(thing, types.ModuleType):
            yield from public(thing, full)
        else:
            yield full, thing


def is_function(thing: Any) -> bool:
    """Types and constants, functions among them such as an activation's table, are not under the laws."""
    return callable(thing) and not isinstance(thing, type) and typing.get_origin(thing) is None


for _room in jnorm.__all__:
    importlib.import_module(f"tests.registry.{_room}")
