"""What values of one unit make together: functions of one Gaussian, products of independent values, else samples."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jnorm.predict._atoms import Function, Product, Rows
from jnorm.predict._nodes import IDENTITY, Node
from jnorm.predict._values import GAUSSIAN, LARGE, SAMPLED, Atoms, Random, affine


def one_gaussian(values: Sequence[Any]) -> tuple[Random | None, list[Any]]:
    """The Gaussian that all operands are functions of, and these functions; ``None`` if there is none."""
    base: Random | None = None
    nodes: list[Any] = []
    for x in values:
        if not isinstance(x, Random):
            nodes.append(x)
            continue
        own, node = _curve(x)
        if own is None or (base is not None and own is not base):
            return None, []
        base = own
        nodes.append(node)
    return base, nodes


def _curve(x: Random) -> tuple[Random | None, Any]:
    if x.gaussian:
        one = x.base is x
        return x.base, IDENTITY if one else _affine_node(IDENTITY, x.scale, x.shift)
    if len(x.terms) == 1:
        ((atom, a),) = x.terms.items()
        if isinstance(atom, Function) and (a is None or a.ndim == 1):
            plain = a is None and not np.any(x.offset)
            return atom.base, atom.node if plain else _affine_node(atom.node, 1.0 if a is None else a, x.offset)
    return None, None


def _affine_node(node: Node, scale: Any, shift: Any) -> Node:
    return Node("affine", scaled, (node, _one(scale), _one(shift)))


def scaled(z: Any, scale: Any, shift: Any) -> Any:
    """``scale * z + shift`` of numbers of any kind."""
    if jax.numpy.issubdtype(z.dtype, np.floating):
        return z * scale + shift
    with jax.enable_x64(True):  # of whole numbers and truth values
        return z.astype(np.float64) * scale + shift


def _one(numbers: Any) -> np.ndarray:
    numbers = np.asarray(numbers, np.float64)
    return numbers.ravel()[0] if numbers.size and np.all(numbers == numbers.ravel()[0]) else numbers


def product(a: Random, b: Random, pool: Any) -> Random | None:
    """The product of independent values, or one more factor of such a product."""
    if a.size > LARGE:  # of which sums are matrices
        return None
    (a, s), (b, t) = _bare(a), _bare(b)
    status, law, axes = max(a.status, b.status), max(a.law, b.law, GAUSSIAN), a.axes
    if a.deps.isdisjoint(b.deps):
        out = Random(axes, np.zeros(()), {Product(a, b): None}, status=status, law=law)
        return _times(out, s * t)
    for whole, factor in ((a, b), (b, a)):
        found = _factors(whole)
        if found is None:
            continue
        *parts, scale = found
        for part, other in (parts, parts[::-1]):
            if other.deps.isdisjoint(factor.deps):
                inner = _together(operator.mul, part, factor) or sampled(operator.mul, [part, factor], part.axes, pool)
                terms: dict[Any, Any] = {Product(inner, other): None}
                out = Random(axes, np.zeros(()), terms, status=max(status, inner.status), law=law)
                return _times(out, scale * s * t)
    return None


def _times(x: Random, scale: Any) -> Random:
    return x if np.all(scale == 1.0) else affine(x, scale)


def _bare(x: Random) -> tuple[Random, Any]:
    """What a value is a multiple of, and the multiple."""
    plain = x.base is x or np.any(x.shift)
    return (x, 1.0) if plain else (x.base.like(x.axes), x.scale)


def _factors(x: Random) -> tuple[Random, Random, Any] | None:
    """The two independent factors of a value, and what they are scaled by."""
    if len(x.terms) != 1 or np.any(x.offset):
        return None
    ((atom, scale),) = x.terms.items()
    if not isinstance(atom, Product) or (scale is not None and scale.ndim != 1):
        return None
    return atom.first, atom.then, 1.0 if scale is None else scale


def _together(f: Callable[..., Any], *values: Random) -> Random | None:
    """A function of values that are functions of the same Gaussian."""
    base, nodes = one_gaussian(values)
    if base is None:
        return None
    status = max(x.law for x in (base, *values))
    atom = Function(base, Node(f.__name__, f, nodes))
    return Random(values[0].axes, np.zeros(()), {atom: None}, status=status, law=status)


def _equal(u: Random, v: Random) -> bool:
    alike = u.base is v.base and np.array_equal(u.scale, v.scale) and np.array_equal(u.shift, v.shift)
    return u is v or alike


def merged(a: Random, b: Random) -> Random | None:
    """The sum of two products with a common factor, where the others are functions of one Gaussian."""
    one, two = _factors(a), _factors(b)
    if one is None or two is None:
        return None
    (*first, s), (*then, t) = one, two
    for part, factor in (first, first[::-1]):
        for other, same in (then, then[::-1]):
            if _equal(factor, same):
                total = _together(operator.add, _times(part, s), _times(other, t))
                if total is not None:
                    law = max(a.law, b.law)
                    return Random(a.axes, np.zeros(()), {Product(total, factor): None}, status=total.status, law=law)
    return None


def mixed(a: Random, b: Random) -> bool:
    """Whether a product meets samples of what is in it, which may cancel, as in a softmax: then both are sampled."""
    kinds = [{type(atom) for atom in v.terms} for v in (a, b)]
    meets = any(Product in kinds[i] and Rows in kinds[1 - i] for i in (0, 1))
    return meets and not a.deps.isdisjoint(b.deps)


def sampled(f: Callable[..., Any], values: Sequence[Any], axes: tuple[Atoms, ...], pool: Any) -> Random:
    """A function of joint samples ``[count, *small]`` of its operands."""
    small = tuple(1 if unit else size for atoms in axes for size, unit in atoms)
    random = [x for x in values if isinstance(x, Random)]

    def make(pool: Any) -> np.ndarray:
        rows = [pool.rows(x) for x in random]
        count = min(map(len, rows))
        known = iter(r[:count].reshape(count, -1) for r in rows)
        parts = [next(known) if isinstance(x, Random) else x for x in values]
        return np.asarray(f(*parts), np.float64).reshape(count, -1)

    size = int(np.prod(small, dtype=int))
    deps = frozenset().union(*(x.deps for x in random))
    atom, counts = Rows(size, deps, make, pool), {x.common for x in random}
    atom.shared = counts.pop() if len(counts) == 1 else 0
    atom.chance = any(x.chance for x in random)
    return Random(axes, np.zeros(()), {atom: None}, status=SAMPLED, law=SAMPLED)
