"""A function of anybody's as a program with its arguments in it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jnorm.measure._places import paths_of

ARRAYS = (jax.Array, np.ndarray, np.generic, float, int, bool, complex)


class Call:
    """A call of a function: its program, and its arguments in it.

    Attributes:
        program: The function's jaxpr.
        leaves: The arrays among the arguments.
        paths: Their paths.
    """

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        leaves, tree = jax.tree.flatten((tuple(args), dict(keywords)))
        moving = [isinstance(leaf, ARRAYS) for leaf in leaves]

        def flat(*arrays: Any) -> Any:
            given = iter(arrays)
            filled = [next(given) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
            args, keywords = jax.tree.unflatten(tree, filled)
            return f(*args, **keywords)

        self.leaves = self.arrays(args, keywords)
        self.program, shape = jax.make_jaxpr(flat, return_shape=True)(*self.leaves)
        self._out = jax.tree.structure(shape)
        every = [*paths_of(tuple(args)), *paths_of(dict(keywords))]
        self.paths = [path for path, moves in zip(every, moving, strict=True) if moves]

    @staticmethod
    def arrays(args: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The arrays among arguments."""
        return [leaf for leaf in jax.tree.leaves((tuple(args), dict(keywords))) if isinstance(leaf, ARRAYS)]

    def result(self, out: Sequence[Any]) -> Any:
        """What the function returns, of the program's results."""
        return jax.tree.unflatten(self._out, out)
