"""The initializer that takes its variance from an activation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm import activations, gaussian
from jnorm._ground import checks
from jnorm.initializers._fan_scaled import fan_law
from jnorm.initializers._fans import Axes, Fans, roles
from jnorm.initializers._protocol import Initializer, factory

_MODES: dict[str, Callable[[Fans, Any, Any], Any]] = {
    "forward": lambda f, value, slope: 1 / (f.fan_in * value),
    "backward": lambda f, value, slope: 1 / (f.fan_out * slope),
    "both": lambda f, value, slope: 2 / (f.fan_in * value + f.fan_out * slope),
}


@factory
def for_activation(
    phi: Callable[[jax.Array], jax.Array],
    *,
    mode: str = "forward",
    distribution: str = "truncated_normal",
    var: ArrayLike = 1.0,
    kinks: Sequence[float] | None = None,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    groups: int = 1,
) -> Initializer:
    """Weights whose variance keeps signals or gradients through any elementwise activation.

    Where pre-activations are N(0, q), q = ``var``, the layers after ``phi`` keep q with the weight variance
    q / (n_in E[phi(z)^2]) (``forward``), and the squared gradient with 1 / (n_out E[phi'(z)^2]) (``backward``);
    ``both`` takes the harmonic mean of the two, Glorot's law where ``phi`` is the identity. For relu they are He's.
    The moments are those of `jnorm.gaussian`, with its precision, in one program that every call with the same ``phi``
    shares.

    Args:
        phi: The activation, elementwise. It may close over traced values, such as a slope under a sweep.
        mode: ``forward``, ``backward`` or ``both``.
        distribution: ``truncated_normal`` (cut at two standard deviations), ``normal`` or ``uniform``.
        var: The variance q of the pre-activations, above 0.
        kinks: Where ``phi`` or a derivative jumps; ``None`` takes those that are registered, or finds them.
        in_axis: The axis or axes of the units below, as in `fans`.
        out_axis: The axis or axes of the units above.
        batch_axis: The axis or axes of independent kernels.
        groups: Of a grouped convolution, as in `fans`.

    Returns:
        The initializer. Inside a transformation, a moment that is zero or not finite gives NaN.

    Raises:
        TypeError: For a ``phi`` that is not a function, such as an activation's name.
        ValueError: For ``var <= 0``, unknown names, and, outside of transformations, a moment that ``mode`` needs and
            that is zero or not finite.

    >>> kernel = for_activation(jnp.tanh)(jax.random.key(0), (400, 400))
    >>> bool(abs(400 * kernel.var() - 1 / 0.39429) < 0.05)  # E[tanh(z)^2] = .39429
    True
    """
    if not callable(phi):
        known = f"activations.{phi}" if isinstance(phi, str) and phi in activations.ELEMENTWISE else "activations.relu"
        raise TypeError(f"`phi` must be a function, such as {known}; got {phi!r}")
    checks.require(lambda v: v > 0, "`{}` must satisfy {} > 0", var=var)
    checks.choice("mode", mode, _MODES)
    kinks = activations.kinks(phi) if kinks is None else kinks

    def squares(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, slope = jax.jvp(phi, (z,), (jnp.ones_like(z),))
        return value**2, slope**2

    value2, slope2 = gaussian.expectation(squares, 0.0, var, kinks=kinks)
    if mode != "backward":
        _refuse_useless("E[phi(z)^2]", value2)
    if mode != "forward":
        _refuse_useless("E[phi'(z)^2]", slope2)
    value2, slope2 = _useful(value2), _useful(slope2)
    variance = lambda f: _MODES[mode](f, value2 / var, slope2)
    return fan_law(variance, distribution, roles(in_axis, out_axis, batch_axis), groups)


@jax.jit
def _useful(moment: jax.Array) -> jax.Array:
    return jnp.where((moment > 0) & (moment < jnp.inf), moment, jnp.nan)


def _refuse_useless(name: str, moment: jax.Array) -> None:
    """Raise for a moment that this process has just computed; a traced one, or one on other machines too, is data."""
    known = not isinstance(moment, jax.core.Tracer) and moment.is_fully_addressable
    if known and not 0 < float(moment) < math.inf:
        raise ValueError(f"`phi` must have a finite {name} > 0; got {moment}")
