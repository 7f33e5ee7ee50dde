"""Flax nnx modules over `jnorm.nn`, and any nnx module as a `Network` to train.

As `jnorm.interop.flax_linen`, for ``flax.nnx``: constructors, call arguments, attributes and variable types are those
of the siblings there, and batch statistics carry a ``count`` more, of type `BatchCount`. States move both ways:
``nnx.update(ours, nnx.state(flax_model))`` takes Flax's statistics as fully warmed up, and
``nnx.update(flax_model, without_counts(nnx.state(ours)))`` gives Flax ours.

A transformation that closes over a module, instead of taking it as an argument, owns none of its variables: there
Flax's modules raise ``TraceContextError``. These compute, leave the statistics as they are, and warn; only dropout
raises, because a random stream that does not advance would repeat itself. No argument of a call is keyword-only, which
``nnx.vmap(module)`` does not take.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError
from jax.typing import ArrayLike

from jnorm.interop import _common
from jnorm.interop._nnx_network import network
from jnorm.nn import batch_norm, batch_renorm
from jnorm.nn._axes import lengths
from jnorm.nn._dropping import SATURATION
from jnorm.nn.batch_norm import Params, State

__all__ = [
    "AlphaDropout",
    "BatchCount",
    "BatchNorm",
    "BatchRenorm",
    "WeightStandardization",
    "network",
    "without_counts",
]


class BatchCount(nnx.BatchStat):
    """The entries behind running statistics, as `jnorm.nn.batch_norm.State` counts them."""


class BatchNorm(nnx.BatchNorm):
    """``flax.nnx.BatchNorm`` by `jnorm.nn.batch_norm`.

    Unlike there, ``axis_index_groups`` works under ``vmap`` too. Raises as `jnorm.nn.batch_norm.apply`.

    Args:
        num_features: Number of features.
        **options: Those of ``flax.nnx.BatchNorm``, ``rngs`` among them.

    >>> layer = BatchNorm(1, rngs=nnx.Rngs(0))
    >>> layer(jnp.array([[3000.0], [3002.0]])).round(3).tolist(), layer.mean[...].tolist()
    ([[-1.0], [1.0]], [3001.0])
    """

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.count = BatchCount(jnp.zeros(num_features, jnp.float32))

    def __call__(
        self, x: ArrayLike, use_running_average: bool | None = None, mask: ArrayLike | None = None
    ) -> jax.Array:
        """Normalize ``x``.

        Args:
            x: Input of any shape with ``num_features`` on the module's axis.
            use_running_average: Whether to evaluate; where it is None the attribute counts.
            mask: True where an entry counts; broadcasts against ``x`` as in NumPy.

        Returns:
            The normalized input.
        """
        return self._normalize(batch_norm.apply, x, use_running_average, mask)

    def _normalize(
        self,
        apply: Callable[..., tuple[jax.Array, State]],
        x: ArrayLike,
        use_running_average: bool | None,
        mask: ArrayLike | None,
        **bounds: Any,
    ) -> jax.Array:
        train = not _first("use_running_average", use_running_average, self.use_running_average)
        x = jnp.asarray(x)
        scale, bias = (None if v is None else v[...] for v in (self.scale, self.bias))
        with jax.numpy_dtype_promotion("standard"):
            dtype = self.promote_dtype((x, scale, bias), dtype=self.dtype)[0].dtype
        state = _common.known_state(self.mean[...], self.var[...], self.count[...])
        params = Params(scale, bias)
        y, state = _common.normalize(
            apply, self, params, state, x, dtype=dtype, train=train, axis_name=self.axis_name, mask=mask, **bounds
        )
        if train:
            try:
                for variable, value in zip((self.mean, self.var, self.count), state, strict=True):
                    variable[...] = jax.lax.stop_gradient(value)
            except TraceContextError:
                warnings.warn(
                    f"the running statistics of {type(self).__name__} stay as they are under a transformation that "
                    "closes over it; pass the module as an argument to have them updated",
                    stacklevel=3,
                )
        return y


class BatchRenorm(BatchNorm):
    """Batch renormalization, `jnorm.nn.batch_renorm`, with the options of ``flax.nnx.BatchNorm``.

    Args:
        num_features: Number of features.
        r_max: Bound of the factor; the call takes another, from `jnorm.nn.batch_renorm.schedule` say.
        d_max: Bound of the offset; likewise.
        **options: Those of ``flax.nnx.BatchNorm``, ``rngs`` among them.

    >>> layer = BatchRenorm(1, rngs=nnx.Rngs(0))
    >>> layer(jnp.array([[1.0], [3.0]]), r_max=2.0, d_max=1.0).round(3).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(self, num_features: int, *, r_max: float = 3.0, d_max: float = 5.0, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.r_max = r_max
        self.d_max = d_max

    def __call__(
        self,
        x: ArrayLike,
        use_running_average: bool | None = None,
        mask: ArrayLike | None = None,
        r_max: ArrayLike | None = None,
        d_max: ArrayLike | None = None,
    ) -> jax.Array:
        """Normalize ``x`` by the bounds of the call, or else by the module's.

        Args:
            x: Input of any shape with ``num_features`` on the module's axis.
            use_running_average: Whether to evaluate; where it is None the attribute counts.
            mask: True where an entry counts; broadcasts against ``x`` as in NumPy.
            r_max: Bound of the factor; may be traced.
            d_max: Bound of the offset; likewise.

        Returns:
            The normalized input.
        """
        return self._normalize(batch_renorm.apply, x, use_running_average, mask, **_common.bounds(self, r_max, d_max))


class AlphaDropout(nnx.Dropout):
    """`jnorm.nn.dropout.alpha_dropout` with the options of ``flax.nnx.Dropout``.

    Unlike there, ``rate`` may be traced and 1 is an error. ``mean``, ``var`` and ``saturation`` describe the fixed
    point to keep, by default SELU's.

    Args:
        rate: Probability that an entry is dropped, in [0, 1).
        mean: Of the input.
        var: Variance of the input.
        saturation: What a dropped entry becomes before the affine map.
        **options: Those of ``flax.nnx.Dropout``, ``rngs`` among them.

    >>> layer = AlphaDropout(0.5, rngs=nnx.Rngs(0))
    >>> len(set(layer(jnp.ones(1000)).tolist())), len(set(layer(jnp.ones(1000), deterministic=True).tolist()))
    (2, 1)
    """

    def __init__(
        self,
        rate: ArrayLike,
        *,
        mean: ArrayLike = 0.0,
        var: ArrayLike = 1.0,
        saturation: ArrayLike = SATURATION,
        **options: Any,
    ) -> None:
        super().__init__(0.0, **options)
        self.rate = _number(rate)
        self.mean, self.var, self.saturation = _number(mean), _number(var), _number(saturation)

    def __call__(
        self,
        inputs: ArrayLike,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> jax.Array:
        """Drop to the saturation value.

        Args:
            inputs: Floating array of any shape.
            deterministic: Whether to leave them as they are; where it is None the attribute counts.
            rngs: Random streams or a key, in the place of the module's.

        Returns:
            What is left, of the same shape and dtype.
        """
        train = not _first("deterministic", deterministic, self.deterministic)
        train = train and not _common.never_drops(self.rate)
        key = None
        if train:
            key = _first("rngs", rngs, self.rngs)
            key = key[self.rng_collection]() if isinstance(key, nnx.Rngs) else key
            key = key() if isinstance(key, nnx.RngStream) else key
        return _common.alpha_dropout(self, key, inputs, train=train)


class WeightStandardization(nnx.Module):
    """Scaled weight standardization, `jnorm.nn.weight_norm.standardize`, with the options of ``flax.nnx.WeightNorm``.

    The chosen kernels of ``layer_instance`` become ``gain * scale * (w - mean) / |w - mean|`` for each output while it
    is called. The ``scales`` are of type ``nnx.Param``, so they are learned; the kernels stay as they are (Flax's
    WeightNorm writes its result over them, which no closure may do).

    Args:
        layer_instance: The layer.
        gain: `jnorm.nn.weight_norm.exact_gain` is that for an activation in front of the layer.
        feature_axes: The output axis of a kernel, or several; None for none.
        use_scale: Whether a scale for each output is learned.
        scale_init: Where it starts.
        dtype: Of the standardized kernels; by default that of the kernels.
        param_dtype: Of the scales.
        variable_filter: Which parameters of the layer are kernels, as an nnx filter.
        rngs: Random streams for ``scale_init``.

    >>> layer = WeightStandardization(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    >>> bool(abs(layer(jnp.ones((1, 3)))).max() < 1e-6), list(layer.scales)
    (True, ['kernel'])
    """

    def __init__(
        self,
        layer_instance: nnx.Module,
        *,
        gain: ArrayLike = 1.0,
        feature_axes: Any = -1,
        use_scale: bool = True,
        scale_init: Callable[..., jax.Array] = nnx.initializers.ones,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        variable_filter: Any = nnx.PathContains("kernel"),  # noqa: B008 (immutable, and Flax's default)
        rngs: nnx.Rngs,
    ) -> None:
        self.layer_instance = layer_instance
        self.gain = _number(gain)
        self.feature_axes = feature_axes
        self.use_scale = use_scale
        self.dtype = dtype
        self.variable_filter = nnx.filterlib.to_predicate(variable_filter)
        scales = {}
        for path, kernel in nnx.to_flat_state(nnx.state(layer_instance, nnx.Param)):
            if use_scale and self.variable_filter(path, kernel):
                shape = lengths(kernel, _common.output_axes(self, kernel[...]))
                scales[_name(path)] = nnx.Param(scale_init(rngs.params(), shape, param_dtype))
        self.scales = nnx.data(scales)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with standardized kernels.

        Args:
            *args: Arguments of the layer.
            **kwargs: Likewise.

        Returns:
            What the layer returns.
        """
        graph, *states = nnx.split(self.layer_instance, nnx.Param, ...)
        params, rest = states
        kernels = []
        for path, param in nnx.to_flat_state(params):
            if not self.variable_filter(path, param):
                kernels.append((path, param))
                continue
            scale = self.scales[_name(path)][...] if self.use_scale else None
            kernels.append((path, param.replace(_common.standardize(self, param[...], scale))))
        layer = nnx.merge(graph, nnx.from_flat_state(kernels), rest)
        y = layer(*args, **kwargs)
        if nnx.to_flat_state(rest):
            nnx.update(self.layer_instance, nnx.state(layer, nnx.Not(nnx.Param)))
        return y


def without_counts(state: nnx.State) -> nnx.State:
    """A state as Flax's own modules have it, without `BatchCount`.

    Args:
        state: From ``nnx.state``.

    Returns:
        The state of all other variables.

    >>> sorted(without_counts(nnx.state(BatchNorm(2, rngs=nnx.Rngs(0)))))
    ['bias', 'mean', 'scale', 'var']
    """
    return nnx.filter_state(state, nnx.Not(nnx.OfType(BatchCount)))


def _number(value: ArrayLike) -> Any:
    """A Python number as a static attribute, anything else as data."""
    return value if isinstance(value, int | float) else nnx.data(jnp.asarray(value))


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _first(name: str, *values: Any) -> Any:
    """The first value that is given, of the call or of the module."""
    for value in values:
        if value is not None:
            return value
    raise ValueError(f"`{name}` must be given to the module or to the call; got None twice")
