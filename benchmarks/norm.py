"""Batch norm and layer norm beside Flax and PyTorch: forward, and forward with gradient, and the bytes that move."""

import importlib.util
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Row, interleave, ratio
from jnorm.nn import batch_norm, feature_norm
from jnorm.nn.batch_norm import Params, State

ROUNDS = 30
EPS = 1e-5
SHAPES = [(256, 512), (4096, 256), (32, 32, 32, 64), (128, 28, 28, 32)]

# (params, state, x) -> (y, new state)
Norm = Callable[[Params, State, jax.Array], tuple[jax.Array, Any]]


def flax_batch_norm(fast: bool) -> Norm:
    """Flax's module as a function: its default (``fast``) computes E[x^2] - E[x]^2."""
    module = flax.linen.BatchNorm(use_running_average=False, epsilon=EPS, use_fast_variance=fast)

    def norm(params: Params, state: State, x: jax.Array) -> tuple[jax.Array, Any]:
        variables = {
            "params": {"scale": params.scale, "bias": params.shift},
            "batch_stats": {"mean": state.mean, "var": state.var},
        }
        return module.apply(variables, x, mutable=["batch_stats"])

    return norm


def flax_layer_norm(fast: bool) -> Norm:
    """As `flax_batch_norm`."""
    module = flax.linen.LayerNorm(epsilon=EPS, use_fast_variance=fast)
    return lambda params, state, x: (module.apply({"params": {"scale": params.scale, "bias": params.shift}}, x), state)


KINDS: dict[str, dict[str, Norm]] = {
    "batch norm": {
        "jnorm": lambda params, state, x: batch_norm.apply(params, state, x, train=True, eps=EPS),
        "flax accurate": flax_batch_norm(fast=False),
        "flax default": flax_batch_norm(fast=True),
    },
    "layer norm": {
        "jnorm": lambda params, state, x: (feature_norm.layer_norm(params, x, eps=EPS), state),
        "flax accurate": flax_layer_norm(fast=False),
        "flax default": flax_layer_norm(fast=True),
    },
}
# What is asked of batch norm: the time as a multiple of the peer's.
ASKED = {
    ("forward", "flax accurate"): 1.05,
    ("forward + gradient", "flax accurate"): 0.75,
    ("forward + gradient", "flax default"): 1.0,
}


def with_gradient(norm: Norm, params: Params, state: State, x: jax.Array, weight: jax.Array) -> Any:
    """The output and the pullback of ``weight``; y is returned, or the compiler would drop the forward pass."""
    y, pull, new = jax.vjp(lambda p, x: norm(p, state, x), params, x, has_aux=True)
    return y, new, pull(weight)


def torch_contenders(kind: str, x: np.ndarray, weight: np.ndarray) -> Mapping[str, Callable[[], Any]]:
    """PyTorch's own, forward and with gradient, for features on the last axis (it takes images in channels_last)."""
    import torch

    features = x.shape[-1]
    t, w = torch.tensor(x), torch.tensor(weight)
    if kind == "layer norm":
        module = torch.nn.LayerNorm(features, eps=EPS)
    else:
        images = x.ndim > 2
        module = (torch.nn.BatchNorm2d if images else torch.nn.BatchNorm1d)(features, momentum=0.01, eps=EPS)
        if images:
            t, w = t.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2)

    def gradient() -> Any:
        leaf = t.detach().requires_grad_()
        y = module(leaf)
        return y, torch.autograd.grad(y, [leaf, *module.parameters()], w)

    def forward() -> Any:
        with torch.no_grad():
            return module(t)

    return {"forward": forward, "forward + gradient": gradient}


def compare(kind: str, shape: tuple[int, ...]) -> list[Row]:
    """All rows of one kind of norm and one shape, float32."""
    features = shape[-1]
    x, weight = (jax.random.normal(jax.random.key(i), shape) for i in (0, 1))
    params, state = batch_norm.init(features)
    state = state._replace(count=jnp.float32(math.inf))
    passes = {
        "forward": (lambda norm: norm, (params, state, x), 2),
        "forward + gradient": (lambda norm: partial(with_gradient, norm), (params, state, x, weight), 4),
    }
    torch = torch_contenders(kind, np.asarray(x), np.asarray(weight)) if importlib.util.find_spec("torch") else {}
    rows = []
    for what, (wrap, arguments, arrays) in passes.items():
        compiled = {who: jax.jit(wrap(norm)).lower(*arguments).compile() for who, norm in KINDS[kind].items()}
        contenders = {who: partial(call, *arguments) for who, call in compiled.items()}
        seconds = interleave(contenders, rounds=ROUNDS)
        if what in torch:  # by itself: its threads and XLA's, in turn, wait for each other up to 40 ms
            seconds |= interleave({"torch": torch[what]}, rounds=ROUNDS)
        least = arrays * x.nbytes / 2**20
        moved = {
            who: (call.cost_analysis() or {}).get("bytes accessed", math.nan) / 2**20 for who, call in compiled.items()
        }
        for peer in list(seconds)[1:]:
            time = [f"{1e3 * statistics.median(seconds[who]):.3g}" for who in ("jnorm", peer)]
            bytes_moved = f"{moved['jnorm']:.3g} against {moved.get(peer, math.nan):.3g} MiB moved, {least:.3g} must"
            rows.append(
                Row(
                    f"{kind} {shape}, {what}, {peer}",
                    ratio(seconds["jnorm"], seconds[peer]),
                    "times its time",
                    most=ASKED.get((what, peer)) if kind == "batch norm" else None,
                    detail=f"{time[0]} against {time[1]} ms; {bytes_moved}",
                )
            )
    return rows


def accuracy() -> list[Row]:
    """How far the standard deviation of the output is from 1 for N(3000, 1) and N(1e4, 1) in float32."""
    rows = []
    for loc in (3000.0, 1e4):
        x = jax.random.normal(jax.random.key(2), (4096, 64)) + loc
        params, state = batch_norm.init(64)
        for who, norm in KINDS["batch norm"].items():
            y = np.asarray(norm(params, state, x)[0], np.float64)
            error = float(np.max(np.abs(np.std(y, 0) - 1)))
            most = 1e-3 if who == "jnorm" else None
            rows.append(Row(f"{who}: standard deviation of N({loc:g}, 1) normalized", error, "off 1", most=most))
    return rows


def run() -> Iterator[Row]:
    """All rows; about a minute."""
    yield from accuracy()
    for shape in SHAPES:
        yield from compare("batch norm", shape)
    for shape in SHAPES[:2]:
        yield from compare("layer norm", shape)
