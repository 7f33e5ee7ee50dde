"""Models that are predicted before they run: each has its program, its initializer and its data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Model(NamedTuple):
    """A function of parameters and data, and what draws its parameters.

    Attributes:
        apply: ``apply(params, x)``.
        draw: ``draw(key) -> params``.
        x: The data.
    """

    apply: Callable[..., Any]
    draw: Callable[..., Any]
    x: Any


class Plain(nn.Module):
    """Layers of tanh, whose weights lose a little of the signal in each."""

    width: int
    depth: int
    kernel: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Units of the last layer."""
        for _ in range(self.depth):
            x = jnp.tanh(nn.Dense(self.width, kernel_init=self.kernel)(x))
        return x


class Residual(nn.Module):
    """Blocks of layer norm and two layers beside a stream."""

    width: int
    depth: int
    kernel: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Sixty-four outputs."""
        dense = lambda size: nn.Dense(size, kernel_init=self.kernel)
        x = dense(self.width)(x)
        for _ in range(self.depth):
            x = x + dense(self.width)(nn.gelu(dense(self.width)(nn.LayerNorm()(x))))
        return dense(64)(nn.LayerNorm()(x))


class Convolutional(nn.Module):
    """Convolutions with relu, average and maximum pooling, and batch norm in training mode."""

    width: int
    kernel: Any
    norm: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Sixty-four outputs."""
        conv = lambda x: nn.Conv(self.width, (3, 3), kernel_init=self.kernel)(x)
        normed = lambda x: nn.BatchNorm(use_running_average=False)(x) if self.norm else x
        x = nn.avg_pool(nn.relu(conv(x)), (2, 2), strides=(2, 2))
        x = nn.relu(normed(conv(x)))
        x = nn.max_pool(conv(x), (2, 2), strides=(2, 2))
        x = nn.relu(conv(x))
        return nn.Dense(64, kernel_init=self.kernel)(x.mean((1, 2)))


class Transformer(nn.Module):
    """A small GPT: causal attention and two layers in each block, layer norm before both."""

    width: int
    depth: int
    kernel: Any

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        """Logits of 64 words."""
        table = nn.initializers.normal(0.5)
        x = nn.Embed(64, self.width, embedding_init=table)(tokens)
        x = x + self.param("positions", table, (1, tokens.shape[1], self.width))
        mask = nn.make_causal_mask(tokens)
        dense = lambda size: nn.Dense(size, kernel_init=self.kernel)
        for _ in range(self.depth):
            h = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=4, kernel_init=self.kernel)(h, h, mask=mask)
            x = x + dense(self.width)(nn.gelu(dense(4 * self.width)(nn.LayerNorm()(x))))
        return dense(64)(nn.LayerNorm()(x))


class Recurrent(nn.Module):
    """One weight that is used in every step."""

    width: int
    steps: int
    kernel: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """The last state; ``x`` is ``[examples, steps, features]``."""
        again, read = (nn.Dense(self.width, kernel_init=init) for init in (self.kernel, nn.initializers.lecun_normal()))
        h = jnp.tanh(read(x[:, 0]))
        for step in range(1, self.steps):
            h = jnp.tanh(again(h) + read(x[:, step]))
        return h


class Gated(nn.Module):
    """Layers of silu that gate others (SwiGLU), beside a stream."""

    width: int
    depth: int
    kernel: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Sixty-four outputs."""
        dense = lambda size: nn.Dense(size, kernel_init=self.kernel)
        x = dense(self.width)(x)
        for _ in range(self.depth):
            h = nn.RMSNorm()(x)
            x = x + dense(self.width)(nn.silu(dense(2 * self.width)(h)) * dense(2 * self.width)(h))
        return dense(64)(nn.RMSNorm()(x))


def model(module: nn.Module, x: Any) -> Model:
    """A module of Flax; where it keeps statistics their updates are left out."""
    if isinstance(module, Convolutional) and module.norm:
        return Model(
            lambda params, x: module.apply(params, x, mutable=["batch_stats"])[0], lambda key: module.init(key, x), x
        )
    return Model(module.apply, lambda key: module.init(key, x), x)


def data(*shape: int) -> jax.Array:
    """Normal numbers, always the same."""
    return jax.random.normal(jax.random.key(0), shape)


def words(*shape: int) -> jax.Array:
    """Words of 64."""
    return jnp.asarray(np.random.default_rng(0).integers(0, 64, shape))
