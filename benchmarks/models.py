"""Models of many kinds that are predicted beside real initializations: ``apply(params, x)``, ``draw(key)`` and data."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp

Model = tuple[Callable[..., Any], Callable[..., Any], Any]
WIDTH = 256
KEY = jax.random.key(7)


def normal(*shapes: tuple[int, ...], gain: float = 1.0) -> Callable[[Any], list[Any]]:
    """Draws of weights N(0, gain / fan in)."""

    def draw(key: Any) -> list[Any]:
        keys = jax.random.split(key, len(shapes))
        return [jax.random.normal(k, s) * (gain / s[0]) ** 0.5 for k, s in zip(keys, shapes, strict=True)]

    return draw


def data(*shape: int) -> Any:
    """Normal numbers, always the same."""
    return jax.random.normal(KEY, shape)


def plain(phi: Callable[[Any], Any], depth: int, width: int, gain: float, shift: float = 0.0) -> Model:
    """A chain of layers, with biases N(0, shift)."""

    def apply(layers: Sequence[Any], x: Any) -> Any:
        for w, b in layers:
            x = phi(x @ w + b)
        return x

    def draw(key: Any) -> list[Any]:
        of_weights, of_biases = jax.random.split(key)
        weights = normal((64, width), *[(width, width)] * (depth - 1), gain=gain)(of_weights)
        biases = jax.random.normal(of_biases, (depth, width)) * shift**0.5
        return list(zip(weights, biases, strict=True))

    return apply, draw, data(4, 64)


def residual(branch: Callable[..., Any], count: int, blocks: int, behind: Callable[[Any], Any] = lambda x: x) -> Model:
    """A stream to which blocks of ``count`` weights add, and what comes behind each sum."""

    def apply(weights: Sequence[Any], x: Any) -> Any:
        x = x @ weights[0]
        for k in range(blocks):
            x = behind(x + branch(x, *weights[1 + count * k : 1 + count * (k + 1)]))
        return x @ weights[-1]

    return apply, normal((32, WIDTH), *[(WIDTH, WIDTH)] * (count * blocks + 1)), data(4, 32)


def recurrent(turns: int) -> Model:
    """One weight in every turn."""

    def apply(weights: Sequence[Any], x: Any) -> Any:
        h = jnp.zeros((x.shape[1], WIDTH))
        for turn in range(turns):
            h = jnp.tanh(h @ weights[0] + x[turn] @ weights[1])
        return h

    return apply, normal((WIDTH, WIDTH), (16, WIDTH)), data(turns, 4, 16)


class Convolutions(nn.Module):
    """Batch norm in training mode, average and maximum pooling, and all pixels as one vector."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """As many outputs as units."""
        conv = lambda x: nn.Conv(WIDTH, (3, 3), kernel_init=nn.initializers.he_normal())(x)
        x = nn.avg_pool(nn.relu(conv(x)), (2, 2), strides=(2, 2))
        x = nn.max_pool(nn.relu(nn.BatchNorm(use_running_average=False)(conv(x))), (2, 2), strides=(2, 2))
        return nn.Dense(WIDTH)(nn.relu(nn.Dense(WIDTH)(x.reshape(x.shape[0], -1))))


def convolutions() -> Model:
    """Without the statistics that it keeps."""
    x, module = data(4, 8, 8, 3), Convolutions()
    return lambda params, x: module.apply(params, x, mutable=["batch_stats"])[0], lambda key: module.init(key, x), x


class Mixer(nn.Module):
    """Blocks that mix positions, then units."""

    blocks: int = 4

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """As many outputs as units at each position."""
        x = nn.Dense(WIDTH)(x)
        for _ in range(self.blocks):
            h = nn.LayerNorm()(x).swapaxes(1, 2)
            x = x + nn.Dense(x.shape[1])(nn.gelu(nn.Dense(WIDTH)(h))).swapaxes(1, 2)
            x = x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(2 * WIDTH)(nn.LayerNorm()(x))))
        return nn.Dense(WIDTH)(nn.LayerNorm()(x))


def of_equinox(make: Callable[[Any], Any], x: Any) -> Model:
    """A module for one example, under vmap."""
    static = eqx.partition(make(KEY), eqx.is_array)[1]
    apply = lambda params, x: jax.vmap(eqx.combine(params, static))(x)
    return apply, lambda key: eqx.filter(make(key), eqx.is_array), x


def equinox_images(key: Any) -> Any:
    """Two convolutions, and a dense layer of all pixels."""
    keys = jax.random.split(key, 3)
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, WIDTH, 3, padding=1, key=keys[0]),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, key=keys[1]),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(16 * WIDTH, WIDTH, key=keys[2]),
        ]
    )


def norm(x: Any) -> Any:
    """Layer norm without scale and shift."""
    return nn.standardize(x)


def linen(module: nn.Module, x: Any) -> Model:
    """A module of Flax."""
    return module.apply, lambda key: module.init(key, x), x


MODELS: dict[str, Callable[[], Model]] = {
    "tanh, 50 x 512": lambda: plain(jnp.tanh, 50, 512, 1.2),
    "gelu, 50 x 512": lambda: plain(jax.nn.gelu, 50, 512, 1.25, 0.3),
    "residual, norm before": lambda: residual(lambda x, u, v: jax.nn.gelu(norm(x) @ u) @ v, 2, 12),
    "residual, relu behind": lambda: residual(lambda x, u, v: jax.nn.relu(x @ u) @ v, 2, 6, jax.nn.relu),
    "convolutions, batch norm, pooling": convolutions,
    "Equinox MLP": lambda: of_equinox(lambda key: eqx.nn.MLP(32, WIDTH, WIDTH, 4, jax.nn.silu, key=key), data(4, 32)),
    "Equinox convolutions": lambda: of_equinox(equinox_images, data(4, 3, 8, 8)),
    "one weight in 16 turns": lambda: recurrent(16),
    "mixer": lambda: linen(Mixer(), data(2, 64, 32)),
    "gates": lambda: residual(lambda x, u, v, w: (jax.nn.silu(norm(x) @ u) * (norm(x) @ v)) @ w, 3, 4),
}
"""By what they are; those of 50 layers have 512 units, the others 256. The mixer mixes 64 positions: averages over
fewer are marked, as what a norm divides by strays with the draw."""
