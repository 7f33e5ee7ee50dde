"""Training as one pure function ``train(key, data, **hyperparameters)`` that returns a dictionary of arrays.

>>> import jax.numpy as jnp
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
- **Batches.** Each epoch is a new permutation, or has the ``order`` that is given. Where examples remain that do not
  fill a batch, they are a last one of its own size, and its loss is the mean over them; ``drop_remainder=True`` leaves
  them out. Only a model whose ``apply`` takes ``mask`` gets that batch filled up, and the mask (True where an example
  is valid). A batch of all examples is the data as they are, without a copy, unless an array or a function gives the
  order, or they go in microbatches: then groups within the batch, as of ghost batch norm, are the same in each epoch.
- **Going on.** ``train(key, data, (params, state))`` begins with a network that was trained elsewhere, and with
  ``Report(keep_carry=True)`` the result's ``"carry"`` is a start from which the same training goes on as if it had not
  ended, optimizer, streams and epochs included, where it had whole epochs. Both are pytrees of arrays, for any library
  that writes them: `jax.tree_util.tree_leaves_with_path` with `jax.tree_util.keystr` names the arrays of a safetensors
  file, and ``orbax.checkpoint.StandardCheckpointer`` takes the carry as it is (tests/interop/test_parameters.py).
- **Segments.** With ``segment=n`` the training also has ``train.segments``, their number, ``train.begin(key, data,
  start, **hyperparameters)``, which returns what a run carries, a pytree of arrays, ``train.advance(key, data, carried,
  ...)``, which returns what it carries n epochs later, and ``train.finish(key, data, carried, ...)``, what ``train``
  returns. That is the same training, of the same batches and streams; XLA may round a program of n epochs differently
  from one of all. A run that has stopped stays as it is, and one that is finished before its end has curves that go on
  as NaN. A sweep with a store goes by segments, and keeps what is carried.
- **Averages.** ``optax.chain(optax.sgd(0.1), averages.average_params())`` is evaluated, judged and returned at the
  average; ``eval_state=evaluation.fresh_state`` takes running statistics anew for it, at the cost of a pass over the
  training data for each evaluation.
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

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.train import (
    _epochs,
    _hyperparameters,
    _optimizers,
    _runs,
    _segments,
    _steps,
    _validation,
    early_stopping,
    evaluation,
)
from jnorm.train._report import Report, Step
from jnorm.train._steps import Carry

__all__ = [
    "STREAMS",
    "Carry",
    "Report",
    "Step",
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
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int,
    drop_remainder: bool = False,
    order: _epochs.Order = "reshuffled",
    accumulate: int = 1,
    penalty: Callable[..., jax.Array] | None = None,
    augment: Callable[[jax.Array, Any], Any] | None = None,
    stop: early_stopping.Patience | Callable[..., early_stopping.Patience] | None = None,
    metrics: Mapping[str, evaluation.Metric] | None = None,
    eval_params: Callable[[Any, Any], Any] | None = None,
    eval_state: Callable[[jax.Array, Any, Any, Any], Any] | None = None,
    report: Report = _AT_THE_END,
    segment: int | None = None,
) -> Callable[..., dict[str, Any]]:
    """The function ``train(key, data, start=None, **hyperparameters) -> dict of arrays``, to be jitted, vmapped, swept.

    ``data`` maps ``"train"`` and any other parts to pairs (inputs, targets), pytrees with the examples first. The
    hyperparameters are the names that the arguments below accept, and those of the random `streams`. The result holds
    what ``report`` says; with ``stop`` also ``"epochs"``, the number trained, and ``"best_epoch"``, counted from 0, -1
    for none, and curves go on as NaN. ``start`` is a pair of parameters and state to begin with, or a `Carry` to go on.

    Args:
        model: A pair ``init(key) -> (params, state)`` and ``apply(params, state, x, *, train, key) -> (outputs,
            state)``, such as a `jnorm.nn.networks.Network`, or a function of hyperparameters that returns one. The
            ``network`` of `jnorm.interop.flax_linen` and of `jnorm.interop.flax_nnx` makes one of a Flax module.
        loss: ``loss(outputs, targets, **hyperparameters)``, a number for each example, or several, of which the mean
            counts. A ``mask`` that it can do without is none of the hyperparameters: which examples count is said in
            ``targets``, of which the loss makes its mask.
        optimizer: An Optax one, or a function of hyperparameters that returns one.
        epochs: Passes over the training data; with ``stop`` the most.
        steps: Steps in all, in the place of ``epochs``; the last epoch is cut short, but not with ``stop``.
        batch_size: Examples in a step.
        drop_remainder: Whether examples that do not fill a batch are left out, others in each epoch. Then an epoch has
            ``size // batch_size`` steps, else one more where examples remain; `jnorm.data.batches.steps` counts them.
        order: The order of the examples. "reshuffled" draws one for each epoch, "fixed" keeps that of the first. An
            array of their numbers holds for all epochs, in any number: sorted, a part, with repetitions. A function
            ``order(key, epoch)`` returns one for each epoch, whose own the key is.
        accumulate: Microbatches that each batch is split into, as `jnorm.train.gradients.gradient` does. A smaller last
            batch goes in the fewest that are no larger than those of others.
        penalty: ``penalty(params, **hyperparameters)``, a number that is added to the mean loss of a step; it is not
            part of reported losses.
        augment: ``augment(key, x)``, applied to the inputs of a step.
        stop: What `jnorm.train.early_stopping.patience` returns, or a function of hyperparameters that returns it. It
            judges what it monitors after each epoch, and the parameters of the best epoch are kept.
        metrics: Metrics that are reported beside ``"loss"``, by name.
        eval_params: ``eval_params(optimizer_state, params)``, the parameters to evaluate, probe, judge and return where
            they are not those that are trained. None: of `jnorm.train.averages.average_params` and of Optax's
            ``schedule_free`` the average, of ``sam`` the parameters before it looked around, of others the trained.
        eval_state: ``eval_state(key, network, params, inputs)``, the state that goes with them, of the training data,
            such as `jnorm.train.evaluation.fresh_state`. None: the state that training left.
        report: Which parts of the data are evaluated and when, and what else is returned.
        segment: Epochs, or steps where they are the budget, after which a sweep keeps all that a run carries.

    Returns:
        The training, a pure function; with ``segment`` also in pieces, as said above.

    Raises:
        ValueError: Options out of range, a ``segment`` that does not divide the budget, a metric named "loss", a
            monitored metric of which nobody said whether larger is better, where the trainer is built; from ``train``,
            data without a part that is asked for, empty, of unequal lengths, or smaller than a batch, NumPy targets
            that the loss refuses, two results of one name, an order that is none, a ``start`` of another model.
        TypeError: A model that is no such pair, metrics that are no dictionary; from ``train``, hyperparameters that
            are missing or unknown, an optimizer that needs what it does not get.

    >>> import jax.numpy as jnp
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
    if (epochs is None) == (steps is None):
        raise ValueError(f"`epochs` or `steps` must be given, one of the two; got {epochs} and {steps}")
    checks.whole(1, **({"epochs": epochs} if steps is None else {"steps": steps}))
    checks.whole(1, batch_size=batch_size, accumulate=accumulate)
    checks.boolean(drop_remainder=drop_remainder)
    if isinstance(order, str):
        checks.choice("order", order, ("reshuffled", "fixed"))
    if segment is not None:
        checks.whole(1, segment=segment)
        name, budget = ("epochs", epochs) if steps is None else ("steps", steps)
        if budget % segment:  # type: ignore[operator]
            raise ValueError(f"`segment` must divide {name} = {budget}; got {segment}")
    if stop is not None and report.every > 1:
        raise ValueError(f"`every` must be 1 with `stop`, which judges each epoch; got {report.every}")
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
    _hyperparameters.refuse(accepted, ("key", "data", "start", "carried"))

    def bound(key: jax.Array, data: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> _runs.Run:
        _validation.dictionary(data)
        _hyperparameters.require(accepted, hyperparameters, STREAMS)
        drawn_by = streams(key, hyperparameters)
        values = {**hyperparameters, **drawn_by}

        def made(part: Any) -> Any:
            return part if _validation.is_ready(part) else _hyperparameters.bind(part, values)()

        patience, part = (None, None) if stop is None else _validation.watched(made(stop), measures, data)
        parts = [part for part in data if part != "train"] if report.parts is None else list(report.parts)
        curves = list(dict.fromkeys([*report.curves, *([] if part is None else [part])]))
        monitor = None if patience is None or part is None else (part, patience.monitor)
        _validation.data(data, ["train", *parts, *curves], batch_size, monitor)
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
        judged_by = measures | {"loss": recipe.loss}
        _validation.fitting(recipe.network, judged_by, data, ["train", *parts, *curves])
        budget = epochs, steps, batch_size, drop_remainder, order
        course = _runs.Course(*budget, judged_by, parts, curves, report, patience, eval_params, eval_state)
        return _runs.planned(recipe, course, data)

    def train(key: jax.Array, data: Mapping[str, Any], start: Any = None, **hyperparameters: Any) -> dict[str, Any]:
        return _runs.whole(bound(key, data, hyperparameters), start)

    def check(data: Mapping[str, Any], **hyperparameters: Any) -> None:
        """Raise, or warn, if the data do not fit; their values are fetched and looked at, nothing is trained."""
        _validation.dictionary(data)
        _hyperparameters.require(accepted, hyperparameters, STREAMS)
        known = {part: jax.tree.map(np.asarray, pair) for part, pair in data.items()}
        jax.eval_shape(lambda key: train(key, known, **hyperparameters), jax.random.key(0))

    signature = _hyperparameters.signature(("key", "data"), accepted, ("start", *STREAMS))
    train.check, train.__signature__ = check, signature  # type: ignore[attr-defined]
    if segment is not None:
        for name, piece in _segments.pieces(bound, budget // segment, segment).items():  # type: ignore[operator]
            setattr(train, name, piece)
    return train
