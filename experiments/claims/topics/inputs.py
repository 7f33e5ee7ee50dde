"""Scales of inputs: what they do to a linear model's gradients and steps, and what standardizing repairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, runs, swept, tuned
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.linear_models import (
    EVERY,
    around_optimum,
    data_of,
    gradient_sizes,
    learning_order,
    outer_product,
    rank_correlation,
    spectrum,
    steps_to,
)
from experiments.claims.training import averages


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        steps: Most steps of a linear model.
        ill: The same of data whose features are on different scales.
        rates: Learning rates that are tried for each arm.
        starts: Random starts around an optimum, for each seed.
    """

    steps: int = 2048
    ill: int = 8192
    rates: tuple[float, ...] = tuple(float(f"{10 ** (e / 2):.2g}") for e in range(-14, 4))
    starts: int = 100


QUICK = Config(steps=32, ill=32, rates=(1e-6, 0.1), starts=10)
ILL, WELL = ("wine", "breast_cancer"), ("digits", "one-hot")
WORDS = {"wine": "wine", "breast_cancer": "breast cancer", "digits": "digits", "one-hot": "one-hot wine"}
METHODS = {False: "SGD", True: "Adam"}
ENOUGH = {"wine": 0.5, "breast_cancer": 0.5, "digits": 0.1, "one-hot": 0.1}
"""Shares of the loss by chance at which steps are counted, to which all arms come."""


def scales(config: Config, setup: Setup) -> dict[str, Any]:
    """Linear models on raw and on standardized inputs."""
    data = {name: data_of(setup, name) for name in (*ILL, *WELL)}
    classes = {name: int(part["y"].max()) + 1 for name, part in data.items()}
    found: dict[str, Any] = {"exact": outer_product(data["wine"], classes["wine"])}
    for name, part in data.items():
        logs = {how: spectrum(part[how]) for how in ("raw", "standardized")}
        sizes = {how: gradient_sizes(part[how], part["y"], classes[name]) for how in logs}
        found[f"spectrum, {name}"] = np.ptp(logs["raw"]) - np.ptp(logs["standardized"])
        found[f"gradient, {name}"] = np.ptp(sizes["raw"]) - np.ptp(sizes["standardized"])
        found |= {f"eigenvalues, {name}, {how}": values for how, values in logs.items()}

    def enough(name: str) -> dict[str, Any]:
        most = config.ill if name in ILL else config.steps
        return {"share": ENOUGH[name], "most": most, "classes": classes[name]}

    def one(key: jax.Array, data: Any, *, name: str, adam: Any, own: Any, rate: Any) -> dict[str, Any]:
        part = data[name]
        x = jnp.where(own, part["standardized"], part["raw"])
        return {"log2_steps": steps_to(key, x, part["y"], adam=adam, rate=rate, **enough(name))[0]}

    def both(key: jax.Array, data: Any, *, name: str, adam: Any, raw: Any, own: Any) -> dict[str, Any]:
        part = data[name]
        pairs = [(part["raw"], raw), (part["standardized"], own)]
        steps = [steps_to(key, x, part["y"], adam=adam, rate=rate, **enough(name)) for x, rate in pairs]
        size = jnp.std(part["raw"], 0)
        raw_share, own_share = (jnp.linalg.norm(weights[:-1], axis=1) for _, weights in steps)
        order = jnp.zeros(())
        if name in ILL:
            order = rank_correlation(size, size * raw_share) - rank_correlation(size, own_share)
        kept = {"slowdown": steps[0][0] - steps[1][0], "raw_steps": steps[0][0], "own_steps": steps[1][0]}
        return kept | {"order": order}

    arms = [{"name": n, "adam": adam, "own": own} for n in data for adam in METHODS for own in (False, True)]
    names = [f"{a['name']}, {METHODS[a['adam']]}, {'standardized' if a['own'] else 'raw'}" for a in arms]
    options: dict[str, Any] = {"static": ("name",), "shared": data}
    tuning: dict[str, Any] = {"on": "log2_steps", "best": "lowest", "seeds": 2, "names": names}
    tuning["data"] = "the training set, by steps,"
    chosen = tuned(one, setup, "steps", arms, {"rate": config.rates}, **tuning, **options)
    rates = [arm["rate"] for arm in chosen.arms]
    grid = [arm | {"raw": r, "own": o} for arm, r, o in zip(arms[::2], rates[::2], rates[1::2], strict=True)]
    trained = swept(both, setup, "steps", SCALES, grid=grid, **options)
    kinds = [{"name": arm["name"], "adam": arm["adam"]} for arm in arms[::2]]
    for what in ("raw_steps", "own_steps"):
        found[f"mean {what}"] = averages(trained, what, kinds)[0].reshape(len(data), len(METHODS))
    for name in ILL:
        around = around_optimum(data[name], classes[name], seeds=setup.seeds, starts=config.starts)
        found |= {f"{what}, {name}": arms for what, arms in around.items()}
    return found | {
        "steps": trained,
        "learned": runs(learning_order(setup.seeds, 2 * config.steps)),
        "notes": chosen.budget,
    }


def draw_scales(measured: Mapping[str, Any]) -> Any:
    """The spectrum of each data set, and the steps by data set and method."""
    from jnorm import plots

    names = (*ILL, *WELL)
    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.2, 3.0))
        for i, name in enumerate(names):
            for j, how in enumerate(("raw", "standardized")):
                values = 10 ** measured[f"eigenvalues, {name}, {how}"]
                left.plot(values, np.full(len(values), i + 0.2 * j), "|", color=plots.PALETTE[j], markersize=8)
                steps = 2.0 ** measured[f"mean {'own' if j else 'raw'}_steps"][i]
                for k, method in enumerate(METHODS.values()):
                    label = f"{method}, {how}" if i == 0 else None
                    filled = (
                        {"color": plots.PALETTE[j]} if k == 0 else {"facecolor": "none", "edgecolor": plots.PALETTE[j]}
                    )
                    right.barh(i + 0.2 * (2 * k + j) - 0.3, steps[k], 0.17, label=label, **filled)
        for axes in (left, right):
            axes.invert_yaxis()
        left.set_yticks(range(len(names)), [WORDS[name] for name in names])
        share = {0.5: "half", 0.1: "a tenth"}
        right.set_yticks(range(len(names)), [f"{WORDS[name]},\nto {share[ENOUGH[name]]}" for name in names])
        left.set(xscale="log", xlabel="eigenvalue of the Hessian", title="Curvatures of a linear model")
        right.set(
            xscale="log",
            xlim=(1, None),
            xlabel="steps (geometric mean)",
            title="Steps to a share of the loss by chance",
        )
        right.set_xticks([1, 10, 100, 1000, 10000], ["1", "10", "100", "1000", "10000"])
        plots.legend(figure, right)
    return figure


def _steps(what: str, claim: str, effect: float, a: dict[str, Any], b: Any, metric: str = "slowdown") -> Any:
    diverged = "highest" if metric == "slowdown" else 0.0
    return compared(what, "steps", claim, effect, metric=metric, a=a, b=b, own=("raw", "own"), diverged=diverged)


SCALES = (
    Number("gradient of a weight matrix against x delta^T, relative", "exact", high=1e-14, because="float64"),
    *(
        Number(f"log10 of the {what}, raw over standardized, {WORDS[name]}", f"{key}, {name}", **ends)
        for what, key in (("condition number but zeros", "spectrum"), ("range of gradients by feature", "gradient"))
        for names, ends in ((ILL, {"low": 1.0}), (WELL, {"low": -1.0, "high": 1.0}))
        for name in names
    ),
    *(
        _steps(
            f"SGD, {WORDS[name]}: log2 of steps, raw less standardized", claim, 1.0, {"name": name, "adam": False}, 0.0
        )
        for claim, names in (("greater", ILL), ("equal", WELL))
        for name in names
    ),
    *(
        _steps(
            f"{WORDS[name]}: that difference, Adam less SGD",
            "less",
            1.0,
            *({"name": name, "adam": a} for a in (True, False)),
        )
        for name in ILL
    ),
    *(
        _steps(
            f"{WORDS[name]}: rank correlation of a feature's size and its share after {EVERY} steps of SGD, raw less "
            "standardized",
            "greater",
            0.2,
            {"name": name, "adam": False},
            0.0,
            "order",
        )
        for name in ILL
    ),
    compared(
        "equally useful features: rank correlation of size and the step when half is learned",
        "learned",
        "less",
        0.0,
        b=-0.9,
    ),
    *(
        compared(
            f"{WORDS[name]}: {words}, standardized less raw",
            f"{key}, {name}",
            "greater",
            0.1,
            a={"inputs": "standardized"},
            b={"inputs": "raw"},
        )
        for key, words in (
            ("cosine", "cosine of descent and the way to the optimum"),
            ("size", "correlation of gradient size and distance"),
        )
        for name in ILL
    ),
)
CLAIMS = (
    Claim(
        id="S1",
        statement="Inputs on different scales make gradients ill-scaled and training slow; standardizing repairs it. "
        "Images and one-hot inputs hardly need it, large features are learned first, adaptive optimizers soften it.",
        measured="Linear models on wine, breast cancer, digits and one-hot wine (quartiles), raw and standardized: "
        "spectrum of the Hessian, range of the gradient over features, steps to a tenth of the loss by chance (wine "
        "and breast cancer: to half) with SGD and Adam at the best rate of each, order of learning, cosine between "
        "descent and the way to the optimum, gradient size against distance, dL/dW = x delta^T",
        parts=SCALES,
        measure=scales,
        draw=draw_scales,
        caption="Eigenvalues of a linear model's Hessian on raw and on standardized inputs, and steps of SGD and "
        "Adam at the best rate for each. Where the marks of one row spread over many powers of ten, one rate cannot "
        "serve all directions. Colours are the same on both sides; steps are counted in fours.",
        mended="On raw inputs neither SGD on wine and breast cancer nor Adam on breast cancer came to a tenth of the "
        "loss by chance in 2048 steps, so that their rates were the first of those tried, and what Adam saves was the "
        "difference of two ends of runs. On these two data sets steps are now counted to half of the loss by chance "
        "in runs of up to 8192 steps, where all arrive.",
    ),
)
