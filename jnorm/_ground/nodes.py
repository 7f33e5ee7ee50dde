"""Dataclasses as pytrees that no cache takes for each other.

To ``jax.tree_util.register_dataclass`` the structures of two classes are equal where they have as many fields and
equal static ones, up to JAX 0.10 at least, and only their hashes tell them apart: in one of some hundred processes
``jax.jit`` would hand out the program of the other class. Nodes of one's own are compared by their class.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

import jax
from jax.tree_util import GetAttrKey

Class = TypeVar("Class", bound=type)


def register(cls: Class) -> Class:
    """A dataclass as a node: fields of the metadata ``static`` belong to its structure, all others are its children.

    >>> @register
    ... @dataclasses.dataclass
    ... class Line:
    ...     slope: float
    ...     name: str = dataclasses.field(metadata={"static": True})
    >>> jax.tree.map(lambda slope: 2 * slope, Line(1.5, "a"))
    Line(slope=3.0, name='a')
    """
    fields = dataclasses.fields(cls)
    moving = [field.name for field in fields if not field.metadata.get("static")]
    fixed = [field.name for field in fields if field.metadata.get("static")]
    names = [*moving, *fixed]

    def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple([getattr(node, name) for name in moving]), tuple([getattr(node, name) for name in fixed])

    def with_keys(node: Any) -> tuple[tuple[tuple[GetAttrKey, Any], ...], tuple[Any, ...]]:
        children, static = flatten(node)
        return tuple(zip(map(GetAttrKey, moving), children, strict=True)), static

    def unflatten(static: Iterable[Any], children: Iterable[Any]) -> Any:
        return cls(**dict(zip(names, [*children, *static], strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, with_keys, unflatten, flatten)
    return cls
