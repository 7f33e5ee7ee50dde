"""Operations that act on every number by itself."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnorm.predict._atoms import Atom, Function, Root
from jnorm.predict._copies import Picked, meeting
from jnorm.predict._nodes import Node, bind
from jnorm.predict._together import merged, mixed, one_gaussian, product, sampled
from jnorm.predict._values import (
    EXACT,
    GAUSSIAN,
    LARGE,
    SAMPLED,
    Atoms,
    Random,
    Refused,
    Weight,
    added,
    affine,
    alike,
    diagonal,
    select,
)

# fmt: off
NAMES = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil",
    "clamp", "convert_element_type", "copy", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic",
    "lt", "max", "min", "mul", "ne", "neg", "not", "optimization_barrier", "or", "pow", "reduce_precision", "rem",
    "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh",
    "xor",
})
# fmt: on
STEPS = frozenset({"ceil", "floor", "rem", "round"})
"""What jumps infinitely often, for which there are no panels between kinks."""
_ids = itertools.count()


def elementwise(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    """Linear ones exactly; functions of one Gaussian by their Hermite series; products of independent values by the
    moments of both; anything else by joint samples of units. What only passes numbers on is what it was given.
    """
    out = _elementwise(site, inputs, predictor)
    if isinstance(out, Random) and site.equation.outvars[0].aval.dtype == bool:
        out.logical = True
    return out


def _elementwise(site: Any, inputs: Sequence[Any], predictor: Any) -> Any:
    changes = site.primitive == "convert_element_type" and not _is_logical(inputs[0])
    if changes and jnp.issubdtype(site.params["new_dtype"], jnp.floating):
        return inputs[0]
    if site.primitive in ("stop_gradient", "copy", "optimization_barrier", "reduce_precision"):
        return inputs[0]
    if site.primitive in ("add", "add_any"):
        for x, other in (inputs, inputs[::-1]):
            known_zero = not isinstance(other, Random | Weight) and not np.any(other)
            if known_zero and isinstance(x, Random) and x.shape == site.equation.outvars[0].aval.shape:
                return x  # as where a probe is added
    status = max((x.status for x in inputs if isinstance(x, Random)), default=EXACT)
    centred = _centred(site.primitive, inputs)
    inputs = [known(x) if isinstance(x, Random) and not x.terms else x for x in inputs]
    inputs = [_meeting(x, inputs) for x in inputs]
    if site.primitive == "add_any":
        inputs = _alike(inputs)
    axes = aligned(site, inputs)
    values = [placed(x, axes, predictor) for x in inputs]
    out = _of_placed(site, values, axes, predictor)
    if not isinstance(out, Random):
        out = Random(axes, np.broadcast_to(out, (_size(axes),)), {}, status=status, law=status)
    out.status, out.law, out.centred = max(out.status, status), max(out.law, status), centred
    return out


def _centred(name: str, inputs: Sequence[Any]) -> bool:
    """Whether a mean over units is off what comes out."""
    random = [x for x in inputs if isinstance(x, Random)]
    if name in ("add", "sub", "add_any"):
        return any(x.centred and not x.terms for x in random) or all(x.centred for x in random if x.terms)
    scaled = name in ("neg", "mul", "div") and all(np.size(x) == 1 for x in inputs if not isinstance(x, Random))
    return scaled and len(random) == 1 and random[0].centred


def _alike(inputs: Sequence[Any]) -> Sequence[Any]:
    """Gradients by a weight that was used on data and on units, of which each number of the data counts as one."""
    if not all(isinstance(x, Random) for x in inputs):
        return inputs
    out = list(inputs)
    for axis in range(len(out[0].axes)):
        units = [any(unit for _, unit in x.axes[axis]) for x in out]
        if units[0] != units[1] and out[0].shape == out[1].shape:
            i = units.index(False)
            out[i] = _picked(out[i], axis, out[1 - i].axes[axis])
    return out


def _meeting(x: Any, inputs: Sequence[Any]) -> Any:
    for other in inputs if isinstance(x, Random) else ():
        x = meeting(x, other) if isinstance(other, Random) else x
    return x


def _picked(x: Random, axis: int, units: Atoms) -> Random:
    lead = math.prod(1 if unit else size for atoms in x.axes[:axis] for size, unit in atoms)
    count = x.shape[axis]
    index = np.arange(x.size).reshape(lead, count, -1).swapaxes(1, 2).reshape(-1, count)
    axes = (*x.axes[:axis], units, *x.axes[axis + 1 :])
    return Random(axes, np.zeros(()), {Picked(x, index): None}, status=x.status, law=SAMPLED)


def known(x: Random) -> np.ndarray:
    """The numbers of a value that nothing random is in."""
    full = tuple(size for atoms in x.axes for size, _ in atoms)
    return np.broadcast_to(np.broadcast_to(x.offset, (x.size,)).reshape(x.small), full).reshape(x.shape)


def _size(axes: tuple[Atoms, ...]) -> int:
    return int(np.prod([1 if unit else size for atoms in axes for size, unit in atoms], dtype=int))


def _of_placed(site: Any, values: Sequence[Any], axes: tuple[Atoms, ...], predictor: Any) -> Any:
    if not any(isinstance(x, Random) for x in values):
        return np.asarray(bind(site, *values), np.float64)
    random = [x for x in values if isinstance(x, Random)]
    if len(random) == 1 or site.primitive in ("add", "sub", "add_any"):
        out = _linear(site.primitive, values)
        if out is not None:
            return out
    base, nodes = one_gaussian(values)
    if base is not None and base.size <= LARGE and site.primitive not in STEPS:
        node = Node((site.primitive, repr(site.params)), lambda *parts: bind(site, *parts), nodes)
        status = max(base.law, *(x.law for x in random))
        atom = Function(base, node)
        if base.common:
            spread, mean = diagonal(Random(axes, np.zeros(()), {atom: None}, status=status, law=status)), atom.mean
            if np.all(spread <= 1e-18 * mean**2):  # as a variance of units about what they have in common
                return Random(axes, mean, {}, status=status, law=status)
        return Random(axes, np.zeros(()), {atom: None}, status=status, law=status)
    if site.primitive == "mul" and len(random) == 2:
        out = product(values[0], values[1], predictor.pool)
        if out is not None:
            return out
    return sampled(lambda *rows: bind(site, *rows), values, axes, predictor.pool)


def _is_logical(x: Any) -> bool:
    return getattr(x, "logical", False)


def aligned(site: Any, inputs: Sequence[Any]) -> tuple[Atoms, ...]:
    """The axes of the result: those of the random operands, where they are not of length one."""
    shape = site.equation.outvars[0].aval.shape
    axes: list[Atoms] = [((size, False),) for size in shape]
    for position, size in enumerate(shape):
        found = None
        for x in inputs:
            if isinstance(x, Random) and x.axes and x.shape[position] == size:
                if found is not None and not alike(found, x.axes[position]):
                    raise Refused(f"axis {position} is of units in one operand and of positions in another")
                found = max(found or (), x.axes[position], key=len)
        if (
            found is None
            and size > 1
            and any(isinstance(x, Weight) and x.shape and x.shape[position] == size for x in inputs)
        ):
            found = ((size, True),)
        axes[position] = found or axes[position]
    return tuple(axes)


def placed(x: Any, axes: tuple[Atoms, ...], predictor: Any) -> Any:
    """An operand over the explicit indices of the result: known numbers as ``[E]`` or one number."""
    if isinstance(x, Weight):
        x = predictor.as_random(x, axes)
    small = tuple(1 if unit else size for atoms in axes for size, unit in atoms)
    if isinstance(x, Random):
        if x.axes == axes:
            return x
        index = np.arange(x.size).reshape([1 if unit else s for atoms in x.axes for s, unit in atoms])
        own = [np.prod([1 if unit else s for s, unit in atoms], dtype=int) for atoms in x.axes]
        index = index.reshape(own or ())
        for position, atoms in enumerate(axes):
            whole = np.prod([s for s, _ in atoms], dtype=int)
            shared = x.common == whole
            if whole > 1 and any(unit for _, unit in atoms) and x.shape[position] == 1 and not shared:
                raise Refused("a random number that all units of a layer share")
        target = [np.prod([1 if unit else s for s, unit in atoms], dtype=int) for atoms in axes]
        return select(x, np.broadcast_to(index, target).ravel(), axes)
    x = np.asarray(x)
    if x.ndim == 0:
        return x
    if x.size == 1:
        return x.reshape(())
    full = tuple(size for atoms in axes for size, _ in atoms)
    shape = tuple(np.prod([size for size, _ in atoms], dtype=int) for atoms in axes)
    spread = np.broadcast_to(x, shape).reshape(full)
    for position, unit in enumerate(unit for atoms in axes for _, unit in atoms):
        if unit:
            first = np.take(spread, [0], position)
            if not np.array_equal(np.broadcast_to(first, spread.shape), spread):
                return predictor.frozen(x, axes)
            spread = first
    flat = np.broadcast_to(spread, small).ravel()
    return flat[0] if flat.size and np.all(flat == flat[0]) else flat


def _linear(name: str, values: Sequence[Any]) -> Any:
    if any(_is_logical(x) for x in values):
        return None
    if name == "neg":
        return affine(values[0], -1.0)
    if name not in ("add", "sub", "add_any", "mul", "div") or len(values) != 2:
        return None
    a, b = values
    sign = -1.0 if name == "sub" else 1.0
    if name in ("add", "sub", "add_any"):
        if isinstance(a, Random) and isinstance(b, Random):
            if not (a.gaussian and b.gaussian) and one_gaussian(values)[0] is not None:
                return None
            if mixed(a, b):
                return None
            b = b if sign > 0 else affine(b, -1.0)
            return merged(a, b) or added(a, b)
        return affine(a, 1.0, sign * b) if isinstance(a, Random) else affine(b, sign, a)
    if name == "mul":
        return affine(a, b) if isinstance(a, Random) else affine(b, a)
    return affine(a, 1.0 / np.asarray(b)) if isinstance(a, Random) else None


class Frozen(Atom):
    """Known numbers that differ from unit to unit, as the law of a unit that is picked at random."""

    gaussian = True

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers, self.size = numbers, len(numbers)
        self.mean, self.deps = numbers.mean(1), frozenset({("frozen", next(_ids))})

    def covariance(self, other: Atom) -> np.ndarray | None:
        if other is not self:
            return None if self.deps.isdisjoint(other.deps) else super().covariance(other)
        centred = self.numbers - self.mean[:, None]
        return centred @ centred.T / self.numbers.shape[1]

    def rows(self, pool: Any) -> np.ndarray:
        at = pool.rng.integers(self.numbers.shape[1], size=pool.share(self.size))
        return self.numbers.T[at]


def of_leaf(weight: Weight, axes: tuple[Atoms, ...], memo: dict[Any, Root]) -> Random:
    """The numbers of a parameter as a random value, one for each explicit index that its own axes have."""
    shape = weight.shape
    own = tuple(((1, False),) if size == 1 else atoms for size, atoms in zip(shape, axes, strict=True))
    size = int(np.prod([1 if unit else s for atoms in own for s, unit in atoms], dtype=int))
    key = (weight.key, own)
    if key not in memo:
        memo[key] = Root(key, weight.var, None, size, weight.normal)
    law = EXACT if weight.normal else GAUSSIAN
    return Random(own, np.zeros(()), {memo[key]: None}, status=EXACT, law=law)
