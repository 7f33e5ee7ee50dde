"""What weights do before any training: signals and gradients through ten layers, and exact powers of linear layers."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, pixels, runs
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.foreseen import EXACT, Foreseen, foreseen
from experiments.claims.signals import Said, Signals, beside, drawn, histograms, rows, said, signals
from jnorm import initializers
from jnorm.activations import identity, relu, tanh
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.statistics import Runs
from jnorm.theory import finite_width, spectra


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of every layer, and inputs that are drawn from N(0, 1).
        depth: Layers.
        examples: Inputs for each network.
        powers: Layers of the linear networks.
        samples: Draws of a Monte Carlo variance.
    """

    units: int = 500
    depth: int = 10
    examples: int = 100
    powers: int = 50
    samples: int = 100_000


QUICK = Config(units=50, depth=10, examples=20, powers=10, samples=2000)
INPUTS = ("N(0, 1) inputs", "digits")
CONIC = 10  # units of the last layer of a conic network


def _networks(config: Config, phi: Any, std: Any, on: str, widths: Any = None) -> dict[str, Any]:
    """Networks on some inputs, as `signals` and `said` take them; ``std`` is that of weights, given the fan-in."""
    images = pixels() if on == "digits" else None
    first = config.units if images is None else images.shape[1]
    widths = [first, *[config.units] * config.depth] if widths is None else widths
    ends = (0.0, 2.0) if phi is relu else (-1.0, 1.0)
    stds = [std(n) for n in widths[:-1]]
    return {"phi": phi, "stds": stds, "widths": widths, "examples": config.examples, "images": images, "ends": ends}


def _signals(config: Config, setup: Setup, phi: Any, std: Any, *, on: str = INPUTS[0], widths: Any = None) -> Signals:
    """Networks at their start."""
    return signals(setup, **_networks(config, phi, std, on, widths))


def _foreseen(config: Config, phi: Any, std: Any, found: Mapping[str, Signals]) -> dict[str, Any]:
    """What theory says of networks that were measured on these inputs."""
    theory: dict[str, Said] = {on: said(**_networks(config, phi, std, on)) for on in found}
    made = [row for on, one in found.items() for row in rows(on, one, theory[on], config.units)]
    return beside(**theory) | {"foreseen": made}


def _log_ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.log10(a) - np.log10(b)


def small(config: Config, setup: Setup) -> dict[str, Any]:
    """Weights of std .01 under tanh, on normal inputs and on digits."""
    std = lambda n: 0.01
    found = {what: _signals(config, setup, tanh, std, on=what) for what in INPUTS}
    normal, digits = found.values()
    return (
        drawn(**found)
        | _foreseen(config, tanh, std, found)
        | {
            "first": runs(normal.std[:, 0]),
            "mean": runs(np.abs(normal.mean).max(1)),
            "decay": runs(_log_ratio(normal.std[:, -1], normal.std[:, 0])),
            "decay on digits": runs(_log_ratio(digits.std[:, -1], digits.std[:, 0])),
            "longest rise": runs(_log_ratio(normal.std[:, 1:], normal.std[:, :-1]).max(1)),
        }
    )


def large(config: Config, setup: Setup) -> dict[str, Any]:
    """Weights of std 1 under tanh."""
    found = _signals(config, setup, tanh, lambda n: 1.0)
    return drawn(**{"weights of std 1": found}) | {
        "saturated": runs(found.saturated.min(1)),
        "gradient": runs(_log_ratio(found.gradient[:, 0], found.gradient[:, -1])),
    }


def xavier(config: Config, setup: Setup) -> dict[str, Any]:
    """Variance 1/n under tanh, on normal inputs, digits and a conic network; the variance of a sum."""
    scaled = lambda n: n**-0.5
    found = {what: _signals(config, setup, tanh, scaled, on=what) for what in INPUTS}
    normal, digits = found.values()
    widths = np.geomspace(config.units, CONIC, config.depth + 1).round().astype(int).tolist()
    common = float(np.mean(widths[:-1])) ** -0.5
    laws = {"of each layer": scaled, "of all layers": lambda n: common}
    spread = {
        name: np.ptp(np.log10(_signals(config, setup, tanh, law, widths=widths).std), axis=1)
        for name, law in laws.items()
    }
    return (
        drawn(**found)
        | _foreseen(config, tanh, scaled, found)
        | {
            "std": runs(normal.std[:, -1]),
            "std on digits": runs(digits.std[:, -1]),
            "saturated": runs(normal.saturated.max(1)),
            "conic": Runs.of_arms(spread, name="law"),
            "exact": _enumerated(),
            "drawn": runs(_sampled(config, setup)),
        }
    )


def _enumerated() -> float:
    """Var(s) over n Var(w) Var(x), less 1, of three independent weights and inputs with few values, all of them."""
    w, x = np.array([-2.0, 0.0, 2.0]), np.array([-1.0, 1.0])
    sums = [np.dot(ws, xs) for ws in itertools.product(w, repeat=3) for xs in itertools.product(x, repeat=3)]
    return float(abs(np.var(sums) / (3 * np.var(w) * np.var(x)) - 1))


def _sampled(config: Config, setup: Setup) -> np.ndarray:
    """The same ratio less 1, of 20 normal weights and uniform inputs, by Monte Carlo for every seed."""

    def one(key: jax.Array) -> jax.Array:
        w_key, x_key = jax.random.split(key)
        w = jax.random.normal(w_key, (config.samples, 20))
        x = jax.random.uniform(x_key, (config.samples, 20), minval=-1.0)
        return jnp.var(jnp.sum(w * x, 1)) / (20 / 3) - 1

    return np.asarray(jax.lax.map(one, jax.vmap(jax.random.key)(np.array(setup.seeds))), float)


def halved(config: Config, setup: Setup) -> dict[str, Any]:
    """Variance 1/n under relu: the mean square of activations from layer to layer."""
    std = lambda n: n**-0.5
    found = {what: _signals(config, setup, relu, std, on=what) for what in INPUTS}
    rate = {name: np.diff(np.log2(a.square), axis=1).mean(1) for name, a in found.items()}
    return drawn(**found) | _foreseen(config, relu, std, found) | {name: runs(values) for name, values in rate.items()}


def powers(config: Config, setup: Setup) -> dict[str, Any]:
    """Linear networks of 1.5 I and .5 I, and those of other matrices between the powers of their singular values."""
    depth, found = config.powers, {}
    with jax.enable_x64(True):
        for name, factor in (("1.5", 1.5), ("0.5", 0.5)):
            scaled = lambda key, shape, dtype=None, out_sharding=None, c=factor: c * jnp.eye(*shape, dtype=dtype)
            layer = Layer(identity, scaled, input_init=scaled, readout_init=scaled)
            network = networks.mlp([2] * (depth + 1), layer)
            params, state = network.init(jax.random.key(0))
            f = lambda x, net=network, p=params, s=state: net.apply(p, s, x, train=False)[0]
            y, back = jax.vjp(f, jnp.ones((1, 2)))
            found[f"outputs {name}"] = float(jnp.max(jnp.abs(y / factor**depth - 1)))
            found[f"gradients {name}"] = float(jnp.max(jnp.abs(back(jnp.ones((1, 2)))[0] / factor**depth - 1)))
        keys = jax.random.split(jax.random.key(setup.seeds.start), depth + 2)
        matrices = [initializers.normal(0.5)(key, (8, 8), jnp.float64) for key in keys[:depth]]
        values = np.array([np.linalg.svd(m, compute_uv=False) for m in matrices])
        product = np.linalg.svd(np.linalg.multi_dot(matrices), compute_uv=False)
        high, low = values[:, 0].prod() * (1 + 1e-12), values[:, -1].prod() * (1 - 1e-12)
        found["bounds"] = float(product[0] > high) + float(product[-1] < low)
        turn = np.linalg.qr(jax.random.normal(keys[-1], (8, 8)))[0]
        law = turn @ np.diag(np.linspace(0.5, 1.5, 8)) @ turn.T
        measured = np.linalg.svd(np.linalg.matrix_power(law, depth), compute_uv=False)
        found["law"] = float(abs(measured[0] / 1.5**depth - 1))
    return found | {"foreseen": products(config, setup)}


def products(config: Config, setup: Setup) -> list[Foreseen]:
    """Products of independent normal matrices with entries of variance 1/n, for every seed.

    What they make of a vector has an exact law: its squared length gains a factor chi^2(n)/n with each. The squared
    singular values have a law in the limit of large n.
    """
    narrow, wide, few = 8, config.units // 2, 4

    def product(key: jax.Array, units: int, depth: int) -> jax.Array:
        draw = lambda key: jax.random.normal(key, (units, units)) / units**0.5
        step = lambda product, key: (draw(key) @ product, None)
        return jax.lax.scan(step, jnp.eye(units), jax.random.split(key, depth))[0]

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = jax.random.split(jax.random.fold_in(key, 1))
        vector = jnp.log(jnp.sum(product(first, narrow, config.powers)[:, 0] ** 2))
        return vector, jnp.linalg.svd(product(second, wide, few), compute_uv=False) ** 2

    with jax.enable_x64(True):
        law = finite_width.length_law(identity, width=narrow, depth=config.powers, sigma_w=1.0)
        moments = spectra.moments(identity, depth=few, sigma_w=1.0)
        largest = spectra.support(identity, depth=few, sigma_w=1.0).largest
        keys = jax.vmap(jax.random.key)(np.array(setup.seeds))
        logs, squares = map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
        mean, var = float(law.log_mean[-1]), float(law.log_var[-1])
    lengths = f"of a vector's squared length, {config.powers} matrices of {narrow}"
    values = f"squared singular values, {few} matrices of {wide}"
    return [
        foreseen(f"mean of the log {lengths}", mean, logs, theory=EXACT, base=math.e),
        foreseen(f"variance of the log {lengths}", var, (logs - mean) ** 2, theory=EXACT),
        foreseen(f"mean of {values}", float(moments.mean), squares.mean(1), theory=EXACT),
        foreseen(f"variance of {values}", float(moments.var), squares.var(1)),
        foreseen(f"largest of {values}", float(largest), squares.max(1)),
    ]


_HISTOGRAMS = "Histograms of the activations of ten layers, averaged over the seeds, each as high as the others. "
CLAIMS = (
    Claim(
        id="I2",
        statement="With small normal weights (std .01) the activations of ten tanh layers of 500 units die out, layer "
        "by layer.",
        measured="Mean and standard deviation over all units and examples of a layer, inputs N(0, 1) and digits",
        parts=[
            compared("std of layer 1", "first", "equal", 0.01, b=0.21),
            compared("largest mean of a layer, in size", "mean", "equal", 0.01),
            compared("log10 of std, last layer over first", "decay", "less", 3.0),
            compared("the same on digits", "decay on digits", "less", 3.0),
            compared("log10 of std, a layer over the one before, the largest", "longest rise", "less", 0.3),
        ],
        measure=small,
        draw=histograms,
        caption=_HISTOGRAMS
        + "Left, normal inputs; right, digits. A signal that dies out gets narrower from layer to layer.",
    ),
    Claim(
        id="I4",
        statement="Large weights (std 1) drive tanh to -1 and 1, and gradients vanish.",
        measured="Share of activations beyond .99 in the layer with the fewest; gradient norm at the first layer's "
        "pre-activations over that at the last's, ten layers of 500 units",
        parts=[
            compared("share saturated, in every layer", "saturated", "greater", 0.5),
            compared("log10 of the gradient, first layer over last", "gradient", "less", 1.0),
        ],
        measure=large,
        draw=histograms,
        caption=_HISTOGRAMS
        + "What lies at the ends is saturated. Saturation alone does not say what becomes of gradients: large "
        "weights multiply the little that is left.",
    ),
    Claim(
        id="I5",
        statement="Weights of variance 1/n keep the activations of tanh in range through ten layers.",
        measured="Standard deviation of the last layer and the share beyond .99, inputs N(0, 1) and digits; the spread "
        "of log10 std over the layers of a conic network, by the law of each layer and by one for all; Var(s) for "
        "independent weights and inputs of mean 0 against n Var(w) Var(x)",
        parts=[
            compared("std of the last layer", "std", "greater", 0.1),
            compared("the same on digits", "std on digits", "greater", 0.1),
            compared("largest share beyond .99", "saturated", "equal", 0.05),
            compared(
                "conic network: spread of log10 std, law of each layer less one for all",
                "conic",
                "less",
                0.1,
                a={"law": "of each layer"},
                b={"law": "of all layers"},
            ),
            Number("Var(s) over n Var(w) Var(x), less 1, enumerated", "exact", high=1e-14, because="float64"),
            compared("the same by Monte Carlo", "drawn", "equal", 0.01),
        ],
        measure=xavier,
        draw=histograms,
        caption=_HISTOGRAMS
        + "A layer in range is wide without being at the ends. Layers of tanh narrow slowly, as it is flatter than a "
        "line.",
    ),
    Claim(
        id="I6",
        statement="Under relu the same variance 1/n halves the signal in every layer.",
        measured="log2 of the mean square of the activations, a layer less the one before, averaged over ten layers",
        parts=[
            compared("N(0, 1) inputs", "N(0, 1) inputs", "equal", 0.1, b=-1.0),
            compared("digits", "digits", "equal", 0.1, b=-1.0),
        ],
        measure=halved,
        draw=histograms,
        caption=_HISTOGRAMS
        + "The bar at 0 is cut off, and so is what lies beyond 2. A signal that is halved is a histogram that comes "
        "closer to 0 in every layer.",
    ),
    Claim(
        id="D1",
        statement="With weights 1.5 I or .5 I outputs and gradients grow or shrink exponentially in depth, and in "
        "general as the singular values say.",
        measured="Linear networks in float64 and exact powers (.5 I on (1, 1): 1/2^L); a repeated symmetric matrix; "
        "independent matrices against the product of their largest singular values",
        parts=[
            *(
                Number(f"{what} of {name} I against {name}^L, less 1", f"{what} {name}", high=high, because=because)
                for what in ("outputs", "gradients")
                for name, high, because in (
                    ("0.5", 0.0, "powers of 2"),
                    ("1.5", 1e-13, "float64, one rounding a layer"),
                )
            ),
            Number("largest singular value of a symmetric matrix's power against its power, less 1", "law", high=1e-12),
            Number("bounds by products of singular values that are left", "bounds", high=0.0),
        ],
        measure=powers,
    ),
)
