"""A few steps of training at several widths, and what they say of each parameter: sizes that must not depend on it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnorm._ground import checks
from jnorm.theory import _rules, _slopes
from jnorm.theory._slopes import CoordCheck
from jnorm.theory._widths import tensors


class Trial(NamedTuple):
    """A model and its training at one width, as `coord_check` wants it.

    Attributes:
        init: ``init(key)`` returns the parameters, a pytree of arrays.
        apply: ``apply(weights, x)`` returns the outputs; or a pair of these and a dictionary of activations, which are
            judged too.
        optimizer: One of Optax.
        weights: ``weights(params)`` is what ``apply`` and the gradient get: `Parametrization.weights`, or the
            parameters themselves.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, Any], Any]
    optimizer: Any
    weights: Callable[[Any], Any] = lambda params: params


def coord_check(
    make: Callable[[int], Trial],
    loss: Callable[[jax.Array, Any], jax.Array],
    data: tuple[Any, Any],
    *,
    widths: Sequence[int],
    sweep: Callable[..., Any],
    seeds: int = 32,
    steps: int = 4,
    within: float = 0.05,
    level: float = 0.05,
    layout: str = "in-out",
    inputs: Mapping[str, Sequence[int]] | None = None,
) -> CoordCheck:
    """Whether each parameter starts at a size, and does to the loss, what does not depend on the width: with verdicts.

    All seeds train all widths for some steps on one batch. Of each parameter W three sizes must be flat, as judged by
    the slope of their logarithm on that of the width:

    - ``start``: the root mean square of its initial values over the size at which features are learned: fan-in^-1/2
      where both fans grow, 1/fan-in of an output, 1 else;
    - ``first``: what W's first step does to the loss, ``|sum of dloss/dW (W after - W before)|``, with the gradient at
      the start; summed over all W it is how much the loss falls, to first order;
    - ``last``: likewise, what all its steps do.

    Of activations they are the root mean square of their values, and of how far they have moved. The loss is that of
    ``outputs - outputs at the start``, which vanish in wide networks that learn features, but only as width^-1/2.

    A forgotten multiplier of initial values shows in its parameter's ``start``, that of a rate in its parameter's
    ``first`` alone; later all others may follow. `CoordCheck.suspects` therefore names what is off where anything is
    first. A network in the kernel regime ("ntk") learns as fast as others; it shows in the ``start`` of its output's
    weights, and in activations that move less the wider it is.

    A verdict is *supported* where the ``1 - 2 level`` interval (Student's t of a jackknife over seeds) lies within
    ``within`` of zero, *not supported* where the ``1 - level/n`` interval lies outside, n the number of slopes judged,
    or where a size is not finite, or 0 in some runs; else *undecided*: more seeds, or widths further apart. So of
    networks that are right less than ``level`` are called wrong anywhere, and of those with a slope of ``within`` or
    more anywhere less than ``level`` are called right. Powers hold for large widths: small ones bend the lines. Values
    that are 0 everywhere are not judged, nor are gradients that are 0 but for rounding, as of the keys' biases.

    Args:
        make: ``make(width)`` returns the `Trial` at that width.
        loss: ``loss(outputs, targets)``, of which the mean is minimized.
        data: Inputs and targets of one batch, pytrees of arrays.
        widths: Two or more, all different.
        sweep: `jnorm.sweeps.sweep`, with or without options such as a store bound by ``functools.partial``.
        seeds: Runs at each width, at least 2.
        steps: Steps of training.
        within: How far from 0 a slope may be.
        level: The error rate of the verdicts.
        layout: As for `parametrize`.
        inputs: As for `parametrize`.

    Returns:
        The verdicts; prints as a table.

    Raises:
        ValueError: Less than two widths, or two that are equal; an ``init`` of which no axis moves with the width; a
            number out of its range. Nothing is compiled.

    Source: Yang et al. 2022 (arXiv 2203.03466), appendix D.1, where it is judged by eye; sizes of weights: Yang, Simon,
    Bernstein 2023 (arXiv 2310.17813).

    >>> from jnorm.sweeps import sweep
    >>> from jnorm.theory.parametrization import parametrize
    >>> def init(key, width):
    ...     first, readout = jax.random.split(key)
    ...     first = jax.random.normal(first, (8, width)) / 8**0.5
    ...     return {"first": first, "readout": jax.random.normal(readout, (width, 3)) / width**0.5}
    >>> def apply(params, x):
    ...     return jnp.tanh(x @ params["first"]) @ params["readout"]
    >>> def make(width):  # with rule="mup" all would be flat
    ...     scaled = parametrize(init, width, base=32, rule="standard")
    ...     optimizer = optax.chain(optax.adam(0.01), scaled.rates())
    ...     return Trial(lambda key: scaled.initial(init(key, width)), apply, optimizer, scaled.weights)
    >>> data = jnp.ones((2, 8)), jnp.ones((2, 3))
    >>> once = partial(sweep, chunk=8)
    >>> found = coord_check(make, optax.squared_error, data, widths=(32, 128), sweep=once, seeds=8, steps=1)
    >>> found.verdict, found.suspects
    ('not supported', ('readout',))
    """
    checks.whole(1, widths=list(widths), steps=steps)
    checks.whole(2, seeds=seeds)
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", within=within)
    checks.require(lambda v: (v > 0) & (v < 0.5), "`{}` must satisfy 0 < {} < 0.5", level=level)
    if len(widths) < 2 or len(set(widths)) < len(widths):
        raise ValueError(f"`widths` must be two or more different ones; got {', '.join(map(str, widths)) or 'none'}")
    shapes = [tensors(lambda key, w: make(w).init(key), w, min(widths), layout, inputs)[0] for w in widths]
    names = [*((t.path, t.kind) for t in shapes[0]), *_watched(make(min(widths)), data[0])]
    train = partial(_train, make, loss, steps)
    result = sweep(train, seeds=seeds, grid={"width": tuple(widths)}, static=("width",), shared=tuple(data))
    sizes = {name: np.array(result[name], np.float64) for name in _slopes.QUANTITIES if steps > 1 or name != "last"}
    sizes["start"][..., : len(shapes[0])] /= np.array(
        [[[t.fan_in ** _rules.drawn_power(t.kind) for t in at]] for at in shapes]
    )
    return _slopes.judged(sizes, names, tuple(widths), within=within, level=level)


def _watched(trial: Trial, x: Any) -> list[tuple[str, str]]:
    """The names of the activations that ``apply`` returns beside the outputs."""
    made = jax.eval_shape(lambda: _split(trial.apply(trial.weights(trial.init(jax.random.key(0))), x))[1])
    return [(name, "activation") for name in made]


def _split(result: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Outputs and activations, in the order of their names as JAX returns them."""
    outputs, seen = result if isinstance(result, tuple) else (result, {})
    return outputs, dict(sorted(seen.items()))


def _train(
    make: Callable[[int], Trial],
    loss: Callable[[jax.Array, Any], jax.Array],
    steps: int,
    key: jax.Array,
    data: tuple[Any, Any],
    width: int,
) -> dict[str, jax.Array]:
    """The sizes of one run, each ``[parameters, then activations]``; 0 where there is none."""
    (x, targets), trial = data, make(width)
    before = trial.init(key)

    def outputs(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        return _split(trial.apply(trial.weights(params), x))

    y, seen = outputs(before)
    slope = jax.grad(lambda params: jnp.mean(loss(outputs(params)[0] - y, targets)))

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        params, state = carry
        gradient = slope(params)
        with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats, which strict JAX refuses
            updates, state = trial.optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    def moved(after: Any) -> jax.Array:
        parts = jax.tree.map(lambda g, new, old: _sum(g * (new - old)), downhill, after, before)
        effects = jnp.where(lost, 0, jnp.abs(jnp.array(jax.tree.leaves(parts))))
        others = outputs(after)[1]
        return jnp.append(effects, jnp.array([_size(others[name] - value) for name, value in seen.items()], float))

    downhill = slope(before)
    steepest = jnp.array([jnp.max(jnp.abs(g), initial=0) for g in jax.tree.leaves(downhill)])
    lost = steepest <= 64 * jnp.finfo(y.dtype).eps * jnp.max(steepest)  # what rounding makes of a gradient of 0
    with jax.numpy_dtype_promotion("standard"):
        state = trial.optimizer.init(before)
    carry, _ = step((before, state), None)
    (last, _), _ = jax.lax.scan(step, carry, length=steps - 1)
    start = [*map(_size, jax.tree.leaves(trial.weights(before))), *map(_size, seen.values())]
    return {"start": jnp.array(start), "first": moved(carry[0]), "last": moved(last)}


def _sum(a: jax.Array) -> jax.Array:
    return jnp.sum(a.astype(checks.wide(a.dtype)))


def _size(a: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(a.astype(jnp.float32))))
