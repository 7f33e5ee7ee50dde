"""Prediction of anybody's model."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jnorm import jaxprs
from jnorm.predict import _backward, _choice, _laws
from jnorm.predict._prediction import Prediction, Row
from jnorm.predict._predictor import Predictor
from jnorm.predict._values import LARGE, STATUS, Random, Weight, second, select

PAIRS = 256  # explicit indices of which moments are shown, where they are many


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

    A single draw scatters about these values by O(depth / width). Weights that have been trained, with a mean or with
    rows of different sizes, are refused unless `laws` says what they are.
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
    if not callable(apply):
        raise TypeError(f"`apply` must be a function of parameters and data; got {apply!r}")
    leaves = _laws.of_leaves(params, laws)
    flat, rest = jax.tree.leaves(params), jax.tree.leaves(x)
    program = jax.make_jaxpr(apply)(params, x)
    inputs = [
        leaf if law.kind == "known" else Weight((name,), numbers.shape, law.var, law.kind == "normal")
        for (name, numbers, law), leaf in zip(leaves, flat, strict=True)
    ]
    seen: list[tuple[Row | None, bool]] = []
    matters = _choice.chosen(program)
    visits: Counter[tuple[int, ...]] = Counter()

    def record(site: Any, out: Sequence[Any]) -> None:
        if id(site.equation) in matters:
            known = (isinstance(value, Random) and value.terms for value in out)
            turn = visits[site.index] - 1
            found = (_row(site, out[i], turn, i) if random else None for i, random in enumerate(known))
            seen.extend((row, _backward.is_hidden(site)) for row in found)

    predictor = Predictor(record)

    def hook(site: Any, *inputs: Any) -> list[Any]:
        visits[site.index] += 1
        return predictor(site, *inputs)

    results = jaxprs.evaluate(program, *inputs, *rest, hook=hook, opens=())
    rows, slopes = [row for row, _ in seen], dict[str, float]()
    if gradients:
        reverse, probes = _backward.program(program, flat, rest, matters)
        of_params, of_probes = _squares(reverse, [*inputs, *rest], probes, results)
        moving = [name for (name, _, _), leaf in zip(leaves, flat, strict=True) if _backward.moves(leaf)]
        slopes = dict(zip(moving, of_params, strict=True))
        left = iter(of_probes)
        numbers = [math.nan if hidden else next(left) for _, hidden in seen]
        rows = [row and dataclasses.replace(row, gradient=number) for row, number in zip(rows, numbers, strict=True)]
    return Prediction(tuple(row for row in rows if row), slopes)


def _squares(
    program: Any, inputs: Sequence[Any], probes: Sequence[Any], results: Sequence[Any]
) -> tuple[list[float], list[float]]:
    """The squared gradients by parameters and by probes, for cotangents N(0, 1) with the axes of the results."""
    predictor = Predictor(lambda site, out: None)
    cotangents = []
    for i, value in enumerate(results):
        axes = value.axes if isinstance(value, Random) else tuple(((size, False),) for size in tuple(value.shape))
        cotangents.append(predictor.as_random(Weight(("cotangent", i), tuple(value.shape), 1.0, True), axes))
    zeros = [np.asarray(probe) for probe in probes]
    out = [predictor.ready(v) for v in jaxprs.evaluate(program, *inputs, *zeros, *cotangents, hook=predictor, opens=())]
    squares = [moments(v)[1] if isinstance(v, Random) else float(np.mean(np.square(v))) for v in out]
    count = len(squares) - len(probes)
    return squares[:count], squares[count:]


def _row(site: Any, value: Random, turn: int, output: int) -> Row:
    mean, moment, correlation = moments(value)
    module = str(site.equation.source_info.name_stack)
    name = f"{module}/{site.name}" if module else site.name
    return Row(
        name,
        value.shape,
        mean,
        moment,
        correlation,
        math.nan,
        site.line,
        STATUS[value.status],
        site.index,
        turn,
        output,
    )


def moments(value: Random) -> tuple[float, float, float]:
    """Mean, second moment and correlation of a value, over its explicit indices."""
    shape = [size for size in value.small if size > 1] or [1]
    lead = shape[0] if value.axes and value.axes[0] and value.axes[0][0][1] is False and value.shape[0] > 1 else 1
    index = np.arange(value.size).reshape(lead, -1)
    if value.size > LARGE:
        some = np.random.default_rng(0).choice(
            index.shape[1], max(PAIRS // lead, 1), replace=index.shape[1] < PAIRS // lead
        )
        index = index[:, some]
        value = select(value, index.ravel(), (((index.size, False),),))
        index = np.arange(index.size).reshape(index.shape)
    gram = second(value, value)
    diagonal = np.diagonal(gram)
    root = np.sqrt(np.maximum(diagonal, 0.0))
    cosines = gram / np.where(root == 0, np.inf, root)[:, None] / np.where(root == 0, np.inf, root)
    if lead > 1:
        i, j = (k[:, :, None] for k in np.broadcast_arrays(np.arange(lead)[:, None], np.arange(lead)))
        at = cosines[index[i, np.arange(index.shape[1])], index[j, np.arange(index.shape[1])]]
        pairs = at[~np.eye(lead, dtype=bool)]
    else:
        pairs = cosines[~np.eye(len(cosines), dtype=bool)]
    return float(value.mean.mean()), float(diagonal.mean()), float(pairs.mean()) if pairs.size else float("nan")
