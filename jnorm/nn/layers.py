"""What the layers of `jnorm.nn.networks` are made of: activation, initializers, normalizer, dropout, weights.

All parts are functions, and may close over traced values: rates, gains and slopes can be swept by ``vmap``. Parts of
your own need no registration anywhere:

- **A normalizer** is anything with the functions ``init(features) -> (params, state)`` and ``apply(params, state, x, *,
  train) -> (y, state)``, features on the last axis: a module such as `jnorm.nn.batch_norm` or `jnorm.nn.batch_renorm`,
  or a `Normalizer` of two functions, made with ``functools.partial`` where options are set. `stateless` makes one of a
  function that keeps no statistics, such as those of `jnorm.nn.feature_norm`.
- **Weights** are anything with ``init(kernel) -> params`` and ``apply(params) -> kernel``, outputs on the last axis:
  the module `jnorm.nn.weight_norm`, or a `Weights` of two functions. ``init`` gets the kernel that the initializer
  drew; ``apply`` is called in every forward pass.
- **Dropout** is ``dropout(key, x, *, train) -> y``, a ``functools.partial`` of one of `jnorm.nn.dropout` with its rate.

**Precision.** ``precision=None`` follows ``jax_default_matmul_precision``, as other libraries do. Then float32 is
multiplied in full on a CPU, but as TF32 on recent NVIDIA GPUs (10 explicit bits of each factor, 3 decimal digits of a
product) and in one pass of bfloat16 on TPUs (7 bits, 2 digits); sums are float32. That is enough to train by, and
several times faster; to compare a network with theory to more digits write ``precision="highest"``, or compute ``with
jax.default_matmul_precision("highest")``. Half precision stays half: products of bfloat16 or float16 are summed in
float32, and so are those of the backward pass, whose factors are of the same dtype.

>>> import functools
>>> from jnorm import activations, initializers
>>> from jnorm.nn import batch_norm, networks, weight_norm
>>> slow = Normalizer(batch_norm.init, functools.partial(batch_norm.apply, decay=0.999))
>>> gain = weight_norm.exact_gain(activations.relu)
>>> standardized = Weights(lambda kernel: kernel, functools.partial(weight_norm.standardize, gain=gain))
>>> layer = Layer(activations.relu, initializers.normal(), normalizer=slow, weights=standardized)
>>> params, state = networks.mlp((8, 16, 1), layer).init(jax.random.key(0))
>>> sorted(params[0]), state[0].mean.shape
(['kernel', 'norm'], (16,))
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import jax
from jax import lax

from jnorm import activations, initializers
from jnorm._ground import checks

__all__ = [
    "Layer",
    "Normalizer",
    "Weights",
    "stateless",
]


class Normalizer(NamedTuple):
    """A normalizer as two functions.

    Attributes:
        init: ``init(features) -> (params, state)``.
        apply: ``apply(params, state, x, *, train) -> (y, state)``.
    """

    init: Callable[[int], tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]


def stateless(init: Callable[[int], Any], apply: Callable[[Any, jax.Array], jax.Array]) -> Normalizer:
    """A normalizer that keeps no statistics.

    Args:
        init: ``init(features) -> params``.
        apply: ``apply(params, x) -> y``, the same in training and evaluation.

    Returns:
        The normalizer, whose state is ``()``.

    >>> from jnorm.nn import feature_norm
    >>> norm = stateless(feature_norm.init, feature_norm.layer_norm)
    >>> params, state = norm.init(2)
    >>> norm.apply(params, state, jax.numpy.array([[1.0, 3.0]]), train=True)[0].round(3).tolist()
    [[-1.0, 1.0]]
    """
    return Normalizer(lambda features: (init(features), ()), lambda p, s, x, *, train: (apply(p, x), s))


class Weights(NamedTuple):
    """Kernels as a function of what is learned.

    Attributes:
        init: ``init(kernel) -> params``, what is learned, from a fresh kernel.
        apply: ``apply(params) -> kernel``.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any], jax.Array]


class _Parts(NamedTuple):
    """The fields of `Layer`."""

    activation: Callable[[jax.Array], jax.Array]
    kernel_init: Callable[..., jax.Array]
    bias_init: Callable[..., jax.Array] | None = jax.nn.initializers.zeros
    normalizer: Any = None
    normalize: str = "before"
    dropout: Callable[..., jax.Array] | None = None
    weights: Any = None
    precision: lax.PrecisionLike = None
    input_init: Callable[..., jax.Array] = initializers.lecun_normal()
    readout_init: Callable[..., jax.Array] = initializers.lecun_normal()


class Layer(_Parts):
    """What a hidden layer does: ``x @ kernel + bias``, the normalizer and the activation in either order, dropout.

    Parameters are cast to the dtype of ``x``, which the output keeps; products are summed in at least float32.

    A bias is left out where a normalizer with a ``shift`` of its own follows it: batch norm takes any bias off again,
    so that its gradient is rounding noise, which Adam would turn into steps of full size.

    Attributes:
        activation: Elementwise function.
        kernel_init: ``kernel_init(key, shape)``, one of `jnorm.initializers`; its gain is that of ``activation``.
        bias_init: Likewise; None leaves the bias out.
        normalizer: A `Normalizer`, or a module that is one; None for none.
        normalize: Where the normalizer stands, "before" or "after" the activation.
        dropout: ``dropout(key, x, train=train)``; None for none.
        weights: `Weights`, or a module that is one; None where the kernels themselves are learned.
        precision: That of `jax.lax` for the products; "highest" is full float32 on every machine, and None follows
            ``jax_default_matmul_precision``, as above.
        input_init: ``kernel_init`` of a network's first layer. Its inputs are data, which no activation has shrunk:
            standardized inputs, independent of each other, give pre-activations of variance 1.
        readout_init: ``kernel_init`` of a network's last layer, which no activation follows.

    Raises:
        TypeError: For a part that is no function, and for a factory such as ``he_normal`` in the place of the
            initializer ``he_normal()``.
        ValueError: For another ``normalize``.
    """

    __slots__ = ()

    def __new__(cls, *parts: Any, **named: Any) -> Self:
        """The layer, of parts that are what they have to be."""
        layer = super().__new__(cls, *parts, **named)
        _check(layer)
        return layer

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        return cls(*iterable)


Layer.__signature__ = inspect.signature(_Parts)  # type: ignore[attr-defined]


def _check(layer: _Parts) -> None:
    """Raise where a part is not what it has to be, before a network is made of it."""
    checks.choice("normalize", layer.normalize, ("before", "after"))
    if not callable(layer.activation):
        name = layer.activation if layer.activation in activations.__all__ else "selu"
        raise TypeError(f"`activation` must be a function: write jnorm.activations.{name}; got {layer.activation!r}")
    for name in ("kernel_init", "bias_init", "input_init", "readout_init"):
        if name != "bias_init" or layer.bias_init is not None:
            _check_initializer(name, getattr(layer, name))
    if layer.dropout is not None and not callable(layer.dropout):
        raise TypeError(
            "`dropout` must be a function dropout(key, x, *, train): write functools.partial(jnorm.nn.dropout.dropout, "
            f"rate={layer.dropout if isinstance(layer.dropout, int | float) else 0.5}); got {layer.dropout!r}"
        )
    for name, example in (("normalizer", "jnorm.nn.batch_norm"), ("weights", "jnorm.nn.weight_norm")):
        part = getattr(layer, name)
        if part is not None and not all(callable(getattr(part, f, None)) for f in ("init", "apply")):
            hint = ", or stateless(feature_norm.init, feature_norm.layer_norm)" if name == "normalizer" else ""
            raise TypeError(f"`{name}` must have functions init and apply: write {example}{hint}; got {part!r}")


def _check_initializer(name: str, init: Any) -> None:
    """Raise for what does not take a key and a shape, and for JAX's factories, which do and mean others by it."""
    if not callable(init):
        raise TypeError(
            f"`{name}` must be a function (key, shape) -> array: write jnorm.initializers.he_normal(); got {init!r}"
        )
    made_of = getattr(init, "__name__", "")
    factory = made_of not in ("zeros", "ones") and getattr(jax.nn.initializers, made_of, None) is init
    try:
        inspect.signature(init).bind("key", "shape")
    except TypeError:
        factory = True
    except ValueError:  # a function without a signature
        pass
    if factory:
        raise TypeError(
            f"`{name}` must be a function (key, shape) -> array, and {made_of or repr(init)} is not: write "
            f"{made_of or 'it'}(), with its options, which makes one"
        )
