"""A network: blocks in a row as a pair of pure functions that check their input, and show what they compute."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks, keys
from jnorm.nn._axes import floating
from jnorm.nn._blocks import Block, Context, Tap, chain
from jnorm.nn.layers import Layer


class Network(NamedTuple):
    """A model as a pair of pure functions.

    A tap is a function ``tap(name, value) -> value`` that is shown each layer's ``"<block>.pre"``, the argument of its
    activation, and ``"<block>.post"``, its output, and may replace them; inside residual blocks names are
    ``"<block>.<layer>.pre"``. What is yet another value is shown too: ``"linear"``, the output of the linear map, where
    a normalizer stands before the activation; ``"activated"``, the activation's output, where a normalizer or dropout
    follows; ``"normalized"``, where dropout follows a normalizer. `record` collects what a tap is shown.

    Dropout at will: with ``dropout=True`` it is on in evaluation, so that passes by several keys are Monte Carlo
    dropout; a network that hands itself one key has one mask for ever, of examples alike with ``shared_axes=0``.

    >>> from functools import partial
    >>> from jnorm import initializers
    >>> from jnorm.nn import networks
    >>> from jnorm.nn.dropout import dropout
    >>> layer = Layer(jax.nn.silu, initializers.lecun_normal(), dropout=partial(dropout, rate=0.5, shared_axes=0))
    >>> network = networks.mlp((4, 8, 3), layer)
    >>> params, state = network.init(jax.random.key(0))
    >>> one = lambda key: network.apply(params, state, jnp.ones((2, 4)), train=False, dropout=True, key=key)[0]
    >>> jax.vmap(one)(jax.random.split(jax.random.key(1), 50)).shape
    (50, 2, 3)
    >>> def apply(params, state, x, *, train, key=None, tap=None):
    ...     return network.apply(params, state, x, train=train, dropout=True, key=jax.random.key(7), tap=tap)
    >>> thinned = network._replace(apply=apply)

    Attributes:
        init: ``init(key) -> (params, state)``.
        apply: ``apply(params, state, x, *, train, key=None, tap=None, dropout=None) -> (y, state)``; the key serves
            dropout, which is on while training where ``dropout`` does not say otherwise.
    """

    init: Callable[[jax.Array], tuple[list[Any], list[Any]]]
    apply: Callable[..., tuple[jax.Array, list[Any]]]


def record(
    network: Network, params: Any, state: Any, x: ArrayLike, *, train: bool = False, key: jax.Array | None = None
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    """A forward pass with every pre- and post-activation, under ``jit`` and ``vmap`` too, with lanes in front.

    Args:
        network: Whose ``apply`` takes a ``tap``.
        params: Of ``network.init``.
        state: Likewise.
        x: The input.
        train: As in ``apply``.
        key: For dropout.

    Returns:
        Output and state of ``apply``, and the values that a tap is shown, by name, in the order of computation.

    >>> from jnorm import initializers
    >>> from jnorm.nn import networks
    >>> network = networks.mlp((4, 8, 3), Layer(jax.nn.silu, initializers.lecun_normal()))
    >>> y, _, seen = record(network, *network.init(jax.random.key(0)), jax.numpy.ones((2, 4)))
    >>> {name: value.shape for name, value in seen.items()}
    {'0.pre': (2, 8), '0.post': (2, 8), '1.pre': (2, 3)}
    """
    seen: dict[str, jax.Array] = {}

    def own(value: jax.Array) -> jax.Array:
        """The value in a buffer of its own, so that all that is returned may be donated."""
        return jnp.copy(value) if any(value is other for other in seen.values()) else value

    def tap(name: str, value: jax.Array) -> jax.Array:
        seen[name] = own(value)
        return value

    y, state = network.apply(params, state, x, train=train, key=key, tap=tap)
    return own(y), state, seen


def sequential(blocks: Sequence[Block], features: int, ndim: int = 1) -> Network:
    """The blocks one after another, on inputs with ``ndim`` axes of their own, features last."""
    whole = chain(blocks)

    def apply(
        params: Any,
        state: Any,
        x: ArrayLike,
        *,
        train: bool,
        key: jax.Array | None = None,
        tap: Tap | None = None,
        dropout: bool | None = None,
    ) -> tuple[jax.Array, list[Any]]:
        x = floating(x)
        if dropout is None:
            dropout = train
        else:
            checks.boolean(dropout=dropout)
        if x.ndim < ndim or x.shape[-1] != features:
            hint = _repair(x.shape, features, ndim)
            raise ValueError(f"`x` must have {ndim} axes or more, the last of {features} features{hint}; got {x.shape}")
        drawn_by = None if key is None else keys.stream(key, "nn.dropout")  # which shares no key with what init draws
        return whole.apply(params, state, x, Context(train, dropout, drawn_by, tap))

    return Network(whole.init, apply)


def check_layer(layer: Any, name: str = "layer") -> None:
    """Raise ``TypeError`` for a layer that is none."""
    if not isinstance(layer, Layer):
        must = f"`{name}` must be a jnorm.nn.layers.Layer: write Layer(activation, kernel_init)"
        raise TypeError(f"{must}; got {layer!r}")


def check_sizes(layer: Layer | Sequence[Layer], **sizes: Any) -> None:
    """Raise ``ValueError`` for a size below 1, and ``TypeError`` for layers that are none."""
    for part in layer if isinstance(layer, list | tuple) and not isinstance(layer, Layer) else [layer]:
        check_layer(part)
    checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", **sizes)


def _repair(shape: tuple[int, ...], features: int, ndim: int) -> str:
    """What to write for an input whose axes are those of another convention."""
    if ndim == 3 and features == 1 and len(shape) in (2, 3):
        return ": write x[..., None] for images without an axis of channels"
    if ndim == 3 and len(shape) >= 3 and shape[-3] == features:
        return ": write jnp.moveaxis(x, -3, -1), for channels come last"
    if ndim == 1 and len(shape) > 1 and math.prod(shape[1:]) == features:
        return ": write x.reshape(len(x), -1)"
    return ""
