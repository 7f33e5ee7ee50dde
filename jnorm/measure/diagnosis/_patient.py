"""Everything that the entries of the catalogue may ask about a training set-up, each computed once."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs
from jnorm._ground import checks, keys
from jnorm.jaxprs import Line
from jnorm.measure import quantities
from jnorm.measure._calls import Call
from jnorm.measure._places import Place, Spot, paths_of, spots
from jnorm.measure._slopes import argument
from jnorm.measure.diagnosis._courses import Course, Courses, adam
from jnorm.measure.diagnosis._graph import Graph, Node, Product, behind
from jnorm.measure.diagnosis._outcomes import Outcomes
from jnorm.measure.probes import watch

Result = TypeVar("Result")


class Reading(NamedTuple):
    """What a probe has seen at a place.

    Attributes:
        place: The place.
        size: The root mean square of the value.
        spread: The part of that in which examples differ, from 0 to 1.
        gradient: The norm of the derivative of the loss by the value.
        dead: Of an activation the share of units that hand no gradient back for any example, else NaN.
    """

    place: Place
    size: float
    spread: float
    gradient: float
    dead: float


class Patient:
    """A training set-up, with what is known about it; computed when it is asked for, and once.

    Attributes:
        apply: The model.
        params: Its parameters.
        loss: The loss.
        optimizer: The optimizer, or None.
        x: All data that were given, as NumPy arrays; `targets` too.
        targets: See there.
        examples: Their number.
        batch: Some examples, data and targets: what is computed with.
        held_out: As many others; None where there are too few.
        names: The paths of the parameters.
    """

    def __init__(
        self,
        apply: Callable[[Any, Any], Any],
        params: Any,
        x: Any,
        targets: Any,
        loss: Callable[[Any, Any], jax.Array],
        optimizer: Any = None,
        *,
        key: jax.Array,
        batch: int,
        steps: int,
    ) -> None:
        for name, thing in (("apply", apply), ("loss", loss)):
            if not callable(thing):
                raise TypeError(f"`{name}` must be a function; got {thing!r}")
        if optimizer is not None and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(f"`optimizer` must be one of Optax, with `init` and `update`; got {optimizer!r}")
        checks.whole(1, batch=batch, steps=steps)
        self.names = paths_of((params,))
        for path, leaf in zip(self.names, jax.tree.leaves(params), strict=True):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(f"`params` must be floating arrays; got {jnp.result_type(leaf)} at {path!r}")
        self._known: dict[Any, Any] = {}
        self.apply, self.loss, self.optimizer, self.steps = apply, loss, optimizer, steps
        self.params = jax.tree.map(jnp.asarray, params)
        self.x, self.targets = jax.tree.map(np.asarray, (x, targets))
        sizes = {int(a.shape[0]) if a.ndim else 1 for a in jax.tree.leaves((self.x, self.targets))}
        if not sizes or 0 in sizes:
            raise ValueError("`x` and `targets` must hold examples; got none")
        self.aligned = len(sizes) == 1
        self.examples = max(sizes)
        rows = np.asarray(jax.random.permutation(keys.stream(key, "measure.doctor"), self.examples))
        count = min(batch, self.examples if self.examples < 4 else self.examples // 2)
        self.batch = self._at(rows[:count]) if self.aligned else jax.tree.map(jnp.asarray, (x, targets))
        self.held_out = self._at(rows[count : 2 * count]) if self.aligned and len(rows) >= 2 * count else None
        self.rng = np.random.default_rng(np.asarray(jax.random.key_data(keys.stream(key, "measure.doctor.rows"))))
        shape = jax.eval_shape(self.of_batch, self.params, *self.batch)[0]
        if shape.shape != () or not jnp.issubdtype(shape.dtype, jnp.floating):
            raise TypeError(f"`loss` must return one real number, such as a mean; got {shape.dtype}{list(shape.shape)}")

    def _at(self, rows: np.ndarray) -> Any:
        return jax.tree.map(lambda a: jnp.asarray(a[rows]), (self.x, self.targets))

    def of_batch(self, params: Any, x: Any, targets: Any) -> tuple[jax.Array, Any]:
        """The loss, and the outputs."""
        outputs = self.apply(params, x)
        return self.loss(outputs, targets), outputs

    @cached_property
    def _call(self) -> Call:
        return Call(self.of_batch, (self.params, *self.batch), {})

    @property
    def program(self) -> Any:
        """The jaxpr of loss and outputs, of flat parameters, data and targets of the batch."""
        return self._call.program

    @cached_property
    def graph(self) -> Graph:
        """The program of loss and outputs as a graph; its first result is the loss."""
        return Graph(self.program, len(self.names), len(jax.tree.leaves(self.batch[0])))

    @cached_property
    def model(self) -> list[Node]:
        """The equations that the outputs come from, in order."""
        found: set[int] = set()
        for value in self.graph.results[1:]:
            if hasattr(value, "node"):
                found |= {id(node) for node in behind(value)}
        return [node for node in self.graph.nodes if id(node) in found]

    @cached_property
    def products(self) -> list[Product]:
        """The products with parameters that the outputs come from, in order."""
        inside = {id(node) for node in self.model}
        return [product for product in self.graph.products if id(product.node) in inside]

    @cached_property
    def leaves(self) -> list[np.ndarray]:
        """The parameters, on the host."""
        return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(self.params)]

    @cached_property
    def _spots(self) -> dict[tuple[int, ...], Spot]:
        found = spots(self.program, self._call.paths)
        return {spot.site.index: spot for spot in found if spot.output is not None}

    @cached_property
    def _ran(self) -> tuple[float, Any, list[np.ndarray], list[Reading]]:
        inside = {node.spot for node in self.model if any(v.moves for v in node.outputs)}
        of_products = {product.node.spot for product in self.products}
        wanted = {
            spot.place.name: index not in of_products
            for index, spot in self._spots.items()
            if index in of_products or (index in inside and _bends(spot))
        }
        run: Callable[..., Any] = jax.value_and_grad(self.of_batch, has_aux=True)
        if wanted:
            run = watch(self.of_batch, MEASURES, where=lambda place: place.name in wanted, argnums=0, has_aux=True)
        result = jax.jit(run)(self.params, *self.batch)
        ((value, outputs), gradient), seen = result if wanted else (result, None)
        readings = [] if seen is None else list(_readings(seen, wanted))
        return float(value), outputs, [np.asarray(g, np.float64) for g in jax.tree.leaves(gradient)], readings

    @property
    def value(self) -> float:
        """The loss of the batch."""
        return self._ran[0]

    @property
    def outputs(self) -> Any:
        """The outputs for the batch."""
        return self._ran[1]

    @property
    def gradients(self) -> list[np.ndarray]:
        """By each parameter."""
        return self._ran[2]

    @property
    def readings(self) -> list[Reading]:
        """What probes have seen of the model's products with parameters and of its activations, in order."""
        return self._ran[3]

    @property
    def signal(self) -> list[Reading]:
        """The readings of products with parameters, in order."""
        return [reading for reading in self.readings if math.isnan(reading.dead)]

    @property
    def finite(self) -> bool:
        """Whether loss, outputs and gradients are."""
        floats = [*jax.tree.leaves(self.outputs), *self.gradients]
        return math.isfinite(self.value) and all(bool(np.isfinite(np.asarray(a, np.float64)).all()) for a in floats)

    @cached_property
    def entry(self) -> np.ndarray | None:
        """The batch as it comes into the first product with parameters; None where by a lookup, or in a loop."""
        product = next((p for p in self.products if not p.data.leaves), None)
        if product is None or any(site.primitive in jaxprs.LOOPS for site in product.node.site.around):
            return None
        node, at = product.node, next(i for i, v in enumerate(product.node.inputs) if v is product.data)

        def up_to_there(leaves: list[Any]) -> Any:
            kept: list[Any] = []

            def hook(site: jaxprs.Site, *inputs: Any) -> list[Any]:
                if site.index == node.site.index:
                    kept.append(inputs[at])
                return site.run(*inputs)

            jaxprs.evaluate(self.program, *leaves, hook=hook, opens=jaxprs.CALLS)
            return kept[0]

        return np.asarray(jax.jit(up_to_there)(self._call.leaves), np.float64)

    @cached_property
    def rerun(self) -> Callable[[Any], Any]:
        """The outputs for other data of the batch's shape."""
        run = jax.jit(self.apply)
        return lambda x: run(self.params, x)

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """What the loss says of outputs that are made up; None where outputs are no single array."""
        outputs, targets = self.outputs, self.batch[1]
        if not (isinstance(outputs, jax.Array) and hasattr(targets, "shape") and outputs.ndim):
            return None
        return Outcomes(self.loss, outputs, targets, self.rng)

    @cached_property
    def courses(self) -> Courses | None:
        """The optimizer on the batch, as it is and changed; None without one."""
        if self.optimizer is None:
            return None
        return Courses(self.optimizer, self.of_batch, self.params, self.batch, self.steps)

    @cached_property
    def reference(self) -> Course:
        """Adam on the batch: its best course."""
        return adam(self.of_batch, self.params, self.batch, self.steps)

    def once(self, look: Callable[["Patient"], Result]) -> Result:
        """What a function says of the patient, computed the first time."""
        if look not in self._known:
            self._known[look] = look(self)
        return self._known[look]

    def name(self, leaf: int) -> str:
        """The path of a parameter, as it is shown."""
        return f"`{self.names[leaf]}`" if self.names[leaf] else "the parameters"

    def line(self, product: Product) -> Line | None:
        """The user's line of a product."""
        return product.node.site.line


def _bends(spot: Spot) -> bool:
    """Whether it is an activation whose slopes JAX can compute forward."""
    return argument(spot.site) is not None and spot.site.primitive != "custom_vjp_call"


def _share(x: jax.Array) -> jax.Array:
    """The part of the root mean square in which examples, on the first axis, differ."""
    wide = jnp.asarray(x, checks.wide(x.dtype))
    if wide.ndim == 0 or wide.shape[0] < 2:
        return jnp.full((), jnp.nan, wide.dtype)
    scale = jnp.max(jnp.abs(wide))
    unit = wide / jnp.where(scale == 0, jnp.ones_like(scale), scale)
    total = jnp.mean(jnp.square(unit))
    return jnp.sqrt(jnp.mean(jnp.var(unit, 0)) / jnp.where(total == 0, jnp.ones_like(total), total))


def _size(x: jax.Array) -> jax.Array:
    return quantities.norm(x) / math.sqrt(max(x.size, 1))


MEASURES: Mapping[str, Any] = {
    "size": _size,
    "spread": _share,
    "norm": quantities.norm,
    "dead": quantities.OfSlope(quantities.dead),
}


def _readings(seen: Any, wanted: Mapping[str, bool]) -> Any:
    """One reading for each turn of a place, in order."""
    for place in seen.places:
        values = {name: np.ravel(np.asarray(a, np.float64)) for name, a in seen.values[place.name].items()}
        norms = np.ravel(np.asarray(seen.cotangents.get(place.name, {}).get("norm", np.nan), np.float64))
        for turn, size in enumerate(values["size"]):
            norm = norms[min(turn, len(norms) - 1)]
            dead = values["dead"][turn] if wanted[place.name] else math.nan
            yield Reading(place, float(size), float(values["spread"][turn]), float(norm), float(dead))
