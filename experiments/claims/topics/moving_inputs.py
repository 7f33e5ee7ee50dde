"""Inputs that keep moving, and rates that accumulate: what is left of Adagrad's, with and without batch norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing
from experiments.claims.arms import compared, few, sets, swept, tuned
from experiments.claims.claim import Claim, Comparison, Setup
from experiments.claims.landscapes import selected
from experiments.claims.norms import switched
from experiments.claims.starts import layer
from jnorm import losses
from jnorm.activations import relu
from jnorm.nn import networks
from jnorm.train import evaluation


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        examples: To train on; few, so that accuracy is not at its ceiling.
        units: Of both hidden layers.
        moving: Steps in which the inputs move.
        still: Steps after that.
        period: Steps of one swing.
        batch: Examples in a step.
        rates: Learning rates among which arms choose.
    """

    examples: int = 400
    units: int = 32
    moving: int = 200
    still: int = 200
    period: float = 25.0
    batch: int = 50
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


QUICK = Config(examples=100, units=8, moving=4, still=4, rates=(0.03,))
FAR = 3.0
"""How far every feature is moved at most, of inputs whose variance is 1."""
METHODS = {
    "Adagrad": lambda rate: optax.adagrad(rate, initial_accumulator_value=0.0, eps=1e-8),
    "RMSProp": optax.rmsprop,
}


def offset(key: jax.Array, count: Any, features: int, *, moving: int, period: float) -> jax.Array:
    """Where the inputs of a step are: features swing with phases of their own, and rest at 0 after ``moving`` steps."""
    phases = jax.random.uniform(key, (features,))
    return jnp.where(count < moving, FAR * jnp.sin(2 * jnp.pi * (count / period + phases)), 0.0)


def left(squares: jax.Array) -> jax.Array:
    """log10 of the median over parameters of what Adagrad multiplies the rate by, 1 over the root of its sum."""
    return -jnp.log10(jnp.median(squares) + 1e-16) / 2


def moved(config: Config, setup: Setup) -> dict[str, Any]:
    """Trainings with inputs that move at first or not, with and without batch norm."""
    data = few(sets(setup), config.examples, spared=900)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)

    def train(key: jax.Array, parts: Any, *, method: Any, normed: Any, moves: Any, own: Any, rate: Any) -> Any:
        del own  # whether the rate is the best one for inputs that move as these do
        x, y = parts["train"]
        network = networks.mlp(widths, layer(relu, normalizer=switched(normed)))
        begin, go, phases = jax.random.split(key, 3)
        optimizer = selected(method, *(make(rate) for make in METHODS.values()))

        def step(carried: Any, given: Any) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            (params, state, memory), (key, count) = carried, given
            at = jax.random.randint(key, (config.batch,), 0, len(y))
            away = moves * offset(phases, count, inputs, moving=config.moving, period=config.period)

            def loss(params: Any) -> tuple[jax.Array, Any]:
                outputs, after = network.apply(params, state, x[at] + away, train=True)
                return jnp.mean(losses.softmax_cross_entropy(outputs, y[at])), after

            (value, after), slope = jax.value_and_grad(loss, has_aux=True)(params)
            change, memory = optimizer.update(slope, memory, params)
            squares = memory[0][0].sum_of_squares[0]["kernel"]
            return (optax.apply_updates(params, change), after, memory), (value, left(squares))

        params, state = network.init(begin)
        count = config.moving + config.still
        given = jax.random.split(go, count), jnp.arange(count)
        carry = params, state, optimizer.init(params)
        (params, _, _), (curve, rates) = jax.lax.scan(step, carry, given)
        exact = evaluation.fresh_state(key, network, params, x)  # running averages would remember where inputs were
        accurate = lambda part: jnp.mean(
            evaluation.accuracy(network.apply(params, exact, parts[part][0], train=False)[0], parts[part][1])
        )
        scores = {f"{part}_accuracy": accurate(part) for part in ("dev", "test")}
        return scores | {"left": rates[config.moving - 1], "rates": rates, "loss": curve}

    arms = [_arm(method, normed, moves) for method in METHODS for normed in (0.0, 1.0) for moves in (0.0, 1.0)]
    names = [
        f"{method}, {norm}, {kind}"
        for method in METHODS
        for norm in ("plain", "batch norm")
        for kind in ("still", "moving")
    ]
    options: dict[str, Any] = {"integers": ("method",), "shared": data.parts}
    chosen = tuned(
        train, setup, "moving", arms, {"rate": config.rates}, names=names, seeds=setup.tuning // 2, **options
    )
    same = [
        moving | {"own": 0.0, "rate": still["rate"]}
        for still, moving in zip(chosen.arms[::2], chosen.arms[1::2], strict=True)
    ]
    result = swept(train, setup, "moving", PARTS, grid=[*chosen.arms, *same], **options)
    return {"moving": result, "stops": config.moving, "notes": chosen.budget}


def _arm(method: str, normed: float, moves: float, own: float = 1.0) -> dict[str, Any]:
    return {"method": list(METHODS).index(method), "normed": normed, "moves": moves, "own": own}


def _against(
    what: str, claim: str, effect: float, metric: str, normed: float, *, method: str, own: float
) -> Comparison:
    """Inputs that move less inputs that do not."""
    arms: dict[str, Any] = {"a": _arm(method, normed, 1.0, own), "b": _arm(method, normed, 0.0)}
    how: dict[str, Any] = {"diverged": 0.1} if metric == "test_accuracy" else {"diverged": "lowest", "method": "sign"}
    return compared(what, "moving", claim, effect, metric=metric, own=("rate",), **arms, **how)


_LEFT = "log10 of the effective rate left when the inputs stop, less that of inputs that never moved"
_SCORE = "test accuracy in the end, less that of inputs that never moved"
PARTS = [
    _against(f"{_LEFT}: without", "less", float(np.log10(2)), "left", 0.0, method="Adagrad", own=0.0),
    _against(f"{_LEFT}: with batch norm", "equal", float(np.log10(1.5)), "left", 1.0, method="Adagrad", own=0.0),
    _against(f"{_SCORE}: without", "less", 0.01, "test_accuracy", 0.0, method="Adagrad", own=0.0),
    _against(f"{_SCORE}: without, its own rate", "less", 0.01, "test_accuracy", 0.0, method="Adagrad", own=1.0),
    _against(f"{_SCORE}: with batch norm", "equal", 0.01, "test_accuracy", 1.0, method="Adagrad", own=0.0),
    _against(
        f"{_SCORE}: without, RMSProp, which forgets", "equal", 0.01, "test_accuracy", 0.0, method="RMSProp", own=0.0
    ),
]


def draw(measured: Mapping[str, Any]) -> Any:
    """The effective rate over steps, and the accuracy in the end."""
    from jnorm import plots

    with plots.style():
        figure, (first, second) = plots.figure(1, 2, size=(7.4, 3.0))
        scores = {}
        for i, (normed, norm) in enumerate(((0.0, "no norm"), (1.0, "batch norm"))):
            for moves, kind, dash in ((0.0, "still", ":"), (1.0, "moving", "-")):
                arm = _arm("Adagrad", normed, moves, 1.0 - moves)
                rates = 10 ** np.median(drawing.values(measured["moving"], "rates", arm), 0)
                label = f"{norm}, {kind}"
                first.plot(np.arange(1, len(rates) + 1), rates, dash, color=plots.PALETTE[i], label=label)
                scores[f"Adagrad, {label}"] = 100 * drawing.values(measured["moving"], "test_accuracy", arm)
        for moves, kind in ((0.0, "still"), (1.0, "moving")):
            arm = _arm("RMSProp", 0.0, moves, 1.0 - moves)
            scores[f"RMSProp, no norm, {kind}"] = 100 * drawing.values(measured["moving"], "test_accuracy", arm)
        first.axvline(measured["stops"], color="0.5", linewidth=0.8)
        first.set(xscale="log", yscale="log", xlabel="step", ylabel="effective rate, over the rate")
        first.xaxis.minorticks_off()
        first.set_title("What Adagrad has left")
        first.legend(loc="lower left", fontsize=7)
        drawing.dots(second, scores)
        second.set(xlabel="test accuracy (%)", title="In the end")
    return figure


CLAIMS = (
    Claim(
        id="N21",
        statement="Inputs whose distribution keeps moving make accumulated per-parameter rates (Adagrad) spend "
        "themselves on useless steps; with batch norm they do not.",
        measured="All features swing by 3 standard deviations for 200 steps, and rest for as many: what is left of "
        "Adagrad's rates in the first layer (median over parameters) when they come to rest, and test accuracy in the "
        "end, against inputs that never moved; with and without batch norm, at the rate that is best for inputs at "
        "rest and at one of its own; RMSProp, which forgets, beside it",
        parts=PARTS,
        measure=moved,
        draw=draw,
        caption="Left, what Adagrad multiplies its rate by in the first layer, the median over parameters and runs; at "
        "the grey line inputs that moved come to rest. Right, test accuracy in the end, a dot a run, black the mean "
        "with its 95 % interval; all at the rate that is best for inputs at rest.",
    ),
)
