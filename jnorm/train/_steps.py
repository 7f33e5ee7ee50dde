"""A step and an epoch of training, from parts that are bound to their hyperparameters already."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jnorm._ground import checks
from jnorm.data import batches
from jnorm.train import _examples, _gradients, _optimizers

UNROLL = 2
"""Steps at a time: XLA's copies of what they hand on are made half as often, 4 % of the time of wide networks."""


class Recipe(NamedTuple):
    """What a run is made of; the arguments of `jnorm.train.loop.trainer`, bound to one set of hyperparameters.

    Attributes:
        network: The pair ``init``, ``apply``.
        loss: ``loss(outputs, targets)``.
        optimizer: The optimizer.
        keys: Random keys by the name of their stream.
        penalty: ``penalty(params)``, added to the mean loss.
        augment: ``augment(key, x)``, applied to the inputs of a step.
        reported: What steps report, of "loss", "gradient_norm" and "skipped".
        microbatch: The most examples that go through the network at once; None: those of a batch.
    """

    network: Any
    loss: Callable[[Any, Any], jax.Array]
    optimizer: _optimizers.Optimizer
    keys: Mapping[str, jax.Array]
    penalty: Callable[[Any], jax.Array] | None = None
    augment: Callable[[jax.Array, Any], Any] | None = None
    reported: Collection[str] = ()
    microbatch: int | None = None


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
    """A step on a pair (inputs, targets): what it hands on, and what it reports of the parameters before.

    Examples that the mask leaves out must be copies of valid ones.
    """
    key = jax.random.fold_in(recipe.keys["dropout_key"], carry.step)
    if recipe.augment is not None:
        x, targets = batch
        batch = recipe.augment(jax.random.fold_in(recipe.keys["augment_key"], carry.step), x), targets
    takes_mask = _takes_mask(recipe.network)

    def loss(params: Any, state: Any, batch: Any, mask: jax.Array | None, key: jax.Array) -> tuple[jax.Array, Any]:
        x, targets = batch
        options = {"mask": mask} if takes_mask else {}
        outputs, state = recipe.network.apply(params, state, x, train=True, key=key, **options)
        return recipe.loss(_examples.wide(outputs), targets), state

    accumulate = 1 if recipe.microbatch is None else batches.steps(batches.length(batch), recipe.microbatch)

    def gradient_at(params: Any) -> _gradients.Gradient:
        return _gradients.of_clean(
            loss, params, carry.state, batch, mask, key, penalty=recipe.penalty, accumulate=accumulate
        )

    gradient = gradient_at(carry.params)
    value_of = lambda params: gradient_at(params).value
    updates, optimizer_state = recipe.optimizer.update(
        gradient.params,
        carry.optimizer_state,
        carry.params,
        value=gradient.value,
        grad=gradient.params,
        value_fn=value_of,
        obj_fn=value_of,
        grad_fn=lambda params, *_: gradient_at(params).params,
    )
    state, skipped = _entered(carry.state, gradient.state, _optimizers.refused(optimizer_state))
    reports = {}
    if "loss" in recipe.reported:
        reports["step_loss"] = gradient.loss
    if "gradient_norm" in recipe.reported:
        reports["step_gradient_norm"] = _norm(gradient.params)
    if "skipped" in recipe.reported:
        reports["step_skipped"] = skipped
    params = optax.apply_updates(carry.params, updates)
    return Carry(params, state, optimizer_state, carry.step + 1), reports


def _entered(old: Any, new: Any, refused: jax.Array | None) -> tuple[Any, jax.Array]:
    """The new state, or the old one, and whether it is that: where the step was refused, or a finite number was lost.

    One batch with an infinite value would leave NaN in running statistics for ever.
    """
    lost = [
        jnp.any(jnp.isfinite(a) & ~jnp.isfinite(b))
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        if jnp.issubdtype(jnp.result_type(b), jnp.inexact)
    ]
    flags = lost if refused is None else [*lost, refused]
    if not flags:
        return new, jnp.zeros((), bool)
    skipped = jnp.any(jnp.stack(flags))
    return jax.tree.map(lambda a, b: jnp.where(skipped, a, b), old, new), skipped


def _norm(tree: Any) -> jax.Array:
    """The root of the sum of all squares, which neither overflow nor vanish: in at least float32, scaled."""
    leaves = [jnp.asarray(a) for a in jax.tree.leaves(tree)]
    leaves = [a.astype(checks.wide(a.dtype)) for a in leaves if a.size]
    if not leaves:
        return jnp.zeros(())
    dtype = jnp.result_type(*leaves)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(a)).astype(dtype) for a in leaves]))
    # A power of two, so that nothing is rounded by it; of what is not finite none.
    limit = jnp.finfo(dtype).maxexp - 3
    exponent = jnp.clip(jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 1))[1], -limit, limit)
    down = jnp.ldexp(jnp.ones((), dtype), -exponent)
    total = jnp.sum(jnp.stack([jnp.sum(jnp.square(a.astype(dtype) * down)) for a in leaves]))
    return jnp.sqrt(total) * jnp.ldexp(jnp.ones((), dtype), exponent)


def epoch(
    recipe: Recipe,
    carry: Carry,
    data: tuple[Any, Any],
    key: jax.Array,
    batch_size: int,
    drop_remainder: bool = False,
) -> tuple[Carry, dict[str, jax.Array]]:
    """One pass over ``data`` in the order of ``key``: what it hands on, and the steps' reports, ``[steps]`` each."""
    indices, mask = batches.epoch(key, batches.length(data), batch_size, drop_remainder=drop_remainder)
    rest = 0 if drop_remainder else batches.length(data) % batch_size

    def scanned(carry: Carry, batch: tuple[jax.Array, jax.Array | None]) -> tuple[Carry, dict[str, jax.Array]]:
        return step(recipe, carry, batches.take(data, batch[0]), batch[1])

    scan = partial(lax.scan, unroll=UNROLL)
    if not rest:
        return scan(scanned, carry, (indices, None))
    if _takes_mask(recipe.network):
        # What fills up the last batch is its first example, so that it brings in nothing that is not there.
        return scan(scanned, carry, (jnp.where(mask, indices, indices[:, :1]), mask))
    # Nobody knows whether a network looks at the batch as a whole, as one with batch norm does, state or not.
    carry, reports = scan(scanned, carry, (indices[:-1], None))
    try:
        carry, last = scanned(carry, (indices[-1, :rest], None))
    except (ValueError, TypeError) as error:  # of a network that took the full batches
        raise ValueError(
            f"{error}; this is the last batch, of {rest} examples: `drop_remainder` leaves it out"
        ) from error
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), reports, last)


def _takes_mask(network: Any) -> bool:
    return "mask" in inspect.signature(network.apply).parameters
