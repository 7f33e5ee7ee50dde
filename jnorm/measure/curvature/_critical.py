"""What kind of point parameters are at: minimum, saddle, or no critical point at all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jnorm._ground import keys
from jnorm.measure.curvature._density import Band, spectral_density
from jnorm.measure.curvature._eigenpairs import eigenpairs
from jnorm.measure.curvature._losses import hessian
from jnorm.measure.curvature._operators import DENSE, Operator, real

KINDS = ("undecided", "not critical", "minimum", "maximum", "saddle", "degenerate")


@jax.jit
def _gradient(operator: Operator) -> jax.Array:
    return ravel_pytree(operator.product.value_and_grad(operator.like)[1])[0]


class CriticalPoint(NamedTuple):
    """A point by gradient and Hessian.

    Attributes:
        code: The kind as a number, the place in `KINDS` that ``kind`` names.
        gradient_norm: Length of the gradient.
        gradient_limit: The longest that counts as none.
        lowest: The smallest eigenvalue.
        highest: The largest eigenvalue.
        threshold: Eigenvalues of no larger modulus count as zero.
        negative: How many eigenvalues are below ``-threshold``, as a `Band` without width where all are known.
        zero: How many are between.
        positive: How many are above.
    """

    code: jax.Array
    gradient_norm: jax.Array
    gradient_limit: jax.Array
    lowest: jax.Array
    highest: jax.Array
    threshold: jax.Array
    negative: Band
    zero: Band
    positive: Band

    @property
    def kind(self) -> Any:
        """The kind in words, of a single point or in a list of several: not to be asked under ``jit``."""
        return jax.tree.map(lambda code: KINDS[code], self.code.tolist())


def classify_critical_point(
    loss: Callable[..., jax.Array],
    params: Any,
    data: Any = None,
    *,
    microbatch: int | None = None,
    gradient_limit: ArrayLike | None = None,
    threshold: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> CriticalPoint:
    """Whether parameters are at a minimum, a maximum or a saddle, with the numbers that say so.

    - "not critical": the gradient is longer than ``gradient_limit``;
    - "saddle": eigenvalues on both sides of ``-threshold`` and ``threshold``;
    - "minimum", "maximum": all above ``threshold``, all below ``-threshold``;
    - "degenerate": none on one side, and some count as zero: second derivatives do not decide;
    - "undecided": something is NaN, or the ends of the spectrum did not converge.

    Up to 2 000 parameters all eigenvalues are computed and counted. Beyond, both ends are, which decide the kind, and
    the counts come from `spectral_density` with its band.

    Args:
        loss: As for `hessian`.
        params: As there.
        data: As there.
        microbatch: As there.
        gradient_limit: None: ``sqrt(eps)`` times the largest modulus of an eigenvalue times the length of the
            parameters (at least 1), the gradient of a point that is off by ``sqrt(eps)``, relative.
        threshold: None: what rounding makes of a zero, ``eps`` times the size times the largest modulus, and what the
            ends of the spectrum leave.
        key: A random key, for large operators; None: ``jax.random.key(0)``.

    Returns:
        The point.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian`.

    >>> toy = lambda w: (1 - w[0] * w[1]) ** 2
    >>> point = classify_critical_point(toy, jnp.zeros(2))
    >>> point.kind, point.gradient_norm.item(), point.lowest.item(), point.highest.item()
    ('saddle', 0.0, -2.0, 2.0)
    >>> classify_critical_point(toy, jnp.ones(2)).kind  # on the valley w0 w1 = 1
    'degenerate'
    """
    params = real(params=params)
    operator = hessian(loss, params, data, microbatch=microbatch)
    slope = _gradient(operator)
    size, dtype = operator.size, slope.dtype
    norm, eps = jnp.linalg.norm(slope), float(jnp.finfo(dtype).eps)
    key = jax.random.key(0) if key is None else keys.typed(key)
    density = spectral_density(operator, key, order=min(64, size))
    if size <= DENSE:
        lowest, highest = density.nodes[0, 0], density.nodes[0, -1]
        left, sure = jnp.zeros((), dtype), jnp.isfinite(lowest)
    else:
        ends = eigenpairs(operator, top=1, bottom=1, key=key)
        highest, lowest = ends.values
        left, sure = jnp.max(ends.residuals), jnp.all(ends.converged)
    largest = jnp.maximum(jnp.abs(lowest), jnp.abs(highest))
    threshold = jnp.asarray(eps * size * largest + left if threshold is None else threshold, dtype)
    if gradient_limit is None:
        gradient_limit = eps**0.5 * largest * jnp.maximum(jnp.linalg.norm(ravel_pytree(params)[0]), 1)
    gradient_limit = jnp.asarray(gradient_limit, dtype)
    down, up = lowest < -threshold, highest > threshold
    cases = [~sure | jnp.isnan(norm), norm > gradient_limit, down & up, lowest > threshold, highest < -threshold]
    code = jnp.select(cases, [KINDS.index(k) for k in ("undecided", "not critical", "saddle", "minimum", "maximum")], 5)
    beyond = jnp.maximum(threshold * (1 + 2 * eps), jnp.finfo(dtype).tiny)  # what lies at the threshold is zero
    below = density.cumulative(-beyond)
    upto = density.cumulative(threshold)
    counts = (
        below,
        Band(upto.value - below.value, jnp.maximum(upto.low - below.high, 0), upto.high - below.low),
        Band(1 - upto.value, 1 - upto.high, 1 - upto.low),
    )
    negative, zero, positive = (Band(*(end * size for end in share)) for share in counts)
    return CriticalPoint(code, norm, gradient_limit, lowest, highest, threshold, negative, zero, positive)
