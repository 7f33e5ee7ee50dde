"""What all units of a layer have in common: a random number that an average over them leaves, beside their means.

Channels of images or words whose positions are mixed by one weight are not independent: where what they put in has a
mean, all get the same random number from it. A layer norm takes that off again.
"""

import functools
from typing import Any

import numpy as np

from jnorm.predict._atoms import Function, Product
from jnorm.predict._nodes import Node
from jnorm.predict._values import Random, added, affine, apply, diagonal

NODES = 64
_nodes = functools.cache(np.polynomial.hermite_e.hermegauss)


def has_common(x: Random, count: int) -> bool:
    """Whether ``count`` units have something random in common."""
    return any(
        atom.shared == count or (isinstance(atom, Function) and has_common(atom.base, count)) for atom in x.terms
    )


def average(x: Random, count: int) -> Random:
    """The average over ``count`` units, for the same explicit indices: what these have in common, and means."""
    if x.base is not x:
        return affine(average(x.base, count), x.scale, x.shift)
    known = x.__dict__.setdefault("_averages", {})
    if count not in known:
        terms = {}
        offset = np.array(np.broadcast_to(x.offset, (x.size,)), np.float64)
        for atom, a in x.terms.items():
            if atom.shared == count:
                terms[atom] = a
            elif isinstance(atom, Function) and has_common(atom.base, count):
                of = average(atom.base, count)
                rest = np.sqrt(np.maximum(diagonal(atom.base) - diagonal(of), 0.0))
                terms[Function(of, Smoothed(atom.node, rest))] = a
            else:
                offset += apply(a, atom.mean)
        known[count] = Random(x.axes, offset, terms, status=x.status, law=x.law)
    return known[count]


def apart_from(x: Random, count: int) -> Random:
    """A value without what ``count`` units have in common."""
    return added(x, affine(average(x, count), -1.0))


def summand(x: Random, count: int) -> Random:
    """What counts of a value in a sum over units, where products have a factor whose sum is zero."""
    terms: dict[Any, Any] = {}
    for atom, a in x.terms.items():
        if isinstance(atom, Product) and (atom.first.centred or atom.then.centred):
            pairs = ((atom.first, atom.then), (atom.then, atom.first))
            atom = Product(*(apart_from(v, count) if other.centred else v for v, other in pairs))
        terms[atom] = a
    return x if terms == x.terms else Random(x.axes, x.offset, terms, status=x.status, law=x.law)


class Smoothed(Node):
    """``E f(z + std xi)`` over a standard normal ``xi``, a function without kinks."""

    smooth = True

    def __init__(self, node: Node, std: np.ndarray) -> None:
        super().__init__("smoothed", lambda: None, (node, std))
        self.node, self.std = node, std

    def at(self, z: np.ndarray, memo: object = None) -> np.ndarray:
        x, w = _nodes(NODES)
        return sum(weight * self.node.at(z + self.std * at) for at, weight in zip(x, w / w.sum(), strict=True))

    def selected(self, index: np.ndarray, memo: object = None) -> "Smoothed":
        return Smoothed(self.node.selected(index), self.std[index])
