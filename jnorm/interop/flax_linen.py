"""Flax linen modules over `jnorm.nn`, and any linen module as a `Network` to train.

BatchNorm, BatchRenorm, AlphaDropout and WeightStandardization: each extends its sibling in ``flax.linen`` and has its
fields, defaults, call arguments, collections and leaf names. What changes is the arithmetic: statistics are centred, in
at least float32, and added up over ``axis_name`` by counts, so ``use_fast_variance`` no longer matters, nor does
``epsilon`` for weights; running statistics are debiased; and the rate of dropout may be traced.

Batch statistics carry one more leaf, ``count``, of the features' shape: the updates behind them. A checkpoint of Flax
has none and is taken as fully warmed up, also where its leaves are copied over fresh ones that count zero updates;
`restore` fills it in where a tool insists on equal trees. Flax's modules ignore the extra leaf.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.nn import _statistics as statistics
from jnorm.nn import batch_norm, batch_renorm, dropout, weight_norm
from jnorm.nn.batch_norm import Params, State
from jnorm.nn.networks import Network

__all__ = [
    "MODES",
    "AlphaDropout",
    "BatchNorm",
    "BatchRenorm",
    "WeightStandardization",
    "known_state",
    "mode",
    "network",
    "normalize",
    "restore",
]

MODES = {"train": True, "training": True, "deterministic": False, "use_running_average": False}
"""How modules are told to train: the keywords of their calls that `network` knows, and what they are in training."""


class BatchNorm(nn.BatchNorm):
    """``flax.linen.BatchNorm`` by `jnorm.nn.batch_norm`.

    Unlike there, ``axis_index_groups`` works under ``vmap`` too. Raises as `jnorm.nn.batch_norm.apply`.

    >>> layer = BatchNorm(use_running_average=False)
    >>> x = jnp.array([[3000.0], [3002.0]])
    >>> variables = layer.init(jax.random.key(0), x)
    >>> y, updates = layer.apply(variables, x, mutable=["batch_stats"])
    >>> y.round(3).tolist(), updates["batch_stats"]["mean"].tolist()
    ([[-1.0], [1.0]], [3001.0])
    """

    @nn.compact
    def __call__(
        self, x: ArrayLike, use_running_average: bool | None = None, *, mask: ArrayLike | None = None
    ) -> jax.Array:
        """Normalize ``x``; arguments as in Flax."""
        return _batch_layer(self, batch_norm.apply, x, use_running_average, mask)


class BatchRenorm(nn.BatchNorm):
    """Batch renormalization, `jnorm.nn.batch_renorm`, with the fields of ``flax.linen.BatchNorm``.

    The bounds ``r_max`` and ``d_max`` are fields; the call takes others, from `jnorm.nn.batch_renorm.schedule` say.

    >>> layer = BatchRenorm(use_running_average=False)
    >>> x = jnp.array([[1.0], [3.0]])
    >>> variables = layer.init(jax.random.key(0), x)
    >>> layer.apply(variables, x, r_max=2.0, d_max=1.0, mutable=["batch_stats"])[0].round(3).tolist()
    [[-1.0], [1.0]]
    """

    r_max: ArrayLike = 3.0
    d_max: ArrayLike = 5.0

    @nn.compact
    def __call__(
        self,
        x: ArrayLike,
        use_running_average: bool | None = None,
        *,
        mask: ArrayLike | None = None,
        r_max: ArrayLike | None = None,
        d_max: ArrayLike | None = None,
    ) -> jax.Array:
        """Normalize ``x``; the bounds of the call come before those of the module."""
        bounds = {"r_max": self.r_max if r_max is None else r_max, "d_max": self.d_max if d_max is None else d_max}
        return _batch_layer(self, batch_renorm.apply, x, use_running_average, mask, **bounds)


class AlphaDropout(nn.Dropout):
    """`jnorm.nn.dropout.alpha_dropout` with the fields of ``flax.linen.Dropout``.

    ``mean``, ``var`` and ``saturation`` describe the fixed point to keep, by default SELU's. Unlike there, ``rate`` may
    be traced and 1 is an error.

    >>> layer = AlphaDropout(0.5, deterministic=False)
    >>> y = layer.apply({}, jnp.ones(1000), rngs={"dropout": jax.random.key(0)})
    >>> len(set(y.tolist()))
    2
    """

    mean: ArrayLike = 0.0
    var: ArrayLike = 1.0
    saturation: ArrayLike = dropout.SATURATION

    @nn.compact
    def __call__(self, inputs: ArrayLike, deterministic: bool | None = None, rng: jax.Array | None = None) -> jax.Array:
        """Drop to the saturation value; arguments as in Flax."""
        train = not nn.merge_param("deterministic", self.deterministic, deterministic)
        if train and rng is None and not (isinstance(self.rate, int | float) and self.rate == 0):
            rng = self.make_rng(self.rng_collection)
        return dropout.alpha_dropout(
            rng,
            inputs,
            self.rate,
            train=train and rng is not None,
            mean=self.mean,
            var=self.var,
            saturation=self.saturation,
            shared_axes=tuple(self.broadcast_dims),
        )


class WeightStandardization(nn.WeightNorm):
    """Scaled weight standardization, `jnorm.nn.weight_norm.standardize`, of what ``flax.linen.WeightNorm`` would wrap.

    The chosen kernels of ``layer_instance`` become ``gain * scale * (w - mean) / |w - mean|`` for each output, with a
    learned ``scale`` (``use_scale``), filed as Flax files it. `jnorm.nn.weight_norm.exact_gain` is the ``gain`` for an
    activation in front of the layer.

    >>> layer = WeightStandardization(nn.Dense(2, use_bias=False))
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 3)))
    >>> bool(abs(y).max() < 1e-6), jax.tree.map(jnp.shape, variables)["params"]
    (True, {'layer_instance': {'kernel': (3, 2)}, 'layer_instance/kernel/scale': (2,)})
    """

    gain: ArrayLike = 1.0

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with standardized kernels."""

        def transform(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
            name = f"{self.layer_instance.name}/{jax.tree_util.keystr(path[1:], simple=True, separator='/')}"
            if self.variable_filter and not any(part in name for part in self.variable_filter):
                return value
            axes = () if self.feature_axes is None else statistics.axes_of(value, self.feature_axes)
            gain = jnp.asarray(self.gain, checks.wide(value.dtype))
            if self.use_scale:
                shape = tuple(value.shape[a] for a in axes)
                gain = gain * self.param(f"{name}/scale", self.scale_init, shape, self.param_dtype).astype(gain.dtype)
            new = weight_norm.standardize(value, gain=gain, axis=axes)
            return new if self.dtype is None else new.astype(self.dtype)

        return nn.map_variables(
            lambda layer: layer(*args, **kwargs),
            trans_in_fn=lambda variables: jax.tree_util.tree_map_with_path(transform, variables),
            init=self.is_initializing(),
        )(self.layer_instance)


def network(module: nn.Module, example: Any) -> Network:
    """A linen module as a pair of pure functions, as `jnorm.train.loop.trainer` takes them.

    ``init(key) -> (params, state)`` is ``module.init(key, example)``: the collection "params", and a dictionary of all
    others, such as "batch_stats". ``apply(params, state, x, *, train, key) -> (outputs, state)`` computes
    ``module(x)``; with ``train`` the state moves, and ``key`` serves the stream "dropout" (others get one folded out
    of it). ``example`` is an input, or a pytree, of any number of examples.

    `MODES` lists the keywords by which ``train`` reaches the module: those of its ``__call__``, or else its fields of
    these names. A module with none of them computes the same in training and in evaluation, where its state must stay.

    Raises ``TypeError`` for anything but a linen module.

    >>> class Model(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, train):
    ...         x = BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
    ...         return nn.Dropout(0.5, deterministic=not train)(x)
    >>> model = network(Model(), jnp.ones((1, 3)))
    >>> params, state = model.init(jax.random.key(0))
    >>> y, state = model.apply(params, state, jnp.ones((2, 3)), train=True, key=jax.random.key(1))
    >>> sorted(params), y.shape, state["batch_stats"]["BatchNorm_0"]["count"].tolist()
    (['BatchNorm_0', 'Dense_0'], (2, 4), [1.0, 1.0, 1.0, 1.0])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a flax.linen.Module; got {module!r}")
    called = mode(module, train=False)
    fields = {} if called else {f.name for f in dataclasses.fields(module)} & set(MODES)

    def run(train: bool) -> tuple[nn.Module, dict[str, Any]]:
        changed: dict[str, Any] = {name: MODES[name] == train for name in fields}
        return module.clone(**changed), mode(module, train=train)

    def init(key: jax.Array) -> tuple[Any, Any]:
        evaluated, options = run(False)
        state = dict(evaluated.init(key, example, **options))
        return state.pop("params", {}), state

    def apply(params: Any, state: Any, x: Any, *, train: bool, key: jax.Array | None) -> tuple[Any, Any]:
        chosen, options = run(train)
        variables = {"params": params, **state}
        if not train:
            return chosen.apply(variables, x, **options), state
        # Flax takes the stream "params" for any that it is not given.
        rngs = None if key is None else {"dropout": key, "params": jax.random.fold_in(key, 0)}
        outputs, new = chosen.apply(variables, x, rngs=rngs, mutable=list(state), **options)
        return outputs, dict(new)

    return Network(init, apply)


def mode(module: Any, *, train: bool) -> dict[str, Any]:
    """Those of the keywords in `MODES` that the module's call names, for training or evaluation.

    >>> mode(nn.Dropout(0.5), train=True), mode(nn.Dense(2), train=True)
    ({'deterministic': False}, {})
    """
    named = inspect.signature(type(module).__call__).parameters
    return {name: value == train for name, value in MODES.items() if name in named}


def restore(variables: Any, checkpoint: Any) -> Any:
    """The values of ``checkpoint`` in the tree of ``variables``, with ``count`` infinite where the checkpoint has none.

    For tools that want equal trees, as ``flax.serialization.from_state_dict`` does. Raises ``ValueError`` for any other
    leaf that is missing.

    >>> restore({"mean": 0.0, "count": jnp.zeros(2)}, {"mean": 5.0})
    {'mean': 5.0, 'count': Array([inf, inf], dtype=float32)}
    """
    if not isinstance(variables, Mapping):
        return checkpoint
    missing = set(variables) - set(checkpoint) - {"count"}
    if missing:
        raise ValueError(f"`checkpoint` must have the leaves {sorted(missing)}; got {sorted(checkpoint)}")
    return {
        name: restore(value, checkpoint[name]) if name in checkpoint else jnp.full_like(value, jnp.inf)
        for name, value in variables.items()
    }


def known_state(mean: jax.Array, var: jax.Array, count: jax.Array | None) -> State:
    """Statistics that may come from Flax: without a count, or with none beside values that are not fresh, warmed up.

    >>> known_state(jnp.array([0.0, 5.0]), jnp.array([1.0, 1.0]), jnp.zeros(2)).count.tolist()
    [0.0, inf]
    """
    count = jnp.zeros_like(mean) if count is None else count
    fresh = (mean == 0) & (var == 1)
    return State(mean, var, jnp.where((count == 0) & ~fresh, jnp.inf, count))


def normalize(
    apply: Callable[..., tuple[jax.Array, State]],
    module: Any,
    params: Params,
    state: State,
    x: ArrayLike,
    *,
    dtype: Any,
    train: bool,
    axis_name: Any,
    mask: ArrayLike | None,
    **options: Any,
) -> tuple[jax.Array, State]:
    """`jnorm.nn.batch_norm.apply` or a sibling with a Flax module's options and its conventions for types and masks.

    ``dtype`` is that of the result, to which ``x`` is promoted first; a mask broadcasts against ``x`` as in NumPy.
    """
    if axis_name is not None and module.axis_index_groups is not None:
        axis_name = statistics.Groups(axis_name, tuple(map(tuple, module.axis_index_groups)))
    x = jnp.asarray(x)
    with jax.numpy_dtype_promotion("standard"):
        x = x.astype(jnp.promote_types(x.dtype, dtype))
    if mask is not None:
        mask = jnp.asarray(mask).astype(bool)
        mask = mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
    options |= {"decay": module.momentum, "eps": module.epsilon, "axis": module.axis}
    y, state = apply(params, state, x, train=train, axis_name=axis_name, mask=mask, **options)
    return y.astype(dtype), state


def _batch_layer(
    module: nn.BatchNorm,
    apply: Callable[..., tuple[jax.Array, State]],
    x: ArrayLike,
    use_running_average: bool | None,
    mask: ArrayLike | None,
    **options: Any,
) -> jax.Array:
    """The body of a module with batch statistics: its variables, and `normalize`."""
    train = not nn.merge_param("use_running_average", module.use_running_average, use_running_average)
    x = jnp.asarray(x)
    shape = [x.shape[a] for a in statistics.axes_of(x, module.axis)]
    wide = jnp.float32 if module.force_float32_reductions else checks.wide(module.param_dtype)
    new = module.is_initializing()
    variables = [
        module.variable("batch_stats", name, init, shape, wide)
        for name, init in {"mean": jnp.zeros, "var": jnp.ones, "count": jnp.zeros}.items()
        if name != "count" or new or module.has_variable("batch_stats", name)
    ]
    scale = module.param("scale", module.scale_init, shape, module.param_dtype) if module.use_scale else None
    bias = module.param("bias", module.bias_init, shape, module.param_dtype) if module.use_bias else None
    with jax.numpy_dtype_promotion("standard"):
        dtype = module.dtype or jnp.result_type(*(a for a in (x, scale, bias) if a is not None))
    mean, var, *count = (variable.value for variable in variables)
    y, state = normalize(
        apply,
        module,
        Params(scale, bias),
        known_state(mean, var, count[0] if count else None),
        x,
        dtype=dtype,
        train=train,
        axis_name=None if new else module.axis_name,
        mask=mask,
        **options,
    )
    if train and not new:
        for variable, value in zip(variables, state, strict=False):
            variable.value = value
    return y
