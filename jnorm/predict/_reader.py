"""Reading a model as a graph of activations and means, from its program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.predict import _moves, _regions
from jnorm.predict._elementwise import NAMES
from jnorm.predict._signals import INPUT, Data, Origin, Signal, Step, Term, Unknown, nodes_of, uniform
from jnorm.predict._structure import RULES as OF_WEIGHTS
from jnorm.predict._values import Atoms, Refused, Stack, Weight

SAME = frozenset({"convert_element_type", "copy", "optimization_barrier", "reduce_precision", "stop_gradient"})
SUMS = frozenset({"add", "add_any", "sub"})
LINEAR = SAME | SUMS | {"mul", "neg", "div", "broadcast_in_dim", "reshape"}


class Activation(NamedTuple):
    """An elementwise function that a weight, or a sum, takes up.

    Attributes:
        origin: What it is a function of.
        core: The number of its value there.
        base: The number of its argument.
        node: Its node in the graph.
    """

    origin: Origin
    core: int
    base: int
    node: int


class _Placed(Refused):
    """A refusal that names another line than that of the equation which met it."""


@dataclass
class Reader:
    """Goes through a program; the hook of `jnorm.jaxprs.evaluate`.

    Attributes:
        means: Whether activations will have a mean.
        nodes: The graph, as `jnorm.theory.transforms.graph` takes it.
        taken: Nodes that weights take up.
        activations: In the order in which they are taken up.
        turns: Turns of the loops around.
        used: How each weight was used first.
    """

    means: bool
    nodes: list[Any] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    used: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, site: Any, *inputs: Any) -> list[Any]:
        """What an equation makes: numbers, data, weights, signals, or what is not known."""
        try:
            return self._made(site, inputs)
        except Refused as error:
            reason = str(error) if isinstance(error, _Placed) else f"{site} is refused: {error}"
            return [Unknown(reason, nodes_of(inputs), tuple(out.aval.shape)) for out in site.equation.outvars]

    def _made(self, site: Any, inputs: Sequence[Any]) -> list[Any]:
        name, shapes = site.primitive, [tuple(out.aval.shape) for out in site.equation.outvars]
        signals = [x for x in inputs if isinstance(x, Signal)]
        if name in jaxprs.LOOPS:
            return _moves.LOOPS[name](site, inputs, self.turns)
        if not any(isinstance(x, Signal | Data | Unknown | Weight | Stack) for x in inputs):
            return list(site.run(*inputs))
        if not any(isinstance(x, Signal | Unknown | Weight | Stack) for x in inputs):
            return [Data(shape) for shape in shapes]
        if name in jaxprs.CALLS:
            if name.startswith("custom") and _is_function(site) and len({x.origin for x in signals}) == 1:
                return [self._step(site, inputs, None)]
            return site.open(site.bodies[0], *inputs)
        for x in inputs:
            if isinstance(x, Unknown):
                if name in _moves.PRODUCTS and any(isinstance(y, Weight) for y in inputs):
                    raise NotImplementedError(x.reason)
                return [Unknown(x.reason, nodes_of(inputs), shape) for shape in shapes]
            if isinstance(x, Stack):
                raise Refused("what the turns of a loop leave behind, as one value")
        rule = self._rule(name, signals, inputs)
        out = rule(site, inputs)
        return out if isinstance(out, list) else [out]

    def _rule(self, name: str, signals: Sequence[Signal], inputs: Sequence[Any]) -> Callable[..., Any]:
        if name in _moves.PRODUCTS:
            return self._product
        if not signals and not any(isinstance(x, Data) for x in inputs):
            return _of_weights
        if name == "gather" and isinstance(inputs[0], Weight):
            return self._rows
        if name in NAMES:
            return self._elementwise
        if name == "reduce_sum":
            return self._reduced
        if name == "concatenate":
            return self._beside
        return self._moved

    def _product(self, site: Any, inputs: Sequence[Any]) -> Any:
        weights = [isinstance(x, Weight) for x in inputs]
        if sum(weights) != 1 or len(inputs) != 2:
            raise Refused("a product of two values, as in attention" if not any(weights) else "a product of weights")
        at = weights.index(True)
        weight, x = inputs[at], inputs[1 - at]
        if not isinstance(x, Signal | Data):
            return self._of_numbers(site, x)
        use = _moves.PRODUCTS[site.primitive](site, x, weight, at)
        node, second = INPUT, 1.0
        if isinstance(x, Signal):
            try:
                terms, node = self.taken_up(x)
            except Refused as error:
                raise NotImplementedError(str(error)) from None
            second = sum(a * a * term.second for term, a in terms.items())
        self.taken.append(node)
        leaf = weight.key[:3] if weight.key[1:2] == ("row",) else weight.key[:1]
        way = "transpose" in weight.key, use.contracted
        if self.used.setdefault(leaf, way) != way:
            raise Refused(f"parameter `{leaf[0]}`, which is used transposed as well")
        term = Term(frozenset({weight.key}), node, weight.var * use.inputs * second)
        return Origin(use.axes, node, {term: 1.0}).signal()

    def _of_numbers(self, site: Any, x: Any) -> Any:
        if np.any(x):
            raise Refused("a weight times known numbers")
        return np.zeros(site.equation.outvars[0].aval.shape, np.float32)

    def _rows(self, site: Any, inputs: Sequence[Any]) -> Any:
        """Rows of a table by the data."""
        weight = inputs[0]
        term = Term(frozenset({weight.key}), INPUT, weight.var)
        return Origin(_moves.gathered(site, weight), INPUT, {term: 1.0}).signal()

    def taken_up(self, x: Signal) -> tuple[dict[Term, float], int]:
        """A signal as a sum of terms, and its node."""
        if x.linear:
            return {term: a * x.factor for term, a in x.origin.terms.items()}, x.origin.node
        core, factor, _ = x.origin.values[x.number]
        if core not in x.origin.settled:
            x.origin.settled[core] = self._activated(x.origin, core)
        term = x.origin.settled[core]
        return {term: factor}, term.node

    def _activated(self, origin: Origin, core: int) -> Term:
        reason = ""
        if np.isnan(origin.second):
            reason = "it acts on averages over positions or examples, whose size depends on the data"
        elif not origin.even:
            reason = "it acts on units of several sizes"
        elif not origin.centred:
            reason = "it acts on values with a mean that is not zero"
        if reason:
            step = origin.values[core].step
            assert step is not None
            raise _Placed(f"{step.site} is refused as an activation: {reason}")
        self.nodes.append(origin.node)
        self.activations.append(Activation(origin, core, origin.base(core), len(self.nodes)))
        return Term(origin.draws, len(self.nodes), 1.0, centred=not self.means)

    def _elementwise(self, site: Any, inputs: Sequence[Any]) -> Any:
        signals = [x for x in inputs if isinstance(x, Signal)]
        random = [x for x in inputs if isinstance(x, Signal | Data | Weight)]
        of_one = len(signals) == len(random) and len({x.origin for x in signals}) == 1
        if of_one:
            return self._of_one(site, inputs, signals)
        if site.primitive in SUMS and len(random) == 2:
            return self._sum(site, inputs)
        raise Refused("a function of two values, as in gates and masks")

    def _of_one(self, site: Any, inputs: Sequence[Any], signals: Sequence[Signal]) -> Any:
        """An elementwise function of one origin: in proportion, or any other."""
        name, shape = site.primitive, tuple(site.equation.outvars[0].aval.shape)
        is_float = jnp.issubdtype(site.equation.outvars[0].aval.dtype, jnp.floating)
        x = signals[0]
        linear = None
        if name in SAME and is_float:
            linear = x.number, 1.0
        elif name == "neg":
            linear = x.number, -1.0
        elif name in ("mul", "div") and len(signals) == 1 and (name == "mul" or isinstance(inputs[0], Signal)):
            known = inputs[1] if isinstance(inputs[0], Signal) else inputs[0]
            number = uniform(known)
            if number is None:
                raise Refused("a factor that differs from unit to unit")
            if not number:
                return np.zeros(shape, np.float32)
            linear = x.number, float(number) if name == "mul" else 1 / float(number)
        elif name in SUMS and len(signals) == 1:
            known = inputs[1] if isinstance(inputs[0], Signal) else inputs[0]
            if not np.any(known):
                linear = x.number, -1.0 if name == "sub" and isinstance(inputs[1], Signal) else 1.0
            elif uniform(known) is None:
                raise Refused("a bias that is not zero, for which correlation maps are not made")
        elif name in SUMS and all(y.linear for y in signals):
            total = signals[0].factor + (-1 if name == "sub" else 1) * signals[1].factor
            if not total:
                return np.zeros(shape, np.float32)
            linear = (x.number, total / x.factor) if x.linear else None
        return self._step(site, inputs, linear)

    def _step(self, site: Any, inputs: Sequence[Any], linear: tuple[int, float] | None) -> Signal:
        origin = next(x.origin for x in inputs if isinstance(x, Signal))
        if tuple(site.equation.outvars[0].aval.shape) != origin.shape or len(site.equation.outvars) > 1:
            raise Refused("a broadcast of units")
        numbers = tuple(x.number if isinstance(x, Signal) else None for x in inputs)
        known = tuple(None if isinstance(x, Signal) else uniform(x) for x in inputs)
        if linear is None and any(k is None and x is None for k, x in zip(known, numbers, strict=True)):
            raise Refused("a function that differs from unit to unit")
        return origin.made(Step(site, tuple(self.turns), numbers, known), linear)

    def _sum(self, site: Any, inputs: Sequence[Any]) -> Any:
        """Of independent values: a mean by second moments, where those are taken as they are."""
        like = next((x for x in inputs if isinstance(x, Signal)), None)
        parts = [self._part(x, like) for x in inputs]
        (first, node), (then, other) = parts
        if site.primitive == "sub":
            then = {term: -a for term, a in then.items()}
        terms = dict(first)
        for term, a in then.items():
            terms[term] = terms.get(term, 0.0) + a
        common = first.keys() & then.keys()
        draws = [frozenset[Any]().union(*(term.draws for term in part.keys() - common)) for part in (first, then)]
        if draws[0] & draws[1]:
            raise Refused("a sum of two values with a weight in common, as where a batch's mean is taken off")
        if all(any(not term.centred for term in part) for part in (first, then)):
            raise Refused("a sum of two values with means that are not zero")
        size = lambda part: sum(a * a * term.second for term, a in part.items())
        if np.isnan(size(terms)):
            raise Refused("a sum with averages over positions or examples, whose size depends on the data")
        shares: dict[int, float] = {}
        apart = [(node, size(first)), (other, size(then))]
        for k, part in [(t.node, a * a * t.second) for t, a in terms.items()] if common else apart:
            shares[k] = shares.get(k, 0.0) + part / size(terms)
        return Origin(_moves.joined(site, inputs), self._mean(shares), terms).signal()

    def _mean(self, shares: dict[int, float]) -> int:
        if len(shares) == 1:
            return next(iter(shares))
        self.nodes.append(shares)
        return len(self.nodes)

    def _part(self, x: Any, like: Signal | None) -> tuple[dict[Term, float], int]:
        if isinstance(x, Signal):
            return self.taken_up(x)
        if isinstance(x, Weight):
            if like is not None and like.origin.node != INPUT:
                raise Refused("a bias that is drawn, for which correlation maps are not made")
            return {Term(frozenset({x.key}), INPUT, x.var): 1.0}, INPUT
        return {Term(frozenset({"data"}), INPUT, 1.0, centred=False): 1.0}, INPUT

    def _reduced(self, site: Any, inputs: Sequence[Any]) -> Any:
        x, gone = inputs[0], site.params["axes"]
        factors = [atom for axis in gone for atom in x.origin.axes[axis] if atom[0] > 1]
        if not any(unit for _, unit in factors):
            return self._pooled(x, tuple(a for i, a in enumerate(x.origin.axes) if i not in gone))
        if x.linear:
            if not x.origin.centred:
                raise Refused("an average over units of values with a mean that is not zero")
            each = 0.0
        else:
            core, factor, _ = x.origin.values[x.number]
            base = x.origin.base(core)
            square = _regions.square(x.origin, core, base)
            if square is None:
                raise Refused("an average over units of a function that is no square")
            each = factor * square * x.origin.second * x.origin.values[base].factor ** 2
        out = site.equation.outvars[0].aval
        return np.full(out.shape, float(np.prod([size for size, _ in factors])) * each, np.float32)

    def _pooled(self, x: Signal, axes: tuple[Atoms, ...]) -> Signal:
        terms, node = self.taken_up(x)
        draws = frozenset[Any]().union(*(term.draws for term in terms))
        return Origin(axes, node, {Term(draws, node, np.nan, all(term.centred for term in terms)): 1.0}).signal()

    def _beside(self, site: Any, inputs: Sequence[Any]) -> Any:
        """Units of several layers beside each other: a mean by widths and second moments."""
        axis, axes = site.params["dimension"], _moves.joined(site, inputs)
        if not all(isinstance(x, Signal | Data) for x in inputs):
            raise Refused("known numbers or parameters beside units")
        if any(len(x.origin.axes[axis]) > 1 or not x.origin.axes[axis][0][1] for x in inputs if isinstance(x, Signal)):
            raise Refused("positions beside each other")
        parts = [(x.shape[axis], *self._part(x, None)) for x in inputs]
        seconds = [sum(a * a * term.second for term, a in terms.items()) for _, terms, _ in parts]
        width = sum(size for size, _, _ in parts)
        second = sum(size * q for (size, _, _), q in zip(parts, seconds, strict=True)) / width
        shares: dict[int, float] = {}
        for (size, _, node), q in zip(parts, seconds, strict=True):
            shares[node] = shares.get(node, 0.0) + size * q / (width * second)
        every = [term for _, terms, _ in parts for term in terms]
        even = all(term.even for term in every) and np.ptp(seconds) <= 1e-4 * second
        draws, node = frozenset[Any]().union(*(term.draws for term in every)), self._mean(shares)
        return Origin(axes, node, {Term(draws, node, second, all(t.centred for t in every), bool(even)): 1.0}).signal()

    def _moved(self, site: Any, inputs: Sequence[Any]) -> Any:
        x = inputs[0]
        if not isinstance(x, Signal) or any(isinstance(y, Signal | Weight) for y in inputs[1:]):
            raise Refused("no rule of correlation maps")
        moves = _moves.moved(site, x.origin.axes, inputs)
        if moves is None:
            return self._pooled(x, _moves.pooled(site, x.origin.axes))
        terms, node = self.taken_up(x)
        moved = [
            {
                Term(frozenset((d, move.which) for d in t.draws) if move.which else t.draws, *_rest(t)): a
                for t, a in terms.items()
            }
            for move in moves
        ]
        return [Origin(move.axes, node, each).signal() for move, each in zip(moves, moved, strict=True)]


def _rest(term: Term) -> tuple[int, float, bool, bool]:
    return term.node, term.second, term.centred, term.even


def _of_weights(site: Any, inputs: Sequence[Any]) -> Any:
    """A parameter, moved, or times a number."""
    x, name = inputs[0], site.primitive
    if name in SAME:
        return x
    if name in OF_WEIGHTS and isinstance(x, Weight) and name != "gather":
        out = OF_WEIGHTS[name](site, inputs, None)
        return list(out) if isinstance(out, list | tuple) and not isinstance(out, Weight) else out
    weights = [y for y in inputs if isinstance(y, Weight)]
    number = next((uniform(y) for y in inputs if not isinstance(y, Weight)), None)
    if name == "neg":
        return x
    if name in ("mul", "div") and len(weights) == 1 and number is not None and (name == "mul" or x is weights[0]):
        return weights[0]._replace(var=weights[0].var * float(number) ** (2 if name == "mul" else -2))
    raise Refused("a function of a parameter")


def _is_function(site: Any) -> bool:
    """Whether a call is an elementwise function, and no multiple of its argument."""
    inner = {part.primitive for body in site.bodies for part in jaxprs.walk(body)} - jaxprs.CALLS
    return inner <= NAMES | {"broadcast_in_dim"} and not inner <= LINEAR and len(site.equation.outvars) == 1
