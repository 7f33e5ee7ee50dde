"""What a network's values are to a correlation map: sums of independent terms, and functions of these, unit by unit.

A `Signal` is a value of the program. It belongs to an `Origin`, what a product, a sum or a move of numbers makes, and
is a number times it, or an elementwise function of it: until something takes it up it is not known where that one ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.predict._values import Atoms

INPUT = 0
"""The node of the graph that is the data."""


class Data(NamedTuple):
    """What is made of the data alone."""

    shape: tuple[int, ...]


class Unknown(NamedTuple):
    """What has no correlation map; it is refused where a weight takes it up.

    Attributes:
        reason: Why not, with its line.
        nodes: Nodes of the graph that it is made of.
        shape: Its shape.
    """

    reason: str
    nodes: frozenset[int]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Term:
    """A random value of a layer, independent of other terms without common draws.

    Attributes:
        draws: The weights that it was multiplied with last.
        node: What it is in the graph.
        second: Its second moment; NaN where that depends on the data.
        centred: Whether its mean is zero.
        even: Whether all units have this second moment.
    """

    draws: frozenset[Any]
    node: int
    second: float
    centred: bool = True
    even: bool = True


class Step(NamedTuple):
    """An elementwise equation.

    Attributes:
        site: The equation.
        turns: Turns of the loops around.
        inputs: For each input the number of a value of the origin, or None.
        known: For each input the number that it is, or None.
    """

    site: Any
    turns: tuple[int, ...]
    inputs: tuple[int | None, ...]
    known: tuple[Any, ...]


class Value(NamedTuple):
    """A value of an origin: ``factor`` times the value ``core``, and the step that makes it; of number 0 none."""

    core: int
    factor: float
    step: Step | None


@dataclass(eq=False)
class Origin:
    """What elementwise functions are made of.

    Attributes:
        axes: As in `jnorm.predict._values`.
        node: What it is in the graph.
        terms: It is the sum of these with factors.
        values: What is made of it, unit by unit; number 0 is itself.
        settled: Functions that were taken up, as terms, by their numbers.
    """

    axes: tuple[Atoms, ...]
    node: int
    terms: dict[Term, float]
    values: list[Value] = field(default_factory=lambda: [Value(0, 1.0, None)])
    settled: dict[int, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(np.prod([size for size, _ in atoms], dtype=int)) for atoms in self.axes)

    @property
    def second(self) -> float:
        return sum(a * a * term.second for term, a in self.terms.items())

    @property
    def centred(self) -> bool:
        return all(term.centred for term in self.terms)

    @property
    def even(self) -> bool:
        return all(term.even for term in self.terms)

    @property
    def draws(self) -> frozenset[Any]:
        return frozenset().union(*(term.draws for term in self.terms))

    def signal(self) -> "Signal":
        return Signal(self, 0)

    def made(self, step: Step, linear: tuple[int, float] | None) -> "Signal":
        """The signal of a step: a factor times the value of a number, or a function of its own."""
        number = len(self.values)
        core, factor = (number, 1.0) if linear is None else self.values[linear[0]][:2]
        self.values.append(Value(core, factor * (1.0 if linear is None else linear[1]), step))
        return Signal(self, number)

    def needed(self, number: int, base: int = 0) -> list[int]:
        """The numbers of the values that a value is made of, from a base on, in order, itself the last."""
        found, left = set[int](), [number]
        while left:
            k = left.pop()
            if k not in found and k != base:
                found.add(k)
                left += self.sources(k)
        return sorted(found)

    def sources(self, number: int) -> list[int]:
        step = self.values[number].step
        return [] if step is None else [k for k in step.inputs if k is not None]

    def base(self, number: int) -> int:
        """The last value in proportion to the origin that all of a function's arguments are made of."""
        steps = self.needed(number)
        for k in reversed(steps[:-1]):
            if self.values[k].core == 0 and 0 not in {j for i in self.needed(number, k) for j in self.sources(i)}:
                return k
        return 0


@dataclass(frozen=True, eq=False)
class Signal:
    """A value of a program: that of a number of an origin."""

    origin: Origin
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.origin.shape

    @property
    def linear(self) -> bool:
        return self.origin.values[self.number].core == 0

    @property
    def factor(self) -> float:
        return self.origin.values[self.number].factor


def nodes_of(values: Sequence[Any]) -> frozenset[int]:
    """The nodes that values are made of."""
    return frozenset(_nodes_of(values))


def _nodes_of(values: Sequence[Any]) -> Iterator[int]:
    for x in values:
        if isinstance(x, Unknown):
            yield from x.nodes
        elif isinstance(x, Signal):
            yield x.origin.node
        elif hasattr(x, "parts"):
            yield from _nodes_of(x.parts)


def uniform(x: Any) -> Any:
    """The number that all entries of an array are, one of Python, or None."""
    if isinstance(x, Data | Unknown | Signal) or (
        hasattr(x, "dtype") and jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
    ):
        return None
    array = np.asarray(x)
    if array.size == 0 or not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        return None
    first = array.ravel()[0]
    return first.item() if np.all(array == first) else None
