"""Training as one pure function ``train(key, data, **hyperparameters)`` that returns a dictionary of arrays.

>>> import optax
>>> from jnorm import losses
>>> from jnorm.initializers._scaled import lecun_normal
>>> from jnorm.nn.layers import Layer
>>> from jnorm.nn.networks import mlp
>>> x = jax.random.normal(jax.random.key(0), (70, 2))
>>> y = (x[:, 0] > x[:, 1]).astype(int)
>>> data = {"train": (x[:50], y[:50]), "test": (x[50:], y[50:])}
>>> train = trainer(
...     mlp((2, 16, 2), Layer(jnp.tanh, lecun_normal())),
...     losses.softmax_cross_entropy,
...     lambda learning_rate: optax.adam(learning_rate),
...     epochs=30,
...     batch_size=16,
...     metrics={"accuracy": evaluation.accuracy},
... )
>>> keys, rates = jax.random.split(jax.random.key(1), 5), jnp.array([1e-4, 0.03])
>>> runs = jax.jit(jax.vmap(jax.vmap(lambda k, r: train(k, data, learning_rate=r), (0, None)), (None, 0)))(keys, rates)
>>> runs["test_accuracy"].shape, [bool(median > 0.9) for median in jnp.median(runs["test_accuracy"], 1)]
((2, 5), [False, True])

- **Parts.** Model, optimizer, penalty, loss and stopping rule may be functions that name hyperparameters (`trainer`
  says how). Values are traced: one compiled program serves all of them. What must be known to compile (depth,
  activation, epochs) is fixed where the trainer is built.
- **Optimizer.** Any of Optax, in a ``chain`` with ``clip_by_global_norm``, ``add_decayed_weights`` and so on;
  ``lambda eta, noise_key: optax.add_noise(eta, 0.55, noise_key)`` is annealed gradient noise with a stream of its own.
  ``update`` also gets ``value``, ``grad`` and ``value_fn``, for those that ask (line searches).
- **Keys.** Initialization, data order, dropout and augmentation, gradient noise: each has its own stream, folded out
  of the run's key; ``init_key``, ``order_key``, ``dropout_key``, ``augment_key`` and ``noise_key``, keys or seeds,
  replace them one by one. `streams` is how.
- **Batches.** Each epoch is a new permutation; the loss of a step is the mean over the valid examples, so a last
  batch of fewer counts as what it is. To a model whose ``apply`` takes ``mask`` (True where an example is valid) it is
  passed; one that has state and takes none gets the last batch at its own size, so that batch norm's statistics are
  exact too.
- **Divergence.** Nothing stops a run that diverges: it is NaN in its own lane. With a stopping rule the best before
  that is kept, if there was any.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.data import batches
from jnorm.train import _hyperparameters as hyperparameters
from jnorm.train import _steps as steps
from jnorm.train import early_stopping, evaluation

__all__ = [
    "STEP_RECORDS",
    "STREAMS",
    "streams",
    "trainer",
]

STREAMS = ("init_key", "order_key", "dropout_key", "augment_key", "noise_key")
"""The random streams of a run, in the order of their fold-in numbers."""

STEP_RECORDS = ("loss", "gradient_norm")

_PAIR = "a pair init(key), apply(params, state, x, *, train, key)"

_ADAPTERS = {
    "flax.linen": "jnorm.interop.flax_linen.network(module, example)",
    "flax.nnx": "jnorm.interop.flax_nnx.network(lambda rngs: Module(rngs=rngs))",
}
"""What makes such a pair of another library's modules."""


def streams(key: jax.Array, given: Mapping[str, ArrayLike] = {}) -> dict[str, jax.Array]:
    """The keys of a run by name: stream i of `STREAMS` is ``fold_in(key, i)`` where it is not given.

    Within a run, epoch e has the order of ``fold_in(order_key, e)``; step t, counted from 0 over the whole run, draws
    its dropout from ``fold_in(dropout_key, t)``, and augmentation likewise.

    >>> keys = streams(jax.random.key(0), {"order_key": 7})
    >>> bool(keys["init_key"] == jax.random.fold_in(jax.random.key(0), 0)), bool(keys["order_key"] == jax.random.key(7))
    (True, True)
    """
    key = hyperparameters.as_key("key", key)
    return {
        name: hyperparameters.as_key(name, given[name]) if name in given else jax.random.fold_in(key, i)
        for i, name in enumerate(STREAMS)
    }


def trainer(
    model: Any,
    loss: Callable[..., jax.Array],
    optimizer: Any,
    *,
    epochs: int,
    batch_size: int,
    accumulate: int = 1,
    penalty: Callable[..., jax.Array] | None = None,
    augment: Callable[[jax.Array, Any], Any] | None = None,
    stop: Any = None,
    monitor: str = "dev_loss",
    metrics: Mapping[str, evaluation.Metric] | None = None,
    evaluate: Collection[str] | None = None,
    curves: Collection[str] = (),
    record: Collection[str] = (),
    probe: Callable[[Any, Any], Mapping[str, jax.Array]] | None = None,
    keep_params: bool = False,
) -> Callable[..., dict[str, Any]]:
    """The function ``train(key, data, **hyperparameters) -> dict of arrays``, to be jitted, vmapped or swept.

    Parts, each of which may name hyperparameters:

    - ``model``: a pair ``init(key) -> (params, state)``, ``apply(params, state, x, *, train, key) -> (outputs, state)``
      such as a `jnorm.nn.networks.Network`, or a function of hyperparameters that returns one. The ``network`` of
      `jnorm.interop.flax_linen` and of `jnorm.interop.flax_nnx` makes one of a Flax module.
    - ``loss(outputs, targets)``: a number for each example (or several, of which the mean counts).
    - ``optimizer``: an Optax one, or a function of hyperparameters that returns one.
    - ``penalty(params)``: a number that is added to the mean loss of a step; it is not part of reported losses.
    - ``stop``: an `early_stopping.Rule` or a function that returns one; it judges ``monitor`` after each epoch, and the
      parameters of the best epoch are kept.

    Further: ``augment(key, x)`` is applied to the inputs of a step; ``accumulate`` splits every batch into as many
    microbatches (`gradients.gradient`); ``metrics`` are reported beside ``"loss"``.

    ``data`` maps ``"train"`` and any other parts to pairs (inputs, targets), pytrees with the examples first.
    The result holds, for every part in ``evaluate`` (default: all but train), ``"<part>_loss"`` and
    ``"<part>_<metric>"`` at the end; and on request

    - ``curves``, names of parts: ``"curve_<part>_<metric>"`` [epochs], after each epoch;
    - ``record``, of ``"loss"`` and ``"gradient_norm"``: ``"step_loss"``, ``"step_gradient_norm"`` [steps], before each
      step; the norm is that of the whole gradient, penalty included, before the optimizer;
    - ``probe(params, state)``, a dictionary of arrays: ``"probe_<name>"`` [epochs, ...], after each epoch;
    - ``keep_params``: the trees ``"params"`` and ``"state"``;
    - with ``stop``: ``"epochs"`` trained and ``"best_epoch"``, counted from 0, -1 for none; curves go on as NaN.

    Raises ``ValueError`` for options out of range where the trainer is built, and for data without a part that is asked
    for, of unequal lengths or smaller than a batch; ``TypeError`` for missing and for unknown hyperparameters, and for
    a model that is no such pair.
    """
    checks.whole(1, epochs=epochs, batch_size=batch_size, accumulate=accumulate)
    if batch_size % accumulate:
        raise ValueError(f"`accumulate` must divide batch_size = {batch_size}; got {accumulate}")
    for name in record:
        checks.choice("record", name, STEP_RECORDS)
    _refuse_flax(model)
    if _fixed(model):
        _check_model(model)
    measures = {"loss": loss, **(metrics or {})}
    watched = _part_of(monitor, measures) if stop is not None else []
    per_epoch = list(dict.fromkeys([*curves, *watched]))
    skips = [(loss, 2), (penalty, 1), *((f, 0) for f in (model, optimizer, stop) if not _fixed(f))]
    wanted = [hyperparameters.names(f, skip) for f, skip in skips if f is not None]

    def train(key: jax.Array, data: Mapping[str, Any], **given: Any) -> dict[str, Any]:
        hyperparameters.require(wanted, given, STREAMS)
        reported = [part for part in data if part != "train"] if evaluate is None else list(evaluate)
        _check(data, ["train", *reported, *per_epoch], batch_size)
        keys = streams(key, given)
        values = given | keys

        def made(part: Any) -> Any:
            return part if _fixed(part) else hyperparameters.bind(part, values)()

        bound = hyperparameters.bind(loss, values, 2)
        parts = steps.Parts(
            _check_model(made(model)),
            bound,
            optax.with_extra_args_support(made(optimizer)),
            keys,
            penalty and hyperparameters.bind(penalty, values, 1),
            augment,
            record,
            accumulate,
        )

        def evaluated(params: Any, state: Any, names: Collection[str], prefix: str = "") -> dict[str, jax.Array]:
            predict = steps.predictor(parts.network, params, state)
            means = {part: evaluation.evaluate(predict, data[part], measures | {"loss": bound}) for part in names}
            return {f"{prefix}{part}_{name}": mean for part in names for name, mean in means[part].items()}

        def epoch(run: steps.Run, number: jax.Array) -> tuple[steps.Run, dict[str, jax.Array]]:
            order = jax.random.fold_in(keys["order_key"], number)
            run, seen = steps.epoch(parts, run, data["train"], order, batch_size)
            seen |= evaluated(run.params, run.state, per_epoch, "curve_")
            if probe is not None:
                seen |= {f"probe_{name}": value for name, value in probe(run.params, run.state).items()}
            return run, seen

        run, result = steps.start(parts), {}
        if stop is None:
            run, seen = lax.scan(epoch, run, jnp.arange(epochs))
            params, state = run.params, run.state
        else:
            done = early_stopping.scan(
                epoch, run, epochs, made(stop), value=lambda seen: seen[f"curve_{monitor}"], keep=lambda run: run[:2]
            )
            (params, state), seen = done.best, done.outputs
            result = {"epochs": done.epochs, "best_epoch": done.best_epoch}
        hidden = {f"curve_{part}_{name}" for part in watched if part not in curves for name in measures}
        for name, rows in seen.items():
            if name not in hidden:
                result[name] = rows.reshape(-1) if name.startswith("step_") else rows
        result |= evaluated(params, state, reported)
        return result | ({"params": params, "state": state} if keep_params else {})

    train.__signature__ = hyperparameters.signature(("key", "data"), wanted, STREAMS)  # type: ignore[attr-defined]
    return train


def _fixed(part: Any) -> bool:
    """Whether a part is there already, not a function that makes it: pairs and rules are named tuples or objects."""
    return part is None or not callable(part) or (hasattr(part, "init") and hasattr(part, "apply"))


def _check_model(model: Any) -> Any:
    """The model, if it is a pair."""
    _refuse_flax(model)
    if not (hasattr(model, "init") and hasattr(model, "apply")):
        raise TypeError(f"`model` must be or return {_PAIR}; got {type(model).__name__}")
    return model


def _refuse_flax(model: Any) -> None:
    """Flax's modules have another init and apply, or are callable; there is one only where Flax is loaded already."""
    kind = model if isinstance(model, type) else type(model)
    for library, adapted in _ADAPTERS.items():
        if issubclass(kind, getattr(sys.modules.get(library), "Module", ())):
            raise TypeError(f"`model` must be or return {_PAIR}: {adapted}; got the module {kind.__name__}")


def _part_of(monitor: str, measures: Collection[str]) -> list[str]:
    """The part of the data whose metric is watched."""
    for name in measures:
        if monitor.endswith(f"_{name}") and monitor != f"_{name}":
            return [monitor.removesuffix(f"_{name}")]
    raise ValueError(f"`monitor` must be <part>_<metric> with one of {', '.join(measures)}; got {monitor!r}")


def _check(data: Mapping[str, Any], needed: Collection[str], batch_size: int) -> None:
    for name in needed:
        if name not in data:
            raise ValueError(f"`data` must have a part {name!r}; got {', '.join(map(repr, data)) or 'none'}")
        if not isinstance(data[name], tuple | list) or len(data[name]) != 2:
            raise ValueError(f"`data` must hold pairs (inputs, targets); got {type(data[name]).__name__} as {name!r}")
        batches.length(data[name])
    size = batches.length(data["train"])
    checks.require(lambda b: b <= size, f"`{{}}` must satisfy {{}} <= {size}, the examples", batch_size=batch_size)
