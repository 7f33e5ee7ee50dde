"""What a program computes from one variable, as expressions: where it is affine, piecewise constant, within what range.

A value that does not depend on the variable is kept as it is, a NumPy array where it is known while Python runs, else a
tracer; what depends on it is a `Term`. Equal terms are one object, so that what is compared twice jumps at one place.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jnorm import jaxprs
from jnorm._ground import _programs

UNROLLED = 64  # turns of a scan that are read
MOST = 64  # jumps that are listed
SHAPES = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "transpose", "reduce_sum", "concatenate", "stack", "slice"}
)
PASSING = frozenset({"convert_element_type", "copy", "copy_p", "name", "reduce_precision", "stop_gradient", "pvary"})
PIECES = frozenset({"max", "min", "clamp", "select_n"})
_SUMS = SHAPES | PIECES | (PASSING - {"reduce_precision"})
_SUMS |= {"reduce_sum", "concatenate", "stack", "neg", "add", "sub", "add_any", "add_jaxvals", "abs"}


class Unreadable(ValueError):
    """What of an integrand its program does not say, so that ``kinks=`` must."""

    def __init__(self, why: str, site: jaxprs.Site | None = None) -> None:
        where = f": {site}" if site else ""
        super().__init__(f"kinks of `f` cannot be read, since {why}{where}; give them as `kinks=`")


@dataclasses.dataclass(eq=False)
class Term:
    """A part of a program that depends on the variable.

    Attributes:
        op: Name of the primitive; ``"z"`` is the variable, ``"other"`` a variable that is integrated elsewhere, and
            ``"error"`` what cannot be read.
        inputs: Terms, and values that do not depend on the variable.
        shape: Its shape.
        dtype: Its dtype.
        axes: Of each axis the one of the points that it is, or ``None`` for one that the program has added.
        site: The equation.
        output: Which of the equation's results it is.
        line: Slope and offset of a straight line, of the term's shape or scalars.
        low: What it is never below.
        high: What it is never above.
        flat: Whether it is constant between jumps of its inputs.
        other: Whether it depends on a variable that is integrated elsewhere.
        error: Why it cannot be read: raised where a result depends on it.
    """

    op: str
    inputs: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: Any
    axes: tuple[int | None, ...]
    site: jaxprs.Site | None = None
    output: int = 0
    line: tuple[Any, Any] | None = None
    low: float = -math.inf
    high: float = math.inf
    flat: bool = False
    other: bool = False
    error: ValueError | None = None

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the equation."""
        return self.site.params if self.site else {}

    @functools.cached_property
    def degree(self) -> int | None:
        """Of the polynomial that it is between jumps; ``None`` where it is none, or is rounded on the way."""
        if self.flat or self.op == "z":
            return 0 if self.flat else 1
        parts = [part.degree if isinstance(part, Term) else 0 for part in self.inputs]
        known = [part for part in parts if part is not None]
        if self.other or len(known) < len(parts) or np.dtype(self.dtype).itemsize < _bytes(self.inputs):
            return None
        if self.op in _SUMS:
            return max(known)
        if self.op in ("mul", "dot_general"):
            return sum(known)
        if self.op in ("div", "gather"):
            return None if known[1] else known[0]
        power = 2 if self.op == "square" else self.params["y"] if self.op == "integer_pow" else -1
        return power * known[0] if power >= 0 else None


def _bytes(parts: Sequence[Any]) -> int:
    """Of the widest number among those that move with the variable."""
    return max((np.dtype(part.dtype).itemsize for part in parts if isinstance(part, Term) and not part.flat), default=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Meeting:
    """Two terms, or a term and a value, whose difference is to be searched for zeros."""

    first: Any
    second: Any


def variable(points: Any, op: str = "z") -> Term:
    """The variable itself, of the points' shape and dtype."""
    one, zero = np.ones((), points.dtype), np.zeros((), points.dtype)
    axes = tuple(range(len(points.shape)))
    line = (one, zero) if op == "z" else None
    return Term(op, (), tuple(points.shape), points.dtype, axes, line=line, other=op != "z")


def is_known(value: Any) -> bool:
    """Whether a value is a number or NumPy array."""
    return not isinstance(value, Term | jax.Array)


def number(value: Any) -> float | None:
    """The number that a known value is everywhere, else ``None``."""
    if not is_known(value) or not np.size(value):
        return None
    array = np.asarray(value)
    first = array.flat[0]
    floating = array.dtype.kind == "f"
    uniform = (
        array.ndim == 0
        or not any(array.strides)
        or np.array_equal(array, np.broadcast_to(first, array.shape), equal_nan=floating)
    )
    return float(first) if uniform and array.dtype.kind in "fiub" else None


class Reader:
    """Reads equations as terms: the hook of `jnorm.jaxprs.evaluate`.

    Attributes:
        rule: ``rule(site, inputs)`` returns the results of an equation some of whose inputs are terms.
    """

    def __init__(self, rule: Callable[[jaxprs.Site, Sequence[Any]], list[Any]]) -> None:
        self.rule = rule
        self._memo: dict[Any, tuple[Any, list[Any]]] = {}

    def __call__(self, site: jaxprs.Site, *inputs: Any) -> list[Any]:
        """The results of an equation."""
        terms = [value for value in inputs if isinstance(value, Term)]
        error = next((term.error for term in terms if term.error), None)
        if terms and not error:
            try:
                if site.primitive == "cond":
                    return self._branches(site, inputs)
                if site.primitive == "scan":
                    return self._turns(site, inputs)
                if site.primitive == "while":
                    return self._while(site, inputs)
            except ValueError as why:
                error = why
        if error:
            return [Term("error", (), (), None, (), error=error) for _ in site.equation.outvars]
        key = (site.equation.primitive, _programs.key(site.params), tuple(map(_identity, inputs)))
        if key not in self._memo:
            self._memo[key] = inputs, self._results(site, inputs)  # inputs live on, so that no id comes again
        return self._memo[key][1]

    def _results(self, site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
        if any(isinstance(value, Term) for value in inputs):
            try:
                return self.rule(site, inputs)
            except ValueError as why:
                return [Term("error", (), (), None, (), error=why) for _ in site.equation.outvars]
        if all(map(is_known, inputs)) and not site.equation.effects:
            return folded(site, inputs)
        return site.run(*inputs)

    def _branches(self, site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
        index = inputs[0]
        if not isinstance(index, Term):
            raise Unreadable("a branch is chosen by a value that is data", site)
        rows = [site.open(body, *inputs[1:]) for body in site.bodies]
        results: list[Any] = []
        for i, cases in enumerate(zip(*rows, strict=True)):
            like = site.equation.outvars[i].aval
            axes = next((case.axes for case in cases if isinstance(case, Term)), index.axes)
            shape: Any = like.shape  # type: ignore[attr-defined]
            flat = not any(isinstance(case, Term) and not case.flat for case in cases)
            term = Term("select_n", (index, *cases), shape, like.dtype, axes, flat=flat)  # type: ignore[attr-defined]
            term.other = any(isinstance(part, Term) and part.other for part in term.inputs)
            results.append(term)
        return results

    def _turns(self, site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
        params, (body,) = site.params, site.bodies
        fixed, carried = params["num_consts"], params["num_carry"]
        consts, carry, xs = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
        if params["length"] > UNROLLED or len(site.equation.outvars) > carried:
            raise Unreadable(f"a loop is read up to {UNROLLED} turns, and only what it carries", site)
        if any(isinstance(x, Term) for x in xs):
            raise Unreadable("a loop goes through values that depend on the point", site)
        turns = range(params["length"])
        for turn in reversed(turns) if params["reverse"] else turns:
            carry = site.open(body, *consts, *carry, *(x[turn] for x in xs))[:carried]
        return carry

    def _while(self, site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
        condition, body = site.bodies
        first = site.params["cond_nconsts"]
        second = first + site.params["body_nconsts"]
        carry = list(inputs[second:])
        for _ in range(UNROLLED):
            go_on = number(site.open(condition, *inputs[:first], *carry)[0])
            if go_on is None:
                raise Unreadable("how often a loop turns depends on the point, or is data", site)
            if not go_on:
                return carry
            carry = site.open(body, *inputs[first:second], *carry)
        raise Unreadable(f"a loop is read up to {UNROLLED} turns", site)


def _identity(value: Any) -> Any:
    if isinstance(value, Term | jax.Array):
        return id(value)
    return _programs.key(value)


def folded(site: jaxprs.Site, inputs: Sequence[Any]) -> list[Any]:
    """The results of known inputs, known: of what occurs most without a program of its own."""
    params = site.params
    if site.primitive == "broadcast_in_dim" and np.ndim(inputs[0]) == 0:
        return [np.broadcast_to(np.asarray(inputs[0]), params["shape"])]
    if site.primitive == "convert_element_type" and np.dtype(params["new_dtype"]).kind in "fiu":
        return [np.asarray(inputs[0]).astype(params["new_dtype"])]
    with jax.ensure_compile_time_eval():
        return [np.asarray(value) for value in site.run(*inputs)]


def computed(terms: Sequence[Any], z: Any) -> list[Any]:
    """The values of terms where the variable is ``z``."""
    memo: dict[Any, Any] = {}

    def value(part: Any) -> Any:
        if not isinstance(part, Term):
            return part
        if part.op == "z":
            return z
        if id(part) not in memo:
            inputs = [value(other) for other in part.inputs]
            if part.site is None:  # what is chosen by the index of a branch
                memo[id(part)] = jax.lax.switch(inputs[0], [lambda case=case: case for case in inputs[1:]])
            else:
                memo[id(part)] = part.site.run(*inputs)[part.output]
        return memo[id(part)]

    return [value(term) for term in terms]


def ancestors(terms: Sequence[Any]) -> list[Term]:
    """The terms that others are made of, these included, each once and after its own."""
    found: dict[int, Term] = {}

    def visit(term: Any) -> None:
        if isinstance(term, Term) and id(term) not in found:
            for part in term.inputs:
                visit(part)
            found[id(term)] = term

    for term in terms:
        visit(term)
    return list(found.values())
