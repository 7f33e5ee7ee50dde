"""What a user of Flax, JAX or PyTorch would call in the place of this library's layers and activations."""

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.floors import calls
from jnorm.nn.batch_norm import Params

EPS, RATE, GROUPS = 1e-5, 0.1, 8

JAX: dict[str, Callable[..., jax.Array]] = {
    **{
        name: getattr(jax.nn, name)
        for name in ("relu", "leaky_relu", "elu", "celu", "selu", "silu", "mish", "softplus", "sigmoid", "hard_tanh")
    },
    **{name: getattr(jax.nn, name) for name in ("squareplus", "softmax", "log_softmax")},
    "softsign": jax.nn.soft_sign,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "erf": jax.scipy.special.erf,
}
"""Activations under our names."""


def flax_norm(name: str, dtype: Any) -> Callable[[Params, jax.Array], jax.Array]:
    """Flax's module as a function of parameters and input, its defaults but for eps."""
    module: nn.Module = {
        "batch norm": lambda: nn.BatchNorm(use_running_average=False, epsilon=EPS, dtype=dtype),
        "layer norm": lambda: nn.LayerNorm(epsilon=EPS, dtype=dtype),
        "rms norm": lambda: nn.RMSNorm(epsilon=EPS, dtype=dtype),
        "group norm": lambda: nn.GroupNorm(num_groups=GROUPS, epsilon=EPS, dtype=dtype),
        "instance norm": lambda: nn.InstanceNorm(epsilon=EPS, dtype=dtype),
    }[name]()

    def call(params: Params, x: jax.Array) -> jax.Array:
        learned = {"scale": params.scale} | ({} if params.shift is None else {"bias": params.shift})
        variables = {"params": learned}
        if name == "batch norm":
            features = x.shape[-1:]
            variables["batch_stats"] = {"mean": jnp.zeros(features), "var": jnp.ones(features)}
        y = module.apply(variables, x, mutable=["batch_stats"])
        return y[0]

    return call


def flax_dropout(key: jax.Array, x: jax.Array) -> jax.Array:
    """Flax's dropout."""
    return nn.Dropout(RATE, deterministic=False).apply({}, x, rngs={"dropout": key})  # type: ignore[return-value]


def flax_linear(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    """Flax's dense layer in the dtype of the input."""
    module = nn.Dense(kernel.shape[-1], dtype=x.dtype)
    return module.apply({"params": {"kernel": kernel, "bias": bias}}, x)  # type: ignore[return-value]


def flax_convolve(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Flax's convolution in the dtype of the input."""
    module = nn.Conv(kernel.shape[-1], kernel.shape[:-2], use_bias=False, dtype=x.dtype)
    return module.apply({"params": {"kernel": kernel}}, x)  # type: ignore[return-value]


def torch_functions() -> dict[str, Callable[..., Any]]:
    """PyTorch's functions by our names, of arguments in the order of ours, features on axis 1."""
    import torch.nn.functional as F

    same = ("relu", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "tanh")
    return {
        "batch norm": lambda w, b, x: F.batch_norm(x, None, None, w, b, training=True, eps=EPS),
        "layer norm": lambda w, b, x: F.layer_norm(x, x.shape[1:], w, b, EPS),
        "rms norm": lambda w, x: F.rms_norm(x, x.shape[1:], w, EPS),
        "instance norm": lambda w, b, x: F.instance_norm(x, None, None, w, b, eps=EPS),
        "group norm": lambda w, b, x: F.group_norm(x, GROUPS, w, b, EPS),
        "dropout": lambda x: F.dropout(x, RATE),
        "alpha_dropout": lambda x: F.alpha_dropout(x, RATE, training=True),
        "feature_alpha_dropout": lambda x: F.feature_alpha_dropout(x, RATE, training=True),
        "softmax": lambda x: F.softmax(x, -1),
        "log_softmax": lambda x: F.log_softmax(x, -1),
        "hard_tanh": F.hardtanh,
        "sigmoid": F.sigmoid,
        "linear": lambda kernel, bias, x: x @ kernel.to(x.dtype) + bias.to(x.dtype),
        "convolve": lambda kernel, x: F.conv2d(x, kernel.to(x.dtype), padding=1),
        **{name: getattr(F, name) for name in same},
    }


def torch_passes(name: str, arguments: tuple[Any, ...]) -> Mapping[str, Callable[[], Any]]:
    """PyTorch's forward pass, and forward with gradient, several of each in a row; none without it, or its like.

    On a GPU if PyTorch sees one, else on the CPU.
    """
    if importlib.util.find_spec("torch") is None or name not in (functions := torch_functions()):
        return {}
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    call = functions[name]
    leaves = [as_tensor(torch, a).to(device) for a in jax.tree.leaves(arguments)]
    if name.endswith("norm"):  # a normalizer's parameters have the dtype of its input there, or it refuses
        leaves = [leaf.to(leaves[-1].dtype) for leaf in leaves]
    with torch.no_grad():
        weight = torch.ones_like(call(*leaves))

    def forward() -> None:
        with torch.no_grad():
            call(*leaves)

    def gradient() -> None:
        fresh = [leaf.detach().requires_grad_() for leaf in leaves]
        torch.autograd.grad(call(*fresh), fresh, weight)

    def row(one: Callable[[], None]) -> None:
        for _ in range(calls()):
            one()
        if device == "cuda":
            torch.cuda.synchronize()

    return {"forward": partial(row, forward), "forward + gradient": partial(row, gradient)}


def as_tensor(torch: Any, a: jax.Array) -> Any:
    """The array in PyTorch: images with their channels on axis 1 and last in memory, kernels of 3 x 3 likewise."""
    t = torch.tensor(np.asarray(a, np.float32)).to(getattr(torch, a.dtype.name))
    if a.ndim < 4:
        return t
    return t.permute(3, 2, 0, 1) if a.shape[:2] == (3, 3) else t.permute(0, 3, 1, 2)
