"""A program as a graph of values: what each depends on, and what stands between two products with parameters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm.measure._places import MOVES

NONE: frozenset[int] = frozenset()
STOPS = frozenset({"stop_gradient", "sign", "floor", "ceil", "round"})
"""Primitives that hand no gradient back; those whose value is no floating number do neither."""

REDUCES = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"})
PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
LINEAR = (MOVES - {"gather", "stop_gradient", "iota"}) | {
    *("add", "add_any", "cumsum", "div", "mul", "neg", "reduce_sum", "reduce_window_sum", "select_n", "sub"),
}
"""Primitives that are linear in the only input that depends on the data."""


@dataclass(eq=False)
class Value:
    """A value of a program.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
        leaves: Numbers of the parameters that it depends on.
        live: Of those by which it has a derivative.
        x: Whether it depends on the data.
        targets: Whether it depends on the targets.
        node: What computes it; None for an argument.
        uses: What it goes into.
    """

    shape: tuple[int, ...]
    dtype: Any
    leaves: frozenset[int] = NONE
    live: frozenset[int] = NONE
    x: bool = False
    targets: bool = False
    node: "Node | None" = None
    uses: "list[Node]" = field(default_factory=list)

    @property
    def moves(self) -> bool:
        """Whether it is a value of the network: of the data, and of parameters."""
        return self.x and bool(self.leaves)


@dataclass(eq=False)
class Node:
    """An equation, in its place; ``operation`` is its primitive, or what a loop does with values."""

    site: jaxprs.Site
    operation: str
    inputs: Sequence[Any]
    outputs: list[Value] = field(default_factory=list)

    def values(self) -> list[Value]:
        """The inputs that are no constants."""
        return [value for value in self.inputs if isinstance(value, Value)]

    @property
    def spot(self) -> tuple[int, ...]:
        """The index of the equation that a probe sees: that of the outermost call of a function of JAX around it."""
        return next((outer.index for outer in self.site.around if outer.is_of_jax), self.site.index)


class Product(NamedTuple):
    """A product of what depends on the data with parameters.

    Attributes:
        node: The equation.
        data: What comes in.
        weight: The parameters, or what is made of them.
        fan_in: How many numbers go into each unit.
        units: How many units come out, and `channels` how many go in, positions not counted.
        channels: See there.
        grouped: Whether units see a part of the channels only.
    """

    node: Node
    data: Value
    weight: Value
    fan_in: int
    units: int
    channels: int
    grouped: bool


class Graph:
    """The graph of a program.

    Attributes:
        nodes: The equations in order, calls opened; of a loop two turns.
        leaves: The parameters.
        results: The program's outputs.
        products: Those with parameters.
    """

    def __init__(self, program: Any, parameters: int, data: int) -> None:
        self.nodes: list[Node] = []
        arguments = [
            Value(
                *(tuple(v.aval.shape), v.aval.dtype),
                leaves=frozenset({i}) if i < parameters else NONE,
                live=frozenset({i}) if i < parameters else NONE,
                x=parameters <= i < parameters + data,
                targets=i >= parameters + data,
            )
            for i, v in enumerate(program.jaxpr.invars)
        ]
        self.leaves = arguments[:parameters]
        self.results = jaxprs.evaluate(program, *arguments, hook=self._of, opens=jaxprs.CALLS)
        self.products = [product for node in self.nodes if (product := _product(node))]
        self._products = {id(product.node): product for product in self.products}

    def _of(self, site: jaxprs.Site, *inputs: Any) -> list[Value]:
        if site.primitive in jaxprs.LOOPS:
            return self._loop(site, list(inputs))
        return self._node(site, site.primitive, inputs, [v.aval for v in site.equation.outvars])

    def _node(self, site: jaxprs.Site, operation: str, inputs: Sequence[Any], avals: Sequence[Any]) -> list[Value]:
        node = Node(site, operation, inputs)
        values = node.values()
        for aval in avals:
            floating = jnp.issubdtype(aval.dtype, jnp.inexact)
            node.outputs.append(
                Value(
                    *(tuple(aval.shape), aval.dtype),
                    leaves=NONE.union(*(v.leaves for v in values)),
                    live=NONE.union(*(v.live for v in values)) if floating and operation not in STOPS else NONE,
                    x=any(v.x for v in values),
                    targets=any(v.targets for v in values),
                    node=node,
                )
            )
        for value in values:
            value.uses.append(node)
        self.nodes.append(node)
        return node.outputs

    def _loop(self, site: jaxprs.Site, inputs: list[Any]) -> list[Any]:
        params, out = site.params, [v.aval for v in site.equation.outvars]
        if site.primitive == "cond":
            branches = [site.open(body, *inputs[1:]) for body in site.bodies]
            choose = lambda i, aval: self._node(site, "cond", [inputs[0], *(b[i] for b in branches)], [aval])[0]
            return [choose(i, aval) for i, aval in enumerate(out)]
        if site.primitive == "while":
            first = params["cond_nconsts"]
            second = first + params["body_nconsts"]
            carry, consts, body = inputs[second:], inputs[first:second], site.bodies[1]
            for _ in range(2):
                carry = site.open(body, *consts, *carry)
            return carry
        fixed, carried, body = params["num_consts"], params["num_carry"], site.bodies[0]
        consts, carry = inputs[:fixed], inputs[fixed : fixed + carried]
        slices = [v.aval for v in body.jaxpr.invars[fixed + carried :]]
        rows = [
            self._node(site, "slice", [value], [aval])[0]
            for value, aval in zip(inputs[fixed + carried :], slices, strict=True)
        ]
        results = carry
        for _ in range(min(params["length"], 2)):
            results = site.open(body, *consts, *carry, *rows)
            carry = results[:carried]
        stacked = zip(results[carried:], out[carried:], strict=True)
        return [*carry, *(self._node(site, "concatenate", [row], [aval])[0] for row, aval in stacked)]

    def between(self, product: Product) -> Product | None:
        """The product before, if no nonlinearity is between the two, and nothing else uses what comes out of that."""
        value, after = product.data, product.node
        while value.moves and value.node is not None:
            if any(use is not after and not _is_statistic_of(use) for use in value.uses):
                return None
            after = value.node
            if id(after) in self._products:
                return self._products[id(after)]
            main = [v for v in after.values() if v.moves]
            if len(main) > 1 and after.operation in ("sub", "mul", "div"):
                main = [v for v in main if not _is_statistic(v)]  # centred and scaled: so do norms
            if after.operation not in LINEAR or len(main) != 1:
                return None
            if after.operation == "div" and after.inputs[0] is not main[0]:
                return None
            value = main[0]
        return None


def behind(value: Value, until: frozenset[str] = frozenset()) -> Iterator[Node]:
    """The equations that a value comes from, the last one first, up to such operations."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        node = stack.pop().node
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node
            stack += node.values() if node.operation not in until else []


def moved_from(value: Any) -> Any:
    """What a value is a copy of: an argument, a constant, or what is computed."""
    while isinstance(value, Value) and value.node is not None and value.node.operation in MOVES | {"slice"}:
        if value.node.operation in ("iota", "stop_gradient") or not value.node.inputs:
            break
        value = value.node.inputs[0]
    return value


def _product(node: Node) -> Product | None:
    if node.operation not in PRODUCTS or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if not (isinstance(left, Value) and isinstance(right, Value)):
        return None
    fixed = [bool(v.leaves) and not v.x and not v.targets for v in (left, right)]
    if fixed[0] == fixed[1] or not (right if fixed[0] else left).x:
        return None
    at = fixed.index(True)
    data, weight, params = (left, right)[1 - at], (left, right)[at], node.site.params
    if node.operation == "conv_general_dilated":
        if at != 1:
            return None
        units, channels, *window = (weight.shape[i] for i in params["dimension_numbers"].rhs_spec)
        groups = int(params["feature_group_count"])
        return Product(node, data, weight, channels * int(np.prod(window)), units, channels * groups, groups > 1)
    contracted, batch = (part[at] for part in params["dimension_numbers"])
    fan_in = int(np.prod([weight.shape[i] for i in contracted]))
    units = int(np.prod([n for i, n in enumerate(weight.shape) if i not in (*contracted, *batch)]))
    return Product(node, data, weight, fan_in, units, fan_in, bool(batch))


def _is_statistic(value: Value) -> bool:
    """Whether a value comes from sums or maxima over another one alone, as the mean of a norm does."""
    if value.node is None or value.node.operation in PRODUCTS:
        return not value.moves
    if value.node.operation in REDUCES:
        return True
    moving = [v for v in value.node.values() if v.moves]
    return bool(moving) and all(_is_statistic(v) for v in moving)


def _is_statistic_of(node: Node) -> bool:
    """Whether what an equation computes goes into sums or maxima alone."""
    if node.operation in REDUCES:
        return True
    if node.operation in PRODUCTS or not node.outputs:
        return False
    return all(_is_statistic_of(use) for value in node.outputs for use in value.uses)
