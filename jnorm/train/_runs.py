"""A run: from fresh or given parameters through its epochs to what is reported."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.data import batches
from jnorm.train import _epochs, _optimizers, _starts, _steps, early_stopping, evaluation
from jnorm.train._report import Report


class Course(NamedTuple):
    """How long a run trains, on what in which order, and what is looked at on the way.

    Attributes:
        epochs: Passes over the training data; None: as many as ``steps`` take, of which the last may be cut short.
        steps: Steps; None: those of ``epochs``.
        batch_size: Examples in a step.
        drop_remainder: Whether examples that do not fill a batch are left out.
        order: The order of the examples.
        measures: The loss and the metrics by name, bound to their hyperparameters.
        parts: Parts of the data that are evaluated at the end.
        curves: Those that are evaluated on the way.
        report: What is reported.
        patience: The stopping rule.
        eval_params: ``eval_params(optimizer_state, params)``.
        eval_state: ``eval_state(key, network, params, inputs)``.
    """

    epochs: int | None
    steps: int | None
    batch_size: int
    drop_remainder: bool
    order: _epochs.Order
    measures: Mapping[str, evaluation.Metric]
    parts: Collection[str]
    curves: Collection[str]
    report: Report
    patience: early_stopping.Patience | None
    eval_params: Callable[[Any, Any], Any] | None
    eval_state: Callable[[jax.Array, Any, Any, Any], Any] | None


class Run(NamedTuple):
    """A run and its data.

    Attributes:
        recipe: What it is made of.
        course: How it goes.
        data: Pairs (inputs, targets) by the name of their part.
        plan: How its epochs go through the data.
    """

    recipe: _steps.Recipe
    course: Course
    data: Mapping[str, Any]
    plan: _epochs.Plan


Rows = tuple[Any, Any]
"""What steps and what epochs report, each by name."""


def planned(recipe: _steps.Recipe, course: Course, data: Mapping[str, Any]) -> Run:
    """The run on these data."""
    order, size = recipe.keys["order_key"], batches.length(data["train"])
    how = {"drop_remainder": course.drop_remainder, "in_pieces": recipe.microbatch is not None}
    return Run(recipe, course, data, _epochs.planned(course.order, order, size, course.batch_size, **how))


def whole(run: Run, given: Any) -> dict[str, Any]:
    """What `jnorm.train.loop.trainer` returns of a run that begins with what is given, None for fresh parameters."""
    epochs, cut = budget(run)
    start = begun(run, given)
    first = None if given is None else start.step
    if (patience := run.course.patience) is not None:
        how = judging(run, first)
        loop = how.epoch, (start, view(run, start)), epochs
        done = early_stopping.scan(*loop, patience, value=how.value, keep=how.keep)
        counts = {"epochs": done.epochs, "best_epoch": done.best_epoch}
        return counts | result(run, done.last[0], flat(done.outputs), done.best)
    last, rows = start, []
    if epochs:
        last, of_all = through(run, last, epochs, first)
        rows.append(flat(of_all))
    if cut:
        last, of_steps = _epoch(run, last, first, epochs, cut)
        of_epoch = _looked(run, last)[0] if (epochs + 1) % run.course.report.every == 0 else {}
        rows.append((of_steps, jax.tree.map(lambda a: jnp.asarray(a)[None], of_epoch)))
    return result(run, last, _joined(rows), view(run, last))


def begun(run: Run, given: Any) -> _steps.Carry:
    """What the run begins with, if its results all have names of their own."""
    start = _steps.start(run.recipe, given)
    _starts.warn_of_half(start.params)
    _starts.distinct(_names(run, start))
    return start


def budget(run: Run) -> tuple[int, int]:
    """Whole epochs, and steps in one more that is cut short."""
    course = run.course
    epochs, cut = (course.epochs or 0, 0) if course.steps is None else divmod(course.steps, run.plan.steps)
    rule = f"`{{}}` must satisfy {{}} <= {epochs + (cut > 0)}, the number of epochs"
    checks.require(lambda k: k <= epochs + (cut > 0), rule, every=course.report.every)
    if cut and course.patience is not None:
        must = f"a multiple of the {run.plan.steps} steps of an epoch, after which training may stop"
        raise ValueError(f"`steps` must be {must}; got {course.steps}")
    return epochs, cut


def through(run: Run, carry: _steps.Carry, epochs: int, first: jax.Array | None) -> tuple[_steps.Carry, Rows]:
    """Some epochs: what they hand on and report, ``[epochs, steps, ...]`` and ``[epochs // every, ...]``.

    ``first`` is the number of the first of their steps, None for 0.
    """
    every = run.course.report.every
    quiet = partial(_epoch, run)
    if every == 1 or not _looks(run):

        def epoch(carry: _steps.Carry, number: jax.Array) -> tuple[_steps.Carry, Rows]:
            carry, of_steps = quiet(carry, first, number)
            return carry, (of_steps, _looked(run, carry)[0])

        return lax.scan(epoch, carry, jnp.arange(epochs))

    several = lambda carry, numbers: lax.scan(lambda c, number: quiet(c, first, number), carry, numbers)

    def group(carry: _steps.Carry, numbers: jax.Array) -> tuple[_steps.Carry, Rows]:
        carry, of_steps = several(carry, numbers)
        return carry, (of_steps, _looked(run, carry)[0])

    whole = epochs // every * every
    carry, (of_steps, of_epochs) = lax.scan(group, carry, jnp.arange(whole).reshape(-1, every))
    of_steps = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), of_steps)
    if whole < epochs:
        carry, of_rest = several(carry, jnp.arange(whole, epochs))
        of_steps = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), of_steps, of_rest)
    return carry, (of_steps, of_epochs)


class Judging(NamedTuple):
    """How a stopping rule goes through epochs.

    Attributes:
        epoch: ``epoch((carry, seen), number)``, with what is judged, probed and kept.
        value: What is judged of an epoch's report.
        keep: What is kept of the best epoch.
    """

    epoch: Callable[[Any, jax.Array], tuple[Any, Any]]
    value: Callable[[Any], jax.Array]
    keep: Callable[[Any], Any]


def judging(run: Run, first: jax.Array | None) -> Judging:
    """How the stopping rule goes through the epochs; ``first`` is the number of their first step, None for 0."""
    assert run.course.patience is not None
    monitor = f"curve_{run.course.patience.monitor}"

    def epoch(pair: tuple[_steps.Carry, Any], number: jax.Array) -> tuple[tuple[_steps.Carry, Any], Rows]:
        carry, of_steps = _epoch(run, pair[0], first, number)
        of_epoch, seen = _looked(run, carry)
        return (carry, seen), (of_steps, of_epoch)

    return Judging(epoch, lambda rows: rows[1][monitor], lambda pair: pair[1])


def view(run: Run, carry: _steps.Carry) -> tuple[Any, Any]:
    """The parameters and the state that are judged, probed and kept."""
    recipe, course = run.recipe, run.course
    params = (course.eval_params or _optimizers.judged)(carry.optimizer_state, carry.params)
    if course.eval_state is None:
        return params, carry.state
    key = keys.stream(recipe.keys["dropout_key"], "train.eval_state")
    return params, course.eval_state(key, recipe.network, params, run.data["train"][0])


def flat(rows: Rows) -> Rows:
    """What steps [epochs, steps, ...] report, one after another, and what epochs do."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows[0]), rows[1]


def result(run: Run, last: _steps.Carry, rows: Rows, seen: tuple[Any, Any]) -> dict[str, Any]:
    """What is returned, of what was reported on the way and of the parameters and the state that are judged."""
    course, (of_steps, of_epochs), (params, state) = run.course, rows, seen
    report = course.report
    hidden = {f"curve_{part}_{name}" for part in course.curves if part not in report.curves for name in course.measures}
    returned = of_steps | {name: array for name, array in of_epochs.items() if name not in hidden}
    returned |= _evaluated(run, params, state, course.parts)
    returned |= {"params": params, "state": state} if report.keep_params else {}
    return returned | ({"carry": last} if report.keep_carry else {})


def _epoch(
    run: Run, carry: _steps.Carry, first: jax.Array | None, number: ArrayLike, steps: int | None = None
) -> tuple[_steps.Carry, Any]:
    """What an epoch, or its first steps, hands on, and what its steps report."""
    number = number if first is None else first // run.plan.steps + jnp.asarray(number, jnp.int32)
    return _epochs.epoch(run.recipe, carry, run.data["train"], run.plan, number, steps or run.plan.steps)


def _looks(run: Run) -> bool:
    """Whether anything is looked at between epochs."""
    return bool(run.course.curves) or run.course.report.probe is not None


def _looked(run: Run, carry: _steps.Carry) -> tuple[dict[str, jax.Array], Any]:
    """What is reported between epochs, and the parameters and the state that were looked at."""
    if not _looks(run):
        return {}, None
    seen = view(run, carry)
    of_epoch = _evaluated(run, *seen, run.course.curves, "curve_")
    if (probe := run.course.report.probe) is not None:
        of_epoch |= {f"probe_{name}": value for name, value in probe(*seen).items()}
    return of_epoch, seen


def _joined(rows: list[Rows]) -> Rows:
    """Rows one after another; of a last epoch that is cut short, what it reports, if anything."""
    of_steps, of_epochs = zip(*rows, strict=True)
    join = lambda *a: jnp.concatenate(a) if len(a) > 1 else a[0]
    return jax.tree.map(join, *of_steps), jax.tree.map(join, *filter(None, of_epochs)) if any(of_epochs) else {}


def _evaluated(run: Run, params: Any, state: Any, parts: Any, prefix: str = "") -> dict[str, jax.Array]:
    """The loss and the metrics on parts of the data."""
    predict = _steps.predictor(run.recipe.network, params, state)
    means = {part: evaluation.evaluate(predict, run.data[part], run.course.measures) for part in parts}
    return {f"{prefix}{part}_{name}": mean for part in parts for name, mean in means[part].items()}


def _names(run: Run, start: _steps.Carry) -> Iterator[tuple[str, str]]:
    """The names of all results, each with what it stands for."""
    course = run.course
    steps = [f"step_{name}" for name in course.report.steps]
    if any(map(callable, course.report.steps)):
        shape = lambda a: jax.ShapeDtypeStruct((course.batch_size, *jnp.shape(a)[1:]), jnp.result_type(a))
        one = lambda carry, batch: _steps.step(run.recipe, carry, batch, None)[1]
        steps = list(jax.eval_shape(one, start, jax.tree.map(shape, run.data["train"])))
    yield from ((name, "a report of steps") for name in dict.fromkeys(steps))
    for part in course.curves:
        yield from ((f"curve_{part}_{name}", f"the curve of {name!r} on {part!r}") for name in course.measures)
    yield from ((name, "what is returned beside") for name in ("params", "state", "carry", "epochs", "best_epoch"))
    if (probe := course.report.probe) is not None:
        named = jax.eval_shape(lambda carry: probe(*view(run, carry)), start)
        yield from ((f"probe_{name}", "a probe") for name in named)
    for part in course.parts:
        yield from ((f"{part}_{name}", f"{name!r} on {part!r}") for name in course.measures)
