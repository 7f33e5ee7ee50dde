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

from jnorm._ground import checks
from jnorm.interop.flax_linen import known_state, mode, normalize
from jnorm.nn import _statistics as statistics
from jnorm.nn import batch_norm, batch_renorm, dropout, weight_norm
from jnorm.nn.batch_norm import Params, State
from jnorm.nn.networks import Network

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
    """The number of updates behind running statistics."""


class BatchNorm(nnx.BatchNorm):
    """``flax.nnx.BatchNorm`` by `jnorm.nn.batch_norm`.

    Unlike there, ``axis_index_groups`` works under ``vmap`` too. Raises as `jnorm.nn.batch_norm.apply`.

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
        """Normalize ``x``; arguments as in Flax."""
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
        state = known_state(self.mean[...], self.var[...], self.count[...])
        params = Params(scale, bias)
        y, state = normalize(
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

    The bounds ``r_max`` and ``d_max`` are options; the call takes others, from `jnorm.nn.batch_renorm.schedule` say.

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
        """Normalize ``x``; the bounds of the call come before those of the module."""
        bounds = {"r_max": self.r_max if r_max is None else r_max, "d_max": self.d_max if d_max is None else d_max}
        return self._normalize(batch_renorm.apply, x, use_running_average, mask, **bounds)


class AlphaDropout(nnx.Dropout):
    """`jnorm.nn.dropout.alpha_dropout` with the options of ``flax.nnx.Dropout``.

    ``mean``, ``var`` and ``saturation`` describe the fixed point to keep, by default SELU's. Unlike there, ``rate`` may
    be traced and 1 is an error.

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
        saturation: ArrayLike = dropout.SATURATION,
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
        """Drop to the saturation value; arguments as in Flax."""
        train = not _first("deterministic", deterministic, self.deterministic)
        if isinstance(self.rate, int | float) and self.rate == 0:
            train = False
        key = None
        if train:
            key = _first("rngs", rngs, self.rngs)
            key = key[self.rng_collection]() if isinstance(key, nnx.Rngs) else key
            key = key() if isinstance(key, nnx.RngStream) else key
        return dropout.alpha_dropout(
            key,
            inputs,
            self.rate,
            train=train,
            mean=self.mean,
            var=self.var,
            saturation=self.saturation,
            shared_axes=tuple(self.broadcast_dims),
        )


class WeightStandardization(nnx.Module):
    """Scaled weight standardization, `jnorm.nn.weight_norm.standardize`, with the options of ``flax.nnx.WeightNorm``.

    The chosen kernels of ``layer_instance`` become ``gain * scale * (w - mean) / |w - mean|`` for each output while it
    is called. The ``scales`` are of type ``nnx.Param``, so they are learned; the kernels stay as they are (Flax's
    WeightNorm writes its result over them, which no closure may do).

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
                shape = tuple(kernel.shape[a] for a in self._axes(kernel[...]))
                scales[_name(path)] = nnx.Param(scale_init(rngs.params(), shape, param_dtype))
        self.scales = nnx.data(scales)

    def _axes(self, kernel: jax.Array) -> tuple[int, ...]:
        return () if self.feature_axes is None else statistics.axes_of(kernel, self.feature_axes)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with standardized kernels."""
        graph, *states = nnx.split(self.layer_instance, nnx.Param, ...)
        params, rest = states
        kernels = []
        for path, param in nnx.to_flat_state(params):
            if not self.variable_filter(path, param):
                kernels.append((path, param))
                continue
            value = param[...]
            gain = jnp.asarray(self.gain, checks.wide(value.dtype))
            if self.use_scale:
                gain = gain * self.scales[_name(path)][...].astype(gain.dtype)
            new = weight_norm.standardize(value, gain=gain, axis=self._axes(value))
            kernels.append((path, param.replace(new if self.dtype is None else new.astype(self.dtype))))
        layer = nnx.merge(graph, nnx.from_flat_state(kernels), rest)
        y = layer(*args, **kwargs)
        if nnx.to_flat_state(rest):
            nnx.update(self.layer_instance, nnx.state(layer, nnx.Not(nnx.Param)))
        return y


def network(make: Callable[..., nnx.Module]) -> Network:
    """What ``make(rngs=nnx.Rngs(key))`` builds as a pair of pure functions, as `jnorm.train.loop.trainer` takes them.

    ``init(key) -> (params, state)``: the variables of type ``nnx.Param``, and all others, such as batch statistics, as
    dictionaries of arrays. ``apply(params, state, x, *, train, key) -> (outputs, state)`` puts the module together,
    calls its ``train()`` or ``eval()``, and then itself (with those keywords of `jnorm.interop.flax_linen.MODES` that
    it names). With ``train`` the state moves, and every random stream in the module starts anew, as after
    ``nnx.reseed(module, default=key)``; in evaluation streams are the same at every call. What a module sows is left
    out.

    Raises ``TypeError`` where ``make`` is a module or does not return one, and ``ValueError`` without a key for a
    module that has random streams.

    >>> class Model(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.dense, self.norm = nnx.Linear(3, 4, rngs=rngs), BatchNorm(4, rngs=rngs)
    ...         self.dropout = nnx.Dropout(0.5, rngs=rngs)
    ...
    ...     def __call__(self, x):
    ...         return self.dropout(self.norm(self.dense(x)))
    >>> model = network(Model)
    >>> params, state = model.init(jax.random.key(0))
    >>> y, state = model.apply(params, state, jnp.ones((2, 3)), train=True, key=jax.random.key(1))
    >>> sorted(params), y.shape, state["norm"]["count"].tolist()
    (['dense', 'norm'], (2, 4), [1.0, 1.0, 1.0, 1.0])
    """
    if isinstance(make, nnx.Module) or not callable(make):
        raise TypeError(f"`make` must be a function, such as lambda rngs: Model(rngs=rngs); got {type(make).__name__}")
    kinds = (nnx.Param, nnx.RngState, nnx.Intermediate, ...)

    def split(module: nnx.Module) -> tuple[Any, ...]:
        if not isinstance(module, nnx.Module):
            raise TypeError(f"`make` must return a flax.nnx.Module; got {type(module).__name__}")
        return nnx.split(module, *kinds)

    # Values that `make` closes over, traced ones too, become part of the state.
    graph, params_like, rng_like, _, state_like = nnx.eval_shape(lambda: split(make(rngs=nnx.Rngs(0))))

    def filled(like: Any, values: Any) -> Any:
        new = jax.tree.map(lambda leaf: leaf, like)
        nnx.replace_by_pure_dict(new, values)
        return new

    def init(key: jax.Array) -> tuple[Any, Any]:
        _, params, _, _, state = split(make(rngs=nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def apply(params: Any, state: Any, x: Any, *, train: bool, key: jax.Array | None) -> tuple[Any, Any]:
        rng = jax.tree.map(_blank, rng_like)
        module = nnx.merge(graph, filled(params_like, params), rng, filled(state_like, state))
        if not train:
            module.eval()
            return module(x, **mode(module, train=False)), state
        module.train()
        _reseed(module, key)
        outputs = module(x, **mode(module, train=True))
        return outputs, nnx.to_pure_dict(split(module)[-1])

    return Network(init, apply)


def without_counts(state: nnx.State) -> nnx.State:
    """A state as Flax's own modules have it, without `BatchCount`.

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


def _blank(leaf: Any) -> jax.Array:
    """A key or a count of the wanted shape."""
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jnp.broadcast_to(jax.random.key(0), leaf.shape) if key else jnp.zeros(leaf.shape, leaf.dtype)


def _reseed(module: nnx.Module, key: jax.Array | None) -> None:
    """Every stream in the module starts at a key of its own; ``nnx.reseed`` gives equal ones to streams of two tags."""
    streams = [node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.RngStream)]
    if not streams:
        return
    if key is None:
        raise ValueError("`key` must be a random key where train=True and the module has random streams; got None")
    draws = nnx.Rngs(key)
    for stream in streams:
        new, shape = draws(), stream.key.shape
        stream.key.set_value(jax.random.split(new, shape) if shape else new)
        stream.count.set_value(jnp.zeros(shape, jnp.uint32))
