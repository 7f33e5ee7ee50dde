"""Every layer, activation and theory on the device at hand: time over the floor, peers, kernels, accuracy."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import floors, golden, kernels, peers, sweep
from benchmarks.floors import Floor, Item
from benchmarks.harness import Row
from jnorm import activations, gaussian, initializers
from jnorm.nn import batch_norm, batch_renorm, dropout, feature_norm
from jnorm.nn.convolution import convolve
from jnorm.nn.layers import Layer
from jnorm.nn.networks import mlp
from jnorm.theory import fixed_points
from jnorm.theory.moments import Moments, layer_map

DTYPES = ("float32", "bfloat16")


def normal(*shape: int, dtype: Any = "float32") -> jax.Array:
    """Numbers to be normalized, dropped and multiplied."""
    return jax.random.normal(jax.random.key(0), shape, jnp.float32).astype(dtype)


def with_running(module: Any) -> Callable[[batch_norm.Params, jax.Array], jax.Array]:
    """A normalizer with running statistics in training, as a function of parameters and input."""

    def call(params: batch_norm.Params, x: jax.Array) -> jax.Array:
        y, _ = module.apply(params, module.init(x.shape[-1])[1], x, train=True, eps=peers.EPS)
        return y

    return call


NORMS: dict[str, tuple[Callable[..., jax.Array], bool]] = {
    "batch norm": (with_running(batch_norm), False),
    "batch renorm": (with_running(batch_renorm), False),
    "layer norm": (partial(feature_norm.layer_norm, eps=peers.EPS), False),
    "rms norm": (partial(feature_norm.rms_norm, eps=peers.EPS), False),
    "group norm": (partial(feature_norm.group_norm, groups=peers.GROUPS, eps=peers.EPS), True),
    "instance norm": (partial(feature_norm.instance_norm, eps=peers.EPS), True),
}
"""Normalizers as functions of parameters and input, and whether they are for images."""


def normalizers() -> Iterator[Item]:
    """All normalizers, rows of 512 features or images of 16 x 16 x 64."""
    for dtype in DTYPES:
        for name, (ours, images) in NORMS.items():
            count = floors.array_bytes() // 4
            shape = (count // 2**14, 16, 16, 64) if images else (count // 512, 512)
            arguments = feature_norm.init(shape[-1], shift=name != "rms norm"), normal(*shape, dtype=dtype)
            contenders = {"jnorm": ours}
            if name != "batch renorm":  # which Flax does not have
                contenders["flax"] = peers.flax_norm(name, dtype)
            yield Item(name, contenders, arguments, torch=partial(peers.torch_passes, name, arguments))


def elementwise() -> Iterator[Item]:
    """All activations, and those that act on rows of 128."""
    x = normal(floors.array_bytes() // 4 // 128, 128)
    table = activations.ELEMENTWISE | {name: getattr(activations, name) for name in ("softmax", "log_softmax")}
    for name, phi in table.items():
        contenders = {"jnorm": phi} | ({"jax": peers.JAX[name]} if name in peers.JAX else {})
        yield Item(name, contenders, (x,), torch=partial(peers.torch_passes, name, (x,)))


def droppers() -> Iterator[Item]:
    """All kinds of dropout, with keys of the default generator and, for the first, of the one that hardware has."""
    x = normal(floors.array_bytes() // 4 // 128, 128)
    for drop in (dropout.dropout, dropout.gaussian_dropout, dropout.alpha_dropout, dropout.feature_alpha_dropout):
        name = drop.__name__
        ours = lambda key, x, drop=drop: drop(key, x, peers.RATE, train=True)
        contenders = {"jnorm": ours} | ({"flax": peers.flax_dropout} if name == "dropout" else {})
        torch = partial(peers.torch_passes, name, (x,))
        for kind in ("threefry2x32", "rbg") if name == "dropout" else ("threefry2x32",):
            yield Item(f"{name}, {kind}", contenders, (x,), (jax.random.key(0, impl=kind),), torch=torch)


def products() -> Iterator[Item]:
    """The linear layer and the convolution."""
    rows, width, images = (256, 512, 8) if floors.on_cpu() else (8192, 4096, 1024)
    network = mlp((width, width), Layer(activations.identity, initializers.lecun_normal()))
    linear = lambda kernel, bias, x: network.apply([{"kernel": kernel, "bias": bias}], [()], x, train=True)[0]
    for dtype in DTYPES:
        arguments: tuple[Any, ...] = normal(width, width), jnp.zeros(width), normal(rows, width, dtype=dtype)
        contenders = {"jnorm": linear, "flax": peers.flax_linear}
        torch = partial(peers.torch_passes, "linear", arguments)
        what = f"linear {rows} x {width} x {width}"
        yield Item(what, contenders, arguments, operations=2 * rows * width**2, torch=torch)
        arguments = normal(3, 3, 64, 64), normal(images, 16, 16, 64, dtype=dtype)
        contenders = {"jnorm": lambda kernel, x: convolve(x, kernel), "flax": peers.flax_convolve}
        torch = partial(peers.torch_passes, "convolve", arguments)
        what = f"convolve {images} x 16 x 16 x 64, 3 x 3"
        yield Item(what, contenders, arguments, operations=2 * images * 256 * 9 * 64**2, torch=torch)


def gauss_hermite(mean: jax.Array, var: jax.Array) -> jax.Array:
    """E gelu(z) by 128 nodes that know of no kink and no tail: what the quadrature costs that is written in a line."""
    nodes, weights = (jnp.asarray(a, mean.dtype) for a in np.polynomial.hermite_e.hermegauss(128))
    values = activations.gelu(mean[:, None] + jnp.sqrt(var)[:, None] * nodes)
    return jnp.sum(values * weights / np.sqrt(2 * np.pi), -1)


def theory() -> Iterator[Item]:
    """Quadrature at many points at once, and fixed points of fewer maps; the floor is that of reading the points."""
    points = floors.array_bytes() // 4 // 64
    mean, var = 3 * normal(points), jnp.exp(normal(points))
    contenders = {"jnorm": partial(gaussian.expectation, activations.gelu), "gauss-hermite": gauss_hermite}
    yield Item(f"expectation, {points} points", contenders, (mean, var))
    tau = jnp.linspace(2.0, 4.0, points // 16)
    solve = lambda tau: fixed_points.solve(layer_map(activations.gelu, tau=tau), Moments(0.5, 1.5)).point.var
    yield Item(f"solve, {points // 16} maps", {"jnorm": solve}, (tau,))


def training(floor: Floor) -> Iterator[Row]:
    """A sweep beside the operations of its products alone, and the kernels of one training of many seeds."""
    seeds = 64 if floors.on_cpu() else 1024
    case = sweep.SMALL._replace(epochs=2)
    swept = sweep.swept(case, seeds, seeds // 4)
    least = case.flops / floor.products["float32"]
    detail = f"{swept.rate:,.0f} seed-steps/s; {1e6 / swept.rate:.3g} us a step for {1e6 * least:.3g}"
    yield Row(f"sweep of {seeds} seeds, {case.name}", 1 / swept.rate / least, "times the floor", detail=detail)
    yield Row("sweep, until the first results", swept.start, "s", detail="tracing and compiling")
    train = jax.jit(jax.vmap(partial(sweep.training(case._replace(epochs=1)), learning_rate=1e-3), (0, None)))
    keys, data = jax.random.split(jax.random.key(0), seeds // 4), jax.tree.map(jnp.asarray, sweep.data())
    yield from kernels.top(f"training, {seeds // 4} seeds", lambda: train(keys, data))


def run() -> Iterator[Row]:
    """All rows as they are measured; some minutes."""
    floor, rows = floors.measured()
    yield from rows
    for items in (normalizers, elementwise, droppers, products, theory):
        for item in items():
            yield from floors.timed(item, floor)
    yield from training(floor)
    for dtype in DTYPES:
        yield from golden.activation_rows(dtype)
    yield from golden.moment_rows()
