"""Repair: the factor of each weight with which the signal, or the gradient, has a second moment of one."""

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jnorm import jaxprs
from jnorm.predict import _backward
from jnorm.predict._model import Model, cotangents, model
from jnorm.predict._moments import moments
from jnorm.predict._predictor import Predictor
from jnorm.predict._values import Random, Stack, Weight

USES = frozenset({"dot_general", "conv_general_dilated", "gather"})
BY = ("signal", "gradients", "both")
CLOSE, PASSES = 0.002, 32  # the largest change of a logarithm of a factor at which passes end, and how many there are


def gains(
    apply: Callable[..., Any], params: Any, x: Any, *, target: float = 1.0, laws: Any = None, by: str = "signal"
) -> Any:
    """A factor for each weight, with which every next second moment is the target.

    In the order of computation each weight is scaled by ``sqrt(target / E[z^2])``, with z what it makes of what came
    before, where the factors of earlier weights are in: a product, a convolution, or rows of a table. No parameter is
    drawn, and the model is not run. ``jax.tree.map(jnp.multiply, params, gains(...))`` are the repaired parameters.

    By gradients it is the squared gradient at each weight's input that is the target, for cotangents N(0, 1) of the
    output. The slopes depend on the scale of the signal, so that passes are repeated until factors stay. By both it is
    the geometric mean of the two factors, as Glorot's initializer makes a mean of two variances.

    A weight that is used twice is set where it is used first. Other leaves keep their numbers: biases, scales, known
    numbers, and weights of which nothing is passed on. A first layer, at whose input there is no gradient, is set by
    the signal. In a residual stream each branch gets the target, and the stream grows by what is added.
    Source: Mishkin, Matas 2016 (arXiv 1511.06422), LSUV, for the idea; here it takes no data-dependent passes.

    Args:
        apply: The model, as for `predict`.
        params: Its parameters.
        x: Its data.
        target: The second moment, positive.
        laws: As for `predict`.
        by: ``"signal"``, ``"gradients"`` or ``"both"``.

    Returns:
        A pytree of the structure of ``params``: numbers, and arrays for leaves that hold the weights of scanned layers.

    Raises:
        TypeError: ``apply`` is not callable.
        ValueError: ``target`` or ``by`` is none of these, a second moment is not finite, factors do not settle, or what
            `predict` refuses of laws.
        NotImplementedError: An operation without a rule, named with its line.

    >>> import jax.numpy as jnp
    >>> from jnorm.predict import Law
    >>> weights = [jnp.zeros((8, 256)), jnp.zeros((256, 64))]
    >>> laws = [Law("normal", 1 / 8), Law("normal", 1 / 256)]
    >>> model = lambda w, x: jax.nn.relu(x @ w[0]) @ w[1]
    >>> for by in ("signal", "gradients", "both"):  # relu halves what 256 units get, and 64 of 256 gradients come back
    ...     print([f"{factor:.3f}" for factor in gains(model, weights, jnp.ones((1, 8)), laws=laws, by=by)])
    ['1.000', '1.414']
    ['1.000', '2.000']
    ['1.000', '1.682']
    """
    if not (isinstance(target, int | float | np.number) and 0 < target < math.inf):
        raise ValueError(f"`target` must be positive and finite; got {target!r}")
    if by not in BY:
        raise ValueError(f"`by` must be one of {', '.join(map(repr, BY))}; got {by!r}")
    traced = model(apply, params, x, laws)
    found = _by_signal(traced, float(target))
    if by != "signal":
        back = _by_gradients(traced, float(target), found)
        found = back if by == "gradients" else {place: math.sqrt(found[place] * back[place]) for place in found}
    return jax.tree.unflatten(jax.tree.structure(params), _leaves(traced, found))


Place = tuple[str, int | None]
"""A weight: its leaf, and the row of the leaf where layers are scanned."""


def _place(weight: Weight) -> Place:
    return weight.key[0], weight.key[2] if weight.key[1:2] == ("row",) else None


def _leaves(traced: Model, found: dict[Place, float]) -> list[Any]:
    out: list[Any] = []
    for name, leaf in zip(traced.names, traced.flat, strict=True):
        rows = {row: factor for (other, row), factor in found.items() if other == name}
        if rows and None not in rows:
            factors = np.ones((leaf.shape[0], *(1,) * (leaf.ndim - 1)))
            for row, factor in rows.items():
                factors[row] = factor
            out.append(factors.astype(leaf.dtype))
        else:
            out.append(rows.get(None, 1.0 if _backward.moves(leaf) else 1))
    return out


@dataclasses.dataclass
class _Repair(Predictor):
    """Rules with the weights' factors in, which are set where a weight is used first.

    Attributes:
        given: Factors that are settled, of uses that are not set.
        found: Those that this pass sets.
        target: The second moment.
        backward: Whether uses that pass gradients on set factors, or those of the signal.
    """

    given: dict[Place, float] = dataclasses.field(default_factory=dict)
    found: dict[Place, float] = dataclasses.field(default_factory=dict)
    target: float = 1.0
    backward: bool = False
    late: Any = dataclasses.field(default_factory=weakref.WeakSet)

    def __call__(self, site: Any, *inputs: Any) -> list[Any]:
        late = any(x in self.late for x in _random(inputs))
        own = next((x for x in inputs if isinstance(x, Weight)), None)
        if own is None or site.primitive in jaxprs.CALLS | jaxprs.LOOPS:
            out = super().__call__(site, *inputs)
        else:
            if site.primitive in USES and late == self.backward and _place(own) not in self.found:
                self._set(site, inputs, _place(own))
            out = super().__call__(site, *(_scaled(x, self._factors(late)) for x in inputs))
            out = [v._replace(var=own.var) if isinstance(v, Weight) else v for v in out]
        if late:
            self.late.update(_random(out))
        return out

    def _factors(self, late: bool) -> dict[Place, float]:
        return {**self.given, **self.found} if late == self.backward else self.given

    def _set(self, site: Any, inputs: Any, place: Place) -> None:
        alone = Predictor(lambda site, out: None, self.pool)
        (value,) = alone(site, *(_scaled(x, self._factors(self.backward)) for x in inputs))
        size = moments(value)[1] if isinstance(value, Random) and value.terms else 0.0
        if not math.isfinite(size):
            raise ValueError(f"{site} makes a second moment of {size} with parameter `{place[0]}`")
        factor = self.given.get(place, 1.0)
        self.found[place] = factor * math.sqrt(self.target / size) if size else factor


def _random(values: Sequence[Any]) -> Iterator[Random]:
    """The random values among others, those that turns of a loop left behind too."""
    for x in values:
        if isinstance(x, Stack):
            yield from _random(x.parts)
        elif isinstance(x, Random):
            yield x


def _scaled(x: Any, factors: dict[Place, float]) -> Any:
    return x._replace(var=x.var * factors.get(_place(x), 1.0) ** 2) if isinstance(x, Weight) else x


def _by_signal(traced: Model, target: float) -> dict[Place, float]:
    repair = _Repair(_unrecorded, target=target)
    jaxprs.evaluate(traced.program, *traced.inputs, *traced.rest, hook=repair, opens=())
    return repair.found


def _by_gradients(traced: Model, target: float, given: dict[Place, float]) -> dict[Place, float]:
    results = jaxprs.evaluate(traced.program, *traced.inputs, *traced.rest, hook=Predictor(_unrecorded), opens=())
    reverse, _ = _backward.program(traced.program, traced.flat, traced.rest, set())
    for _ in range(PASSES):
        repair = _Repair(_unrecorded, given=given, target=target, backward=True)
        slopes = cotangents(results, repair)
        repair.late.update(slopes)
        jaxprs.evaluate(reverse, *traced.inputs, *traced.rest, *slopes, hook=repair, opens=())
        changes = [abs(math.log(factor / given[place])) for place, factor in repair.found.items()]
        given = {**given, **repair.found}
        if max(changes, default=0.0) < CLOSE:
            return given
    raise ValueError(f"`by`: factors by gradients do not settle in {PASSES} passes; the last changed by {max(changes)}")


def _unrecorded(site: Any, out: Any) -> None:
    """No rows are made."""
