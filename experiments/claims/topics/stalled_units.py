"""Units that come to lie in the flat part of their activation: whether they ever update again, and what flat is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims import drawing
from experiments.claims.arms import compared, few, runs, sets, swept
from experiments.claims.claim import Claim, Comparison, Setup
from experiments.claims.norms import switched
from experiments.claims.signals import signals
from experiments.claims.starts import layer
from jnorm import losses
from jnorm.activations import identity, relu, selu, sigmoid, tanh
from jnorm.nn import networks
from jnorm.nn.layers import Normalizer


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on.
        units: Of both hidden layers; every fourth one of the first is moved.
        before: Steps before the jump.
        after: Steps after it.
        batch: Examples in a step.
        rate: Learning rate.
        depth: Layers through which activations grow.
        width: Their units.
    """

    examples: int = 600
    units: int = 32
    before: int = 50
    after: int = 200
    batch: int = 50
    rate: float = 0.1
    depth: int = 10
    width: int = 128


QUICK = Config(examples=100, units=8, before=3, after=6, depth=4, width=32)
JUMP = 20.0
"""How far the pre-activations of some units are moved, for which their standard deviation is about 1."""
UNCHANGED = 2.0**-24
"""An update that is smaller than this beside the weights does not change them in float32."""
SPREAD = 2.0
"""Standard deviation of the weights, times the root of the fan-in, where growth over depth is measured."""


def jumping(offset: Any, normed: Any) -> Normalizer:
    """An offset that is added to the pre-activations, and batch norm behind it where ``normed``."""
    norm = switched(normed)

    def apply(params: Any, state: Any, x: jax.Array, *, train: bool) -> tuple[jax.Array, Any]:
        return norm.apply(params, state, x + offset, train=train)

    return Normalizer(norm.init, apply)


def updates(before: jax.Array, after: jax.Array) -> jax.Array:
    """The norm of the change of each unit's incoming weights ``[in, unit]``, over that of the weights."""
    return jnp.linalg.norm(after - before, axis=0) / jnp.linalg.norm(before, axis=0)


def stalled(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks some of whose units jump, and growth over depth."""
    data = few(sets(setup), config.examples)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)
    jumps = jnp.arange(config.units) % 4 == 0

    def train(key: jax.Array, parts: Any, *, curved: Any, normed: Any, alternating: Any) -> dict[str, jax.Array]:
        x, y = parts["train"]
        phi = lambda z: jnp.where(curved, sigmoid(z), relu(z))
        gain = jnp.where(curved, 1.0, 2.0)
        begin, go = jax.random.split(key)

        def network(offset: Any) -> Any:
            hidden = [layer(phi, gain, normalizer=norm) for norm in (jumping(offset, normed), switched(normed))]
            return networks.mlp(widths, hidden)

        def step(carried: Any, given: Any) -> tuple[Any, jax.Array]:
            (params, state), (key, count) = carried, given
            sign = jnp.where((alternating > 0) & ((count - config.before) % 2 == 1), 1.0, -1.0)
            offset = jnp.where(jumps & (count >= config.before), sign * JUMP, 0.0)
            at = jax.random.randint(key, (config.batch,), 0, len(y))

            def loss(params: Any) -> tuple[jax.Array, Any]:
                outputs, after = network(offset).apply(params, state, x[at], train=True)
                return jnp.mean(losses.softmax_cross_entropy(outputs, y[at])), after

            slope, after = jax.grad(loss, has_aux=True)(params)
            new = jax.tree.map(lambda p, g: p - config.rate * g, params, slope)
            return (new, after), updates(params[0]["kernel"], new[0]["kernel"])

        count = config.before + config.after
        given = jax.random.split(go, count), jnp.arange(count)
        (params, _), sizes = jax.lax.scan(step, network(0.0).init(begin), given)
        later = sizes[config.before :]
        still = jnp.max(later, 0) < UNCHANGED
        finite = jnp.all(jnp.isfinite(params[-1]["kernel"])) & jnp.all(jnp.isfinite(later))
        share = lambda dead, units: jnp.where(finite, jnp.mean(dead, where=units), jnp.nan)
        late = jnp.max(later[config.after // 2 :], 0) < UNCHANGED
        shares = {"stalled": share(still, jumps), "late": share(late, jumps), "others": share(still, ~jumps)}
        return shares | {"sizes": jnp.mean(sizes, 1, where=jumps)}

    result = swept(train, setup, "jump", STALLED, grid=list(map(_arm, ARMS)), finite=("stalled",), shared=data.parts)
    found = growth(config, setup)
    told = {
        what: ", ".join(f"{name} {100 * np.mean(drawing.values(result, what, _arm(name))):.0f} %" for name in ARMS)
        for what in ("late", "others")
    }
    return {
        "jump": result,
        "before": config.before,
        "steps": config.before + config.after,
        **{f"growth {name}": runs(a[:, -1] - a[:, 0]) for name, a in found.items()},
        **{f"size {name}": a for name, a in found.items()},
        "notes": f"Share of the moved units that do not update in the last half of the steps: {told['late']}. Share of "
        f"the others that never update again: {told['others']}.",
    }


def growth(config: Config, setup: Setup) -> dict[str, np.ndarray]:
    """log10 of the root mean square of the activations ``[seed, layer]`` through weights that are too large."""
    widths, stds = (config.width,) * (config.depth + 1), (SPREAD * config.width**-0.5,) * config.depth
    found = {phi.__name__: signals(setup, phi, stds, widths, examples=64) for phi in BOUNDED + UNBOUNDED}
    return {name: np.log10(one.square) / 2 for name, one in found.items()}


BOUNDED, UNBOUNDED = (sigmoid, tanh), (relu, selu, identity)
ARMS = {
    f"{name}{', batch norm' if normed else ''}, {kind}": (curved, normed, alternating)
    for alternating, kind in ((0.0, "constant"), (1.0, "alternating"))
    for curved, name in ((0.0, "relu"), (1.0, "sigmoid"))
    for normed in (0.0, 1.0)
}
"""Arms by name: sigmoid or relu, batch norm or none, an offset that changes its sign at each step or not."""


def _arm(name: str) -> dict[str, float]:
    return dict(zip(("curved", "normed", "alternating"), ARMS[name], strict=True))


def _share(name: str, claim: str, bound: float) -> Comparison:
    return compared(
        f"share of moved units that never update again: {name}",
        "jump",
        claim,
        0.0,
        metric="stalled",
        a=_arm(name),
        b=bound,
        diverged=1.0,
        method="sign",  # all runs may have the same share
    )


MOST, FEW = 0.9, 0.1
STALLED = [
    *(_share(f"{name}, constant", "greater", MOST) for name in ("relu", "sigmoid")),
    *(_share(f"{name}, batch norm, constant", "less", FEW) for name in ("relu", "sigmoid")),
    _share("relu, alternating", "less", FEW),
    _share("sigmoid, alternating", "greater", MOST),
    *(_share(f"{name}, batch norm, alternating", "less", FEW) for name in ("relu", "sigmoid")),
]
GROWTH = [
    compared(
        f"log10 growth of {phi.__name__} over the layers, weights twice too large",
        f"growth {phi.__name__}",
        claim,
        0.0,
        b=float(np.log10(2)),
    )
    for some, claim in ((BOUNDED, "less"), (UNBOUNDED, "greater"))
    for phi in some
]


def draw(measured: Mapping[str, Any]) -> Any:
    """Updates of the units that jump, over steps, and growth over depth."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 3, size=(8.6, 3.0))
        for axes, kind in zip(panels, ("constant", "alternating"), strict=False):
            for i, (name, *dashes) in enumerate((("relu", "-", ":"), ("sigmoid", "--", "-."))):
                for norm, dash in zip(("", ", batch norm"), dashes, strict=True):
                    sizes = drawing.values(measured["jump"], "sizes", _arm(f"{name}{norm}, {kind}"))
                    if len(sizes):
                        middle = np.maximum(np.median(sizes, 0), 1e-13)
                        axes.plot(middle, dash, color=plots.PALETTE[i], linewidth=1, label=f"{name}{norm}")
            axes.axhline(UNCHANGED, color="0.5", linewidth=0.8)
            axes.axvline(measured["before"], color="0.5", linewidth=0.8, linestyle=":")
            axes.set(yscale="log", xlabel="step", title=f"Offset that is {kind}", ylim=(1e-14, 10))
            axes.set_xlim(max(measured["before"] - 10, 0), min(measured["before"] + 30, measured["steps"] - 1))
        panels[0].set_ylabel("update, over weights")
        for i, name in enumerate(phi.__name__ for phi in BOUNDED + UNBOUNDED):
            size = measured[f"size {name}"]
            dash = "-" if i < len(BOUNDED) else "--"
            layers = np.arange(1, size.shape[1] + 1)
            panels[2].plot(layers, 10 ** size.mean(0), dash, color=plots.PALETTE[i], label=name)
        panels[2].set(yscale="log", xlabel="layer", ylabel="root mean square", title="Growth over depth")
        panels[2].legend(fontsize=7)
        plots.legend(figure, panels[0])
    return figure


CLAIMS = (
    Claim(
        id="N20",
        statement="Flat regions stall a unit for good, a saturated sigmoid or a dead relu; batch norm prevents it; "
        "flat regions also prevent explosion.",
        measured="After 50 steps of training the pre-activations of a quarter of the units of a layer are moved by 20, "
        "before the batch norm where there is one: to below for good, or to below and above by turns. Share of these "
        "units whose weights never change again in 200 steps (updates below 2^-24 of them). Growth of activations over "
        "ten layers whose weights are twice too large, by bounded and unbounded functions",
        parts=[*STALLED, *GROWTH],
        measure=stalled,
        draw=draw,
        caption="Left and middle, the size of the updates of units whose pre-activations are moved at the dotted line, "
        "beside their weights; below the grey line float32 does not change. Right, the size of activations over layers "
        "whose weights are twice too large: bounded functions (solid) stop, unbounded ones (dashed) go on.",
    ),
)
