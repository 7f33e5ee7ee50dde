"""A step and an epoch of training, from parts that are bound to their hyperparameters already."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jnorm.data import batches
from jnorm.train import _examples, gradients


class Recipe(NamedTuple):
    """What a run is made of; the arguments of `jnorm.train.loop.trainer`, bound to one set of hyperparameters.

    Attributes:
        network: The pair ``init``, ``apply``.
        loss: ``loss(outputs, targets)``.
        optimizer: The optimizer.
        keys: Random keys by the name of their stream.
        penalty: ``penalty(params)``, added to the mean loss.
        augment: ``augment(key, x)``, applied to the inputs of a step.
        reported: What steps report, of "loss" and "gradient_norm".
        accumulate: Number of microbatches.
    """

    network: Any
    loss: Callable[[Any, Any], jax.Array]
    optimizer: optax.GradientTransformationExtraArgs
    keys: Mapping[str, jax.Array]
    penalty: Callable[[Any], jax.Array] | None = None
    augment: Callable[[jax.Array, Any], Any] | None = None
    reported: Collection[str] = ()
    accumulate: int = 1


class Carry(NamedTuple):
    """What a step hands to the next.

    Attributes:
        params: The parameters.
        state: The network's state.
        optimizer_state: The optimizer's state.
        step: The number of the next step, from 0.
    """

    params: Any
    state: Any
    optimizer_state: Any
    step: jax.Array


def start(recipe: Recipe) -> Carry:
    """Fresh parameters and states."""
    params, state = recipe.network.init(recipe.keys["init_key"])
    return Carry(params, state, recipe.optimizer.init(params), jnp.zeros((), jnp.int32))


def predictor(network: Any, params: Any, state: Any) -> Callable[[Any], Any]:
    """The network in evaluation, as a function of inputs."""
    return lambda x: network.apply(params, state, x, train=False, key=None)[0]


def step(recipe: Recipe, carry: Carry, batch: Any, mask: jax.Array | None) -> tuple[Carry, dict[str, jax.Array]]:
    """A step on a pair (inputs, targets): what it hands on, and what it reports of the parameters before."""
    key = jax.random.fold_in(recipe.keys["dropout_key"], carry.step)
    if recipe.augment is not None:
        x, targets = batch
        batch = recipe.augment(jax.random.fold_in(recipe.keys["augment_key"], carry.step), x), targets
    takes_mask = _takes_mask(recipe.network)

    def loss(params: Any, state: Any, batch: Any, mask: jax.Array | None, key: jax.Array) -> tuple[jax.Array, Any]:
        x, targets = batch
        options = {"mask": mask} if takes_mask else {}
        outputs, state = recipe.network.apply(params, state, x, train=True, key=key, **options)
        return _examples.per_example(recipe.loss(outputs, targets), batches.length(batch), "loss"), state

    # The last batch at its own size goes in one piece where it cannot be divided.
    accumulate = 1 if batches.length(batch) % recipe.accumulate else recipe.accumulate

    def gradient_at(params: Any) -> gradients.Gradient:
        return gradients.gradient(
            loss, params, carry.state, batch, mask, key, penalty=recipe.penalty, accumulate=accumulate
        )

    gradient = gradient_at(carry.params)
    search = {"value": gradient.value, "grad": gradient.params, "value_fn": lambda params: gradient_at(params).value}
    with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats, which a strict JAX refuses
        updates, optimizer_state = recipe.optimizer.update(
            gradient.params, carry.optimizer_state, carry.params, **search
        )
    reports = {}
    if "loss" in recipe.reported:
        reports["step_loss"] = gradient.loss
    if "gradient_norm" in recipe.reported:
        reports["step_gradient_norm"] = optax.tree.norm(gradient.params)
    params = optax.apply_updates(carry.params, updates)
    return Carry(params, gradient.state, optimizer_state, carry.step + 1), reports


def epoch(
    recipe: Recipe, carry: Carry, data: tuple[Any, Any], key: jax.Array, batch_size: int
) -> tuple[Carry, dict[str, jax.Array]]:
    """One pass over ``data`` in the order of ``key``: what it hands on, and the steps' reports, ``[steps]`` each."""
    indices, mask = batches.epoch(key, batches.length(data), batch_size)
    rest = batches.length(data) % batch_size

    def scanned(carry: Carry, batch: tuple[jax.Array, jax.Array | None]) -> tuple[Carry, dict[str, jax.Array]]:
        return step(recipe, carry, batches.take(data, batch[0]), batch[1])

    # Two at a time: XLA's copies of what the steps hand on are made half as often, 4 % of the time of wide networks.
    scan = partial(lax.scan, unroll=2)
    if not rest:
        return scan(scanned, carry, (indices, None))
    if _takes_mask(recipe.network) or not jax.tree.leaves(carry.state):
        return scan(scanned, carry, (indices, mask))
    carry, reports = scan(scanned, carry, (indices[:-1], None))
    carry, last = scanned(carry, (indices[-1, :rest], None))
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), reports, last)


def _takes_mask(network: Any) -> bool:
    return "mask" in inspect.signature(network.apply).parameters
