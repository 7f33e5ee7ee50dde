"""How far a single draw of the parameters strays from a prediction, to first order in 1 / width.

Of each value the size ``mean v^2`` over its units, examples and positions is a random number in a network of finite
width. Its relative deviation is a sum of independent *sources*, as in `jnorm.theory.finite_width`: what is new in the
units of a layer, given the layer before, and what earlier layers hand on. An operation hands on deviations of its
inputs by its *elasticity*, ``d log sqrt(E[out^2]) / d log input``, as if an input were scaled as a whole. So a norm
takes out what it has measured, a residual stream averages, and relu's deviations add up to ``5 / width`` a layer.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jnorm import jaxprs
from jnorm.predict import _hermite
from jnorm.predict._atoms import Function, Product, Rows
from jnorm.predict._elementwise import NAMES, known
from jnorm.predict._nodes import Node, bind
from jnorm.predict._pool import Pool
from jnorm.predict._together import scaled
from jnorm.predict._values import EXACT, Random, Weight, _flat, _select, select

SOME = 16  # explicit indices that stand for all
STEP = 1e-3  # of scales, in differences

ONCE = frozenset(
    {"mul", "neg", "dot_general", "conv_general_dilated", "reshape", "transpose", "squeeze", "broadcast_in_dim"}
    | {"slice", "pad", "rev", "gather", "dynamic_slice", "convert_element_type", "reduce_sum", "reduce_max", "abs"}
    | {"reduce_min", "cumsum", "reduce_window_sum", "reduce_window_max", "reduce_window_min", "stop_gradient", "copy"}
    | {"optimization_barrier", "reduce_precision", "scatter-add", "select_and_scatter_add", "split", "tile", "unstack"}
)
"""What scales as each of its inputs does."""
SUMS = frozenset({"add", "add_any", "sub"})


@dataclasses.dataclass
class Stray:
    """Coefficients of the sources in the relative deviation of ``sqrt(mean v^2)``.

    Attributes:
        parts: By source.
        own: Of sources in the units of the value itself, as if the averages that are in it were fixed numbers.
        last: The source that this value has for itself, which averages over its units do not have.
        carrier: The Gaussian value that it is a function of.
        told: Whether it is known.
    """

    parts: dict[int, float]
    own: dict[int, float]
    last: int | None = None
    carrier: Random | None = None
    told: bool = True


_NONE = Stray({}, {})
_LOST = Stray({}, {}, told=False)


@dataclasses.dataclass
class Strays:
    """The sources of a program, and the rule of all operations.

    Attributes:
        vars: The variance of each source.
    """

    vars: list[float] = dataclasses.field(default_factory=list)

    def spread(self, v: Random) -> float:
        """The standard deviation of ``log mean v^2``; NaN where nothing is known of an operation."""
        stray = v.stray or _LOST
        if not stray.told:
            return math.nan
        return 2 * math.sqrt(sum(c * c * self.vars[i] for i, c in stray.parts.items()))

    def follow(self, site: Any, inputs: Sequence[Any], out: Sequence[Any], pool: Pool) -> None:
        """Note what the outputs of an equation inherit, and what is new in them."""
        if site.primitive in jaxprs.CALLS | jaxprs.LOOPS:
            return
        for v in out:
            if isinstance(v, Random) and v.stray is None and not any(v is x for x in inputs):
                v.stray = self._stray(site, inputs, v, pool)

    def _stray(self, site: Any, inputs: Sequence[Any], out: Random, pool: Pool) -> Stray:
        random = [x for x in inputs if isinstance(x, Random)]
        if out.logical:
            return _NONE
        handed = [(x.stray or _of_data(x), c) for x, c in _elasticities(site, inputs, out, pool)]
        if not all(stray.told and math.isfinite(c) for stray, c in handed):
            return _LOST
        deps = frozenset[Any]().union(*(x.deps for x in random))
        fresh = out.deps.isdisjoint(deps)
        parts, own = dict[int, float](), dict[int, float]()
        for stray, c in handed:
            for total, part in ((parts, stray.parts), (own, {} if fresh else stray.own)):
                for i, a in part.items():
                    if out.terms or i != stray.last:
                        total[i] = total.get(i, 0.0) + c * a
        carrier = next((found for x in random if (found := _carrier(x))), None)
        stray = Stray(parts, own, None, None if out.gaussian else carrier)
        if out.terms:
            rest = _own_variance(out, pool) - sum(c * c * self.vars[i] for i, c in own.items())
            if rest > 0:
                stray.last = len(self.vars)
                own[stray.last] = parts[stray.last] = 1.0
                self.vars.append(rest)
        return stray


def _of_data(x: Random) -> Stray:
    """Of what no equation made: numbers of parameters, or what a loop put together."""
    return _NONE if x.status == EXACT or not x.terms else _LOST


def _carrier(x: Random) -> Random | None:
    if not x.terms:
        return None
    return x if x.gaussian else x.stray.carrier if x.stray else None


def _elasticities(site: Any, inputs: Sequence[Any], out: Random, pool: Pool) -> list[tuple[Random, float]]:
    name = site.primitive
    random = [(i, x) for i, x in enumerate(inputs) if isinstance(x, Random)]
    if name in ("select_n", "concatenate", "stack"):
        cases = [x for i, x in random if i or name != "select_n"]
        squares = [_square(x) * math.prod(x.shape) for x in cases]
        return [(x, s / (sum(squares) or 1.0)) for x, s in zip(cases, squares, strict=True)]
    if name in ("square", "integer_pow"):
        return [(random[0][1], float(site.params.get("y", 2)))]
    if name in ONCE:
        return [(x, 1.0) for _, x in random]
    if name == "div":
        return [(x, -1.0 if i else 1.0) for i, x in random]
    if name in SUMS:
        return _shares(inputs, out)
    if name not in NAMES:
        return [(x, math.nan) for _, x in random]
    if not out.terms:
        return _of_numbers(site, inputs)
    if len(out.terms) == 1:
        ((atom, _),) = out.terms.items()
        u = next((found for _, x in random if (found := _carrier(x))), None)
        if isinstance(atom, Function) and u is not None and atom.base is u.base:
            return [(u, _of_curve(atom, u))]
    return _of_samples(site, inputs, pool)


def _square(x: Any) -> float:
    """The mean of the square."""
    if isinstance(x, Weight):
        return x.var
    if not isinstance(x, Random):
        return float(np.mean(np.square(np.asarray(x, np.float64))))
    if not x.terms:
        return float(np.mean(np.square(known(x))))
    some = _few(x)
    return float(np.mean(np.diagonal(some.cov) + np.square(some.mean)))


def _shares(inputs: Sequence[Any], out: Random) -> list[tuple[Random, float]]:
    """``E[v_i out] / E[out^2]`` of the parts of a sum."""
    total = _square(out) or 1.0
    squares = [_square(x) for x in inputs]
    cross = (total - sum(squares)) / 2
    return [(x, (s + cross) / total) for x, s in zip(inputs, squares, strict=True) if isinstance(x, Random)]


def _log_ratio(up: np.ndarray, down: np.ndarray) -> float:
    a, b = (float(np.mean(np.square(x))) for x in (up, down))
    return math.log(a / b) / (4 * STEP) if a > 0 and b > 0 else 0.0


def _of_numbers(site: Any, inputs: Sequence[Any]) -> list[tuple[Random, float]]:
    values = [known(x) if isinstance(x, Random) else x for x in inputs]
    if any(isinstance(x, Weight) for x in values):
        return [(x, math.nan) for x in inputs if isinstance(x, Random)]
    return [(x, _difference(site, values, i)) for i, x in enumerate(inputs) if isinstance(x, Random)]


def _difference(site: Any, values: Sequence[Any], i: int) -> float:
    ends = []
    for h in (STEP, -STEP):
        at = [np.asarray(v, np.float64) * (1 + h) if k == i else v for k, v in enumerate(values)]
        ends.append(np.asarray(bind(site, *at), np.float64))
    return _log_ratio(*ends)


def _of_samples(site: Any, inputs: Sequence[Any], pool: Pool) -> list[tuple[Random, float]]:
    """Of a function of one value, by samples of it."""
    random = [i for i, x in enumerate(inputs) if isinstance(x, Random) and x.terms]
    plain = all(i in random or (not isinstance(x, Random | Weight) and np.size(x) == 1) for i, x in enumerate(inputs))
    if len(random) != 1 or not plain:
        return [(x, math.nan) for x in inputs if isinstance(x, Random)]
    (i,) = random
    values = [pool.rows(x) if k == i else np.reshape(x, ()) for k, x in enumerate(inputs)]
    return [(inputs[i], _difference(site, values, i))]


def _of_curve(atom: Function, u: Random) -> float:
    """Of a function of a Gaussian, at the scale of the value ``u = scale * z + shift`` that went into it."""
    index = _index(atom)
    base = select(u.base, index, _flat(index.size))
    scale, shift = (np.broadcast_to(a, (atom.size,))[index] for a in (u.scale, u.shift))
    if not np.all(scale):
        return math.nan
    node = atom.node.selected(index)
    found = _hermite.series(node, base.mean, np.sqrt(np.maximum(np.diagonal(base.cov), 0.0)))
    z = base.mean + found.std * found.x
    ends = []
    for h in (STEP, -STEP):
        values = np.asarray(node.at(z * (1 + h) + h * shift / scale), np.float64)
        ends.append(np.sqrt(np.sum(found.weights * values**2, 0)))
    return _log_ratio(*ends)


def _index(v: Any) -> np.ndarray:
    return np.unique(np.linspace(0, v.size - 1, min(v.size, SOME)).astype(int))


def _few(v: Random) -> Random:
    """The value at a few of its indices, without the covariances of all."""
    index = _index(v)
    only, a = next(iter(v.terms.items())) if len(v.terms) == 1 else (None, None)
    if v._cov is None and isinstance(only, Function) and v.base is v and (a is None or a.ndim == 1):
        out = _select(v, index)
        out._own = None
        return out
    return select(v, index, _flat(index.size))


def _own_variance(v: Random, pool: Pool) -> float:
    """``Var(mean over explicit indices of v^2) / (4 E[v^2]^2 units)``: of the square root, relative."""
    found = _squares(v, pool)
    if found is None:
        return 0.5 / max(v.units, 1)
    mean, cov = found
    size = float(mean.mean())
    return float(cov.mean()) / (4 * size**2 * max(v.units, 1)) if size > 0 else 0.0


def _squares(v: Random, pool: Pool) -> tuple[np.ndarray, np.ndarray] | None:
    """Means and covariances of the squares at a few indices; ``None`` where they would take samples not yet drawn."""
    if v.gaussian:
        some = _few(v)
        mean, cov = some.mean, some.cov
        return np.diagonal(cov) + mean**2, 2 * cov**2 + 4 * np.outer(mean, mean) * cov
    if len(v.terms) == 1:
        ((atom, a),) = v.terms.items()
        index = _index(v)
        if isinstance(atom, Function) and (a is None or a.ndim == 1):
            scale = np.ones(v.size) if a is None else a
            base = select(atom.base, index, _flat(index.size))
            shift = np.broadcast_to(v.offset, (v.size,))
            node = Node("square", _squared, (atom.node.selected(index), _plain(scale[index]), _plain(shift[index])))
            found = _hermite.series(node, base.mean, np.sqrt(np.maximum(np.diagonal(base.cov), 0.0)))
            return found.coefficients[0], _hermite.covariance(found, found, base.cov, same=True)
        if isinstance(atom, Product) and (a is None or a.ndim == 1) and not np.any(v.offset):
            parts = [_squares(x, pool) for x in (atom.first, atom.then)]
            if all(part is not None for part in parts):
                (m, f), (n, g) = parts  # type: ignore[misc]
                s = np.ones(index.size) if a is None else a[index] ** 2
                whole = (f + np.outer(m, m)) * (g + np.outer(n, n)) - np.outer(m * n, m * n)
                return s * m * n, np.outer(s, s) * whole
    own = next((atom.pool for atom in v.terms if isinstance(atom, Rows)), pool)
    if v.size <= SOME or all(atom in own.known for atom in v.terms):
        rows = np.square(own.rows(v)[:, _index(v)])
        return rows.mean(0), np.cov(rows.T).reshape(rows.shape[1], -1)
    return None


def _squared(y: Any, scale: Any, shift: Any) -> Any:
    return scaled(y, scale, shift) ** 2


def _plain(numbers: np.ndarray) -> Any:
    return float(numbers[0]) if np.all(numbers == numbers[0]) else numbers.astype(np.float64)
