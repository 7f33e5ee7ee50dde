"""A step of training, from parts that are bound to their hyperparameters already."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnorm._ground import checks
from jnorm._ground.elementary import power_below
from jnorm.data import batches
from jnorm.train import _examples, _gradients, _optimizers, _starts
from jnorm.train._report import Step


class Recipe(NamedTuple):
    """What a run is made of; the arguments of `jnorm.train.loop.trainer`, bound to one set of hyperparameters.

    Attributes:
        network: The pair ``init``, ``apply``.
        loss: ``loss(outputs, targets)``.
        optimizer: The optimizer.
        keys: Random keys by the name of their stream.
        penalty: ``penalty(params)``, added to the mean loss.
        augment: ``augment(key, x)``, applied to the inputs of a step.
        reported: What steps report: "loss", "gradient_norm", "skipped", and functions of a `Step`.
        microbatch: The most examples that go through the network at once; None: those of a batch.
    """

    network: Any
    loss: Callable[[Any, Any], jax.Array]
    optimizer: _optimizers.Optimizer
    keys: Mapping[str, jax.Array]
    penalty: Callable[[Any], jax.Array] | None = None
    augment: Callable[[jax.Array, Any], Any] | None = None
    reported: Collection[Any] = ()
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


def start(recipe: Recipe, given: Any = None) -> Carry:
    """Fresh parameters and states, or what a training is to begin with: parameters and state, or a `Carry`."""
    if given is None:
        params, state = recipe.network.init(recipe.keys["init_key"])
        return Carry(params, state, recipe.optimizer.init(params), jnp.zeros((), jnp.int32))
    given = _starts.beginning(given, recipe.network, recipe.optimizer, Carry)
    given = jax.tree.map(jnp.asarray, given)
    if isinstance(given, Carry):
        return given
    params, state = given
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
    masked = takes_mask(recipe.network)

    def loss(params: Any, state: Any, batch: Any, mask: jax.Array | None, key: jax.Array) -> tuple[jax.Array, Any]:
        x, targets = batch
        options = {"mask": mask} if masked else {}
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
    known = {"loss": gradient.loss, "skipped": skipped}
    if "gradient_norm" in recipe.reported:
        known["gradient_norm"] = _norm(gradient.params)
    seen = Step(carry.params, carry.state, batch, key, gradient.loss, gradient.params, updates, optimizer_state)
    reports = _reported(recipe.reported, known, seen)
    params = optax.apply_updates(carry.params, updates)
    return Carry(params, state, optimizer_state, carry.step + 1), reports


def _reported(reported: Collection[Any], known: Mapping[str, jax.Array], seen: Step) -> dict[str, jax.Array]:
    """What a step reports, by name: of what is known, and what functions make of what they see."""
    named = [(name, known[name]) for name in dict.fromkeys(reported) if not callable(name)]
    for probe in filter(callable, reported):
        values = probe(seen)
        if not isinstance(values, Mapping):
            raise TypeError(f"a function in `steps` must return a dictionary of arrays; got {type(values).__name__}")
        named += values.items()
    _starts.distinct((f"step_{name}", "a report of steps") for name, _ in named)
    return {f"step_{name}": jnp.asarray(value) for name, value in named}


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
    scale = power_below(largest)
    total = jnp.sum(jnp.stack([jnp.sum(jnp.square(a.astype(dtype) * (1 / scale))) for a in leaves]))
    return jnp.sqrt(total) * scale


def takes_mask(network: Any) -> bool:
    return "mask" in inspect.signature(network.apply).parameters
