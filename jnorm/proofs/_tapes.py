"""Elementwise functions as tapes: one real variable, one operation after the other, evaluated on balls (extra: verify).

A tape is read from a jaxpr. What it stands for is the real function that the program writes down, its numbers being the
binary ones that it holds; the rounding of the program's own arithmetic is no part of it.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.proofs._balls import Ball, flint
from jnorm.proofs._primitives import ANALYTIC, COMPARED, LINEAR, LOGICAL, NAMES, SAME, STEADY


class Slot(NamedTuple):
    """The place of a value on a tape: 0 is the variable, k what operation k - 1 makes."""

    place: int


Argument = Slot | float | bool


@dataclass(frozen=True)
class Operation:
    """One step of a tape.

    Attributes:
        name: The primitive.
        inputs: Places of earlier values, and numbers.
        place: Its line, for errors.
    """

    name: str
    inputs: tuple[Argument, ...]
    place: str = field(compare=False)


class Straight(NamedTuple):
    """A tape without a branch: what it computes on an interval where every comparison is decided."""

    steps: tuple[tuple[Callable[..., Any], tuple[int, ...], int], ...]
    numbers: tuple[float, ...]
    result: int

    def __call__(self, x: Ball) -> Ball:
        """The value on a real or complex ball."""
        arb = flint().arb
        values = {-1 - k: arb(number) for k, number in enumerate(self.numbers)}
        values[0] = x
        for function, inputs, out in self.steps:
            values[out] = function(*[values[i] for i in inputs])
        return values[self.result]


@dataclass(frozen=True)
class Tape:
    """An elementwise function.

    Attributes:
        operations: Its steps.
        result: Which value, or number, is the function's.
    """

    operations: tuple[Operation, ...]
    result: Argument

    def hull(self, x: Ball) -> Ball:
        """Where f surely lies on a real ball: what is undecided counts both ways."""
        return self.on(x, x)[0]

    def on(self, low: Ball, high: Ball) -> tuple[Ball, Straight | None]:
        """Where f surely lies between two numbers, and its branch there: None where a comparison has no one answer."""
        course = _Course(self, low, high)
        straight = None if course.is_open(self.result) else _pruned(tuple(course.steps), course.refer(self.result))
        return _real(course.result), straight


@functools.lru_cache(maxsize=1024)
def _pruned(steps: tuple[Any, ...], result: Any) -> Straight:
    """Only the steps that the result rests on, with its numbers in a list."""
    needed, kept = {result}, []
    for step in reversed(steps):
        if step[2] in needed:
            kept.append(step)
            needed |= set(step[1])
    numbers = [place for place in needed if isinstance(place, float)]
    at: dict[Any, int] = {place: place.place for place in needed if isinstance(place, Slot)}
    at |= {number: -1 - k for k, number in enumerate(numbers)}
    steps = tuple((function, tuple(at[i] for i in inputs), at[out]) for function, inputs, out in reversed(kept))
    return Straight(steps, tuple(numbers), at[result])


class _Course:
    """One way through a tape between two numbers: values, decisions, and the steps that are left after these.

    A ball's radius has nine digits, so that no ball ends at a kink. Values that are monotone in the variable are
    compared by what they are at its ends.
    """

    def __init__(self, tape: Tape, low: Ball, high: Ball) -> None:
        self.values: list[Any] = [low.union(high)]
        self.ends: list[tuple[Ball, Ball] | None] = [(low, high)]  # of monotone values
        self.places: list[Any] = [Slot(0)]  # what each value is the same as: an earlier slot, or a float
        self.steps: list[Any] = []
        self.open = [False]  # whether a value rests on a comparison that is undecided
        for operation in tape.operations:
            self._step(operation)
        self.result = self._value(tape.result)

    def _value(self, argument: Argument) -> Any:
        if isinstance(argument, Slot):
            return self.values[argument.place]
        return argument if isinstance(argument, bool) else flint().arb(argument)

    def _both_ends(self, argument: Argument) -> tuple[Ball, Ball] | None:
        return self.ends[argument.place] if isinstance(argument, Slot) else (_real(self._value(argument)),) * 2

    def refer(self, argument: Argument) -> Any:
        """What an argument is the same as."""
        return self.places[argument.place] if isinstance(argument, Slot) else float(argument)

    def is_open(self, argument: Argument) -> bool:
        """Whether an argument rests on a comparison that is undecided."""
        return isinstance(argument, Slot) and self.open[argument.place]

    def _add(self, value: Any, place: Any, ends: tuple[Ball, Ball] | None, is_open: bool) -> None:
        self.values.append(value)
        self.places.append(place)
        self.ends.append(ends)
        self.open.append(is_open)

    def _say(self, truth: bool | None) -> None:
        """A truth value."""
        self._add(truth, float(bool(truth)), None, truth is None)

    def _pass_on(self, argument: Argument) -> None:
        """One of the arguments."""
        self._add(self._value(argument), self.refer(argument), self._both_ends(argument), self.is_open(argument))

    def _either(self, value: Ball) -> None:
        """A value of which only bounds are known."""
        self._add(value, Slot(len(self.values)), None, True)

    def _compute(self, name: str, inputs: Sequence[Argument]) -> None:
        function, place = ANALYTIC[name], Slot(len(self.values))
        value = function(*[_real(self._value(argument)) for argument in inputs])
        self.steps.append((function, tuple(map(self.refer, inputs)), place))
        ends, first = None, isinstance(inputs[0], Slot)
        if name in STEADY or (
            name in LINEAR and sum(isinstance(x, Slot) for x in inputs) == 1 and (first or name != "div")
        ):
            known = [pair for argument in inputs if (pair := self._both_ends(argument)) is not None]
            if len(known) == len(inputs):
                ends = function(*[pair[0] for pair in known]), function(*[pair[1] for pair in known])
        self._add(value, place, ends, any(map(self.is_open, inputs)))

    def _step(self, operation: Operation) -> None:
        name, inputs = operation.name, operation.inputs
        if name in COMPARED:
            self._say(self._compare(name, *inputs))
        elif name in LOGICAL:
            self._say(LOGICAL[name](*map(self._value, inputs)))
        elif name in SAME:
            self._pass_on(inputs[0])
        elif name in ANALYTIC:
            self._compute(name, inputs)
        else:
            getattr(self, f"_{name}")(*inputs)

    def _compare(self, name: str, x: Argument, y: Argument) -> bool | None:
        function, of_itself = COMPARED[name]
        if self.refer(x) == self.refer(y):
            return of_itself
        truth = function(_real(self._value(x)), _real(self._value(y)))
        numbers = not isinstance(x, Slot) or not isinstance(y, Slot)
        a, b = self._both_ends(x), self._both_ends(y)
        if truth is not None or not numbers or a is None or b is None:
            return truth
        if name in ("eq", "ne"):  # unequal at both ends is unequal between them on the same side alone
            pairs = list(zip(a, b, strict=True))
            apart = all(u < v for u, v in pairs) or all(u > v for u, v in pairs)
            return name == "ne" if apart else None
        truths = [function(u, v) for u, v in zip(a, b, strict=True)]
        return truths[0] if truths[0] == truths[1] else None

    def _max(self, x: Argument, y: Argument) -> None:
        first = self._compare("ge", x, y)
        if first is None:
            self._either(_real(self._value(x)).max(_real(self._value(y))))
        else:
            self._pass_on(x if first else y)

    def _min(self, x: Argument, y: Argument) -> None:
        first = self._compare("le", x, y)
        if first is None:
            self._either(_real(self._value(x)).min(_real(self._value(y))))
        else:
            self._pass_on(x if first else y)

    def _clamp(self, low: Argument, x: Argument, high: Argument) -> None:
        below, above = self._compare("lt", x, low), self._compare("gt", x, high)
        if below is None or above is None:
            self._either(self._value(x).max(_real(self._value(low))).min(_real(self._value(high))))
        else:
            self._pass_on(low if below else high if above else x)

    def _abs(self, x: Argument) -> None:
        above = self._compare("ge", x, 0.0)
        if above is None:
            self._either(abs(self._value(x)))
        elif above:
            self._pass_on(x)
        else:
            self._compute("neg", (x,))

    def _sign(self, x: Argument) -> None:
        above, below = self._compare("gt", x, 0.0), self._compare("lt", x, 0.0)
        if above is None or below is None:
            self._either(flint().arb(-1).union(flint().arb(1)))
        else:
            self._pass_on(1.0 if above else -1.0 if below else 0.0)

    def _select_n(self, which: Argument, *cases: Argument) -> None:
        chosen = self._value(which)
        if chosen is not None:
            self._pass_on(cases[int(chosen)])
            return
        values = [self._value(case) for case in cases]
        if all(isinstance(value, bool | None) for value in values):
            self._say(values[0] if values[0] == values[1] else None)
            return
        first, second = map(_real, values)
        self._either(first.union(second) if first.is_finite() and second.is_finite() else flint().arb.nan())


def _real(value: Any) -> Ball:
    """A truth value as 0 or 1, or both."""
    arb = flint().arb
    if value is None:
        return arb(0).union(arb(1))
    return arb(int(value)) if isinstance(value, bool) else value


class Recorder:
    """The hook of `jnorm.jaxprs.evaluate` that writes a tape; its values are slots and known arrays."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def __call__(self, site: Any, *inputs: Any) -> list[Any]:
        """What an equation makes.

        Raises:
            NotImplementedError: For a primitive that python-flint does not enclose, with its line.
        """
        if not any(isinstance(x, Slot) for x in inputs):
            return list(site.run(*inputs))
        name, params = site.primitive, site.params
        if name == "convert_element_type" and not (
            jnp.issubdtype(params["new_dtype"], jnp.floating) or site.equation.invars[0].aval.dtype == bool
        ):
            raise NotImplementedError(f"{site} makes whole numbers: python-flint encloses no rounding")
        if name not in NAMES:
            raise NotImplementedError(f"{site} is no elementwise function that python-flint encloses")
        arguments = [x if isinstance(x, Slot) else self._number(site, x) for x in inputs]
        if name == "integer_pow":
            arguments.append(float(params["y"]))
        self.operations.append(Operation(name, tuple(arguments), str(site)))
        return [Slot(len(self.operations))]

    @staticmethod
    def _number(site: Any, x: Any) -> float | bool:
        """The one number of an array that does not differ from unit to unit."""
        array = np.asarray(x)
        if array.size == 0 or not (array == array.flat[0]).all():
            raise ValueError(f"{site} takes numbers that differ from unit to unit: an activation is one function")
        return bool(array.flat[0]) if array.dtype == bool else float(array.flat[0])


def tape(phi: Callable[..., Any], like: Any = None) -> Tape:
    """The tape of an elementwise function.

    Args:
        phi: Made of `jax.numpy` operations.
        like: Shape and dtype of its argument; a scalar of float64 where none is given.

    Raises:
        NotImplementedError: For a primitive that python-flint does not enclose, with its line.
        ValueError: For a function that is not elementwise, or differs from unit to unit.
    """
    with jax.enable_x64(True):
        like = like or jax.ShapeDtypeStruct((), jnp.float64)
        program = jax.make_jaxpr(phi)(like)
        if len(program.out_avals) != 1:
            raise ValueError(f"an activation must return one array; got {len(program.out_avals)}")
        recorder = Recorder()
        (result,) = jaxprs.evaluate(program, Slot(0), hook=recorder, opens=jaxprs.CALLS)
        if not isinstance(result, Slot):
            result = float(np.asarray(result).flat[0])
    return Tape(tuple(recorder.operations), result)
