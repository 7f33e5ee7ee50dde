"""Two models compared to tell why one of them has a high training loss, on cases where the answer was planted."""

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
from experiments.claims.deep import deep, scaled
from experiments.claims.training import scores
from jnorm.activations import relu, sigmoid
from jnorm.train.loop import Report


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the hidden layers.
        depth: Hidden layers of the larger model; the simple one has one.
        examples: To train on.
        epochs: Of training.
        rate: Learning rate.
    """

    units: int = 64
    depth: int = 8
    examples: int = 640
    epochs: int = 20
    rate: float = 0.05


QUICK = Config(units=8, depth=3, examples=64, epochs=2)
MARGIN = 0.2  # of the mean cross-entropy, in nats
LOST = 10.0  # what the loss of a training counts as once it has diverged
FAILED, WEAK, NEITHER = "failed optimization", "weak model", "neither"


@dataclass(frozen=True)
class Case:
    """A simple model, a larger one, and what was planted.

    Attributes:
        truth: The right diagnosis.
        smooth: Whether both models have sigmoids in the place of relu.
        gain: Factor of the weights between the larger model's hidden layers.
        kept: Hidden units that the simple model may use.
        straight: Whether these have no activation.
        either: Whether the target is if one of two features is above its median and the other is not, in the place of
            the class.
    """

    truth: str
    smooth: bool = False
    gain: float = 1.0
    kept: float = 1e6
    straight: bool = False
    either: bool = False


CASES = {
    "sigmoids": Case(FAILED, smooth=True),
    "weights five times too small": Case(FAILED, gain=0.2),
    "two hidden units": Case(WEAK, kept=2.0),
    "no activation, either or": Case(WEAK, straight=True, either=True),
    "nothing planted": Case(NEITHER),
}


def diagnosis(simple: np.ndarray, larger: np.ndarray, *, margin: float = MARGIN) -> np.ndarray:
    """What the curves ``[..., epochs]`` of training losses say of two models, the larger of which can do all that the
    simple one can.

    Where the larger one ends higher, its optimization failed: it could be as good as the simple one. Where it ends
    lower, the simple one was too weak a model. What counts is the median of the last quarter of the epochs.

    >>> fall = np.linspace(2.3, 0.3, 12)
    >>> diagnosis(np.stack([fall, fall, fall]), np.stack([fall + 0.5, fall - 0.3, fall])).tolist()
    ['failed optimization', 'weak model', 'neither']
    """
    apart = _late(larger) - _late(simple)
    return np.select([apart > margin, apart < -margin], [FAILED, WEAK], NEITHER)


def _late(curve: Any) -> Any:
    late = curve[..., -max(curve.shape[-1] // 4, 1) :]
    return (jnp if isinstance(curve, jax.Array) else np).median(late, -1)


def _either(x: jax.Array) -> jax.Array:
    """Whether one of two features is above its median and the other is not, which no straight border tells."""
    features = x[:, jnp.array([x.shape[1] // 3, 2 * x.shape[1] // 3])]
    above = features > jnp.median(features, 0)
    return (above[:, 0] != above[:, 1]).astype(int)


def cases(config: Config, setup: Setup) -> dict[str, Any]:
    """Both models of each case, and the share of seeds whose curves are diagnosed rightly."""
    table = {name: jnp.array([getattr(case, name) for case in CASES.values()]) for name in _VALUES}

    def train(key: jax.Array, data: Any, *, case: Any) -> dict[str, jax.Array]:
        of = {name: values[case] for name, values in table.items()}
        parts = {part: (x, jnp.where(of["either"], _either(x), y)) for part, (x, y) in data.items()}

        def bent(z: jax.Array) -> jax.Array:
            return jnp.where(of["smooth"], sigmoid(z), relu(z))

        def simple(z: jax.Array) -> jax.Array:
            return jnp.where(jnp.arange(config.units) < of["kept"], jnp.where(of["straight"], z, bent(z)), 0.0)

        between = scaled(of["gain"] * jnp.where(of["smooth"], 1.0, 2**0.5))
        found = {}
        for name, phi, depth in (("simple", simple, 1), ("larger", bent, config.depth)):
            network = deep(phi, between, inputs, classes, units=config.units, depth=depth, first=scaled())
            sizes = {"epochs": config.epochs, "batch_size": 32, "report": Report(["train", "test"], curves=["train"])}
            curve = scores(key, parts, network, optax.sgd(config.rate), **sizes)["curve_train_loss"]
            found[name] = jnp.where(jnp.isfinite(curve), curve, LOST)
        return found | {"apart": _late(found["larger"]) - _late(found["simple"])}

    loaded = sets(setup)
    data = {"train": tuple(a[: config.examples] for a in loaded.parts["train"]), "test": loaded.parts["test"]}
    inputs, classes = data["train"][0].shape[1], loaded.classes
    arms = [{"case": number} for number in range(len(CASES))]
    trained = swept(train, setup, "cases", TOLD, grid=arms, integers=["case"], shared=data)
    found: dict[str, Any] = {"cases": trained}
    for number, (name, case) in enumerate(CASES.items()):
        curves = {model: drawing.values(trained, model, {"case": number}) for model in ("simple", "larger")}
        found[f"right {name}"] = float(np.mean(diagnosis(curves["simple"], curves["larger"]) == case.truth))
        found |= {f"{model} {name}": np.median(curve, 0) for model, curve in curves.items()}
    return found


_VALUES = ("smooth", "gain", "kept", "straight", "either")
_DIRECTION = {FAILED: "greater", WEAK: "less", NEITHER: "equal"}
TOLD = [
    *(
        compared(
            f"{name} ({case.truth}): training loss of the larger model less that of the simple one",
            "cases",
            _DIRECTION[case.truth],
            MARGIN,
            metric="apart",
            a={"case": number},
        )
        for number, (name, case) in enumerate(CASES.items())
    ),
    *(Number(f"{name}: share of runs that are diagnosed rightly", f"right {name}", low=0.9) for name in CASES),
]


def draw(measured: Mapping[str, Any]) -> Any:
    """Training losses of the simple and the larger model, a panel a case."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, len(CASES), size=(9.6, 2.6), sharey=True)
        for axes, (name, case) in zip(panels, CASES.items(), strict=True):
            for model, color, dash in (("simple", plots.PALETTE[1], "--"), ("larger", plots.PALETTE[0], "-")):
                curve = measured[f"{model} {name}"]
                axes.plot(np.arange(1, len(curve) + 1), curve, dash, color=color, label=f"{model} model")
            axes.set_title(f"{name}:\n{case.truth}", fontsize=7.5)
            axes.set(xlabel="epoch")
        panels[0].set_ylabel("training loss (nats)")
        plots.legend(figure, panels[0], title="median of the runs")
    return figure


CLAIMS = (
    Claim(
        id="L17",
        statement="Comparing two models tells failed optimization from a weak model: a deeper network with the higher "
        "training loss failed to optimize.",
        measured="Training curves of a network of one hidden layer and of one of eight, diagnosed by a function of "
        "both, where failed optimization, a weak model, or nothing was planted",
        parts=TOLD,
        measure=cases,
        draw=draw,
        caption="Training losses of a simple model and of a larger one, which can do all that the simple one can. A "
        "larger model that ends higher failed to optimize, as no model that is too weak does. One that ends lower "
        "shows that the simple model was too weak.",
    ),
)
