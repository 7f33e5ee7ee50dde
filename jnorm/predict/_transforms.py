"""Transformed activations for a model of one's own: its correlation map is chosen, by its program."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm._ground import callables, checks, tables
from jnorm.jaxprs import Line
from jnorm.predict import _regions
from jnorm.predict._model import model
from jnorm.predict._reader import Activation, Reader
from jnorm.predict._replaced import place, replaced
from jnorm.predict._signals import Data, Signal, nodes_of
from jnorm.theory.transforms import Graph, Transform, deep_kernel_shaping, graph, tailored
from jnorm.theory.transforms._graphs import above

HEAD = ("activation", "E[z^2]", "a", "b", "c", "d", "C'(1)", "C''(1)", "line")
WIDTHS = (20, 7, 9, 9, 9, 9, 8, 8, 13)
LEFT = frozenset({0, 8})


@dataclasses.dataclass(frozen=True)
class Replaced:
    """An activation of a model, and what replaces it, ``a * phi(b * z + c) + d``.

    Attributes:
        name: Its operations.
        shape: The shape of its values.
        second: The second moment E[z^2] of what it is a function of.
        constants: The numbers ``(a, b, c, d)``, with ``b`` divided by the root of ``second``.
        transform: What theory says of the function, for a second moment of one.
        line: The user's line.
        turns: The turns of the loops around it.
    """

    name: str
    shape: tuple[int, ...]
    second: float
    constants: tuple[float, float, float, float]
    transform: Transform
    line: Line | None
    turns: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Transforms:
    """A model's activations, transformed; prints as a table, with a line for those that are alike.

    Attributes:
        activations: In the order of computation.
        network: The model's architecture, as `jnorm.theory.transforms` takes it.
        apply: The model with its activations replaced, a function of the same arguments as the model.
    """

    activations: tuple[Replaced, ...]
    network: Graph
    apply: Callable[..., Any] = dataclasses.field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether all have what was asked for."""
        return all(one.transform.converged for one in self.activations)

    @property
    def functions(self) -> tuple[Transform, ...]:
        """Those that differ, each once."""
        return tuple({id(one.transform): one.transform for one in self.activations}.values())

    def __str__(self) -> str:
        rows: dict[tuple[str, ...], int] = {}
        for one in self.activations:
            cells = _cells(one)
            rows[cells] = rows.get(cells, 0) + 1
        counted = [(f"{cells[0]} x{count}" if count > 1 else cells[0], *cells[1:]) for cells, count in rows.items()]
        lines = [tables.line(cells, WIDTHS, LEFT) for cells in (HEAD, *counted)]
        return "\n".join([*lines, *(f"- {one.reason}" for one in self.functions if one.reason)])


def _cells(one: Replaced) -> tuple[str, ...]:
    numbers = [tables.number(x, ".5f") for x in one.constants]
    said = one.transform.predicted
    where = f"{one.line.file.rsplit('/', 1)[-1]}:{one.line.number}" if one.line else ""
    return (one.name, f"{one.second:.4g}", *numbers, f"{said.slope:.5f}", f"{said.curvature:.3g}", where)


def transforms(
    apply: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    slope: float | None = None,
    curvature: float | None = None,
    laws: Any = None,
) -> Transforms:
    """The activations of a model, transformed so that its correlation map has a chosen slope, or curvature, at one.

    `jnorm.theory.transforms.deep_kernel_shaping`, or with a ``curvature`` `jnorm.theory.transforms.tailored`, where
    what the architecture makes of its layers is read from the model's program: slopes multiply along layers, and are
    averaged where independent branches are added, with weights by their second moments, and where units are put beside
    each other, by widths too. The largest of the whole and its parts is the target, as
    `jnorm.theory.transforms.graph` says. No parameter is drawn, and the model is not run.

    - **An activation** is an elementwise function of what a product or a sum makes, that a weight takes up in the end:
      functions of JAX, one's own, ``x * sigmoid(x)``. Equal ones have equal constants. What comes behind the last
      weight, such as a softmax, stays as it is.
    - **Lengths** need not be one: where ``E[z^2]`` is another number, by weights of other variances or by sums that
      grow, ``b`` is divided by its root, so that each activation makes values of length one.
    - **Data** count as independent numbers of second moment one: normalize them, each example and each position.
    - **Norms** of layers, over units that have mean zero, keep correlations, and set lengths to one.
    - **Parts of the theory**: biases are zero; borders of padded convolutions count as their inside; and
      what is no product of a weight, such as a sum with an activation's values, counts as Gaussian.

    Refused are products of two values (attention, gates), maxima, sums over examples (batch norm) and over positions
    before an activation, biases that are not zero, and activations of values with a mean.
    Source: Martens et al. 2021 (arXiv 2110.01765), Zhang et al. 2022 (arXiv 2203.08120).

    Args:
        apply: The model, ``apply(params, x)``, that JAX can trace: Flax, Equinox, Haiku or plain.
        params: Its parameters, a pytree of arrays; of those with laws in ``laws`` only shapes count.
        x: Its data, a pytree of arrays; only shapes count.
        slope: Slope of the network's correlation map at one, above 1; 1.5 if no ``curvature`` is given.
        curvature: Second derivative of the network's correlation map at one, positive; slopes are one then.
        laws: As for `jnorm.predict.predict`.

    Returns:
        The activations with their constants, the architecture, and the model with these activations.

    Raises:
        TypeError: ``apply`` is not callable.
        ValueError: A ``slope <= 1`` or a ``curvature <= 0``, or both; a model without activations; an activation with
            a jump, or under ``curvature`` with a kink, at its line; what `jnorm.predict.predict` refuses of laws.
        NotImplementedError: An operation that has no correlation map, named with its line.

    >>> import jax
    >>> from jnorm.predict import Law
    >>> shapes = [jnp.zeros((64, 256)), *[jnp.zeros((256, 256))] * 49, jnp.zeros((256, 10))]
    >>> laws = [Law("normal", 1 / shape.shape[0]) for shape in shapes]
    >>> def model(weights, x):
    ...     for w in weights[:-1]:
    ...         x = jnp.tanh(x @ w)
    ...     return x @ weights[-1]
    >>> found = transforms(model, shapes, jnp.ones((2, 64)), laws=laws)
    >>> [round(number, 4) for number in found.activations[0].constants]
    [10.6044, 0.1284, 0.5708, -5.4062]
    >>> found.apply(shapes, jnp.ones((2, 64))).shape
    (2, 10)
    """
    if slope is not None and curvature is not None:
        raise ValueError("`slope` and `curvature` exclude each other: give one of them")
    checks.require(lambda s: s > 1, "`{}` must satisfy {} > 1", slope=1.5 if slope is None else slope)
    checks.require(lambda s: s > 0, "`{}` must satisfy {} > 0", curvature=0.3 if curvature is None else curvature)
    traced = model(apply, params, x, laws)
    reader = Reader(means=curvature is not None)
    data = [Data(tuple(getattr(leaf, "shape", ()))) for leaf in traced.rest]
    results = _values(jaxprs.evaluate(traced.program, *traced.inputs, *data, hook=reader, opens=()))
    alive = _alive(reader, results)
    if not alive:
        raise ValueError("`apply` has no activation that a weight takes up")
    network = _network(reader, alive, nodes_of(results))
    solve = lambda phi: (
        tailored(phi, network, curvature=curvature)
        if curvature is not None
        else deep_kernel_shaping(phi, network, slope=1.5 if slope is None else slope)
    )
    found = _solved(alive, solve)
    rows = tuple(_row(one, *made) for one, made in zip(alive, found, strict=True))
    groups: dict[Any, list[int]] = {}
    for number, one in enumerate(alive):
        groups.setdefault(_step(one).site.index, []).append(number)
    places = [
        place([alive[k] for k in group], found[group[0]][1].constants, [rows[k].second for k in group])
        for group in groups.values()
    ]
    sites = [one.origin.values[k].step for one in alive for k in one.origin.needed(one.core, one.base)]
    primitives = {step.site.index: step.site.primitive for step in sites if step}
    return Transforms(rows, network, replaced(apply, places, primitives))


def _values(results: Sequence[Any]) -> list[Any]:
    return [part for x in results for part in (_values(x.parts) if hasattr(x, "parts") else [x])]


def _step(one: Activation) -> Any:
    return one.origin.values[one.core].step


def _alive(reader: Reader, results: Sequence[Any]) -> list[Activation]:
    """Activations that weights take up, and those of the same equations at other turns of a loop."""
    sources = [[], *([node] if isinstance(node, int) else [*node] for node in reader.nodes)]
    taken = above(reader.taken, sources)
    lines = {_step(one).site.index for one in reader.activations if one.node in taken}
    for x in results:
        if isinstance(x, Signal) and not x.linear:
            step = x.origin.values[x.origin.values[x.number].core].step
            if step and step.site.index in lines:
                reader.taken_up(x)
    return [one for one in reader.activations if _step(one).site.index in lines]


def _network(reader: Reader, alive: Sequence[Activation], ends: Any) -> Graph:
    """The graph, in which activations that stay as they are count as nothing."""
    mine = {one.node for one in alive}
    nodes = [
        {node: 1.0} if isinstance(node, int) and number not in mine else node
        for number, node in enumerate(reader.nodes, 1)
    ]
    return graph(nodes, sorted({*ends} or mine))


def _solved(alive: Sequence[Activation], solve: Callable[[Any], Transform]) -> list[tuple[str, Transform]]:
    """The name and the transform of each activation, one for all that compute the same."""
    known: dict[Any, tuple[str, Transform]] = {}
    like = jax.ShapeDtypeStruct((1,), jnp.float32)
    out = []
    for one in alive:
        where = one.origin, one.core, one.base
        first = _regions.signature(*where)
        if first not in known:
            phi = _regions.function(*where)
            numbers, structure = jax.tree.flatten(callables.settle(phi, like))
            key = structure, *(np.asarray(number).tobytes() for number in numbers)
            if key not in known:
                known[key] = _regions.name(*where), _solution(one, phi, solve)
            known[first] = known[key]
        out.append(known[first])
    return out


def _solution(one: Activation, phi: Any, solve: Callable[[Any], Transform]) -> Transform:
    site = _step(one).site
    if _regions.is_straight(one.origin, one.core, one.base):
        raise ValueError(f"{site} adds a number that is not zero to units, for which correlation maps are not made")
    try:
        return solve(phi)
    except ValueError as error:
        raise ValueError(f"{site} ends an activation that cannot be transformed: {error}") from None


def _row(one: Activation, name: str, transform: Transform) -> Replaced:
    a, b, c, d = transform.constants
    second = one.origin.second * one.origin.values[one.base].factor ** 2
    step = _step(one)
    return Replaced(
        name,
        one.origin.shape,
        float(second),
        (a, float(b / np.sqrt(second)), c, d),
        transform,
        step.site.line,
        step.turns,
    )
