"""Which statistics normalize: those of the training set for all data, and frozen ones at test time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing
from experiments.claims.arms import compared, sets, swept
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.starts import layer
from jnorm import losses
from jnorm.activations import relu
from jnorm.data import standardize
from jnorm.nn import batch_norm, networks
from jnorm.train import evaluation, loop


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of hidden layers, two of them with batch norm, one where inputs alone are standardized.
        lengths: Epochs after which moving averages are compared with exact statistics, four of them.
        tabular_epochs: Of the network whose inputs are standardized.
        drawn: Test examples that are drawn for each shift.
    """

    units: int = 64
    lengths: tuple[int, int, int, int] = (1, 2, 5, 20)
    tabular_epochs: int = 10
    drawn: int = 100


QUICK = Config(units=8, lengths=(1, 1, 2, 2), tabular_epochs=1, drawn=30)
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of one of two classes in a test set."""
OFFSETS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""By how many standard deviations every feature of a test set is measured too large."""
ROUNDING = "float64"


def _right(predict: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(evaluation.accuracy(predict(x), y))


def shifted(config: Config, setup: Setup) -> dict[str, Any]:
    """Test sets of other classes and with other measurements, standardized by training and by their own statistics."""
    data = sets(setup, "breast_cancer")
    x = data.parts["train"][0]
    hidden = layer(relu)
    network = networks.mlp((x.shape[1], config.units, data.classes), hidden)
    run = loop.trainer(
        network,
        losses.softmax_cross_entropy,
        optax.sgd(0.1),
        epochs=config.tabular_epochs,
        batch_size=32,
        report=loop.Report([], keep_params=True),
    )

    def train(key: Any, parts: Any) -> dict[str, jax.Array]:
        found = run(key, parts)
        x, y = (jnp.concatenate([parts["dev"][i], parts["test"][i]]) for i in range(2))  # nothing was chosen on dev
        predict = lambda x: network.apply(found["params"], found["state"], x, train=False)[0]
        which, rows = jax.random.split(jax.random.fold_in(key, 1))
        common = jax.random.bernoulli(which).astype(y.dtype)  # the class that is common in the test set

        def both(x: jax.Array, y: jax.Array) -> jax.Array:
            own = standardize.apply(standardize.fit(x), x)
            return jnp.stack([_right(predict, x, y), _right(predict, own, y)])

        def of_classes(share: jax.Array) -> jax.Array:
            weights = jnp.where(y == common, share / jnp.sum(y == common), (1 - share) / jnp.sum(y != common))
            at = jax.random.choice(rows, len(y), (config.drawn,), p=weights)
            return both(x[at], y[at])

        def of_offset(offset: jax.Array) -> jax.Array:
            at = jax.random.choice(rows, len(y), (config.drawn,))
            return both(x[at] + offset, y[at])

        shares, offsets = (jax.vmap(f)(jnp.array(v)) for f, v in ((of_classes, SHARES), (of_offset, OFFSETS)))
        gain = lambda values, place: values[place, 0] - values[place, 1]
        return {
            "shares": shares,
            "offsets": offsets,
            "by_classes": gain(shares, SHARES.index(0.9)),
            "by_offset": gain(offsets, OFFSETS.index(1.0)),
        }

    return {"shifts": swept(train, setup, "shifts", [_CLASSES, _OFFSET], shared=data.parts)}


def _difference(what: str, quantity: str, claim: str, effect: float, metric: str) -> Any:
    """A part about a difference that every run measures by itself."""
    return compared(what, quantity, claim, effect, metric=metric, a={})


_CLASSES = _difference(
    "accuracy where nine in ten are of one class, training statistics less its own",
    "shifts",
    "greater",
    0.01,
    "by_classes",
)
_OFFSET = _difference(
    "accuracy where every feature is measured a standard deviation too large, training statistics less its own",
    "shifts",
    "greater",
    0.01,
    "by_offset",
)


def draw_shifted(measured: Mapping[str, Any]) -> Any:
    """Accuracy over the strength of both shifts."""
    from jnorm import plots

    panels_of = (
        ("shares", 100 * np.array(SHARES), "test examples of one class (%)", "Other classes"),
        ("offsets", np.array(OFFSETS), "every feature too large by (standard deviations)", "Other measurements"),
    )
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.2, 2.9), sharey=True)
        for axes, (name, x, label, title) in zip(panels, panels_of, strict=True):
            found = 100 * drawing.values(measured["shifts"], name, {})
            for i, (arm, mark) in enumerate((("training set's statistics", "o-"), ("test set's own", "s--"))):
                axes.plot(x, found[:, :, i].mean(0), mark, color=plots.PALETTE[i], markersize=3.5, label=arm)
            axes.set(xlabel=label, title=title)
        panels[0].set_ylabel("accuracy (%)")
        plots.legend(figure, panels[0])
    return figure


def frozen(config: Config, setup: Setup) -> dict[str, Any]:
    """Moving averages, exact statistics and those of a single example, after training of several lengths."""
    data = sets(setup)
    inputs = data.parts["train"][0].shape[1]
    widths = networks.rectangular(inputs, data.classes, units=config.units, depth=2)
    network = networks.mlp(widths, layer(relu, normalizer=batch_norm))

    def train(key: Any, parts: Any) -> dict[str, jax.Array]:
        x, y = (jnp.concatenate([parts["dev"][i], parts["test"][i]]) for i in range(2))  # nothing was chosen on dev

        def probe(params: Any, state: Any) -> dict[str, jax.Array]:
            exact = evaluation.fresh_state(key, network, params, parts["train"][0])
            alone = lambda x: jax.vmap(lambda one: network.apply(params, state, one[None], train=True)[0][0])(x)
            return {
                "moving": _right(lambda x: network.apply(params, state, x, train=False)[0], x, y),
                "exact": _right(lambda x: network.apply(params, exact, x, train=False)[0], x, y),
                "alone": _right(alone, x, y),
            }

        found = loop.trainer(
            network,
            losses.softmax_cross_entropy,
            optax.sgd(0.1),
            epochs=config.lengths[-1],
            batch_size=32,
            report=loop.Report([], probe=probe),
        )(key, parts)
        lag = found["probe_moving"] - found["probe_exact"]
        lags = {f"lag_{i}": lag[length - 1] for i, length in enumerate(config.lengths)}
        return found | lags | {"served": found["probe_moving"][-1] - found["probe_alone"][-1]}

    runs = swept(train, setup, "statistics", [_SERVED, *_LAGS], shared=data.parts)
    return {"statistics": runs, "alone": _alone(setup), "lengths": np.array(config.lengths)}


def _alone(setup: Setup) -> float:
    """How much the evaluated output of an example differs between a batch of one and a batch of all, in float64."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(setup.seeds.start), 3)
        network = networks.mlp((6, 8, 3), layer(relu, normalizer=batch_norm))
        params, state = network.init(keys[0])
        x = jax.random.normal(keys[1], (20, 6))
        _, state = network.apply(params, state, 3 * jax.random.normal(keys[2], (50, 6)) + 1, train=True)
        evaluate = lambda x: network.apply(params, state, x, train=False)[0]
        return float(jnp.max(jnp.abs(evaluate(x) - jnp.concatenate([evaluate(one[None]) for one in x]))))


_SERVED = _difference(
    "accuracy of single examples, frozen statistics less their own", "statistics", "greater", 0.01, "served"
)
_LAGS = [
    _difference(f"accuracy after {epochs}, moving average less exact", "statistics", "equal", 0.01, f"lag_{i}")
    for i, epochs in enumerate(("1 epoch", "2 epochs", "5 epochs", "20 epochs"))
]


def draw_frozen(measured: Mapping[str, Any]) -> Any:
    """Accuracy by all three statistics over the length of training."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(size=(4.0, 3.1))
        arms = (
            ("exact", "-", "exact, of the training set"),
            ("moving", "o--", "moving average"),
            ("alone", "s:", "single example's own"),
        )
        for i, (name, mark, label) in enumerate(arms):
            found = 100 * drawing.values(measured["statistics"], f"probe_{name}", {})
            epochs = np.arange(1, found.shape[1] + 1)
            axes.plot(epochs, found.mean(0), mark, color=plots.PALETTE[i], markersize=3, label=label)
        axes.set(xscale="log", xlabel="epochs of training", ylabel="accuracy, one by one (%)", ylim=(0, 101))
        shown = sorted(set(measured["lengths"].tolist()))
        axes.set_xticks(shown, [str(n) for n in shown])
        axes.minorticks_off()
        plots.legend(figure, axes)
    return figure


CLAIMS = (
    Claim(
        id="D4",
        statement="Dev and test sets should be standardized with the training set's statistics, not with their own.",
        measured="Accuracy on breast cancer, training statistics less the test set's own, under two shifts: nine in "
        "ten of the test examples are of one class; every feature is measured a standard deviation too large",
        parts=[_CLASSES, _OFFSET],
        measure=shifted,
        draw=draw_shifted,
        caption="Accuracy of a network on test sets that were standardized by the training set's statistics and by "
        "their own. Left, the test set holds other shares of the two classes; right, its features are measured too "
        "large. Own statistics take any shift for one of the measurements.",
    ),
    Claim(
        id="S7",
        statement="At test time frozen statistics serve single examples: moving averages do as well as exact "
        "statistics over the training set.",
        measured="Outputs of examples one by one against a batch; accuracy on single examples by frozen "
        "statistics against their own, and by moving averages against exact ones after 1, 2, 5 and 20 epochs",
        parts=[
            Number("frozen: an example alone less in a batch", "alone", high=1e-12, because=ROUNDING),
            _SERVED,
            *_LAGS,
        ],
        measure=frozen,
        draw=draw_frozen,
        caption="Accuracy on examples that come one by one, over the length of training. Exact statistics are "
        "those of the whole training set under the weights at that moment; moving averages remember earlier weights. "
        "By its own statistics every example looks the same.",
    ),
)
