"""Training as one pure function ``train(key, data, **hyperparameters)`` that returns a dictionary of arrays.

>>> import optax
>>> from jnorm import initializers, losses
>>> from jnorm.nn.layers import Layer
>>> from jnorm.nn.networks import mlp
>>> from jnorm.train import evaluation
>>> x = jax.random.normal(jax.random.key(0), (70, 2))
>>> y = (x[:, 0] > x[:, 1]).astype(int)
>>> data = {"train": (x[:50], y[:50]), "test": (x[50:], y[50:])}
>>> train = trainer(
...     mlp((2, 16, 2), Layer(jnp.tanh, initializers.lecun_normal())),
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

- **Hyperparameters.** Model, optimizer, penalty, loss and stopping rule may be functions that name some (`trainer` says
  how). Values are traced: one compiled program serves all of them. What must be known to compile (depth, activation,
  epochs) is fixed where the trainer is built.
- **Optimizer.** Any of Optax, in a ``chain`` with ``clip_by_global_norm``, ``add_decayed_weights`` and so on;
  ``lambda eta, noise_key: optax.add_noise(eta, 0.55, noise_key)`` is annealed gradient noise with a stream of its own.
  ``update`` also gets ``value``, ``grad`` and ``value_fn``, for those that ask (line searches).
- **Keys.** Initialization, data order, dropout, augmentation and gradient noise have a stream each, which is made of
  the run's key and the stream's name. ``init_key``, ``order_key``, ``dropout_key``, ``augment_key`` and ``noise_key``,
  keys or seeds, make single streams of other keys: ``init_key=3`` initializes as the run of ``jax.random.key(3)`` does,
  whatever the run's own key is. Equal seeds never make equal streams. `streams` is how.
- **Batches.** Each epoch is a new permutation. Where examples remain that do not fill a batch, they are a last one of
  its own size, and its loss is the mean over them; ``drop_remainder=True`` leaves them out. Only a model whose
  ``apply`` takes ``mask`` gets that batch filled up, and the mask (True where an example is valid).
- **What is not finite.** A state that would become NaN or infinite, such as running statistics after a batch with an
  infinite value, stays as it was, and so does that of a step that ``optax.apply_if_finite`` refused;
  ``Report(steps=["skipped"])`` shows where. Targets that a loss refuses are an error, and NaN in the data a warning,
  where ``data`` holds NumPy arrays; ``train`` under ``jit`` gets arrays whose values nobody knows: there the loss is
  NaN from the first step that sees them, and ``train.check(data, **hyperparameters)``, called once outside, says why.
- **Half precision.** Losses and metrics get outputs in at least float32. Parameters should be float32: in bfloat16 a
  step of less than 2^-9 of a parameter is lost in rounding, with a rate of 1e-4 nearly every one, of which a warning
  tells. Optax's ``clip_by_global_norm`` squares in the gradient's own dtype, where float16 overflows above 256.
- **Divergence.** Nothing stops a run that diverges: it is NaN in its own lane. With a stopping rule the best before
  that is kept, if there was any.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.train import _hyperparameters, _optimizers, _steps, _validation, early_stopping, evaluation
from jnorm.train._report import Report

__all__ = [
    "STREAMS",
    "Report",
    "streams",
    "trainer",
]

STREAMS = ("init_key", "order_key", "dropout_key", "augment_key", "noise_key")
"""The random streams of a run."""

_AT_THE_END = Report()

_OF_AN_EXAMPLE = ("mask",)
"""What a loss takes of each example: nothing that is one for a whole run."""


def streams(key: jax.Array, chosen: Mapping[str, ArrayLike] | None = None) -> dict[str, jax.Array]:
    """The keys of a run by name, each ``fold_in(k, crc32("train.<name>"))``, with k the run's key or what is chosen.

    Streams of equal k therefore share no key. Within a run, epoch e has the order of `jnorm.data.batches.epoch` by
    ``fold_in(order_key, e)``; step t, counted from 0 over the whole run, draws its dropout from
    ``fold_in(dropout_key, t)``, and augmentation likewise.

    Args:
        key: The run's key, typed or raw, or a seed.
        chosen: Keys or seeds of which single streams are made in place of ``key``, by name; other names do not matter.

    Returns:
        The keys of all `STREAMS`.

    Raises:
        TypeError: Something that is neither a key nor a whole number.

    >>> seventh, mixed = streams(jax.random.key(7)), streams(jax.random.key(0), {"order_key": 7})
    >>> [name for name in STREAMS if mixed[name] == seventh[name]]
    ['order_key']
    """
    given = {"key": key} | {name: k for name, k in (chosen or {}).items() if name in STREAMS}
    roots = {name: _hyperparameters.as_key(name, k) for name, k in given.items()}
    return {name: keys.stream(roots.get(name, roots["key"]), f"train.{name}") for name in STREAMS}


def trainer(
    model: Any,
    loss: Callable[..., jax.Array],
    optimizer: Any,
    *,
    epochs: int,
    batch_size: int,
    drop_remainder: bool = False,
    accumulate: int = 1,
    penalty: Callable[..., jax.Array] | None = None,
    augment: Callable[[jax.Array, Any], Any] | None = None,
    stop: early_stopping.Patience | Callable[..., early_stopping.Patience] | None = None,
    metrics: Mapping[str, evaluation.Metric] | None = None,
    eval_params: Callable[[Any, Any], Any] | None = None,
    report: Report = _AT_THE_END,
) -> Callable[..., dict[str, Any]]:
    """The function ``train(key, data, **hyperparameters) -> dict of arrays``, to be jitted, vmapped or swept.

    ``data`` maps ``"train"`` and any other parts to pairs (inputs, targets), pytrees with the examples first. The
    hyperparameters are the names that the arguments below accept, and those of the random `streams`. The result holds
    what ``report`` says; with ``stop`` also ``"epochs"``, the number trained, and ``"best_epoch"``, counted from 0, -1
    for none, and curves go on as NaN.

    Args:
        model: A pair ``init(key) -> (params, state)`` and ``apply(params, state, x, *, train, key) -> (outputs,
            state)``, such as a `jnorm.nn.networks.Network`, or a function of hyperparameters that returns one. The
            ``network`` of `jnorm.interop.flax_linen` and of `jnorm.interop.flax_nnx` makes one of a Flax module.
        loss: ``loss(outputs, targets, **hyperparameters)``, a number for each example, or several, of which the mean
            counts. A ``mask`` that it can do without is none of the hyperparameters: which examples count is said in
            ``targets``, of which the loss makes its mask.
        optimizer: An Optax one, or a function of hyperparameters that returns one.
        epochs: Passes over the training data; with ``stop`` the most.
        batch_size: Examples in a step.
        drop_remainder: Whether examples that do not fill a batch are left out, others in each epoch. Then an epoch has
            ``size // batch_size`` steps, else one more where examples remain; `jnorm.data.batches.steps` counts them.
        accumulate: Microbatches that each batch is split into, as `jnorm.train.gradients.gradient` does. A smaller last
            batch goes in the fewest that are no larger than those of others.
        penalty: ``penalty(params, **hyperparameters)``, a number that is added to the mean loss of a step; it is not
            part of reported losses.
        augment: ``augment(key, x)``, applied to the inputs of a step.
        stop: What `jnorm.train.early_stopping.patience` returns, or a function of hyperparameters that returns it. It
            judges what it monitors after each epoch, and the parameters of the best epoch are kept.
        metrics: Metrics that are reported beside ``"loss"``, by name.
        eval_params: ``eval_params(optimizer_state, params)``, the parameters to evaluate, probe, judge and return where
            they are not those that are trained: averages that a wrapped optimizer keeps. None: of Optax's
            ``schedule_free`` its average, of ``sam`` the parameters before it looked around, of others the trained.
        report: Which parts of the data are evaluated and when, and what else is returned.

    Returns:
        The training, a pure function.

    Raises:
        ValueError: Options out of range, a metric named "loss", a monitored metric of which nobody said whether larger
            is better, where the trainer is built; from ``train``, data without a part that is asked for, empty, of
            unequal lengths, or smaller than a batch, NumPy targets that the loss refuses, two results of one name.
        TypeError: A model that is no such pair, metrics that are no dictionary; from ``train``, hyperparameters that
            are missing or unknown, an optimizer that needs what it does not get.

    >>> import optax
    >>> from jnorm import losses
    >>> from types import SimpleNamespace
    >>> line = SimpleNamespace(  # y = w x, without a state
    ...     init=lambda key: (jnp.zeros(()), ()), apply=lambda w, state, x, *, train, key: (w * x, state)
    ... )
    >>> train = trainer(line, losses.squared_error, optax.sgd(0.1), epochs=9, batch_size=4, report=Report(["train"]))
    >>> x = jnp.arange(4.0)
    >>> f"{train(jax.random.key(0), {'train': (x, 2 * x)})['train_loss']:.3f}"
    '0.000'
    """
    checks.whole(1, epochs=epochs, batch_size=batch_size, accumulate=accumulate)
    checks.boolean(drop_remainder=drop_remainder)
    if batch_size % accumulate:
        raise ValueError(f"`accumulate` must divide batch_size = {batch_size}; got {accumulate}")
    _validation.refuse_flax(model)
    if _validation.is_ready(model):
        _validation.network(model)
    measures = _validation.measures(loss, metrics)
    if stop is not None and _validation.is_ready(stop):
        _validation.watched(stop, measures)
    functions: list[tuple[Any, int]] = [(penalty, 1), *((part, 0) for part in (model, optimizer, stop))]
    accepted = [_hyperparameters.names(loss, 2, _OF_AN_EXAMPLE)]
    accepted += [_hyperparameters.names(f, skip) for f, skip in functions if not _validation.is_ready(f)]

    def train(key: jax.Array, data: Mapping[str, Any], **hyperparameters: Any) -> dict[str, Any]:
        _validation.dictionary(data)
        _hyperparameters.require(accepted, hyperparameters, STREAMS)
        drawn_by = streams(key, hyperparameters)
        values = hyperparameters | drawn_by

        def made(part: Any) -> Any:
            return part if _validation.is_ready(part) else _hyperparameters.bind(part, values)()

        patience, part = (None, None) if stop is None else _validation.watched(made(stop), measures, data)
        monitored = [] if part is None else [part]
        parts = [part for part in data if part != "train"] if report.parts is None else list(report.parts)
        after_each = list(dict.fromkeys([*report.curves, *monitored]))
        monitor = None if patience is None or part is None else (part, patience.monitor)
        _validation.data(data, ["train", *parts, *after_each], batch_size, monitor)
        recipe = _steps.Recipe(
            _validation.network(made(model)),
            _hyperparameters.bind(loss, values, 2, _OF_AN_EXAMPLE),
            _optimizers.prepared(made(optimizer)),
            drawn_by,
            penalty and _hyperparameters.bind(penalty, values, 1),
            augment,
            report.steps,
            None if accumulate == 1 else batch_size // accumulate,
        )
        bound = measures | {"loss": recipe.loss}
        _validation.fitting(recipe.network, bound, data, ["train", *parts, *after_each])

        def view(carry: _steps.Carry) -> tuple[Any, Any]:
            """The parameters and the state that are judged, probed and kept."""
            return (eval_params or _optimizers.judged)(carry.optimizer_state, carry.params), carry.state

        def evaluated(params: Any, state: Any, parts: Collection[str], prefix: str = "") -> dict[str, jax.Array]:
            predict = _steps.predictor(recipe.network, params, state)
            means = {part: evaluation.evaluate(predict, data[part], bound) for part in parts}
            return {f"{prefix}{part}_{name}": mean for part in parts for name, mean in means[part].items()}

        def epoch(carry: _steps.Carry, number: jax.Array) -> tuple[_steps.Carry, dict[str, jax.Array]]:
            order = jax.random.fold_in(drawn_by["order_key"], number)
            carry, rows = _steps.epoch(recipe, carry, data["train"], order, batch_size, drop_remainder)
            rows |= evaluated(*view(carry), after_each, "curve_")
            if report.probe is not None:
                rows |= {f"probe_{name}": value for name, value in report.probe(*view(carry)).items()}
            return carry, rows

        start, result = _steps.start(recipe), {}
        _validation.warn_of_half(start.params)
        steps = {f"step_{name}" for name in report.steps}
        probed = {} if report.probe is None else jax.eval_shape(report.probe, *view(start))
        results = [(name, "a report of steps") for name in steps]
        results += [(f"curve_{p}_{name}", f"the curve of {name!r} on {p!r}") for p in after_each for name in measures]
        results += [(name, "what is returned beside") for name in ("params", "state", "epochs", "best_epoch")]
        results += [(f"probe_{name}", "a probe") for name in probed]
        results += [(f"{p}_{name}", f"{name!r} on {p!r}") for p in dict.fromkeys(parts) for name in measures]
        _validation.distinct(results)
        if patience is None:
            last, rows = lax.scan(epoch, start, jnp.arange(epochs))
            params, state = view(last)
        else:
            value = lambda rows: rows[f"curve_{patience.monitor}"]
            done = early_stopping.scan(epoch, start, epochs, patience, value=value, keep=view)
            (params, state), rows = done.best, done.outputs
            result = {"epochs": done.epochs, "best_epoch": done.best_epoch}
        hidden = {f"curve_{part}_{name}" for part in monitored if part not in report.curves for name in measures}
        for name, array in rows.items():
            if name not in hidden:
                result[name] = array.reshape(-1) if name in steps else array
        result |= evaluated(params, state, parts)
        return result | ({"params": params, "state": state} if report.keep_params else {})

    def check(data: Mapping[str, Any], **hyperparameters: Any) -> None:
        """Raise, or warn, if the data do not fit; their values are fetched and looked at, nothing is trained."""
        _validation.dictionary(data)
        _hyperparameters.require(accepted, hyperparameters, STREAMS)
        known = {part: jax.tree.map(np.asarray, pair) for part, pair in data.items()}
        jax.eval_shape(lambda key: train(key, known, **hyperparameters), jax.random.key(0))

    train.check = check  # type: ignore[attr-defined]
    train.__signature__ = _hyperparameters.signature(("key", "data"), accepted, STREAMS)  # type: ignore[attr-defined]
    return train
