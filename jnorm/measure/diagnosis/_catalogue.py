"""The mistakes that the doctor knows, causes before what they cause."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jnorm.measure.diagnosis import _of_data, _of_loss, _of_model, _of_signal, _of_training
from jnorm.measure.diagnosis._findings import Sign
from jnorm.measure.diagnosis._patient import Patient


class Mistake(NamedTuple):
    """An entry of the catalogue.

    Attributes:
        name: In a few words.
        part: What is looked at: one of the parts, in whose line of ticks it counts.
        look: A function of a `Patient` that returns a `Sign`, or None where there is none.
        advice: What to try next.
        when: ``"always"``; ``"finite"``, where loss and gradients are; or ``"unexplained"``, where they are and no
            entry before has found a mistake.
    """

    name: str
    part: str
    look: Callable[[Patient], Sign | None]
    advice: str
    when: Literal["always", "finite", "unexplained"] = "finite"


CATALOGUE = (
    Mistake(
        "NaN in the data",
        "data",
        _of_data.not_finite,
        "drop or fill these numbers before training; a NaN of one example spreads to all parameters",
        when="always",
    ),
    Mistake(
        "examples apart",
        "data",
        _of_data.apart,
        "put examples on the first axis of data, outputs and targets",
        when="always",
    ),
    Mistake(
        "data all alike",
        "data",
        _of_data.all_alike,
        "look at the loader: nothing can be learned from these",
        when="always",
    ),
    Mistake(
        "axes out of order",
        "data",
        _of_data.axes,
        "transpose to what the convolution expects: Flax takes (examples, height, width, channels)",
        when="always",
    ),
    Mistake(
        "labels out of range",
        "targets",
        _of_data.out_of_range,
        "count labels from 0, or make the last layer wider; JAX neither checks nor raises",
        when="always",
    ),
    Mistake(
        "targets of zeros",
        "targets",
        _of_data.rows_of_zeros,
        "look at the labels before jax.nn.one_hot, which returns zeros where a label is outside",
        when="always",
    ),
    Mistake(
        "features differ in size",
        "data",
        _of_data.scales,
        "standardize each feature with the training set's mean and deviation: jnorm.data.standardize",
        when="always",
    ),
    Mistake(
        "data unscaled",
        "data",
        _of_data.size,
        "divide images by 255, standardize numbers: jnorm.data.standardize",
        when="always",
    ),
    Mistake(
        "targets all alike",
        "targets",
        _of_data.one_target,
        "look at the loader: a constant fits these, and the network will be one",
        when="always",
    ),
    Mistake(
        "targets unscaled",
        "targets",
        _of_data.target_size,
        "standardize the targets, and undo it for what the network says",
    ),
    Mistake(
        "examples in order",
        "targets",
        _of_data.in_order,
        "shuffle before batches are cut: jnorm.data.batches",
        when="always",
    ),
    Mistake(
        "targets are the inputs",
        "targets",
        _of_data.inputs,
        "shift by one: inputs tokens[:, :-1], targets tokens[:, 1:]",
    ),
    Mistake(
        "outputs see the future",
        "targets",
        _of_data.future,
        "mask attention causally, and shift before convolutions and norms over positions",
    ),
    Mistake(
        "copies of examples",
        "data",
        _of_data.copies,
        "drop the copies, or test data hold what was trained on",
        when="always",
    ),
    Mistake(
        "targets broadcast",
        "loss",
        _of_loss.broadcast,
        "give both one shape, as outputs[:, 0]; JAX's option jax_numpy_rank_promotion='raise' finds such lines",
    ),
    Mistake(
        "loss blind",
        "loss",
        _of_loss.blind,
        "a softmax over one output is 1; look at what the loss does with outputs and with targets",
    ),
    Mistake(
        "loss mixes examples",
        "loss",
        _of_loss.mixed,
        "take softmax over the classes, axis=-1, and the mean over examples last",
    ),
    Mistake(
        "softmax twice",
        "loss",
        _of_loss.softmax_twice,
        "hand the loss logits: leave the softmax away in one of the two places",
    ),
    Mistake(
        "sigmoid twice",
        "loss",
        _of_loss.sigmoid_twice,
        "hand the loss logits: leave the sigmoid away in one of the two places",
    ),
    Mistake(
        "targets beyond 0 and 1",
        "loss",
        _of_loss.beyond,
        "map the classes to 0 and 1, as (t + 1) / 2 does of -1 and 1",
    ),
    Mistake(
        "loss of the wrong sign",
        "loss",
        _of_loss.wrong_sign,
        "turn its sign: what is minimized should be smallest where outputs are right",
    ),
    Mistake(
        "targets out of reach",
        "loss",
        _of_loss.out_of_reach,
        "leave the activation of the last layer away",
    ),
    Mistake(
        "examples mixed",
        "model",
        _of_model.mixed,
        "look for a softmax, mean or reshape over the first axis",
    ),
    Mistake(
        "no gradient comes back",
        "model",
        _of_model.stopped,
        "take the stop_gradient (or argmax, round, sign) off that way; leave frozen parameters out on purpose",
    ),
    Mistake(
        "parameters unused",
        "model",
        _of_model.unused,
        "call the layer, or drop its parameters",
    ),
    Mistake(
        "no nonlinearity",
        "model",
        _of_model.linear,
        "put an activation between the two",
    ),
    Mistake(
        "running statistics",
        "model",
        _of_model.running,
        "train with the batch's own statistics: use_running_average=False, train=True",
    ),
    Mistake(
        "gradient wrong",
        "model",
        _of_model.gradient,
        "mend that rule; jnorm.measure.gradcheck.check shows the whole report",
    ),
    Mistake(
        "units all alike",
        "parameters",
        _of_model.alike,
        "draw weights at random: jnorm.initializers.lecun_normal; zeros are for biases and for last layers",
    ),
    Mistake(
        "same draw twice",
        "parameters",
        _of_model.same_draws,
        "split the key, one for each parameter; copies that are meant may stay",
    ),
    Mistake(
        "weights too large",
        "parameters",
        _of_model.too_large,
        "draw weights of variance 1 / fan-in: jnorm.initializers.lecun_normal, or for_activation for its gain",
    ),
    Mistake(
        "weights too small",
        "parameters",
        _of_model.too_small,
        "draw weights of variance 1 / fan-in: jnorm.initializers.lecun_normal, or for_activation for its gain",
    ),
    Mistake(
        "numbers not finite",
        "signal",
        _of_signal.origin,
        "compute there in float32: float16 ends at 65504 and at 6e-8, so that Adam's eps is 0; else guard the argument",
        when="always",
    ),
    Mistake(
        "units dead",
        "signal",
        _of_signal.dead,
        "start biases at 0; then smaller rates, or an activation that is flat nowhere",
    ),
    Mistake(
        "gradient vanishes",
        "signal",
        _of_signal.vanishing,
        "an activation of slope near 1, weights that fit it (jnorm.initializers.for_activation), residuals or norms",
    ),
    Mistake(
        "gradient explodes",
        "signal",
        _of_signal.exploding,
        "weights that fit the activation (jnorm.initializers.for_activation), or norms",
    ),
    Mistake(
        "examples all alike inside",
        "signal",
        _of_signal.lost,
        "smaller biases, weights that fit the activation; jnorm.theory.meanfield says how deep a signal goes",
    ),
    Mistake(
        "outputs not as predicted",
        "signal",
        _of_signal.unlike,
        "see where they part: jnorm.predict.predict beside jnorm.measure.probes.watch",
    ),
    Mistake(
        "float16 underflows",
        "signal",
        _of_signal.underflow,
        "scale the loss up and gradients down, or compute in bfloat16",
    ),
    Mistake(
        "parameters still",
        "updates",
        _of_training.still,
        "look at rate, schedule and masks: optax.masked hands the rest on as it is, set_to_zero holds it",
    ),
    Mistake(
        "updates go uphill",
        "updates",
        _of_training.uphill,
        "end the chain in optax.scale(-rate); optax.masked hands on gradients of what it does not touch, uphill",
    ),
    Mistake(
        "weight decay too large",
        "updates",
        _of_training.decay,
        "usual are 1e-4 beside SGD, 1e-2 in AdamW, and none of biases and norms",
    ),
    Mistake(
        "loss summed",
        "loss",
        _of_loss.summed,
        "take the mean over examples, or divide the rate by the number of examples",
    ),
    Mistake(
        "rate too large",
        "updates",
        _of_training.too_fast,
        "divide the rate as shown; a first update of a thousandth to a hundredth of the weights is usual",
    ),
    Mistake(
        "rate too small",
        "updates",
        _of_training.too_slow,
        "multiply the rate as shown; a first update of a thousandth to a hundredth of the weights is usual",
    ),
    Mistake(
        "one batch is not fitted",
        "one batch",
        _of_training.cannot_fit,
        "nothing that the catalogue knows explains it: fit two examples, then take layers away until it works",
        when="unexplained",
    ),
    Mistake(
        "labels of others",
        "labels",
        _of_training.strangers,
        "look at pairs of data and targets: were they shuffled or sorted apart? a weak signal needs more examples",
        when="unexplained",
    ),
)
"""In the order in which a doctor asks: what comes first causes what comes later."""
