"""Prediction of anybody's model."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jnorm import jaxprs
from jnorm.predict import _backward, _choice
from jnorm.predict._model import cotangents, model
from jnorm.predict._moments import moments
from jnorm.predict._prediction import Gradient, Prediction, Row
from jnorm.predict._predictor import Predictor
from jnorm.predict._sizes import sizes
from jnorm.predict._strays import Strays
from jnorm.predict._values import EXACT, FEW, MARKED, STATUS, Random


def predict(apply: Callable[..., Any], params: Any, x: Any, *, laws: Any = None, gradients: bool = False) -> Prediction:
    """What the values of a model are over random parameters, from its jaxpr alone.

    No parameter is drawn and the model is not run: each equation has a rule for laws. A product with a weight of
    independent draws is Gaussian in the limit of wide layers, with covariances between examples and positions
    ``var * sum_i E[x_i x'_i]``; functions of one Gaussian are integrated exactly, between their kinks; averages over
    units are known numbers, so that layer norm comes out of its own equations; sums and products keep what their parts
    have in common. Softmax, maxima and functions of several Gaussians are estimated from samples of *units*, and their
    rows say so. Where an axis is no axis of units (examples, positions, channels of data) nothing is averaged.

    With ``gradients`` the reverse pass is predicted too, from cotangents N(0, 1) of the output: the squared gradient at
    every row and parameter. A weight counts as a fresh one where its transpose comes by (gradient independence).

    A single draw scatters about these values by O(depth / width); ``spread`` says how far. Weights that have been
    trained, with a mean or with rows of different sizes, are refused unless `laws` says what they are.
    Source: Yang 2019 (arXiv 1910.12478), tensor programs, for the limit; the program is the caller's.

    Args:
        apply: The model, a function ``apply(params, x)`` that JAX can trace: Flax, Equinox, Haiku or plain.
        params: Its parameters, a pytree of arrays. Their shapes count, and their numbers as far as laws are not given.
        x: Its data, a pytree of arrays, which are known.
        laws: A pytree of the structure of ``params`` with a `Law`, or ``None`` for one to be recognized, at each leaf.
        gradients: Whether squared gradients are predicted; of attention that takes minutes.

    Returns:
        A row for each equation that matters, in the order of computation.

    Raises:
        TypeError: ``apply`` is not callable.
        ValueError: Laws of another structure, or parameters that are no draws of one law with mean zero.
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
    traced = model(apply, params, x, laws)
    program = traced.program
    matters = _choice.chosen(program)
    seen: list[tuple[Row | None, bool]] = []

    predictor = Predictor(lambda site, out: None, strays=Strays())

    def record(site: Any, out: Sequence[Any]) -> None:
        if id(site.equation) in matters:
            random = (value if isinstance(value, Random) and value.terms else None for value in out)
            each = zip(random, site.equation.outvars, strict=True)
            rows = (value and _row(site, value, atom.aval.dtype.name, predictor) for value, atom in each)
            seen.extend((row, _backward.is_hidden(site)) for row in rows)

    predictor.record = record
    results = jaxprs.evaluate(program, *traced.inputs, *traced.rest, hook=predictor, opens=())
    rows, slopes = [row for row, _ in seen], dict[str, Gradient]()
    if gradients:
        reverse, probes = _backward.program(program, traced.flat, traced.rest, matters)
        of_params, of_probes = _gradients(reverse, [*traced.inputs, *traced.rest], probes, results)
        slopes = dict(zip(traced.moving, of_params, strict=True))
        left = iter(of_probes)
        found = [None if hidden else next(left) for _, hidden in seen]
        rows = [row and _with_gradient(row, at) for row, at in zip(rows, found, strict=True)]
    return Prediction(tuple(row for row in rows if row), slopes)


def _gradients(
    program: Any, inputs: Sequence[Any], probes: Sequence[Any], results: Sequence[Any]
) -> tuple[list[Gradient], list[Gradient]]:
    """The gradients by parameters and by probes, for cotangents N(0, 1) with the axes of the results."""
    predictor = Predictor(lambda site, out: None, strays=Strays())
    given = cotangents(results, predictor)
    zeros = [np.asarray(probe) for probe in probes]
    out = [predictor.ready(v) for v in jaxprs.evaluate(program, *inputs, *zeros, *given, hook=predictor, opens=())]
    found = [_gradient(v, predictor) for v in out]
    count = len(found) - len(probes)
    return found[:count], found[count:]


def _gradient(value: Any, predictor: Predictor) -> Gradient:
    if not isinstance(value, Random):
        return Gradient(float(np.mean(np.square(value))), 0.0, None)
    return Gradient(moments(value)[1], _spread(value, predictor), sizes(value) if value.terms else None)


def _spread(value: Random, predictor: Predictor) -> float:
    return predictor.strays.spread(value) if predictor.strays else math.nan


def _with_gradient(row: Row, at: Gradient | None) -> Row:
    return row if at is None else dataclasses.replace(row, gradient=at.second, gradient_law=at)


def _row(site: Any, value: Random, dtype: str, predictor: Predictor) -> Row:
    mean, moment, correlation = moments(value)
    module = str(site.equation.source_info.name_stack)
    name = f"{module}/{site.name}" if module else site.name
    status = MARKED if value.status != EXACT and value.units < FEW else value.status
    spread = _spread(value, predictor)
    return Row(
        name, value.shape, mean, moment, correlation, math.nan, site.line, STATUS[status], spread, dtype, sizes(value)
    )
