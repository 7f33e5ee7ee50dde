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
from jnorm.train import evaluation, gradients


class Parts(NamedTuple):
    """What a run is made of. ``record`` names what steps report: "loss", "gradient_norm"."""

    network: Any
    loss: Callable[[Any, Any], jax.Array]
    optimizer: optax.GradientTransformationExtraArgs
    keys: Mapping[str, jax.Array]
    penalty: Callable[[Any], jax.Array] | None = None
    augment: Callable[[jax.Array, Any], Any] | None = None
    record: Collection[str] = ()
    accumulate: int = 1


class Run(NamedTuple):
    """What a step hands to the next; ``step`` counts from 0."""

    params: Any
    state: Any
    optimizer: Any
    step: jax.Array


def start(parts: Parts) -> Run:
    """Fresh parameters and states."""
    params, state = parts.network.init(parts.keys["init_key"])
    return Run(params, state, parts.optimizer.init(params), jnp.zeros((), jnp.int32))


def predictor(network: Any, params: Any, state: Any) -> Callable[[Any], Any]:
    """The network in evaluation, as a function of inputs."""
    return lambda x: network.apply(params, state, x, train=False, key=None)[0]


def step(parts: Parts, run: Run, batch: Any, mask: jax.Array | None) -> tuple[Run, dict[str, jax.Array]]:
    """The run after a step on a pair (inputs, targets), and what it reports of the parameters before."""
    key = jax.random.fold_in(parts.keys["dropout_key"], run.step)
    if parts.augment is not None:
        x, targets = batch
        batch = parts.augment(jax.random.fold_in(parts.keys["augment_key"], run.step), x), targets
    takes_mask = _takes_mask(parts.network)

    def losses(params: Any, state: Any, batch: Any, mask: jax.Array | None, key: jax.Array) -> tuple[jax.Array, Any]:
        x, targets = batch
        known = {"mask": mask} if takes_mask else {}
        outputs, state = parts.network.apply(params, state, x, train=True, key=key, **known)
        return evaluation.per_example(parts.loss(outputs, targets), batches.length(batch), "loss"), state

    def of(params: Any) -> gradients.Gradient:
        whole = batches.length(batch) % parts.accumulate  # the last batch at its own size goes in one piece
        return gradients.gradient(
            losses, params, run.state, batch, mask, key, penalty=parts.penalty, parts=1 if whole else parts.accumulate
        )

    found = of(run.params)
    search = {"value": found.value, "grad": found.params, "value_fn": lambda params: of(params).value}
    with jax.numpy_dtype_promotion("standard"):  # Optax multiplies counts by floats, which a strict JAX refuses
        updates, optimizer = parts.optimizer.update(found.params, run.optimizer, run.params, **search)
    seen = {}
    if "loss" in parts.record:
        seen["step_loss"] = found.loss
    if "gradient_norm" in parts.record:
        seen["step_gradient_norm"] = optax.tree.norm(found.params)
    return Run(optax.apply_updates(run.params, updates), found.state, optimizer, run.step + 1), seen


def epoch(
    parts: Parts, run: Run, data: tuple[Any, Any], key: jax.Array, batch_size: int
) -> tuple[Run, dict[str, jax.Array]]:
    """The run after one pass over ``data`` in the order of ``key``, and the steps' reports, ``[steps]`` each."""
    indices, mask = batches.epoch(key, batches.length(data), batch_size)
    rest = batches.length(data) % batch_size

    def scanned(run: Run, batch: tuple[jax.Array, jax.Array | None]) -> tuple[Run, dict[str, jax.Array]]:
        return step(parts, run, batches.take(data, batch[0]), batch[1])

    # Two at a time: XLA's copies of what the steps hand on are made half as often, 4 % of the time of wide networks.
    scan = partial(lax.scan, unroll=2)
    if not rest:
        return scan(scanned, run, (indices, None))
    if _takes_mask(parts.network) or not jax.tree.leaves(run.state):
        return scan(scanned, run, (indices, mask))
    run, seen = scan(scanned, run, (indices[:-1], None))
    run, last = scanned(run, (indices[-1, :rest], None))
    return run, jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), seen, last)


def _takes_mask(network: Any) -> bool:
    return "mask" in inspect.signature(network.apply).parameters
