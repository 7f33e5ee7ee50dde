"""Mistakes between outputs, targets and the loss."""

import numpy as np

from jnorm.jaxprs import Line
from jnorm.measure.diagnosis._findings import Sign
from jnorm.measure.diagnosis._graph import Value, moved_from
from jnorm.measure.diagnosis._outcomes import fitted, labels, one_hot
from jnorm.measure.diagnosis._patient import Patient

RANGES = {
    "logistic": (0.0, 1.0, "a sigmoid"),
    "tanh": (-1.0, 1.0, "tanh"),
    "max": (0.0, np.inf, "relu"),
    "exp": (0.0, np.inf, "exp"),
}
"""The last operation of a model, and what it can say."""


def _last(patient: Patient) -> tuple[str, Line | None]:
    """The last operation of the model, and its line."""
    value = moved_from(patient.graph.results[1]) if len(patient.graph.results) == 2 else None
    if not isinstance(value, Value) or value.node is None:
        return "", None
    node = value.node
    if node.operation == "max" and not any(np.ndim(v) == 0 and v == 0 for v in node.inputs if not _is_value(v)):
        return "", None
    return node.operation, node.site.line


def _is_value(thing: object) -> bool:
    return isinstance(thing, Value)


def softmax_twice(patient: Patient) -> Sign | None:
    """A loss that applies softmax, to what is a softmax already."""
    outcomes = patient.outcomes
    if outcomes is None or not outcomes.takes_logits:
        return None
    sums = outcomes.outputs.sum(-1)
    if outcomes.outputs.min() >= 0 and np.abs(sums - 1).max() < 1e-2:
        text = f"outputs are probabilities (their sums are 1 within {np.abs(sums - 1).max():.0e}), and adding a number"
        return Sign(f"{text} to all classes leaves the loss as it is: it applies softmax itself", _last(patient)[1])
    near, far = outcomes["wrong"] - outcomes["right"], outcomes["very wrong"] - outcomes["very right"]
    bounded = 0 < far < 16 * near and outcomes["very right"] > 0.2 * outcomes["very wrong"]
    if outcomes.mixed is None or not bounded:
        return None
    text = f"the loss of sure outputs is {outcomes['very right']:.3g} where they are right and"
    return Sign(f"{text} {outcomes['very wrong']:.3g} where they are wrong: logits pass a softmax twice in the loss")


def sigmoid_twice(patient: Patient) -> Sign | None:
    """A loss that applies the sigmoid, to what is one already."""
    outcomes = patient.outcomes
    operation, line = _last(patient)
    if outcomes is None or operation != "logistic" or not outcomes.takes_binary_logits:
        return None
    return Sign("outputs are those of a sigmoid, and the loss is softplus(z) - t z of them: it applies one too", line)


def beyond(patient: Patient) -> Sign | None:
    """Targets such as -1 and 1, beside a loss that is for 0 and 1 and falls without end for others."""
    outcomes = patient.outcomes
    if outcomes is None or not outcomes.takes_binary_logits:
        return None
    low, high = float(outcomes.targets.min()), float(outcomes.targets.max())
    if low >= 0 and high <= 1:
        return None
    return Sign(f"targets run from {low:.3g} to {high:.3g}, and the loss is softplus(z) - t z: it has no minimum then")


def broadcast(patient: Patient) -> Sign | None:
    """Every output beside every target: shapes such as (n, 1) and (n,) in a difference."""
    outcomes = patient.outcomes
    if outcomes is None or outcomes.mixed is None or not _blind(patient):
        return None
    shapes = outcomes.outputs.shape, outcomes.targets.shape
    if shapes[0] == shapes[1] or fitted(outcomes.targets, shapes[0]) is None:
        return None
    count = len(outcomes.targets)
    pairs = [v for node in patient.graph.nodes for v in node.outputs if v.shape[:2] == (count, count)]
    pairs = [v for v in pairs if v.targets and v.leaves]
    line = pairs[0].node.site.line if pairs and pairs[0].node else None
    text = (
        f"outputs of shape {shapes[0]} meet targets of shape {shapes[1]} and become {(count, count)}: the loss is the"
    )
    return Sign(f"{text} same whichever target belongs to which output", line)


def _blind(patient: Patient) -> bool:
    """Whether right outputs and those of other examples have the same loss."""
    outcomes = patient.outcomes
    if outcomes is None or outcomes.mixed is None or outcomes.perfect is None:
        return False
    right, wrong = outcomes["right"], outcomes["wrong"]
    return bool(abs(right - wrong) <= 1e-5 * max(abs(right), abs(wrong)))


def wrong_sign(patient: Patient) -> Sign | None:
    """A loss that is smaller for wrong outputs than for right ones."""
    outcomes = patient.outcomes
    if outcomes is None or outcomes.mixed is None or outcomes.perfect is None:
        return None
    right, wrong = outcomes["right"], outcomes["wrong"]
    if not right > wrong + 1e-3 * abs(wrong):
        return None
    text = f"the loss is {right:.3g} where outputs say what the targets say, and {wrong:.3g} where they say what those"
    return Sign(f"{text} of other examples say", figures={"right": right, "wrong": wrong})


def blind(patient: Patient) -> Sign | None:
    """A loss that does not look at outputs, or not at targets."""
    outcomes = patient.outcomes
    if outcomes is None:
        return None
    made = [outcomes[name] for name in ("own", "noise", "more noise")]
    if all(np.isfinite(made)) and made[0] == made[1] == made[2]:
        return Sign(f"the loss is {made[0]:.3g} whatever the outputs are", figures={"loss": made[0]})
    if _blind(patient) and patient.once(broadcast) is None:
        return Sign(f"the loss is {outcomes['right']:.3g} for right outputs and for those of other examples alike")
    return None


def mixed(patient: Patient) -> Sign | None:
    """A loss of classes in which the outputs of an example meet those of others; square tables of pairs may do so."""
    outcomes = patient.outcomes
    if outcomes is None or outcomes.outputs.ndim != 2 or len(outcomes.outputs) < 2:
        return None
    count, classes = outcomes.outputs.shape
    of_classes = labels(outcomes.targets, (count, classes)) is not None or one_hot(outcomes.targets, (count, classes))
    if count == classes or not of_classes or outcomes.mixes < 0.03:
        return None
    text = "the derivative by the outputs of one example turns where those of others change (the sine of the angle is"
    return Sign(f"{text} {outcomes.mixes:.2g}): the loss mixes examples", figures={"sine": outcomes.mixes})


def out_of_reach(patient: Patient) -> Sign | None:
    """A last operation that cannot say what the targets, or a loss of logits, ask for."""
    outcomes = patient.outcomes
    operation, line = _last(patient)
    if outcomes is None or operation not in RANGES:
        return None
    low, high, name = RANGES[operation]
    if operation != "exp" and outcomes.takes_logits:
        return Sign(f"the last operation is {name}, from {low:g} to {high:g}, and the loss takes logits", line)
    if operation != "exp" and operation != "logistic" and outcomes.takes_binary_logits:
        return Sign(f"the last operation is {name}, from {low:g} to {high:g}, and the loss takes logits", line)
    targets = fitted(outcomes.targets, outcomes.outputs.shape)
    if targets is None or outcomes["right"] > outcomes.constant:
        return None
    slack = 0.01 * (targets.max() - targets.min())
    outside = (targets < low - slack) | (targets > high + slack)
    if outside.mean() < 0.02:
        return None
    text = f"the last operation is {name}, from {low:g} to {high:g}; targets run from {targets.min():.3g} to"
    share = float(outside.mean())
    return Sign(f"{text} {targets.max():.3g}, {share:.0%} of them out of its reach", line, {"share": share})


def summed(patient: Patient) -> Sign | None:
    """A loss that is a sum over the batch, with an optimizer that follows its scale."""
    outcomes = patient.outcomes
    if outcomes is None or not abs(outcomes.doubling - 2) < 0.02:
        return None
    count = len(outcomes.outputs)
    sensitive = patient.courses is None or patient.courses.first.scaling > 1.5
    text = f"each example twice gives {outcomes.doubling:.3f} times the loss: it is a sum, and gradients are {count}"
    return Sign(f"{text} times those of a mean", figures={"examples": float(count)}, sure=sensitive and count >= 8)
