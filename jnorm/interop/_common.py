"""What the modules for linen and nnx share: Flax's conventions in front of the functions of `jnorm.nn`."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnorm._ground import checks
from jnorm.interop import _complex
from jnorm.nn import dropout, weight_norm
from jnorm.nn._axes import axes_of
from jnorm.nn._members import Groups
from jnorm.nn._params import Params
from jnorm.nn._running import WARM, State

WHEN_TRAINING = {"train": True, "training": True, "deterministic": False, "use_running_average": False}
"""How modules are told to train: the keywords of their calls that `network` knows, and what they are in training."""


def mode_options(module: Any, *, train: bool) -> dict[str, Any]:
    """Those of the keywords in `WHEN_TRAINING` that the module's call names, for training or evaluation.

    >>> import flax.linen as nn
    >>> mode_options(nn.Dropout(0.5), train=True), mode_options(nn.Dense(2), train=True)
    ({'deterministic': False}, {})
    """
    named = inspect.signature(type(module).__call__).parameters
    return {name: value == train for name, value in WHEN_TRAINING.items() if name in named}


_OF_EVALUATION = ("eval", "infer", "determin", "test", "predict", "running")
"""Parts of names of flags that are False in training."""


def flag_like(name: str) -> bool:
    """Whether an argument of that name seems to say whether a module trains."""
    return "train" in name.lower() or _says_evaluation(name)


def _says_evaluation(name: str) -> bool:
    return any(part in name.lower() for part in _OF_EVALUATION)


def unknown_mode(module: str, reason: str, candidates: list[str]) -> ValueError:
    """The error for a module that differs between training and evaluation, and cannot be told which it is."""
    name = next((c for c in candidates if flag_like(c)), None) or (candidates[0] if candidates else "is_training")
    value = not _says_evaluation(name)
    takes = f"takes {', '.join(candidates)}" if candidates else "takes no argument that could say so"
    return ValueError(
        f"`in_training` must say how {module} is told to train, for {reason}, and it {takes}: write in_training="
        f"{{{name!r}: {value}}}, with the value in training, or in_training={{}} where both modes are the same"
    )


def check_in_training(in_training: Any, module: str, known: set[str] | None) -> None:
    """Raise ``ValueError`` for what is no dictionary of truth values by the names that the module has."""
    if not isinstance(in_training, dict) or not all(isinstance(v, bool) for v in in_training.values()):
        raise ValueError(f"`in_training` must be a dictionary of names and booleans; got {in_training!r}")
    unknown = set() if known is None else set(in_training) - known
    if unknown:
        raise ValueError(
            f"`in_training` must name arguments of {module}: {', '.join(sorted(known or ()))}; got {sorted(unknown)}"
        )


def known_state(mean: jax.Array, var: jax.Array, count: jax.Array | None) -> State:
    """Statistics that may come from Flax: without a count, or with none beside values that are not fresh, warmed up.

    >>> known_state(jnp.array([0.0, 5.0]), jnp.array([1.0, 1.0]), jnp.zeros(2)).count
    Array([0.0000000e+00, 1.2676506e+30], dtype=float32)
    """
    count = jnp.zeros_like(mean) if count is None else count
    fresh = (mean == 0) & (var == 1)
    return State(mean, var, jnp.where((count == 0) & ~fresh, WARM, jnp.minimum(count, WARM)))


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
    Batch norm takes complex inputs, and the running variance is biased, as Flax has it.
    """
    if axis_name is not None and module.axis_index_groups is not None:
        axis_name = Groups(axis_name, tuple(map(tuple, module.axis_index_groups)))
    x = jnp.asarray(x)
    with jax.numpy_dtype_promotion("standard"):
        x = x.astype(jnp.promote_types(x.dtype, dtype))
    if mask is not None:
        mask = jnp.asarray(mask).astype(bool)
        mask = mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
    if jnp.iscomplexobj(x) and not options:
        apply = _complex.batch_norm
    options |= {"decay": module.momentum, "eps": module.epsilon, "axis": module.axis, "unbiased": False}
    y, state = apply(params, state, x, train=train, axis_name=axis_name, mask=mask, **options)
    return y.astype(dtype), state


def bounds(module: Any, r_max: ArrayLike | None, d_max: ArrayLike | None) -> dict[str, ArrayLike]:
    """The bounds of batch renormalization: those of the call, or else the module's."""
    return {"r_max": module.r_max if r_max is None else r_max, "d_max": module.d_max if d_max is None else d_max}


def never_drops(rate: ArrayLike) -> bool:
    """Whether a rate is a plain zero, for which Flax's dropout needs no random stream."""
    return isinstance(rate, int | float) and rate == 0


def alpha_dropout(module: Any, key: jax.Array | None, x: ArrayLike, *, train: bool) -> jax.Array:
    """`jnorm.nn.dropout.alpha_dropout` with the options of a module."""
    moments = {"mean": module.mean, "var": module.var, "saturation": module.saturation}
    shared = tuple(module.broadcast_dims)
    return dropout.alpha_dropout(key, x, module.rate, train=train, shared_axes=shared, **moments)


def output_axes(module: Any, kernel: jax.Array) -> tuple[int, ...]:
    """The axes that ``feature_axes`` of a Flax module names, of which None names none."""
    return () if module.feature_axes is None else axes_of(kernel, module.feature_axes)


def standardize(module: Any, kernel: jax.Array, scale: jax.Array | None) -> jax.Array:
    """`jnorm.nn.weight_norm.standardize` with the options of a module and its learned scale, if it has one."""
    gain = jnp.asarray(module.gain, checks.wide(kernel.dtype))
    if scale is not None:
        gain = gain * scale.astype(gain.dtype)
    new = weight_norm.standardize(kernel, gain=gain, axis=output_axes(module, kernel))
    return new if module.dtype is None else new.astype(module.dtype)
