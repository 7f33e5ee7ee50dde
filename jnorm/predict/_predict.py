"""Prediction of anybody's model."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jnorm import jaxprs
from jnorm.predict import _backward, _choice
from jnorm.predict._model import Model, cotangents, model
from jnorm.predict._moments import moments
from jnorm.predict._prediction import Gradient, Prediction, Row
from jnorm.predict._predictor import Predictor
from jnorm.predict._sizes import sizes
from jnorm.predict._strays import Strays
from jnorm.predict._updates import first_updates
from jnorm.predict._values import EXACT, FEW, MARKED, STATUS, Random, Stack, Weight


def predict(
    apply: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    laws: Any = None,
    gradients: bool = False,
    optimizer: Any = None,
    cotangent: float = 1.0,
) -> Prediction:
    """What the values of a model are over random parameters, from its jaxpr alone.

    No parameter is drawn and the model is not run: each equation has a rule for laws. A product with a weight of
    independent draws is Gaussian in the limit of wide layers, with covariances between examples and positions
    ``var * sum_i E[x_i x'_i]``; functions of one Gaussian are integrated exactly, between their kinks; averages over
    units are known numbers, so that layer norm comes out of its own equations; sums and products keep what their parts
    have in common. Softmax, maxima and functions of several Gaussians are estimated from samples of *units*, and their
    rows say so. Where an axis is no axis of units (examples, positions, channels of data) nothing is averaged.

    With ``gradients`` the reverse pass is predicted too, from independent normal cotangents of the output: the squared
    gradient at every row and parameter. A weight counts as a fresh one where its transpose comes by (gradient
    independence). With an ``optimizer`` its first step is taken with gradients of these sizes that are independent
    numbers; it may look at their sizes and signs, but of what it makes of directions (Muon, Shampoo) nothing is known.

    A single draw scatters about these values by O(depth / width); ``spread`` says how far. Weights that have been
    trained, with a mean or with rows of different sizes, are refused unless `laws` says what they are.
    Source: Yang 2019 (arXiv 1910.12478), tensor programs, for the limit; the program is the caller's.

    Args:
        apply: The model, a function ``apply(params, x)`` that JAX can trace: Flax, Equinox, Haiku or plain.
        params: Its parameters, a pytree of arrays. Their shapes count, and their numbers as far as laws are not given.
        x: Its data, a pytree of arrays, which are known.
        laws: A pytree of the structure of ``params`` with a `Law`, or ``None`` for one to be recognized, at each leaf.
        gradients: Whether squared gradients are predicted.
        optimizer: A transformation of Optax, of whose first update the size is predicted. Gradients are too, then.
        cotangent: The deviation of the gradient by a number of the output, as of a loss.

    Returns:
        A row for each equation that matters, in the order of computation.

    Raises:
        TypeError: ``apply`` is not callable, or ``optimizer`` is none.
        ValueError: ``cotangent`` is not positive, laws of another structure, or parameters that are no draws of one law
            with mean zero.
        NotImplementedError: An operation without a rule, named with its line.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from jnorm.predict import Law
    >>> weights = [jnp.zeros((8, 256)), jnp.zeros((256, 256))]
    >>> laws = [Law("normal", 2 / 8), Law("normal", 2 / 256)]
    >>> model = lambda w, x: jax.nn.relu(jax.nn.relu(x @ w[0]) @ w[1])
    >>> x = jnp.stack([jnp.ones(8), -jnp.ones(8)])
    >>> for row in predict(model, weights, x, laws=laws):
    ...     print(f"{row.second:.3f} {row.correlation:.3f} {row.status}")
    2.000 -1.000 exact
    1.000 0.000 exact
    2.000 0.000 exact
    1.000 0.318 gaussian
    """
    if optimizer is not None and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"`optimizer` must be a transformation of Optax; got {optimizer!r}")
    if not 0 < cotangent < math.inf:
        raise ValueError(f"`cotangent` must be positive and finite; got {cotangent}")
    traced = model(apply, params, x, laws)
    program = traced.program
    matters = _choice.chosen(program)
    seen: list[tuple[Row, _backward.Place, tuple[int, ...]]] = []
    visits: Counter[tuple[int, ...]] = Counter()

    def record(site: Any, out: Sequence[Any]) -> None:
        if id(site.equation) in matters:
            turn, turns = visits[site.index] - 1, tuple(predictor.turns)
            random = [i for i, value in enumerate(out) if isinstance(value, Random) and value.terms]
            seen.extend((_row(site, out[i], predictor, turn, i), (site.index, i), turns) for i in random)

    predictor = Predictor(record, strays=Strays())

    def hook(site: Any, *inputs: Any) -> list[Any]:
        visits[site.index] += 1
        return predictor(site, *inputs)

    results = jaxprs.evaluate(program, *traced.inputs, *traced.rest, hook=hook, opens=())
    if not gradients and optimizer is None:
        return Prediction(tuple(row for row, _, _ in seen))
    by_params, at = _gradients(traced, matters, results, cotangent**2, predictor)
    rows = tuple(
        _with_gradient(row, _turn(at[place], turns), predictor) if place in at else row for row, place, turns in seen
    )
    slopes = {name: _gradient(value, predictor) for name, value in zip(traced.moving, by_params, strict=True)}
    if optimizer is None:
        return Prediction(rows, slopes)
    variances = [leaf.var if isinstance(leaf, Weight) else None for leaf in traced.inputs]
    squares = [_backward.squares(value) for value in by_params]
    return Prediction(rows, slopes, first_updates(optimizer, params, traced.names, variances, squares))


def _gradients(
    traced: Model, matters: set[int], results: Sequence[Any], var: float, predictor: Predictor
) -> tuple[list[Any], dict[_backward.Place, Any]]:
    """The gradients by parameters and at places, for cotangents N(0, var) with the axes of the results."""
    program, probes = _backward.program(traced.program, traced.flat, traced.rest, matters)
    predictor.record, predictor.reverse = lambda site, out: None, True
    given = [*traced.inputs, *traced.rest, *probes.values(), *cotangents(results, predictor, var)]
    out = jaxprs.evaluate(program, *given, hook=predictor, opens=())
    out = [predictor.ready(value) if isinstance(value, Weight) else value for value in out]
    count = len(out) - len(probes)
    return out[:count], dict(zip(probes, out[count:], strict=True))


def _turn(value: Any, turns: tuple[int, ...]) -> Any:
    """The gradient at a turn of the loops around; its size alone where a later equation has put turns together."""
    for done, turn in enumerate(turns):
        if not isinstance(value, Stack):
            return np.sqrt(_backward.squares(value)[turns[done:]])
        value = value.parts[turn]
    return value


def _gradient(value: Any, predictor: Predictor) -> Gradient:
    second = float(_backward.squares(value).mean())
    if not isinstance(value, Random):
        return Gradient(second, math.nan if second else 0.0)
    return Gradient(second, _spread(value, predictor), sizes(value, predictor.scratch) if value.terms else None)


def _spread(value: Random, predictor: Predictor) -> float:
    return predictor.strays.spread(value) if predictor.strays else math.nan


def _with_gradient(row: Row, value: Any, predictor: Predictor) -> Row:
    found = _gradient(value, predictor)
    return dataclasses.replace(row, gradient=found.second, gradient_law=found)


def _row(site: Any, value: Random, predictor: Predictor, turn: int, output: int) -> Row:
    mean, moment, correlation = moments(value)
    module = str(site.equation.source_info.name_stack)
    status = MARKED if value.status != EXACT and value.units < FEW else value.status
    return Row(
        name=f"{module}/{site.name}" if module else site.name,
        shape=value.shape,
        mean=mean,
        second=moment,
        correlation=correlation,
        gradient=math.nan,
        line=site.line,
        status=STATUS[status],
        spread=_spread(value, predictor),
        dtype=site.equation.outvars[output].aval.dtype.name,
        sizes=sizes(value, predictor.scratch),
        index=site.index,
        turn=turn,
        output=output,
    )
