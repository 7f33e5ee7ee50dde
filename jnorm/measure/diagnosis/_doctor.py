"""The one call: every entry of the catalogue, in order, and a line for each part without a mistake."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jnorm.measure.diagnosis import CATALOGUE, Mistake, _of_model, _of_signal, _of_training
from jnorm.measure.diagnosis._findings import Diagnosis, Finding, Mark, Sign
from jnorm.measure.diagnosis._patient import Patient


def doctor(
    apply: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    targets: Any,
    loss: Callable[[Any, Any], jax.Array],
    optimizer: Any = None,
    *,
    key: jax.Array | None = None,
    batch: int = 64,
    steps: int = 100,
    catalogue: Sequence[Mistake] = CATALOGUE,
) -> Diagnosis:
    """Why does it not train? Looks for the mistakes of a catalogue, causes first, and says what to try next.

    Give what a training step gets: some hundred examples, and the parameters at the start. Model, loss and optimizer
    are functions of your own, from any library. In the order in which causes come before what they cause:

    - **Proof where there is one.** What the program does is read from its jaxpr: what is behind a ``stop_gradient``,
      two products with nothing between them that bends, norms of running statistics. What a loss does is asked of it,
      with outputs that are made up: whether it applies softmax itself, whether wrong outputs are better than right
      ones, whether it knows which target belongs to which output, whether it is a sum.
    - **Probes** of values, slopes and derivatives; `jnorm.measure.gradcheck` where derivatives are not JAX's own.
    - **Short trainings** on one batch: the optimizer as it is, with other rates, without its decay, and Adam beside it.
    - **Two permutation tests** of whether targets belong to inputs: of distances, and of new examples after the fit. A
      set of which that many examples show no signal is named too; so it counts only where nothing else was found, with
      32 new examples and p > 0.05. Labels that were shuffled pass with a probability of 0.01.

    Args:
        apply: The model in training, ``apply(params, x) -> outputs``; what it draws comes from a key of yours inside.
        params: What is trained: a pytree of floating arrays.
        x: Examples on the first axis of every leaf; some hundred, of which 2 ``batch`` are computed with.
        targets: In the same way.
        loss: ``loss(outputs, targets)``, one real number.
        optimizer: Of Optax. Without it updates are not judged.
        key: For what is drawn; ``jax.random.key(0)`` by default, so that a diagnosis repeats.
        batch: Examples in the batch; of fewer than two batches half.
        steps: Of each short training: three, and four more with other rates where these do not say enough.
        catalogue: What is looked for: `jnorm.measure.diagnosis.CATALOGUE`, and entries of your own.

    Returns:
        Findings, causes first, and a tick for every part in which nothing was found.

    Raises:
        TypeError: ``apply`` or ``loss`` is no function, parameters are no floating arrays, ``optimizer`` is none of
            Optax, or the loss is not one real number.
        ValueError: No examples, or a count below one.

    >>> import jax.numpy as jnp
    >>> import optax
    >>> x = jax.random.normal(jax.random.key(0), (64, 8))
    >>> targets = jnp.sin(x[:, 0])
    >>> params = {"in": jax.random.normal(jax.random.key(1), (8, 16)) / 3, "out": jnp.full((16, 1), 0.1)}
    >>> apply = lambda params, x: jnp.tanh(x @ params["in"]) @ params["out"]
    >>> with jax.numpy_rank_promotion("allow"):
    ...     found = doctor(apply, params, x, targets, lambda y, t: jnp.mean((y - t) ** 2), optax.adam(1e-3))
    >>> found.findings[0].mistake, found.findings[0].line.function
    ('targets broadcast', '<lambda>')
    """
    patient = Patient(
        *(apply, params, x, targets, loss, optimizer),
        key=jax.random.key(0) if key is None else key,
        batch=batch,
        steps=steps,
    )
    crosses: list[Finding] = []
    notes: list[Finding] = []
    seen: dict[str, bool] = {}
    for entry in catalogue:
        if entry.when != "always" and not patient.finite:
            continue
        if entry.when == "unexplained" and crosses:
            continue
        sign = patient.once(entry.look)
        seen[entry.part] = seen.get(entry.part, False) or sign is not None
        if sign is not None:
            (crosses if sign.sure else notes).append(_finding(entry, sign))
    sound = [part for part, found in seen.items() if not found]
    return Diagnosis((*crosses, *notes), tuple(Finding(part, part, "tick", _tick(part, patient)) for part in sound))


def _finding(entry: Mistake, sign: Sign) -> Finding:
    mark: Mark = "cross" if sign.sure else "note"
    return Finding(entry.name, entry.part, mark, sign.seen, entry.advice, sign.line, dict(sign.figures))


def _tick(part: str, patient: Patient) -> str:
    return _TICKS[part](patient) if part in _TICKS else "nothing found"


def _shapes(tree: Any) -> str:
    return ", ".join(f"{a.dtype}{list(a.shape)}" for a in jax.tree.leaves(tree)[:3])


def _data(patient: Patient) -> str:
    rows = patient.entry
    size = "" if rows is None else f", into the first layer with a root mean square of {np.sqrt(np.mean(rows**2)):.2g}"
    return f"{patient.examples} examples, {_shapes(patient.x)}{size}"


def _targets(patient: Patient) -> str:
    return f"{_shapes(patient.targets)}, beside outputs {_shapes(patient.outputs)}"


def _loss(patient: Patient) -> str:
    outcomes = patient.outcomes
    if outcomes is None or math.isnan(outcomes["right"]):
        return f"{patient.value:.4g}"
    text = (
        f"{patient.value:.4g}; {outcomes['right']:.3g} for right outputs, {outcomes['wrong']:.3g} for those of others"
    )
    return f"{text}, {outcomes.constant:.3g} for the same for all"


def _model(patient: Patient) -> str:
    own = len(patient.once(_of_model.own_rules))
    text = f"{len(patient.products)} products with parameters, all of which get gradients; "
    return text + (f"{own} derivatives that are not JAX's own are right" if own else "all derivatives are JAX's own")


def _parameters(patient: Patient) -> str:
    found = [gain for gain, _, _ in _of_model.gains(patient)]
    count = sum(leaf.size for leaf in patient.leaves)
    if not found:
        return f"{count} in {len(patient.leaves)} arrays"
    return f"{count} in {len(patient.leaves)} arrays; layers multiply sizes by {min(found):.2g} to {max(found):.2g}"


def _signal(patient: Patient) -> str:
    layers, dead = patient.signal, [r.dead for r in patient.readings if not math.isnan(r.dead)]
    if not layers:
        return "loss and gradients are finite"
    first, last = layers[0], layers[-1]
    text = f"sizes {first.size:.2g} at the first layer, {last.size:.2g} at the last;"
    text += f" derivatives {first.gradient:.2g} and {last.gradient:.2g}"
    text += f"; at most {max(dead):.0%} of units are flat" if dead else ""
    pair = patient.once(_of_signal.predicted)
    return text if pair is None else f"{text}; outputs of square {pair[1]:.2g}, predicted {pair[0]:.2g}"


def _updates(patient: Patient) -> str:
    courses = patient.courses
    if courses is None:
        return "no optimizer was given"
    text = f"the first is {courses.first.size:.2g} of the weights; {patient.steps} steps on one batch:"
    return f"{text} {patient.value:.3g} to {courses.own.last:.3g}"


def _one_batch(patient: Patient) -> str:
    return f"Adam brings the loss from {patient.value:.3g} to {patient.reference.last:.3g} in {patient.steps} steps"


def _labels(patient: Patient) -> str:
    p = patient.once(_of_training.chance)
    return "there are too few to ask" if p is None else f"targets belong to their inputs: p = {p:.2g} of the opposite"


_TICKS: dict[str, Callable[[Patient], str]] = {
    "data": _data,
    "targets": _targets,
    "loss": _loss,
    "model": _model,
    "parameters": _parameters,
    "signal": _signal,
    "updates": _updates,
    "one batch": _one_batch,
    "labels": _labels,
}
