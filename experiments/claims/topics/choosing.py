"""Choosing among configurations: on a small subset of the data, and on a dev set from another source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims.arms import compared, sets, swept
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages, drawn, kernels, scores
from jnorm import activations, initializers, losses
from jnorm.data import augment
from jnorm.nn import dropout, networks
from jnorm.nn.layers import Layer
from jnorm.train import loop


@dataclass(frozen=True)
class Config:
    """Sizes of one-layer relu networks.

    Attributes:
        units: Hidden units.
        configurations: How many there are to choose from, drawn at random once and for all.
        passes: Passes over each subset.
        epochs: Passes over the training set where sources differ.
        batch_size: Examples in a step.
        chunk: Runs side by side.
    """

    units: int = 32
    configurations: int = 12
    passes: int = 8
    epochs: int = 8
    batch_size: int = 30
    chunk: int = 2


QUICK = Config(units=8, configurations=4, passes=1, epochs=1, chunk=1)
ROWS = 960  # examples of a whole training set
SUBSETS = (60, 120, 240, 960)
SMALL = 240  # of which the claim is made
SHARE = 0.1  # of the target in what is mixed
DEGREES, NOISE = 10.0, 0.5  # by which the target is turned, and the variance of its noise


def configurations(config: Config) -> dict[str, jax.Array]:
    """Rates and strengths on a log scale, dropout and noise on a linear one."""
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(4, config.configurations))
    values = {"rate": 10 ** (-4 + 3 * draws[0]), "l2": 10 ** (-5 + 4 * draws[1])}
    values |= {"dropped": 0.8 * draws[2], "noise": 2 * draws[3]}
    return {name: jnp.asarray(some, jnp.float32) for name, some in values.items()}


def _trained(key: jax.Array, data: Any, parts: Any, config: Config, chosen: Any, length: Any, **options: Any) -> Any:
    """Scores of a configuration after ``length`` steps."""
    layer = Layer(activations.relu, initializers.he_normal(), dropout=partial(dropout.dropout, rate=chosen["dropped"]))
    network = networks.mlp((data["train"][0].shape[1], config.units, data["classes"].shape[0]), layer)
    optimizer = optax.adam(lambda step: jnp.where(step < length, chosen["rate"], 0.0))
    penalty = lambda params: chosen["l2"] * losses.l2_penalty(params, where=kernels)
    return scores(key, parts, network, optimizer, batch_size=config.batch_size, penalty=penalty, **options)


def _ranks(values: jax.Array) -> jax.Array:
    """Ranks, those of equals averaged."""
    below = values[:, None] > values[None, :]
    same = values[:, None] == values[None, :]
    return jnp.sum(below, 1) + (jnp.sum(same, 1) - 1) / 2


def _agreement(a: jax.Array, b: jax.Array) -> jax.Array:
    """Spearman's rank correlation; 0 where all of one are equal."""
    a, b = (r - jnp.mean(r) for r in (_ranks(a), _ranks(b)))
    size = jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))
    return jnp.where(size > 0, jnp.sum(a * b) / jnp.where(size > 0, size, 1.0), 0.0)


def subsets(key: jax.Array, data: Any, *, config: Config) -> dict[str, Any]:
    """All configurations on subsets of each size, by as many passes; what the choice on each is worth on everything."""

    def one(count: jax.Array, chosen: Any) -> dict[str, jax.Array]:
        parts = {part: data[part] for part in ("dev", "test")} | {"train": drawn(key, data["train"], count, ROWS)}
        found = _trained(
            key, data, parts, config, chosen, config.passes * count / config.batch_size, epochs=config.passes
        )
        return {"dev": found["dev_accuracy"], "test": found["test_accuracy"]}

    over = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    found = over(jnp.array(SUBSETS, float), configurations(config))
    dev, test = found["dev"], found["test"][-1]
    agreement = jnp.stack([_agreement(some, dev[-1]) for some in dev])
    worth = jnp.stack([test[jnp.argmax(some)] for some in dev])
    small = SUBSETS.index(SMALL)
    return {"agreement": agreement, "worth": worth, "dev": dev, "average": jnp.mean(test)} | {
        "small agreement": agreement[small],
        "loss by choice": worth[-1] - worth[small],
        "gain by choice": worth[small] - jnp.mean(test),
    }


def elsewhere(key: jax.Array, data: Any, *, config: Config, fill: float) -> dict[str, Any]:
    """All configurations, trained on one source or on a mixture, and chosen on dev sets of each kind.

    The target source is the same kind of images, turned and noisy; configurations differ in the noise that they add
    while training, too.
    """
    side = round(data["train"][0].shape[1] ** 0.5)

    def target(key: jax.Array, x: jax.Array) -> jax.Array:
        turned = augment.rotated(x.reshape(-1, side, side), DEGREES, fill=fill).reshape(x.shape)
        return augment.noise(key, turned, NOISE)

    keys = jax.random.split(jax.random.fold_in(key, 2), 3)
    parts: dict[str, Any] = {"dev": data["dev"]}
    for name, of, own in (("target", "dev", keys[0]), ("test", "test", keys[1])):
        parts[name] = (target(own, data[of][0]), data[of][1])
    few = lambda x: (jnp.arange(len(x)) % round(1 / SHARE) == 0)[:, None]
    x, y = drawn(key, data["train"], ROWS, ROWS)
    blend = jnp.where(few(x), target(keys[2], x), x)
    parts["mixed"] = (jnp.where(few(data["dev"][0]), parts["target"][0], data["dev"][0]), data["dev"][1])

    def one(mixed: jax.Array, chosen: Any) -> dict[str, jax.Array]:
        sources = parts | {"train": (jnp.where(mixed > 0, blend, x), y)}
        made = lambda key, x: augment.noise(key, x, chosen["noise"])
        length = config.epochs * ROWS / config.batch_size
        options = {"epochs": config.epochs, "augment": made, "report": loop.Report(tuple(sources))}
        found = _trained(key, data, sources, config, chosen, length, **options)
        return {name: found[f"{name}_accuracy"] for name in parts}

    over = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    found = over(jnp.arange(2.0), configurations(config))
    result = {}
    for row, trained in enumerate(("one source", "a mixture")):
        for by in ("dev", "mixed", "target"):
            best = jnp.argmax(found[by][row])
            result[f"{trained}, {by}"] = found["test"][row, best]
            result[f"{trained}, {by}, miss"] = jnp.abs(found[by][row, best] - found["test"][row, best])
    for trained, by in (("one source", "dev"), ("a mixture", "mixed")):
        for ending in ("", ", miss"):
            result[f"{trained}: more{ending}"] = (
                result[f"{trained}, target{ending}"] - result[f"{trained}, {by}{ending}"]
            )
    return result


_value = partial(compared, quantity="runs", diverged="lowest", a={})
D28_PARTS = (
    _value(
        f"rank correlation of dev scores, {SMALL} of {ROWS} examples and all",
        claim="greater",
        effect=0.0,
        metric="small agreement",
        b=0.5,
    ),
    _value(
        "test accuracy lost by choosing on the subset",
        claim="equal",
        effect=0.01,
        metric="loss by choice",
        diverged="highest",
    ),
    _value(
        "test accuracy, chosen on the subset less the average", claim="greater", effect=0.01, metric="gain by choice"
    ),
)
D29_PARTS = tuple(
    part
    for trained, other in (("one source", "that source"), ("a mixture", "the mixture"))
    for part in (
        _value(
            f"trained on {trained}: target accuracy, dev set from the target less from {other}",
            claim="greater",
            effect=0.01,
            metric=f"{trained}: more",
        ),
        _value(
            f"trained on {trained}: how far the dev score misses the target's, likewise",
            claim="less",
            effect=0.01,
            metric=f"{trained}: more, miss",
            diverged="highest",
        ),
    )
)


def tuned_small(config: Config, setup: Setup) -> dict[str, Any]:
    """Configurations on subsets of every size."""
    data = sets(setup)
    options = {"shared": data.parts | {"classes": jnp.zeros(data.classes)}, "chunk": config.chunk}
    runs = swept(partial(subsets, config=config), setup, "runs", D28_PARTS, **options)
    return {"runs": runs, "notes": f"{config.configurations} random configurations, {config.passes} passes each."}


def other_source(config: Config, setup: Setup) -> dict[str, Any]:
    """Choices by each dev set; on digits where the data set holds no square images."""
    data = sets(setup, setup.data if setup.data in ("digits", "mnist") else "digits")
    options = {"shared": data.parts | {"classes": jnp.zeros(data.classes)}, "chunk": config.chunk}
    run = partial(elsewhere, config=config, fill=float(data.parts["train"][0].min()))
    return {"runs": swept(run, setup, "runs", D29_PARTS, **options)}


def draw_small(found: Mapping[str, Any]) -> Any:
    """Rank agreement with all data, and the worth of the choice, over the size of the subset."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(6.0, 2.5))
        for axes, name, unit in ((left, "agreement", 1), (right, "worth", 100)):
            mean, half = averages(found["runs"], name, [{}])
            value = mean[0] if name == "agreement" else 1 - mean[0]
            style = {"marker": "o", "markersize": 3.5, "color": plots.PALETTE[0]}
            axes.errorbar(SUBSETS, unit * value, unit * half[0], **style, label="chosen on the subset")
            axes.set(xscale="log", xlabel="examples that configurations are chosen on")
            axes.set_xticks(SUBSETS, [str(size) for size in SUBSETS])
            axes.minorticks_off()
        left.set(ylabel="rank correlation with all data", ylim=(0, 1.05))
        average = 100 * (1 - averages(found["runs"], "average", [{}])[0][0])
        right.axhline(average, color="0.5", linestyle=":", linewidth=0.8, label="average configuration")
        right.set(ylabel="test error, trained on all (%)", ylim=(0, None))
        right.legend(frameon=False)
    return figure


def draw_elsewhere(found: Mapping[str, Any]) -> Any:
    """Target error, and how far the dev score misses it, by dev set."""
    from jnorm import plots

    names = {"dev": "source A", "mixed": "mixture", "target": "target B"}
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.0, 2.5))
        for axes, ending, label in zip(
            panels, ("", ", miss"), ("error on the target", "dev score misses it by"), strict=True
        ):
            for trained, color, words in (
                ("one source", 0, "trained on A"),
                ("a mixture", 2, "trained on the mixture"),
            ):
                values = [averages(found["runs"], f"{trained}, {by}{ending}", [{}]) for by in names]
                mean = np.array([m[0] for m, _ in values])
                half = np.array([h[0] for _, h in values])
                at = np.arange(3) + (0.08 if color else -0.08)
                style = {"color": plots.PALETTE[color], "marker": "o", "markersize": 4, "linestyle": "none"}
                axes.errorbar(at, 100 * (mean if ending else 1 - mean), 100 * half, **style, label=words)
            axes.set_xticks(range(3), list(names.values()))
            axes.set(xlabel="where the dev set comes from", ylabel=f"{label} (%)", ylim=(0, None), xlim=(-0.5, 2.5))
        plots.legend(figure, panels[0])
    return figure


CLAIMS = (
    Claim(
        id="D28",
        statement="Hyperparameters can be tuned on a small subset of the data before training on everything.",
        measured=f"Random configurations of learning rate, L2 and dropout of one-layer networks on subsets of {ROWS} "
        "examples: rank correlation of their dev scores with those on everything, and what the configuration chosen "
        f"on a subset of {SMALL} loses after training on everything",
        parts=D28_PARTS,
        measure=tuned_small,
        draw=draw_small,
        caption="How well dev scores on a subset rank configurations as dev scores on all data do, and the test "
        "error of the configuration chosen on it, once that is trained on all data; with 95 % intervals. The dotted "
        "line is what choosing at random would give. Every subset gets as many passes.",
    ),
    Claim(
        id="D29",
        statement="The dev set must come from where the test set comes from, even if training data come from "
        "elsewhere.",
        measured="Images as they are (source A), and turned and noisy (target B): accuracy on B of the "
        "configuration that a dev set from A, from a mixture with a tenth of B, or from B chooses, and by how much "
        "the dev score misses it; trained on A alone, and on the mixture",
        parts=D29_PARTS,
        measure=other_source,
        draw=draw_elsewhere,
        caption="Error on the target of the configurations that each dev set chooses, and by how much the dev score "
        "is off, with 95 % intervals. Training sets are the same within a colour, and so are the networks to choose "
        "from. Configurations differ in rate, penalty, dropout and in noise that is added in training.",
    ),
)
