"""How often a program reads and writes full-size arrays, counted from its jaxpr: the same count on every machine.

The model is a compiler that fuses, as XLA does for GPUs and TPUs:

1. Only arrays count that have more than half of the elements of the largest argument or result.
2. What works entry by entry or moves entries (arithmetic, casts, broadcasts, reshapes, slices, Threefry) is computed
   anew inside whatever consumes it, from arrays in memory: arguments and what 3 and 4 leave there.
3. A reduction ends a pass over memory; what it yields is known to later passes only.
4. Products, sorts, cumulative sums, loops, `rng_bit_generator` and barriers read their operands, write their results.
5. Two reductions over the same axes, or one and a result, share a pass if they read an array in common and neither
   waits for the other: that array is read once.
6. Written are results, each array once; an argument that is returned as it is, or reshaped, is not.
7. Nested calls are opened; of ``lax.platform_dependent`` the branch for an accelerator counts.
8. With gradient there are two programs: one returns the result and what the backward pass needs, the other reads that
   and the cotangent. So it is in training, where the cotangent depends on the result, and between the steps of a scan.

It is no bound from below: where one row fits into fast memory, a compiler may read it once for all of its passes.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

_REDUCTIONS = {
    *("reduce", "argmax", "argmin"),
    *("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor"),
}
_ALONE = {
    *("dot_general", "ragged_dot", "conv_general_dilated", "fft", "sort", "top_k", "reduce_window"),
    *("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "scan", "while", "cond"),
    *("rng_bit_generator", "optimization_barrier", "select_and_scatter_add", "ffi_call", "pure_callback"),
    *("cholesky", "qr", "householder_product", "eigh", "svd", "lu", "triangular_solve"),
}
_VIEWS = {"reshape", "squeeze", "expand_dims"}  # of an array in memory: the same array


class Passes(NamedTuple):
    """How many full-size arrays a program reads and writes, one as often as it passes through memory."""

    reads: int
    writes: int


def passes(function: Callable[..., Any], *args: Any) -> Passes:
    """The reads and writes of ``function(*args)``; arguments may be ``jax.ShapeDtypeStruct``.

    To count a gradient as one program, whose cotangent is there from the start, hand over one that computes both.

    >>> x = jnp.ones((8, 4))
    >>> passes(lambda x: x - jnp.mean(x, 0, keepdims=True), x)
    Passes(reads=2, writes=1)
    """
    program = jax.make_jaxpr(function)(*args)
    return _count(program, _full_size(program))


def passes_with_gradient(function: Callable[..., Any], *args: Any) -> Passes:
    """The reads and writes of ``jax.vjp`` with respect to all floating arguments, and of the pullback.

    >>> passes_with_gradient(jnp.exp, jnp.ones(8))  # exp(x) twice, as the result and for the gradient; it and dy to dx
    Passes(reads=3, writes=2)
    """
    forward, backward, _ = _programs(function, *args)
    full = _full_size(forward)
    return Passes(*(sum(counts) for counts in zip(_count(forward, full), _count(backward, full), strict=True)))


def kept_bytes(function: Callable[..., Any], *args: Any) -> dict[str, float]:
    """The full-size arrays that the backward pass needs, in bytes by dtype for an element of the largest argument.

    Arguments count too where they are needed.

    >>> kept_bytes(lambda x: jnp.where(x > 0, jnp.exp(x), x), jnp.ones(8))
    {'bool': 1.0, 'float32': 4.0}
    """
    forward, _, kept = _programs(function, *args)
    full, found = _full_size(forward), {}
    outs = forward.jaxpr.outvars[len(forward.jaxpr.outvars) - kept :]
    for aval in {v: v.aval for v in outs if not isinstance(v, Literal)}.values():
        if 2 * aval.size > full:
            name = str(aval.dtype)
            found[name] = found.get(name, 0.0) + aval.size * aval.dtype.itemsize / full
    return dict(sorted(found.items()))


def _programs(function: Callable[..., Any], *args: Any) -> tuple[ClosedJaxpr, ClosedJaxpr, int]:
    """The forward program, the backward program, and how many of the first's results are there for the second."""
    leaves, structure = jax.tree.flatten(args)
    floating = lambda leaf: jnp.issubdtype(getattr(leaf, "dtype", int), jnp.inexact)
    moves = [floating(leaf) for leaf in leaves]
    moving = [leaf for leaf, m in zip(leaves, moves, strict=True) if m]
    fixed = [leaf for leaf, m in zip(leaves, moves, strict=True) if not m]
    pulls = []

    def forward(moving: list[Any], fixed: list[Any]) -> tuple[list[Any], list[Any]]:
        def of_moving(values: list[Any]) -> list[Any]:
            sources = iter(values), iter(fixed)
            out = function(*jax.tree.unflatten(structure, [next(sources[0 if m else 1]) for m in moves]))
            return [leaf for leaf in jax.tree.leaves(out) if floating(leaf)]

        out, pull = jax.vjp(of_moving, moving)
        kept, pull_structure = jax.tree.flatten(pull)
        pulls.append(pull_structure)
        return out, kept

    program, (out, kept) = jax.make_jaxpr(forward, return_shape=True)(moving, fixed)
    backward = jax.make_jaxpr(lambda kept, cotangent: jax.tree.unflatten(pulls[0], kept)(cotangent))(kept, out)
    return program, backward, len(kept)


class _Operation(NamedTuple):
    """What yields an array: ``kind`` "map" is fused into its consumers, "reduction" and "alone" end a pass."""

    number: int
    kind: str
    axes: Any  # of a reduction: which stretches of its operand it sums over
    sources: tuple[Any, ...]


class _Array:
    """An array of the program, with the operation that yields it; an argument or constant has none."""

    def __init__(self, size: int, operation: _Operation | None = None) -> None:
        self.size, self.operation = size, operation

    @property
    def stored(self) -> bool:
        return self.operation is None or self.operation.kind != "map"


class _Pass:
    """One walk through memory: what it yields, the full-size arrays that it reads, and the passes it waits for."""

    def __init__(self, operation: _Operation, full: int) -> None:
        self.yields, self.axes, self.alone = {operation.number}, operation.axes, operation.kind == "alone"
        self.reads: set[_Array] = set()
        self.waits: set[int] = set()
        seen: set[int] = set()
        ahead = list(operation.sources)
        while ahead:
            array = ahead.pop()
            if id(array) in seen:
                continue
            seen.add(id(array))
            if not array.stored:
                ahead.extend(array.operation.sources)
                continue
            if array.operation is not None:
                self.waits.add(array.operation.number)
            if 2 * array.size > full:
                self.reads.add(array)

    def absorb(self, other: "_Pass") -> None:
        self.yields |= other.yields
        self.reads |= other.reads
        self.waits |= other.waits
        self.axes = other.axes if self.axes is None else self.axes


def _full_size(program: ClosedJaxpr) -> int:
    variables = (*program.jaxpr.invars, *program.jaxpr.outvars)
    return max((v.aval.size for v in variables if hasattr(v.aval, "size")), default=0)


def _count(program: ClosedJaxpr, full: int) -> Passes:
    numbers = itertools.count()
    arguments = [_Array(_size(v)) for v in program.jaxpr.invars]
    results = _opened(program.jaxpr, [_Array(_size(v)) for v in program.jaxpr.constvars], arguments, numbers)
    large = {id(a): a for a in results if 2 * a.size > full and a.operation is not None}.values()
    written = [a for a in large if not a.stored]
    operations = _ending_passes(results)
    todo = [_Pass(operation, full) for operation in operations]
    todo += [_Pass(_Operation(next(numbers), "map", None, (array,)), full) for array in written]
    _share(todo)
    held = {id(a) for a in _yields(results) if a.operation is not None and a.stored and 2 * a.size > full}
    return Passes(sum(len(p.reads) for p in todo), len(written) + len(held))


def _share(todo: list[_Pass]) -> None:
    """Merge passes that read an array in common: first those with most in common, then those that may run together."""
    while True:
        best = max(
            ((a, b) for a, b in itertools.combinations(todo, 2) if _may_share(a, b, todo)),
            key=lambda pair: (len(pair[0].reads & pair[1].reads), -abs(_depth(pair[0], todo) - _depth(pair[1], todo))),
            default=None,
        )
        if best is None:
            return
        first, second = best
        first.absorb(second)
        todo.remove(second)


def _may_share(a: _Pass, b: _Pass, todo: Sequence[_Pass]) -> bool:
    if a.alone or b.alone or not a.reads & b.reads:
        return False
    if a.axes is not None and b.axes is not None and a.axes != b.axes:
        return False
    return not (_before(a, todo) & b.yields or _before(b, todo) & a.yields)


def _depth(this: _Pass, todo: Sequence[_Pass]) -> int:
    """How many passes in a row come before."""
    return max((1 + _depth(p, todo) for p in todo if p.yields & this.waits), default=0)


def _before(this: _Pass, todo: Sequence[_Pass]) -> set[int]:
    """All that a pass waits for, directly or not."""
    found: set[int] = set()
    ahead = set(this.waits)
    while ahead:
        found |= ahead
        ahead = {n for p in todo if p.yields & ahead for n in p.waits} - found
    return found


def _yields(results: Iterable[_Array]) -> Iterator[_Array]:
    """Every array that leads to the results, these included."""
    seen: set[int] = set()
    ahead = list(results)
    while ahead:
        array = ahead.pop()
        if id(array) not in seen:
            seen.add(id(array))
            yield array
            if array.operation is not None:
                ahead.extend(array.operation.sources)


def _ending_passes(results: Iterable[_Array]) -> list[_Operation]:
    operations = {a.operation.number: a.operation for a in _yields(results) if a.operation and a.stored}
    return [operations[number] for number in sorted(operations)]


def _opened(jaxpr: Jaxpr, constants: list[_Array], arguments: list[_Array], numbers: Iterator[int]) -> list[_Array]:
    """The results of a jaxpr as arrays that know what yields them, through all nested calls."""
    arrays: dict[Any, _Array] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(atoms: Iterable[Any]) -> list[_Array]:
        return [_Array(0) if isinstance(atom, Literal) else arrays[atom] for atom in atoms]

    for equation in jaxpr.eqns:
        sources = read(equation.invars)
        inner, given = _called(equation, sources)
        if equation.primitive.name in _VIEWS and sources[0].stored:
            outs = sources[:1]
        elif inner is not None:
            closed = inner if isinstance(inner, ClosedJaxpr) else None
            body = closed.jaxpr if closed else inner
            outs = _opened(body, [_Array(_size(v)) for v in body.constvars], given, numbers)
        else:
            operation = _Operation(next(numbers), *_kind(equation), tuple(sources))
            outs = [_Array(_size(v), operation) for v in equation.outvars]
        arrays.update(zip(equation.outvars, outs, strict=True))
    return read(jaxpr.outvars)


def _called(equation: JaxprEqn, sources: list[_Array]) -> tuple[Any, list[_Array]]:
    """The jaxpr that an equation calls with its operands, if it is a plain call, and these."""
    name, params = equation.primitive.name, equation.params
    if name == "cond" and params.get("branches_platforms") is not None:
        return params["branches"][_accelerated(params["branches_platforms"])], sources[1:]
    if name in _ALONE | _REDUCTIONS:
        return None, sources
    inner = [p for p in params.values() if isinstance(p, Jaxpr | ClosedJaxpr)]
    return (inner[0] if len(inner) == 1 else None), sources


def _accelerated(platforms: Sequence[Sequence[str] | None]) -> int:
    """Which branch an accelerator takes: the first one named for one, else the default."""
    for number, names in enumerate(platforms):
        if names is None or {"cuda", "rocm", "tpu"} & set(names):
            return number
    raise ValueError(f"no branch for an accelerator among {platforms}")


def _kind(equation: JaxprEqn) -> tuple[str, Any]:
    name, params = equation.primitive.name, equation.params
    if name in _ALONE:
        return "alone", None
    if name not in _REDUCTIONS:
        return "map", None
    axes = params["dimensions"] if "dimensions" in params else params["axes"]
    shape = equation.invars[0].aval.shape
    long = [(axis in axes, n) for axis, n in enumerate(shape) if n > 1]
    stretches = itertools.groupby(long, key=lambda part: part[0])  # reshapes do not change these
    return "reduction", tuple((summed, math.prod(n for _, n in part)) for summed, part in stretches)


def _size(variable: Any) -> int:
    return getattr(variable.aval, "size", 0)
