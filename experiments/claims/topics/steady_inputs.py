"""How the inputs of layers move while a network trains, before a batch norm and behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims import drawing
from experiments.claims.arms import compared, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Number, Setup
from experiments.claims.norms import switched
from experiments.claims.starts import layer
from experiments.claims.topics.normality import from_normal
from jnorm import losses
from jnorm.activations import sigmoid
from jnorm.measure import quantities
from jnorm.nn import networks
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the three hidden layers of sigmoids.
        batch: Examples in a step, as in the batch norm paper.
        every: Steps from one that is watched to the next.
        looks: Steps that are watched.
        watched: Training examples by which the inputs of a layer are known, the same ones at all steps.
        rates: Learning rates among which networks with and without batch norm choose.
    """

    units: int = 64
    batch: int = 60
    every: int = 10
    looks: int = 40
    watched: int = 256
    rates: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)


QUICK = Config(units=8, every=2, looks=4, watched=64, rates=(0.3, 3.0))
LAST = 2
"""The last hidden layer, counted from 0."""
PERCENTILES = (15, 50, 85)
"""Those of the batch norm paper's figure 1b and c."""


def transport(a: jax.Array, b: jax.Array) -> jax.Array:
    """How far each unit's distribution is from another one, ``[example, unit]`` both, in its own standard deviations.

    Wasserstein's distance of order 1: the mean distance of the sorted values. Over all units the mean.
    """
    return jnp.mean(jnp.mean(jnp.abs(jnp.sort(a, 0) - jnp.sort(b, 0)), 0) / _deviation(a))


def moved(a: jax.Array, b: jax.Array) -> jax.Array:
    """How far the single examples have gone, the root mean square in standard deviations of a, over all units."""
    return jnp.mean(jnp.sqrt(jnp.mean((a - b) ** 2, 0)) / _deviation(a))


def _deviation(a: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.std(a, 0), 1e-9)


class Views(NamedTuple):
    """The inputs of a layer, before the normalization and after scale and shift; the same ones where there is none."""

    before: jax.Array
    after: jax.Array


def views(network: Any, params: Any, state: Any, x: jax.Array, at: int) -> Views:
    """What a hidden layer gets of these examples, normalized by their own statistics."""
    seen = networks.record(network, params, state, x, train=True)[2]
    return Views(seen[f"{at}.linear"], seen[f"{at}.pre"])


def look(network: Any, params: Any, new: Any, state: Any, x: jax.Array) -> dict[str, jax.Array]:
    """What a step from params to new ones does to the inputs of layers.

    ``step``: of the last layer, by the whole step. ``earlier`` and ``examples``: of the second and third layer, on
    average, by the step of the layers before them alone.
    """
    found: dict[str, Any] = {"earlier": [], "examples": []}
    for at in range(1, LAST + 1):
        old = views(network, params, state, x, at)
        mixed = views(network, [*new[:at], *params[at:]], state, x, at)
        for name, distance in (("earlier", transport), ("examples", moved)):
            found[name].append(jnp.stack([distance(a, b) for a, b in zip(old, mixed, strict=True)]))
    old, whole = (views(network, p, state, x, LAST) for p in (params, new))
    shown = jnp.stack([jnp.percentile(a[:, :8], jnp.array(PERCENTILES, float), axis=0) for a in old])
    norms = [block["norm"]["norm"] for block in params[:-1]], [block["norm"]["norm"] for block in new[:-1]]
    pairs = list(zip(*norms, strict=True))
    change = lambda name: jnp.stack([quantities.norm(getattr(b, name) - getattr(a, name)) for a, b in pairs])
    return {
        "step": jnp.stack([transport(a, b) for a, b in zip(old, whole, strict=True)]),
        "earlier": jnp.mean(jnp.stack(found["earlier"]), 0),
        "examples": jnp.mean(jnp.stack(found["examples"]), 0),
        "percentiles": shown,
        "scale": jnp.mean(change("scale")),
        "shift": jnp.mean(change("shift")),
    }


def repaired(seen: Views, norm: Any, key: jax.Array) -> dict[str, jax.Array]:
    """What normalization makes of a vector of units, of all examples: moments, correlations, distance from normal."""
    normalized = (seen.after - norm.shift) / norm.scale
    correlation = [jnp.corrcoef(a.T) for a in (seen.before, normalized)]
    standard = (normalized - jnp.mean(normalized, 0)) / _deviation(normalized)
    chance = jax.random.normal(key, standard.shape)
    off = jnp.maximum(jnp.abs(jnp.mean(normalized, 0)), jnp.abs(jnp.var(normalized, 0) - 1))
    return {
        "off": jnp.max(off),
        "turned": jnp.max(jnp.abs(correlation[0] - correlation[1])),
        "top": jnp.linalg.eigvalsh(correlation[1])[-1],
        "normal": jnp.mean(from_normal(standard)) - jnp.mean(from_normal(chance)),
    }


@cache
def _trained(config: Config, setup: Setup) -> dict[str, Any]:
    """Networks with and without batch norm at the rate that is best without, and with it at its own best one."""
    data = sets(setup)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=LAST + 1)

    def train(
        key: jax.Array, parts: Any, *, normed: Any, own: Any, rate: Any, watching: bool = True
    ) -> dict[str, jax.Array]:
        del own  # whether the rate is the arm's best one
        x, y = parts["train"]
        network = networks.mlp(widths, layer(sigmoid, 1.0, normalizer=switched(normed)))
        begin, go, chance = jax.random.split(key, 3)
        watched = x[: config.watched]

        def step(carried: Any, key: jax.Array) -> tuple[Any, Any]:
            params, state = carried
            at = jax.random.randint(key, (config.batch,), 0, len(y))

            def loss(params: Any) -> tuple[jax.Array, Any]:
                outputs, after = network.apply(params, state, x[at], train=True)
                return jnp.mean(losses.softmax_cross_entropy(outputs, y[at])), after

            slope, after = jax.grad(loss, has_aux=True)(params)
            return (jax.tree.map(lambda p, g: p - rate * g, params, slope), after), None

        def several(carried: Any, keys: jax.Array) -> tuple[Any, Any]:
            now, _ = jax.lax.scan(step, carried, keys[1:])
            new, _ = step(now, keys[0])
            return new, look(network, now[0], new[0], now[1], watched) if watching else None

        keys = jax.random.split(go, (config.looks, config.every))
        (params, state), seen = jax.lax.scan(several, network.init(begin), keys)
        accurate = lambda part: jnp.mean(
            evaluation.accuracy(network.apply(params, state, parts[part][0], train=False)[0], parts[part][1])
        )
        scores = {f"{part}_accuracy": accurate(part) for part in ("dev", "test")}
        if not watching:
            return scores
        means = {name: jnp.mean(jnp.log10(seen[name] + 1e-12), 0) for name in ("step", "earlier", "examples")}
        first, last = seen["percentiles"][0], seen["percentiles"][-1]
        drift = jnp.mean(jnp.abs(last - first), (1, 2)) / jnp.mean(first[:, -1] - first[:, 0], 1)
        quarter = max(config.looks // 4, 1)
        settled = lambda a: jnp.log10((jnp.mean(a[-quarter:]) + 1e-12) / (jnp.mean(a[:quarter]) + 1e-12))
        end = views(network, params, state, x[:1024], LAST)
        return scores | {
            **{f"{name}_{view}": a[i] for name, a in means.items() for i, view in enumerate(Views._fields)},
            **{f"drift_{view}": jnp.log10(drift[i]) for i, view in enumerate(Views._fields)},
            "within": means["earlier"][1] - means["earlier"][0],
            "scale": settled(seen["scale"]),
            "shift": settled(seen["shift"]),
            **repaired(end, params[LAST]["norm"]["norm"], chance),
            **{f"seen_{name}": seen[name] for name in ("step", "earlier", "percentiles")},
        }

    arms = [{"normed": normed, "own": 1.0} for normed in (0.0, 1.0)]
    names = ["without batch norm", "with it"]
    blind = partial(train, watching=False)
    chosen = tuned(blind, setup, "moving inputs", arms, {"rate": config.rates}, names=names, shared=data.parts)
    grid = [*chosen.arms, {"normed": 1.0, "own": 0.0, "rate": chosen.arms[0]["rate"]}]
    runs = swept(train, setup, "inputs", [*_STEADY, *_DEPENDS], grid=grid, shared=data.parts)
    with_it = drawing.values(runs, "turned", OWN), drawing.values(runs, "off", OWN)
    steps = config.every * np.arange(1, config.looks + 1)
    return {
        "inputs": runs,
        "turned": float(np.max(with_it[0])),
        "off": float(np.max(with_it[1])),
        "steps": steps,
        "notes": f"{chosen.budget} Accuracies on test data: "
        + ", ".join(f"{name} {drawing.values(runs, 'test_accuracy', arm).mean():.3f}" for name, arm in _SHOWN.items()),
    }


PLAIN, OWN, SAME = ({"normed": n, "own": o} for n, o in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.0)))
_SHOWN = {"without batch norm": PLAIN, "with it, the same rate": SAME, "with it, its own rate": OWN}
QUARTER = float(np.log10(4 / 3))
"""A quarter less is what matters."""


def _part(what: str, metric: str, a: Mapping[str, Any], b: Any, **options: Any) -> Comparison:
    """A difference of logarithms, in which the first shall be less."""
    rule: dict[str, Any] = {"claim": "less", "effect": QUARTER, "diverged": "highest"} | options
    return compared(what, "inputs", metric=metric, a=a, b=b, own=("rate",), **rule)


def _sided(what: str, metric: str, a: Mapping[str, Any], view: str) -> Comparison:
    """One view of the runs with batch norm against the runs without, for which both views are the same."""
    return _part(what, f"{metric}_{view}", a, PLAIN)


_STEP = "log10 of how far a step moves the last layer's inputs"
_DRIFT = "log10 of the drift of their percentiles from first to last look"
_STEADY = [
    _sided(f"{_STEP}: behind scale and shift, with less without, one rate", "step", SAME, "after"),
    _sided(f"{_STEP}: behind scale and shift, with less without, each at its own rate", "step", OWN, "after"),
    _sided(f"{_STEP}: before the normalization, with less without, one rate", "step", SAME, "before"),
    _sided(f"{_DRIFT}: behind scale and shift, with less without, one rate", "drift", SAME, "after"),
    _sided(f"{_DRIFT}: before the normalization, with less without, one rate", "drift", SAME, "before"),
    *(
        _part(
            f"log10 of the change of {name} by a step, last quarter of the training over first",
            name,
            OWN,
            0.0,
            effect=float(np.log10(2)),
        )
        for name in ("scale", "shift")
    ),
    _part(
        "largest eigenvalue of the normalized units' correlations (1 if white, 1.6 by chance)",
        "top",
        OWN,
        4.0,
        claim="greater",
        effect=0.0,
    ),
    _part(
        "Kolmogorov's distance of normalized units from normal, less that of normal numbers",
        "normal",
        OWN,
        0.02,
        claim="greater",
        effect=0.0,
    ),
]
_EARLIER = "log10 of how far a step of the earlier layers moves a layer's inputs"
_DEPENDS = [
    _sided(f"{_EARLIER}: behind scale and shift, with less without, one rate", "earlier", SAME, "after"),
    _sided(f"{_EARLIER}: before the normalization, with less without, one rate", "earlier", SAME, "before"),
    _part(f"{_EARLIER}: with batch norm, behind less before", "within", SAME, 0.0),
    _sided(f"{_EARLIER}: behind, with less without, each at its own rate", "earlier", OWN, "after"),
    _sided("the same of single examples: behind, with less without, one rate", "examples", SAME, "after"),
]


def draw_percentiles(measured: Mapping[str, Any]) -> Any:
    """Percentiles of one unit's input over the steps of a run, as figures 1b and c of the paper."""
    from jnorm import plots

    shown = (
        ("without batch norm", PLAIN, 0),
        ("with it, before normalization", SAME, 0),
        ("with it, behind scale and shift", SAME, 1),
    )
    with plots.style():
        figure, panels = plots.figure(1, 3, size=(7.4, 2.7))
        for axes, (title, arm, view) in zip(panels, shown, strict=True):
            run = drawing.values(measured["inputs"], "seen_percentiles", arm)[0][:, view]
            for unit in range(2):
                color = plots.PALETTE[unit]
                axes.fill_between(measured["steps"], run[:, 0, unit], run[:, 2, unit], color=color, alpha=0.18, lw=0)
                axes.plot(measured["steps"], run[:, 1, unit], color=color, label=f"unit {unit + 1}")
            axes.set(xlabel="step", title=title)
        panels[0].set_ylabel("input of a unit of the last layer")
        plots.legend(
            figure, panels[0], title="lines: median; bands: 15th to 85th percentile; one run, one rate for all"
        )
    return figure


def draw_steps(measured: Mapping[str, Any]) -> Any:
    """How far a step of the earlier layers moves the inputs of a layer, over the steps."""
    from jnorm import plots

    lines = (
        ("without batch norm", PLAIN, 0, "-"),
        ("with it, before normalization", SAME, 0, "--"),
        ("with it, behind scale and shift", SAME, 1, "-."),
    )
    with plots.style():
        figure, axes = plots.figure(size=(4.4, 3.2))
        for i, (label, arm, view, dash) in enumerate(lines):
            runs = drawing.values(measured["inputs"], "seen_earlier", arm)[:, :, view]
            low, middle, high = np.quantile(runs, [0.1, 0.5, 0.9], axis=0)
            axes.fill_between(measured["steps"], low, high, color=plots.PALETTE[i], alpha=0.15, linewidth=0)
            axes.plot(measured["steps"], middle, dash, color=plots.PALETTE[i], label=label)
        axes.set(xlabel="step", ylabel="distance, in deviations", yscale="log", title="A step of the earlier layers")
        plots.legend(figure, axes)
    return figure


CLAIMS = (
    Claim(
        id="N13",
        statement="Batch norm steadies the distribution of each layer's inputs while a network trains.",
        measured="Inputs of the last of three sigmoid layers, of 256 examples, before the normalization and behind "
        "scale and shift: how far a step moves each unit's distribution (Wasserstein, in its standard deviations), and "
        "how far the 15th, 50th and 85th percentiles drift; whether scale and shift settle; that normalization repairs "
        "means and variances, but neither correlations nor the form of the distribution",
        parts=[
            *_STEADY,
            Number("largest distance of a normalized unit's mean from 0, variance from 1", "off", high=0.01),
            Number("largest change of a correlation by the normalization", "turned", high=1e-3, because="float32"),
        ],
        measure=_trained,
        draw=draw_percentiles,
        caption="Percentiles of the inputs of two units of the last hidden layer over the steps of one run, as in "
        "figure 1 of the batch norm paper: without batch norm, and with it before the normalization and behind scale "
        "and shift. A flat band is a distribution that stays.",
    ),
    Claim(
        id="D7",
        statement="Batch norm makes later layers depend less on earlier ones.",
        measured="How far a step of the layers before it, and of these alone, moves the inputs of the second and third "
        "of three sigmoid layers: their distribution, unit by unit (Wasserstein), and the single examples, in standard "
        "deviations; before the normalization and behind scale and shift",
        parts=_DEPENDS,
        measure=_trained,
        draw=draw_steps,
        caption="How far the step of all earlier layers moves the distribution of a layer's inputs, in its own "
        "standard deviations, over the steps of training, all at one rate. Lines are medians, bands hold the middle "
        "80 % of the runs.",
    ),
)
