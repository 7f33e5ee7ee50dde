"""Losses of examples, penalties of parameters, and one shape policy.

- **Shapes.** Nothing broadcasts, ever. Targets have the shape of the predictions; only `softmax_cross_entropy` takes
  class numbers as well, of the shape without the last axis. Anything else raises ``ValueError`` with both shapes:
  ``[n]`` against ``[n, 1]`` is an error, not ``[n, n]``.
- **No reduction.** A loss is one number an example, ``[..., classes] -> [...]``, where it compares distributions over
  the last axis, of at least two classes, and one number an element where it compares elements. The caller takes means
  and weights examples.
- **Types.** The dtype is that of the predictions; half precision is computed in float32 and rounded once. Integer
  predictions raise ``TypeError``. Integer and boolean targets are converted.
- **Bad targets** raise ``ValueError`` where Python knows their values, in a NumPy array or a number. In a JAX array, on
  a device or traced, they make the loss and the gradient of their own example NaN.
- **Masks.** Where ``mask`` is False, loss and gradient are exactly 0, whatever stands there: NaN, infinities, targets
  that break the rules. The mean over what counts is ``jnp.sum(losses) / jnp.sum(mask)``.
- **Numbers.** Neither a value nor a gradient is lost to overflow or cancellation: softmax cross-entropy of logits
  (20, 0) and class 0 is 2.06e-9, with gradient -+2.06e-9, in float32 too. A logit of -inf is a class that is ruled
  out: it adds nothing to the loss, and its gradient is zero unless it is the target.
"""

from jnorm.losses._cross_entropy import sigmoid_cross_entropy, softmax_cross_entropy
from jnorm.losses._errors import hinge, huber, squared_error
from jnorm.losses._penalties import l1_penalty, l2_penalty

__all__ = [
    "hinge",
    "huber",
    "l1_penalty",
    "l2_penalty",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
]
