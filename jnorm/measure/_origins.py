"""Where the first NaN or infinity of a program arises, as data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm._ground import nodes
from jnorm.measure._calls import Call
from jnorm.measure._places import Place, spots
from jnorm.measure._search import Kind, kind, kinds_of, search


@nodes.register
@dataclass(frozen=True, eq=False)
class Origin:
    """Where the first NaN or infinity arises, a pytree of arrays; under ``vmap`` with a lane each. Prints as a report.

    Attributes:
        found: Whether there is one.
        number: Which of `places` it is; -1 where none is.
        turns: The turn of each loop around it from outside, counted from 0; -1 where there is no loop.
        position: The entry of its output, the first that is not finite, counted as if the array were flat.
        buffers: The values that went in, by dtype, one behind another; `inputs` takes them apart.
        places: The program's equations, and then its arguments and the arrays that it closes over.
        kinds: Shape and dtype of the inputs of each place.
    """

    found: jax.Array
    number: jax.Array
    turns: jax.Array
    position: jax.Array
    buffers: dict[str, jax.Array]
    places: tuple[Place, ...] = field(metadata={"static": True})
    kinds: tuple[tuple[Kind, ...], ...] = field(metadata={"static": True})

    @property
    def place(self) -> Place | None:
        """The equation, or what came in as "argument" or "constant"; None where all is finite. On the host."""
        self._single()
        return self.places[int(self.number)] if bool(self.found) else None

    @property
    def index(self) -> tuple[int, ...]:
        """The entry of the output, with the lanes of a ``vmap`` inside as an axis. On the host."""
        if self.place is None:
            return ()
        return tuple(int(i) for i in np.unravel_index(int(self.position), self.place.shape))

    @property
    def inputs(self) -> list[np.ndarray]:
        """The values that went into the equation. On the host."""
        if self.place is None:
            return []
        used = dict.fromkeys(self.buffers, 0)
        values = []
        for shape, dtype in self.kinds[int(self.number)]:
            start, used[dtype] = used[dtype], used[dtype] + math.prod(shape)
            values.append(np.asarray(self.buffers[dtype])[start : used[dtype]].reshape(shape))
        return values

    def lane(self, number: int) -> "Origin":
        """One lane of what ``vmap`` returns."""
        return jax.tree.map(lambda a: a[number], self)

    def _single(self) -> None:
        if np.ndim(self.found):
            raise ValueError(f"there are {len(self.found)} lanes: take one of them with `lane`")

    def __str__(self) -> str:
        if np.ndim(self.found):
            lanes = [i for i in range(len(self.found)) if np.any(self.found[i])]
            return "\n".join(f"lane {i}: {self.lane(i)}" for i in lanes) or "all lanes are finite"
        place = self.place
        if place is None:
            return "all is finite"
        turns = [int(turn) for turn in self.turns if turn >= 0]
        lines = [f"{place}, {'backward' if place.backward else 'forward'}, entry {self.index}"]
        lines += [f"turn {', '.join(map(str, turns))} of the loops around it"] if turns else []
        lines += [f"input {i}: {_short(value)}" for i, value in enumerate(self.inputs)]
        return "\n  ".join(lines)


def first_nonfinite(f: Callable[..., Any], *args: Any) -> Origin:
    """Where the first NaN or infinity arises when ``f(*args)`` is computed: equation, line, loop turn and what went in.

    A NaN arises where none goes in, an infinity where neither goes in. A NaN among the arguments comes before all
    equations; an infinite argument is named if nothing arises from it. Functions of JAX, derivatives, calls, branches
    and loops are opened. It is one run of the program, under ``jit``, ``vmap`` and ``scan`` too, and keeps one copy of
    the inputs of the equation, so that it takes hardly more memory. For the backward pass give ``jax.grad(f)``; what is
    in the backward rule of a ``jax.custom_vjp`` has the line that calls the function, which is what JAX keeps.

    Args:
        f: Any function of pytrees.
        *args: Its arguments; leaves that are no arrays are fixed.

    Returns:
        The place, a pytree whose static part lists the equations.

    >>> origin = first_nonfinite(lambda x: jnp.exp(jnp.log(x) + 1), jnp.array([1.0, -2.0]))
    >>> origin.place.operation, origin.index, [value.tolist() for value in origin.inputs]
    ('log', (1,), [[1.0, -2.0]])
    >>> lanes = jax.jit(jax.vmap(lambda x: first_nonfinite(jax.grad(jnp.sqrt), x)))(jnp.array([1.0, 0.0]))
    >>> lanes.found.tolist(), lanes.lane(1).place.operation
    ([False, True], 'div')
    """
    call = Call(f, args, {})
    found = spots(call.program, call.paths, inside=True)
    given = [jnp.asarray(x) for x in (*call.leaves, *call.program.consts)]
    names = [f"argument {i}" + (f" ({path})" if path else "") for i, path in enumerate(call.paths)]
    names += [f"constant {i}" for i in range(len(call.program.consts))]
    entered = [Place(n, "", None, n.partition(" ")[0], False, *kind(x), ()) for n, x in zip(names, given, strict=True)]
    kinds = [*(tuple(kinds_of(spot.site)) for spot in found), *((kind(x),) for x in given)]
    return Origin(**search(call, found), places=(*(spot.place for spot in found), *entered), kinds=tuple(kinds))


def _short(value: np.ndarray) -> str:
    if value.size <= 8:
        return np.array2string(value, separator=", ").replace("\n", "")
    return f"{value.dtype}{list(value.shape)} from {np.min(value):.4g} to {np.max(value):.4g}"
