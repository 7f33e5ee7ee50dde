"""Flax linen modules over `jnorm.nn`, and any linen module as a `Network` to train.

BatchNorm, BatchRenorm, AlphaDropout and WeightStandardization: each extends its sibling in ``flax.linen`` and has its
fields, defaults, call arguments, collections and leaf names. What changes is the arithmetic: statistics are centred, in
at least float32, and added up over ``axis_name`` by counts, so ``use_fast_variance`` no longer matters, nor does
``epsilon`` for weights; running statistics are debiased, and weigh batches by their entries (the variance is biased, as
in Flax); and the rate of dropout may be traced.

Batch statistics carry one more leaf, ``count``, of the features' shape: the entries behind them. A checkpoint of Flax
has none and is taken as fully warmed up, also where its leaves are copied over fresh ones that count none;
`restore` fills it in where a tool insists on equal trees. Flax's modules ignore the extra leaf.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.interop import _common
from jnorm.interop._linen_network import network
from jnorm.nn import batch_norm, batch_renorm
from jnorm.nn._axes import axes_of, lengths
from jnorm.nn._dropping import SATURATION
from jnorm.nn.batch_norm import WARM, Params, State

__all__ = [
    "AlphaDropout",
    "BatchNorm",
    "BatchRenorm",
    "WeightStandardization",
    "network",
    "restore",
]


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
        """Normalize ``x``.

        Args:
            x: Input with the feature axes of the module.
            use_running_average: Whether to evaluate; where it is None the field counts.
            mask: True where an entry counts; broadcasts against ``x`` as in NumPy.

        Returns:
            The normalized input.
        """
        return _batch_layer(self, batch_norm.apply, x, use_running_average, mask)


class BatchRenorm(nn.BatchNorm):
    """Batch renormalization, `jnorm.nn.batch_renorm`, with the fields of ``flax.linen.BatchNorm``.

    Attributes:
        r_max: Bound of the factor; the call takes another, from `jnorm.nn.batch_renorm.schedule` say.
        d_max: Bound of the offset; likewise.

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
        """Normalize ``x``; the bounds of the call come before those of the module.

        Args:
            x: Input with the feature axes of the module.
            use_running_average: Whether to evaluate; where it is None the field counts.
            mask: True where an entry counts; broadcasts against ``x`` as in NumPy.
            r_max: Bound of the factor.
            d_max: Bound of the offset.

        Returns:
            The normalized input.
        """
        bounds = _common.bounds(self, r_max, d_max)
        return _batch_layer(self, batch_renorm.apply, x, use_running_average, mask, **bounds)


class AlphaDropout(nn.Dropout):
    """`jnorm.nn.dropout.alpha_dropout` with the fields of ``flax.linen.Dropout``.

    Unlike there, ``rate`` may be traced and 1 is an error. The three new fields describe the fixed point to keep, by
    default SELU's.

    Attributes:
        mean: Of the input.
        var: Variance of the input.
        saturation: What a dropped entry becomes before the affine map.

    >>> layer = AlphaDropout(0.5, deterministic=False)
    >>> y = layer.apply({}, jnp.ones(1000), rngs={"dropout": jax.random.key(0)})
    >>> len(set(y.tolist()))
    2
    """

    mean: ArrayLike = 0.0
    var: ArrayLike = 1.0
    saturation: ArrayLike = SATURATION

    @nn.compact
    def __call__(self, inputs: ArrayLike, deterministic: bool | None = None, rng: jax.Array | None = None) -> jax.Array:
        """Drop to the saturation value.

        Args:
            inputs: Floating array of any shape.
            deterministic: Whether to leave them as they are; where it is None the field counts.
            rng: Random key, in the place of the module's stream.

        Returns:
            What is left, of the same shape and dtype.
        """
        train = not nn.merge_param("deterministic", self.deterministic, deterministic)
        if train and rng is None and not _common.never_drops(self.rate):
            rng = self.make_rng(self.rng_collection)
        return _common.alpha_dropout(self, rng, inputs, train=train and rng is not None)


class WeightStandardization(nn.WeightNorm):
    """Scaled weight standardization, `jnorm.nn.weight_norm.standardize`, of what ``flax.linen.WeightNorm`` would wrap.

    The chosen kernels of ``layer_instance`` become ``gain * scale * (w - mean) / |w - mean|`` for each output, with a
    learned ``scale`` (``use_scale``), filed as Flax files it.

    Attributes:
        gain: `jnorm.nn.weight_norm.exact_gain` is that for an activation in front of the layer.

    >>> layer = WeightStandardization(nn.Dense(2, use_bias=False, precision="highest"))
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 3)))
    >>> bool(abs(y).max() < 1e-6), jax.tree.map(jnp.shape, variables)["params"]
    (True, {'layer_instance': {'kernel': (3, 2)}, 'layer_instance/kernel/scale': (2,)})
    """

    gain: ArrayLike = 1.0

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with standardized kernels.

        Args:
            *args: Arguments of the layer.
            **kwargs: Likewise.

        Returns:
            What the layer returns.
        """

        def transform(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
            name = f"{self.layer_instance.name}/{jax.tree_util.keystr(path[1:], simple=True, separator='/')}"
            if self.variable_filter and not any(part in name for part in self.variable_filter):
                return value
            if not self.use_scale:
                return _common.standardize(self, value, None)
            shape = lengths(value, _common.output_axes(self, value))
            scale = self.param(f"{name}/scale", self.scale_init, shape, self.param_dtype)
            return _common.standardize(self, value, scale)

        return nn.map_variables(
            lambda layer: layer(*args, **kwargs),
            trans_in_fn=lambda variables: jax.tree_util.tree_map_with_path(transform, variables),
            init=self.is_initializing(),
        )(self.layer_instance)


def restore(variables: Any, checkpoint: Any) -> Any:
    """The values of ``checkpoint`` in the tree of ``variables``, with a ``count`` of fully warmed up where it has none.

    For tools that want equal trees, as ``flax.serialization.from_state_dict`` does.

    Args:
        variables: Nested dictionaries of the wanted leaves, from the ``init`` of a module.
        checkpoint: The same with or without the leaves named ``count``.

    Returns:
        The leaves of ``checkpoint``, with `jnorm.nn.batch_norm.WARM` for a ``count`` that is missing or infinite.

    Raises:
        ValueError: For any other leaf that is missing.

    >>> theirs = nn.BatchNorm(use_running_average=False).init(jax.random.key(0), jnp.ones((4, 2)))
    >>> ours = BatchNorm(use_running_average=False).init(jax.random.key(0), jnp.ones((4, 2)))
    >>> restore(ours, theirs)["batch_stats"]["count"]
    Array([1.2676506e+30, 1.2676506e+30], dtype=float32)
    """
    if not isinstance(variables, Mapping):
        return checkpoint
    missing = set(variables) - set(checkpoint) - {"count"}
    if missing:
        raise ValueError(f"`checkpoint` must have the leaves {sorted(missing)}; got {sorted(checkpoint)}")
    filled = {name: restore(value, checkpoint[name]) for name, value in variables.items() if name in checkpoint}
    if "count" in variables and not isinstance(variables["count"], Mapping):
        filled["count"] = jnp.minimum(filled.get("count", jnp.inf), jnp.full_like(variables["count"], WARM))
    return {name: filled[name] for name in variables}


def _batch_layer(
    module: nn.BatchNorm,
    apply: Callable[..., tuple[jax.Array, State]],
    x: ArrayLike,
    use_running_average: bool | None,
    mask: ArrayLike | None,
    **options: Any,
) -> jax.Array:
    """The body of a module with batch statistics: its variables, and `jnorm.interop._common.normalize`."""
    train = not nn.merge_param("use_running_average", module.use_running_average, use_running_average)
    x = jnp.asarray(x)
    shape = lengths(x, axes_of(x, module.axis))
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
    y, state = _common.normalize(
        apply,
        module,
        Params(scale, bias),
        _common.known_state(mean, var, count[0] if count else None),
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
