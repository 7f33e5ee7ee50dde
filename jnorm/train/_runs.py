"""A run: from fresh or given parameters through its epochs to what is reported."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnorm._ground import keys
from jnorm.data import batches
from jnorm.train import _epochs, _optimizers, _steps, _validation, early_stopping, evaluation
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
        curves: Those that are evaluated after each epoch.
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


def run(recipe: _steps.Recipe, course: Course, data: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """What `jnorm.train.loop.trainer` returns of a run that begins with what is given, None for fresh parameters."""
    report, patience = course.report, course.patience
    plan = _epochs.planned(
        course.order,
        recipe.keys["order_key"],
        batches.length(data["train"]),
        course.batch_size,
        drop_remainder=course.drop_remainder,
        in_pieces=recipe.microbatch is not None,
    )
    epochs, cut = _budget(course, plan)
    start = _steps.start(recipe, given)
    _validation.warn_of_half(start.params)
    view = partial(_view, recipe, course, data["train"][0])
    _validation.distinct(_names(recipe, course, data, start, view))
    evaluated = partial(_evaluated, recipe, course, data)

    def epoch(carry: _steps.Carry, number: ArrayLike, steps: int = plan.steps) -> tuple[_steps.Carry, Any, Any]:
        """What the epoch hands on, what its steps and it report, and the parameters and state that are looked at."""
        number = number if given is None else start.step // plan.steps + jnp.asarray(number, jnp.int32)
        carry, of_steps = _epochs.epoch(recipe, carry, data["train"], plan, number, steps)
        if not course.curves and report.probe is None:
            return carry, (of_steps, {}), None
        seen = view(carry)
        of_epoch = evaluated(*seen, course.curves, "curve_")
        if report.probe is not None:
            of_epoch |= {f"probe_{name}": value for name, value in report.probe(*seen).items()}
        return carry, (of_steps, of_epoch), seen

    if patience is None:
        last, rows = start, []
        if epochs:
            last, of_all = lax.scan(lambda carry, number: epoch(carry, number)[:2], last, jnp.arange(epochs))
            rows.append(_flat(of_all))
        if cut:
            last, (of_steps, of_epoch), _ = epoch(last, epochs, cut)
            rows.append((of_steps, jax.tree.map(lambda a: jnp.asarray(a)[None], of_epoch)))
        of_steps, of_epoch = jax.tree.map(lambda *a: jnp.concatenate(a) if len(a) > 1 else a[0], *rows)
        (params, state), result = view(last), {}
    else:

        def judged(pair: tuple[_steps.Carry, Any], number: jax.Array) -> tuple[tuple[_steps.Carry, Any], Any]:
            carry, rows, seen = epoch(pair[0], number)
            return (carry, seen), rows

        value = lambda rows: rows[1][f"curve_{patience.monitor}"]
        keep = lambda pair: pair[1]
        done = early_stopping.scan(judged, (start, view(start)), epochs, patience, value=value, keep=keep)
        (params, state), (last, _), (of_steps, of_epoch) = done.best, done.last, _flat(done.outputs)
        result = {"epochs": done.epochs, "best_epoch": done.best_epoch}
    hidden = {f"curve_{part}_{name}" for part in course.curves if part not in report.curves for name in course.measures}
    result |= of_steps | {name: array for name, array in of_epoch.items() if name not in hidden}
    result |= evaluated(params, state, course.parts)
    result |= {"params": params, "state": state} if report.keep_params else {}
    return result | ({"carry": last} if report.keep_carry else {})


def _budget(course: Course, plan: _epochs.Plan) -> tuple[int, int]:
    """Whole epochs, and steps in one more that is cut short."""
    if course.steps is None:
        return course.epochs or 0, 0
    epochs, cut = divmod(course.steps, plan.steps)
    if cut and course.patience is not None:
        must = f"a multiple of the {plan.steps} steps of an epoch, after which training may stop"
        raise ValueError(f"`steps` must be {must}; got {course.steps}")
    return epochs, cut


def _view(recipe: _steps.Recipe, course: Course, inputs: Any, carry: _steps.Carry) -> tuple[Any, Any]:
    """The parameters and the state that are judged, probed and kept."""
    params = (course.eval_params or _optimizers.judged)(carry.optimizer_state, carry.params)
    if course.eval_state is None:
        return params, carry.state
    key = keys.stream(recipe.keys["dropout_key"], "train.eval_state")
    return params, course.eval_state(key, recipe.network, params, inputs)


def _evaluated(
    recipe: _steps.Recipe,
    course: Course,
    data: Mapping[str, Any],
    params: Any,
    state: Any,
    parts: Any,
    prefix: str = "",
) -> dict[str, jax.Array]:
    """The loss and the metrics on parts of the data."""
    predict = _steps.predictor(recipe.network, params, state)
    means = {part: evaluation.evaluate(predict, data[part], course.measures) for part in parts}
    return {f"{prefix}{part}_{name}": mean for part in parts for name, mean in means[part].items()}


def _flat(rows: tuple[Any, Any]) -> tuple[Any, Any]:
    """What steps [epochs, steps, ...] report, one after another, and what epochs do."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows[0]), rows[1]


def _names(
    recipe: _steps.Recipe, course: Course, data: Mapping[str, Any], start: _steps.Carry, view: Callable[..., Any]
) -> Iterator[tuple[str, str]]:
    """The names of all results, each with what it stands for."""
    steps = [f"step_{name}" for name in course.report.steps]
    if any(map(callable, course.report.steps)):
        shape = lambda a: jax.ShapeDtypeStruct((course.batch_size, *jnp.shape(a)[1:]), jnp.result_type(a))
        one = lambda carry, batch: _steps.step(recipe, carry, batch, None)[1]
        steps = list(jax.eval_shape(one, start, jax.tree.map(shape, data["train"])))
    yield from ((name, "a report of steps") for name in dict.fromkeys(steps))
    for part in course.curves:
        yield from ((f"curve_{part}_{name}", f"the curve of {name!r} on {part!r}") for name in course.measures)
    yield from ((name, "what is returned beside") for name in ("params", "state", "carry", "epochs", "best_epoch"))
    if (probe := course.report.probe) is not None:
        yield from ((f"probe_{name}", "a probe") for name in jax.eval_shape(lambda carry: probe(*view(carry)), start))
    for part in course.parts:
        yield from ((f"{part}_{name}", f"{name!r} on {part!r}") for name in course.measures)
