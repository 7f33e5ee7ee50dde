"""Laws of `jnorm.nn`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import activations, initializers
from jnorm.nn import (
    batch_norm,
    batch_renorm,
    connections,
    convolution,
    dropout,
    feature_norm,
    layers,
    networks,
    spectral_norm,
    weight_norm,
)
from tests.registry import BATCHES, KEYS, LAYER, MEAN, POSITIVE, ROWS, VAR, add, each, host

SCALE, SHIFT = POSITIVE[:, None] * np.ones(3), ROWS[:, :3]


def running(x: jax.Array) -> batch_norm.State:
    dtype = x.dtype if jnp.finfo(x.dtype).bits >= 32 else jnp.float32
    return batch_norm.State(*(jnp.asarray(a, dtype) for a in ([0.3, -0.2, 0.1], [1.5, 0.7, 1.1], 3.0)))


def normalized(apply: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A normalizer with running statistics while training, as a function of x, scale and shift."""

    def call(x: jax.Array, scale: jax.Array, shift: jax.Array) -> Any:
        y, state = apply(batch_norm.Params(scale, shift), running(x), x, train=True, **options)
        return y, state.mean.astype(x.dtype), state.var.astype(x.dtype)

    return each(call)


def featurewise(apply: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return each(lambda x, scale, shift: apply(batch_norm.Params(scale, shift), x, **options))


def folded(x: jax.Array, scale: jax.Array, shift: jax.Array) -> Any:
    return batch_norm.fold(batch_norm.Params(scale, shift), running(x), x, norm="after")


for _norm in (batch_norm, batch_renorm, feature_norm):
    host(f"nn.{_norm.__name__.split('.')[-1]}.init", lambda init=_norm.init: init((2, 3), shift=False))
host(
    "nn.batch_norm.precise_state",
    lambda: batch_norm.precise_state([jnp.asarray(x, jnp.float32) for x in BATCHES[:2]], unbiased=True),
)
APART = "kernel, bias and statistics depend on some of the arguments"
add("nn.batch_norm.apply", normalized(batch_norm.apply), BATCHES, SCALE, SHIFT, dtypes=LAYER, nan=APART)
add("nn.batch_norm.fold", each(folded), BATCHES, SCALE, SHIFT, dtypes=LAYER, nan=APART)
add(
    "nn.batch_renorm.apply",
    normalized(batch_renorm.apply),
    *(BATCHES, SCALE, SHIFT),
    dtypes=LAYER,
    gradient="r and d carry no gradient, by definition",
    nan=APART,
)
add("nn.batch_renorm.schedule", batch_renorm.schedule, 6e3 * POSITIVE)
add("nn.feature_norm.layer_norm", featurewise(feature_norm.layer_norm), BATCHES, SCALE, SHIFT, dtypes=LAYER)
add("nn.feature_norm.rms_norm", featurewise(feature_norm.rms_norm), BATCHES, SCALE, SHIFT, dtypes=LAYER)
add(
    "nn.feature_norm.instance_norm",
    featurewise(feature_norm.instance_norm),
    BATCHES[:, None],
    SCALE,
    SHIFT,
    dtypes=LAYER,
)
add("nn.feature_norm.group_norm", featurewise(feature_norm.group_norm, groups=3), BATCHES, SCALE, SHIFT, dtypes=LAYER)
add("nn.weight_norm.init", each(weight_norm.init), BATCHES, dtypes=LAYER)
add(
    "nn.weight_norm.apply",
    each(lambda v, g: weight_norm.apply(weight_norm.PolarKernel(v, g))),
    BATCHES,
    SCALE,
    dtypes=LAYER,
)
add("nn.weight_norm.standardize", each(weight_norm.standardize), BATCHES, dtypes=LAYER)
add(
    "nn.weight_norm.init_from_data",
    each(lambda w: weight_norm.init_from_data(weight_norm.init(w), lambda kernel: jnp.tanh(kernel.T) @ kernel)),
    BATCHES,
)
add("nn.weight_norm.exact_gain", lambda m, v: weight_norm.exact_gain(activations.gelu, mean=m, var=v), MEAN, VAR)
add(
    "nn.connections.masked",
    each(connections.masked(lambda shape: jnp.tri(*shape, dtype=bool)).apply),
    *(BATCHES,),
    dtypes=LAYER,
    nan="a missing connection is 0 whatever stands there",
)
for _drop in (dropout.dropout, dropout.gaussian_dropout, dropout.alpha_dropout, dropout.feature_alpha_dropout):
    add(
        f"nn.dropout.{_drop.__name__}",
        each(lambda key, x, rate, f=_drop: f(key, x, rate, train=True)),
        *(KEYS, BATCHES, 0.15 * POSITIVE),  # at which no entry changes its mask within the steps of the gradient law
        dtypes=LAYER,
        nan="a dropped entry is as good as any",
    )
add("nn.dropout.affine", lambda rate, mean, var: dropout.affine(rate, mean=mean, var=var), 0.2 * POSITIVE, MEAN, VAR)
add(
    "nn.convolution.convolve",
    each(lambda x, k: convolution.convolve(x, k[None], precision="highest")),
    BATCHES,
    BATCHES[:, :3],
    dtypes=LAYER,
)

add(
    "nn.layers.stateless",
    featurewise(lambda p, x: layers.stateless(feature_norm.init, feature_norm.layer_norm).apply(p, (), x, train=True)),
    *(BATCHES, SCALE, SHIFT),
    dtypes=LAYER,
)

add(
    "nn.spectral_norm.init",
    each(lambda key, kernel: spectral_norm.init(key, kernel).output.astype(kernel.dtype)),
    *(KEYS, BATCHES),
    dtypes=LAYER,
    gradient="draws from a key",
    nan="a direction has nothing to do with the kernel's values",
)
add(
    "nn.spectral_norm.apply",
    each(lambda w, u: spectral_norm.apply(w, spectral_norm.SpectralState(u, u[0]), train=True)[0]),
    *(BATCHES, SCALE),
    dtypes=LAYER,
    gradient="singular vectors are constants, by definition",
)

SELU_LAYER = layers.Layer(activations.selu, initializers.lecun_normal(), precision="highest")
NETWORKS = {
    "mlp": networks.mlp((3, 4, 2), SELU_LAYER),
    "residual": networks.residual(3, 2, units=4, blocks=1, layer=SELU_LAYER),
    "highway": networks.highway(3, 2, units=4, depth=2, layer=SELU_LAYER),
    "cnn": networks.cnn((3, 2), 2, SELU_LAYER),
}


def weights(network: networks.Network, dtype: Any) -> Any:
    """Parameters and state of the right shapes, without the many small programs of an eager initialization."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=dtype) * 1.7).reshape(a.shape), shapes)


for _name, _network in NETWORKS.items():
    add(
        f"nn.networks.{_name}",
        each(lambda x, n=_network: n.apply(*weights(n, x.dtype), x, train=True)[0]),
        BATCHES[:, None] if _name == "cnn" else BATCHES,
        dtypes=LAYER,
    )
host("nn.networks.rectangular", lambda: networks.rectangular(784, 10, units=256, depth=3))
host("nn.networks.conic", lambda: networks.conic(784, 10, units=640, depth=6))
add("nn.networks.record", each(lambda x, n=NETWORKS["mlp"]: networks.record(n, *weights(n, x.dtype), x)), BATCHES)
