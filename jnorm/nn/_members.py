"""Members of a mapped axis that share their statistics: all of them, or groups."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Groups(NamedTuple):
    """An ``axis_name`` whose members form groups of one size, each group with statistics of its own.

    Works under ``vmap`` and ``shard_map`` alike, where the option ``axis_index_groups`` of JAX's collectives does not.

    Attributes:
        axis_name: The name of the mapped axis.
        groups: The positions on that axis by group, such as ((0, 1), (2, 3)): every one once.
    """

    axis_name: Any
    groups: tuple[tuple[int, ...], ...]


def member_count(axis_name: Any) -> int:
    """How many members of an axis share their statistics: 1 without an axis, for `Groups` the size of a group."""
    if isinstance(axis_name, Groups):
        return len(axis_name.groups[0])
    return 1 if axis_name is None else lax.psum(1, axis_name)


def summed(values: Any, axis_name: Any) -> Any:
    """The sum of a pytree over the members that share their statistics; each of them gets it.

    Raises ``ValueError`` for `Groups` of several sizes, or that leave a member out or name it twice.

    >>> pairs = Groups("i", ((0, 3), (1, 2)))
    >>> jax.vmap(lambda v: summed(v, pairs), axis_name="i")(jnp.array([1.0, 2.0, 3.0, 5.0])).tolist()
    [6.0, 5.0, 5.0, 6.0]
    """
    if not isinstance(axis_name, Groups):
        return values if axis_name is None else lax.psum(values, axis_name)
    name, groups = axis_name
    n = lax.psum(1, name)
    if len(set(map(len, groups))) != 1 or sorted(itertools.chain(*groups)) != list(range(n)):
        raise ValueError(f"`groups` must split the {n} members of the axis into groups of one size; got {groups}")
    # psum has no groups under vmap, nor under shard_map with checked types: each member adds to its group's row.
    mine = jnp.any(jnp.asarray(groups) == lax.axis_index(name), 1)
    rows = lambda v: jnp.where(mine.reshape(-1, *(1,) * v.ndim), v[None], 0)
    return jax.tree.map(lambda v: lax.psum(rows(v), name)[jnp.argmax(mine)], values)
