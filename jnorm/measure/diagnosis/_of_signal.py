"""Mistakes that probes see: in values, their derivatives, and in numbers that are not finite."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jnorm.measure._origins import first_nonfinite
from jnorm.measure.diagnosis._findings import Sign
from jnorm.measure.diagnosis._patient import Patient
from jnorm.predict import predict


def origin(patient: Patient) -> Sign | None:
    """Where the first NaN or infinity of loss, gradient or update arises."""
    at, courses = (patient.params, *patient.batch), None
    if patient.finite:
        courses = patient.courses
        if courses is None or math.isfinite(courses.first.norm):
            return None
        found = first_nonfinite(courses.second, *at)
    else:
        found = first_nonfinite(patient.of_batch, *at)
        if found.place is None:
            found = first_nonfinite(jax.grad(patient.of_batch, has_aux=True), *at)
    if found.place is None:
        what = f"the loss is {patient.value}, or a gradient is" if courses is None else "the first update is"
        return Sign(f"{what} not finite")
    place = found.place
    ranges = [f"{np.min(v):.4g} to {np.max(v):.4g}" for v in found.inputs if v.size and v.dtype.kind == "f"]
    text = "loss and gradients are finite, and updates are not: " if courses is not None else ""
    text += f"the first number that is not finite comes from `{place.operation}` on {place.dtype}"
    text += f", {'backward' if place.backward else 'forward'}" if courses is None else ""
    text += f"; into it go {', '.join(ranges[:2])}" if ranges else ""
    return Sign(text, place.line)


def dead(patient: Patient) -> Sign | None:
    """Layers of which nine in ten units hand no gradient back for any example."""
    found = [r for r in patient.readings if r.dead >= 0.5 and r.place.shape[-1] >= 4]
    if not found:
        return None
    worst = max(found, key=lambda reading: reading.dead)
    text = f"{worst.dead:.0%} of the units of `{worst.place.operation}` are flat for every example"
    count = sum(r.dead >= 0.9 for r in found)
    text += f", and {count - 1} more layers are so" if count > 1 else ""
    pairs = [(float(leaf.mean()), i) for i, leaf in enumerate(patient.leaves) if leaf.ndim == 1]
    lowest, number = min(pairs, default=(0.0, 0))
    text += f"; {patient.name(number)} is {lowest:.3g} on average" if lowest < -1 else ""
    return Sign(text, worst.place.line, {"dead": worst.dead}, sure=worst.dead >= 0.9)


def vanishing(patient: Patient) -> Sign | None:
    """A derivative that is ten thousand times smaller at the first layer than at the last."""
    ratio = _ratio(patient)
    if ratio is None or ratio > 1e-2:
        return None
    return _course(patient, ratio, "smaller", 1 / ratio if ratio else math.inf, sure=ratio < 1e-4)


def exploding(patient: Patient) -> Sign | None:
    """A derivative that is ten thousand times larger at the first layer than at the last."""
    ratio = _ratio(patient)
    if ratio is None or ratio < 1e2:
        return None
    return _course(patient, ratio, "larger", ratio, sure=ratio > 1e4)


def _ratio(patient: Patient) -> float | None:
    if any(not patient.leaves[i].any() for p in patient.products for i in p.weight.leaves):
        return None  # weights of a last layer that starts at zero: nothing comes back in the first step
    norms = [r.gradient for r in patient.signal if not math.isnan(r.gradient)]
    if len(norms) < 3 or not norms[-1]:
        return None
    return float(norms[0] / norms[-1])


def _course(patient: Patient, ratio: float, word: str, factor: float, *, sure: bool) -> Sign:
    norms = [r for r in patient.signal if not math.isnan(r.gradient)]
    text = f"the derivative by the first layer is {factor:.2g} times {word} than by the last of {len(norms)}"
    text += f" ({norms[0].gradient:.2g} against {norms[-1].gradient:.2g})"
    return Sign(text, norms[0].place.line, {"ratio": ratio}, sure)


def lost(patient: Patient) -> Sign | None:
    """Outputs that are the same for all examples, while data are not."""
    readings = patient.signal
    if not readings or len(jax.tree.leaves(patient.batch[0])[0]) < 2:
        return None
    last = readings[-1]
    if not last.size or math.isnan(last.spread) or last.spread > 1e-3:
        return None
    first = next(r for r in readings if r.spread <= 1e-3)
    text = f"examples differ by {last.spread:.1g} of the size of the last layer's values ({last.size:.2g}), by"
    text += f" {readings[0].spread:.1g} in the first"
    return Sign(text, first.place.line, {"spread": last.spread}, sure=last.spread < 1e-5)


def predicted(patient: Patient) -> tuple[float, float] | None:
    """The mean square of the outputs of four examples as `jnorm.predict` says it, and as it is.

    None for models with positions, of which a prediction takes long, and where parameters are no draws.
    """
    x = patient.batch[0]
    plain = all(product.data.shape[:-1] == product.node.outputs[0].shape[:1] for product in patient.products)
    if not (plain and patient.products and isinstance(x, jax.Array) and isinstance(patient.outputs, jax.Array)):
        return None
    try:
        rows = predict(patient.apply, patient.params, x[:4])
    except (NotImplementedError, TypeError, ValueError):
        return None
    if not rows or not math.isfinite(rows[-1].second) or rows[-1].shape != patient.outputs[:4].shape:
        return None
    return rows[-1].second, float(np.mean(np.square(np.asarray(patient.outputs[:4], np.float64))))


def unlike(patient: Patient) -> Sign | None:
    """Outputs of another size than random parameters of these deviations would give."""
    pair = patient.once(predicted)
    if pair is None or min(pair) == 0 or 1 / 8 < pair[1] / pair[0] < 8:
        return None
    text = f"outputs have a mean square of {pair[1]:.2g}; independent parameters of these deviations give {pair[0]:.2g}"
    return Sign(text, figures={"predicted": pair[0], "seen": pair[1]}, sure=False)


def underflow(patient: Patient) -> Sign | None:
    """Gradients of half precision that are zeros for the most part, and not so in float32."""
    halves = [i for i, leaf in enumerate(jax.tree.leaves(patient.params)) if leaf.dtype == jnp.float16]
    zeros = [float(np.mean(patient.gradients[i] == 0)) for i in halves if patient.gradients[i].size > 8]
    if not zeros or max(zeros) < 0.5:
        return None
    wide = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.float16 else a, patient.params)
    try:
        full = jax.jit(jax.grad(patient.of_batch, has_aux=True))(wide, *patient.batch)[0]
    except TypeError:  # strict promotion, and the data are of half precision
        return None
    rest = [float(np.mean(np.asarray(jax.tree.leaves(full)[i]) == 0)) for i in halves if patient.gradients[i].size > 8]
    if max(zeros) - max(rest) < 0.25:
        return None
    return Sign(f"{max(zeros):.0%} of a gradient's numbers underflow to zero in float16, {max(rest):.0%} in float32")
