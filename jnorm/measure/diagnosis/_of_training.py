"""Mistakes that short trainings on one batch show: the optimizer's, and those that nothing else has explained."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.measure.diagnosis._courses import Course
from jnorm.measure.diagnosis._findings import Sign
from jnorm.measure.diagnosis._outcomes import labels
from jnorm.measure.diagnosis._patient import Patient

DRAWS, LEVEL, NEIGHBOURS, PAIRED = 999, 0.01, 5, 256


def still(patient: Patient) -> Sign | None:
    """Parameters that have gradients, and that the optimizer never moves."""
    courses = patient.courses
    if courses is None:
        return None
    gradients, updates = courses.own.gradients, courses.own.updates
    found = [i for i in range(len(updates)) if updates[i] == 0 and gradients[i] > 0]
    if not found:
        return None
    if len(found) == len(updates) or not updates.any():
        return Sign(f"the optimizer moves nothing in {patient.steps} steps: its updates are zeros")
    shown = ", ".join(patient.name(i) for i in found[:3]) + (", ..." if len(found) > 3 else "")
    text = f"the optimizer never moves {shown} in {patient.steps} steps, whose gradients are up to"
    return Sign(f"{text} {gradients[found].max():.2g}", figures={"parameters": float(len(found))})


def uphill(patient: Patient) -> Sign | None:
    """Updates that go up the gradient."""
    courses = patient.courses
    if courses is None or courses.first.decay > 1:
        return None
    rows = courses.own.slopes[(courses.own.slopes != 0).any(1)][:1]
    if not len(rows):
        return None
    up = [i for i in range(rows.shape[1]) if rows[0, i] > 0]
    share = rows[0, up].sum() / np.abs(rows[0]).sum() if up else 0.0
    if share < 1e-3:
        return None
    shown = "all parameters" if len(up) == rows.shape[1] else ", ".join(patient.name(i) for i in up[:3])
    return Sign(f"the first update of {shown} goes up the gradient: their product is {rows[0, up].sum():.3g}")


def decay(patient: Patient) -> Sign | None:
    """Weight decay that moves the parameters more than the gradient does."""
    courses = patient.courses
    if courses is None or courses.first.decay < 0.5:
        return None
    text = f"of the first update weight decay makes {courses.first.decay:.2g} times what the gradient makes"
    return Sign(text, figures={"ratio": courses.first.decay}, sure=courses.first.decay > 1)


def _fall(patient: Patient, *courses: Course) -> float:
    """How far the loss falls in the best of some courses and in that of Adam."""
    return patient.value - min(course.last for course in (*courses, patient.reference))


def _gain(patient: Patient, course: Course, fall: float) -> float:
    """The part of a fall of the loss that a course makes."""
    return (patient.value - course.last) / fall if fall > 0 else 0.0


def too_fast(patient: Patient) -> Sign | None:
    """Updates with which the loss rises or jumps, or of a fourth of the weights, where a hundredth brings it down."""
    courses = patient.courses
    if courses is None or courses.first.decay > 1:
        return None
    own, size = courses.own, courses.first.size
    peak = np.nanmax(np.where(np.isfinite(own.losses[:20]), own.losses[:20], np.inf))
    fall = _fall(patient, own)
    huge = 0.25 < size < 1e6  # beyond weights are zeros
    if _gain(patient, own, fall) >= 0.5 and peak - patient.value <= 0.05 * fall and not huge:
        return None
    factor, slower = courses.best(above=False)
    fall = _fall(patient, own, slower)
    above = (peak - patient.value) / max(patient.value - slower.last, 1e-12)
    bad = own.last > patient.value or _gain(patient, own, fall) < 0.5
    jumps = above > 2 or (size > 0.1 and above > 0.1)
    if _gain(patient, slower, fall) < 0.5 or not (bad or jumps or huge):
        return None
    if bad and own.last < patient.value and above < 0.5 and size < 0.1:
        return None
    text = f"the loss goes from {patient.value:.3g} over {peak:.3g} to {own.last:.3g} in {patient.steps} steps on one"
    text += f" batch, and to {slower.last:.3g} with {factor:g} times the updates; the first one is {size:.2g} of"
    figures = {"loss": own.last, "slower": slower.last, "factor": factor, "update": size}
    return Sign(f"{text} the weights", figures=figures)


def too_slow(patient: Patient) -> Sign | None:
    """Updates that hardly move the loss, where a hundred times or more of them do."""
    courses = patient.courses
    if courses is None or not courses.own.updates.any():
        return None
    own, size = courses.own, courses.first.size
    if _gain(patient, own, _fall(patient, own)) > 0.5:
        return None
    factor, faster = courses.best(above=True)
    fall = _fall(patient, own, faster)
    share = _gain(patient, own, fall)
    if share > 0.05 or share < -0.5 or _gain(patient, faster, fall) < 0.3:
        return None
    text = f"the loss goes from {patient.value:.4g} to {own.last:.4g} in {patient.steps} steps on one batch, and to"
    text += f" {faster.last:.3g} with {factor:g} times the updates; the first one is {size:.1g} of the weights"
    figures = {"loss": own.last, "faster": faster.last, "factor": factor, "update": size}
    return Sign(text, figures=figures, sure=share < 0.02)


def cannot_fit(patient: Patient) -> Sign | None:
    """A batch that neither Adam nor the optimizer brings below the loss of outputs that are the same for all."""
    outcomes = patient.outcomes
    if outcomes is None or not math.isfinite(outcomes.constant) or len(outcomes.outputs) < 2:
        return None
    floor, courses = outcomes.constant, patient.courses
    slack = 0.05 * abs(floor)
    known = [patient.reference, *([courses.own] if courses else [])]
    if floor - outcomes["right"] < slack or min(course.last for course in known) < floor - slack:
        return None
    known += [courses.best(above=above)[1] for above in (True, False)] if courses else []
    best = min(course.last for course in known)
    if best < floor - slack:
        return None
    text = f"{patient.steps} steps on one batch bring the loss to {best:.3g} at best, and outputs that are the same"
    return Sign(f"{text} for all examples have {floor:.3g}", figures={"loss": best, "constant": floor})


def chance(patient: Patient) -> float | None:
    """The p of targets that have nothing to do with their inputs, by at most two tests; None where there is none.

    Both are permutation tests, exact where targets are exchangeable. Of the data: neighbours have alike targets, and
    distances of data go with distances of targets (Szekely, Rizzo, Bakirov 2007). Of what Adam has fitted to the batch:
    it has a smaller loss with the targets of new examples than with those mixed up, after a quarter, a half or all of
    the steps.
    """
    tests = [*_neighbours(patient), *_held_out(patient)]
    return min(1.0, len(tests) * min(tests)) if tests else None


def strangers(patient: Patient) -> Sign | None:
    """Targets that go with the inputs of other examples as well as with their own."""
    p = patient.once(chance)
    if p is None or p <= LEVEL:
        return None
    count = 0 if patient.held_out is None else len(jax.tree.leaves(patient.held_out)[0])
    text = f"targets go with the inputs of other examples as well as with their own: p = {p:.2g}, by distances and by"
    return Sign(
        f"{text} the loss of {count} new examples after the fit", figures={"p": p}, sure=count >= 32 and p > 5 * LEVEL
    )


def _neighbours(patient: Patient) -> list[float]:
    x, targets = patient.x, patient.targets
    if not (isinstance(x, np.ndarray) and isinstance(targets, np.ndarray)) or x.ndim < 2 or not patient.aligned:
        return []
    if x.dtype.kind != "f" and x.dtype != np.uint8:
        return []
    rows = x.reshape(len(x), -1).astype(np.float64)[:1024]
    values = targets.reshape(len(x), -1).astype(np.float64)[: len(rows)]
    if len(rows) < 32:
        return []
    distances = _squares(rows / np.where(rows.std(0) > 0, rows.std(0), np.inf))
    pairs = np.sqrt(distances[:PAIRED, :PAIRED])
    pairs = pairs - pairs.mean(0) - pairs.mean(1)[:, None]
    np.fill_diagonal(distances, np.inf)
    near = np.argpartition(distances, NEIGHBOURS, 1)[:, :NEIGHBOURS]
    is_class = labels(targets, (len(targets), *np.shape(patient.outputs)[1:])) is not None
    apart = sum((v[:, None] != v).astype(np.float64) for v in values.T) if is_class else _squares(values)

    def statistics(order: np.ndarray) -> tuple[float, float]:
        first = order[:PAIRED]
        nearby = apart[order[near], order[:, None]]
        return float(np.mean(nearby)), -float(np.vdot(pairs, np.sqrt(apart[first[:, None], first])))

    orders = [np.arange(len(rows)), *(patient.rng.permutation(len(rows)) for _ in range(DRAWS))]
    return [_least(np.array([statistics(order) for order in orders]).T)]


def _squares(rows: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs."""
    squares = (rows**2).sum(1)
    return np.asarray(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))


def _least(statistics: np.ndarray) -> float:
    """The p of the smallest p of some statistics ``[tests, orders]``, small ones against chance, the first order's."""
    p = [np.searchsorted(np.sort(row), row + 1e-6 * np.abs(row), side="right") for row in statistics]
    least = np.min(p, 0)
    return float(np.mean(least <= least[0]))


def _held_out(patient: Patient) -> list[float]:
    if patient.held_out is None or patient.outcomes is None:
        return []
    x, targets = patient.held_out
    count = len(jax.tree.leaves(targets)[0])
    orders = np.stack([np.arange(count), *(patient.rng.permutation(count) for _ in range(DRAWS))])

    def losses(params: Any, x: Any, targets: Any, orders: jax.Array) -> jax.Array:
        outputs = patient.apply(params, x)
        other = lambda order: patient.loss(outputs, jax.tree.map(lambda a: a[order], targets))
        return jax.lax.map(other, orders, batch_size=64)

    found = jax.jit(jax.vmap(losses, (0, None, None, None)))(patient.reference.params, x, targets, jnp.asarray(orders))
    return [_least(np.asarray(found, np.float64))]
