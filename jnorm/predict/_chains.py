"""Chains: models of which each layer is a product with weights, and an elementwise function of it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.proofs._activations import Enclosed, activation
from jnorm.proofs._primitives import NAMES, SAME

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Signal:
    """What is made of one layer's product alone.

    Attributes:
        layer: Which layer's.
        index: Which value of it; 0 is the product.
    """

    layer: int
    index: int


class Data:
    """What is made of the data alone."""


DATA = Data()


class Step(NamedTuple):
    """An equation of an activation: its site, its inputs, and the index of its first output."""

    site: Any
    inputs: Sequence[Any]
    first: int


@dataclasses.dataclass
class Layer:
    """One product of a chain.

    Attributes:
        site: Its equation.
        source: The signal that it takes; None of the first.
        omega: Least and largest sum of a unit's weights.
        tau: Least and largest sum of a unit's squared weights.
        like: Shape and dtype of what it makes.
        steps: What is computed from it.
        count: How many values that makes, the product included.
    """

    site: Any
    source: Signal | None
    omega: Interval
    tau: Interval
    like: Any
    steps: list[Step] = dataclasses.field(default_factory=list)
    count: int = 1

    def activation(self, signal: Signal) -> Callable[[Any], Any]:
        """The function that makes a signal of the product."""

        def phi(z: Any) -> Any:
            values = {0: z}
            for step in self.steps:
                given = [values.get(x.index) if isinstance(x, Signal) else x for x in step.inputs]
                if all(x is not None for x in given) and step.first <= signal.index:
                    values |= dict(enumerate(step.site.run(*given), step.first))
            return values[signal.index]

        return phi

    def name(self, signal: Signal) -> str:
        """The operations that make a signal, in order, each once."""
        sites = [step.site for step in self.steps if step.first <= signal.index and step.site.primitive not in SAME]
        return " ".join(dict.fromkeys(site.name for site in sites)) or "identity"


@dataclasses.dataclass
class Chain:
    """Goes through a program; the hook of `jnorm.jaxprs.evaluate`."""

    layers: list[Layer] = dataclasses.field(default_factory=list)

    def __call__(self, site: Any, *inputs: Any) -> list[Any]:
        """What an equation makes: numbers, data, or a signal.

        Raises:
            ValueError: It makes no chain.
            NotImplementedError: It is no elementwise function that can be enclosed.
        """
        signals = [x for x in inputs if isinstance(x, Signal)]
        outputs = len(site.equation.outvars)
        if not signals and not any(x is DATA for x in inputs):
            return list(site.run(*inputs))
        if site.primitive in PRODUCTS and len([x for x in inputs if isinstance(x, Signal | Data)]) == 1:
            return [self._product(site, inputs)]
        if site.primitive in jaxprs.CALLS and not _is_elementwise(site):
            return site.open(site.bodies[0], *inputs)
        if not signals:
            return [DATA] * outputs
        if len({signal.layer for signal in signals}) > 1 or any(x is DATA for x in inputs):
            raise ValueError(f"{site} joins what two layers made, or a layer and data: that is no chain")
        if site.primitive in PRODUCTS:
            raise ValueError(f"{site} is a product of a layer with itself: that is no chain")
        if site.primitive not in NAMES | jaxprs.CALLS:
            raise NotImplementedError(f"{site} is no elementwise function that python-flint encloses")
        if _adds_nothing(site, inputs):
            return signals
        layer = self.layers[signals[0].layer]
        first, layer.count = layer.count, layer.count + outputs
        layer.steps.append(Step(site, inputs, first))
        return [Signal(signals[0].layer, first + k) for k in range(outputs)]

    def _product(self, site: Any, inputs: Sequence[Any]) -> Signal:
        at = next(i for i, x in enumerate(inputs) if not isinstance(x, Signal | Data))
        source = inputs[1 - at]
        omega, tau = _sums(site, np.asarray(inputs[at], np.float64), at)
        aval = site.equation.outvars[0].aval
        like = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        self.layers.append(Layer(site, source if isinstance(source, Signal) else None, omega, tau, like))
        return Signal(len(self.layers) - 1, 0)


def _adds_nothing(site: Any, inputs: Sequence[Any]) -> bool:
    """As a bias that is zero."""
    if site.primitive != "add" or site.equation.outvars[0].aval.shape not in {
        x.aval.shape for x, value in zip(site.equation.invars, inputs, strict=True) if isinstance(value, Signal)
    }:
        return False
    known = [x for x in inputs if not isinstance(x, Signal)]
    return bool(known) and not np.any(known[0])


def _is_elementwise(site: Any) -> bool:
    return all(inner.primitive in NAMES | jaxprs.CALLS for body in site.bodies for inner in jaxprs.walk(body))


def _sums(site: Any, weights: np.ndarray, side: int) -> tuple[Interval, Interval]:
    """Least and largest sum, and sum of squares, of the weights of a unit, rounded outward."""
    if site.primitive == "dot_general":
        axes = site.params["dimension_numbers"][0][side]
    else:
        numbers, padding = site.params["dimension_numbers"], site.params["padding"]
        if side != 1 or any(any(pair) for pair in padding) or site.params["batch_group_count"] != 1:
            raise ValueError(f"{site} pads its input: units at the edge have other sums of weights")
        if any(step != 1 for step in site.params["lhs_dilation"]):
            raise ValueError(f"{site} dilates its input: units have different sums of weights")
        axes = numbers.rhs_spec[1:]
    units = np.moveaxis(weights, axes, range(len(axes))).reshape(math.prod(weights.shape[a] for a in axes), -1).T
    sums = [math.fsum(unit) for unit in units.tolist()]
    squares = [math.fsum(unit) for unit in (units * units).tolist()]
    low, high = _outward(squares)
    return _outward(sums), (max(low, 0.0), high)


def _outward(values: Sequence[float]) -> Interval:
    """The ends with room for a rounding of each square, one of the sum, and that of the decimals which ends mean."""
    low, high = min(values), max(values)
    return low - 4 * math.ulp(low), high + 4 * math.ulp(high)


class Link(NamedTuple):
    """A layer as a certificate takes it.

    Attributes:
        name: Its module, where there is one.
        line: The user's line.
        source: Which link it takes; None of the first.
        omega: Least and largest sum of a unit's weights.
        tau: Least and largest sum of its squared weights.
        phi: Its activation.
    """

    name: str
    line: Any
    source: int | None
    omega: Interval
    tau: Interval
    phi: Enclosed


def chain(apply: Callable[..., Any], params: Any, x: Any) -> list[Link]:
    """The layers of a model, in order, each with its activation.

    Raises:
        TypeError: ``apply`` is not callable, or parameters are no arrays.
        ValueError: The model is no chain; the line is named.
        NotImplementedError: An operation is no elementwise function that python-flint encloses.
    """
    if not callable(apply):
        raise TypeError(f"`apply` must be a function of parameters and data; got {apply!r}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
            raise TypeError(f"`params` must hold arrays; got {leaf!r} at {jax.tree_util.keystr(path)}"[:200])
    with jax.enable_x64(True):
        exact = jax.tree.map(_exact, params)
        program = jax.make_jaxpr(apply)(exact, jax.tree.map(_shape, x))
        flat = jax.tree.leaves(exact)
        reader = Chain()
        given = [*flat, *[DATA] * (len(program.in_avals) - len(flat))]
        results = jaxprs.evaluate(program, *given, hook=reader, opens=())
        ends = [result for result in results if isinstance(result, Signal)]
        if not ends or len(ends) < len(results):
            raise ValueError("`apply` must return what its layers make: a result is none")
        return _links(reader.layers, ends)


def _exact(leaf: Any) -> Any:
    array = np.asarray(leaf)
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _shape(leaf: Any) -> Any:
    dtype = jnp.float64 if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else jnp.result_type(leaf)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)


def _links(layers: Sequence[Layer], ends: Sequence[Signal]) -> list[Link]:
    """Activations by what they compute, so that one is enclosed once in all layers."""
    known: dict[Any, Enclosed] = {}
    taken = {layer.source.layer: layer.source for layer in layers if layer.source} | {end.layer: end for end in ends}
    for layer in layers:
        if layer.source and taken[layer.source.layer] != layer.source:
            raise ValueError(f"{layer.site} takes other numbers of a layer than what follows it: that is no chain")
    links = []
    for number, layer in enumerate(layers):
        signal = taken.get(number)
        if signal is None:
            raise ValueError(f"{layer.site} makes what nothing is made of: that is no chain")
        found = activation(layer.activation(signal), layer.like, layer.name(signal))
        links.append(
            Link(
                str(layer.site.equation.source_info.name_stack),
                layer.site.line,
                layer.source.layer if layer.source else None,
                layer.omega,
                layer.tau,
                known.setdefault(found, found),
            )
        )
    return links
