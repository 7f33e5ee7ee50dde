"""What an update and an epoch cost by the size of the batch, and the paths that descent takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, sets, swept, timed
from experiments.claims.claim import Claim, Setup
from experiments.claims.training import averages
from jnorm import initializers, losses
from jnorm.activations import relu
from jnorm.data import datasets, standardize
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.statistics import Runs


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        units: Of the three hidden layers whose updates are timed.
        sizes: Of the batches that are timed; 1 and `TENTH` are among them.
        examples: To train on, where paths are compared.
        updates: Of these paths.
        rate: Their learning rate, the same for all.
    """

    units: int = 64
    sizes: tuple[int, ...] = (1, 4, 16, 32, 64, 128, 256, 512, 1024)
    examples: int = 512
    updates: int = 200
    rate: float = 0.05


QUICK = Config(units=8, sizes=(1, 128), examples=128, updates=10)
TENTH = 128  # a tenth of the training examples of the digits, where Keskar et al. 2017 begin to call a batch large
PATHS = {"batch": 0, "mini-batch": 32, "single": 1}
"""Examples in a batch by the name of the path; 0 stands for all."""


def _update(network: networks.Network, rate: float) -> Callable[..., Any]:
    """A step of descent on the batch that begins at an example."""

    def loss(params: Any, state: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(losses.softmax_cross_entropy(network.apply(params, state, x, train=True)[0], y))

    @partial(jax.jit, static_argnames="size")
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array, at: jax.Array, size: int) -> Any:
        batch = (jax.lax.dynamic_slice_in_dim(a, at, size) for a in (x, y))
        return jax.tree.map(lambda w, g: w - rate * g, params, jax.grad(loss)(params, state, *batch))

    return step


def _passes(network: Any, data: tuple[Any, Any], sizes: Any, rate: float, device: Any) -> dict[str, Callable[[], Any]]:
    """A function for each size of the batch that makes all updates of an epoch, one call an update as in a loop."""
    (x, y), (params, state) = jax.device_put((data, network.init(jax.random.key(0))), device)
    step = _update(network, rate)

    def epoch(size: int) -> Any:
        moved = params
        for at in places[size]:
            moved = step(moved, state, x, y, at, size)
        return moved

    starts = {size: np.arange(0, len(y) - size + 1, size) for size in sizes}
    places = {size: [jax.device_put(np.int32(at), device) for at in some] for size, some in starts.items()}
    return {str(size): partial(epoch, size) for size in sizes}


def costs(config: Config, setup: Setup) -> dict[str, Any]:
    """Seconds of an update and of an epoch on every kind of device that there is; the first one is judged."""
    loaded = sets(setup)
    data = loaded.parts["train"]
    widths = networks.rectangular(data[0].shape[1], loaded.classes, units=config.units, depth=3)
    network = networks.mlp(widths, Layer(relu, initializers.he_normal()))
    devices = {device.platform: device for device in (*jax.devices("cpu")[:1], *jax.devices()[:1])}
    found: dict[str, Any] = {"sizes": np.array(config.sizes), "examples": len(data[1])}
    notes = []
    for name, device in devices.items():
        epochs = timed(_passes(network, data, config.sizes, config.rate, device), len(setup.seeds))
        logs = np.asarray(epochs["value"])
        counts = np.array([len(data[1]) // size for size in config.sizes])
        updates = Runs(epochs.configurations, {"value": logs - np.log(counts)[:, None]})
        found |= {f"update {name}": np.exp(updates["value"]), f"epoch {name}": np.exp(logs)}
        knee = _knee(found["sizes"], np.median(updates["value"], 1))
        notes.append(f"On {name} an update takes twice as long as that of one example from batches of {knee} on.")
        found |= {"updates": updates, "epochs": epochs} if device.platform == jax.devices()[0].platform else {}
    return found | {"notes": " ".join(notes)}


def _knee(sizes: np.ndarray, logs: np.ndarray) -> str:
    """The size at which the time has doubled, between those measured on a logarithmic scale."""
    doubled = np.maximum.accumulate(logs) - logs[0] - np.log(2)
    if doubled[-1] < 0:
        return f"more than {sizes[-1]}"
    return f"{np.exp(np.interp(0.0, doubled, np.log(sizes))):.0f}"


_SIZES = {"a": {"arm": str(TENTH)}, "b": {"arm": "1"}, "method": "sign"}
COSTS = [
    compared(f"log seconds of an update, {TENTH} examples less 1", "updates", "equal", np.log(2), **_SIZES),
    compared(f"log seconds of an epoch, {TENTH} examples less 1", "epochs", "less", np.log(2), **_SIZES),
]


def draw_costs(measured: Mapping[str, Any]) -> Any:
    """Seconds of an update and of an epoch over the size of the batch, a line a device."""
    from jnorm import plots

    with plots.style():
        figure, panels = plots.figure(1, 2, size=(6.4, 2.9))
        sizes = measured["sizes"]
        for axes, what, unit in zip(panels, ("update", "epoch"), (1e6, 1.0), strict=True):
            names = [name.removeprefix(f"{what} ") for name in measured if name.startswith(f"{what} ")]
            for name, color in zip(names, plots.PALETTE, strict=False):
                low, middle, high = unit * np.quantile(measured[f"{what} {name}"], (0.1, 0.5, 0.9), axis=1)
                axes.fill_between(sizes, low, high, color=color, alpha=0.25, linewidth=0)
                axes.plot(sizes, middle, "o-", color=color, markersize=3, label=name)
                if what == "update":
                    axes.axhline(2 * middle[0], color=color, linestyle=":", linewidth=1)
                    axes.annotate(
                        "twice one example's",
                        (sizes[0], 2 * middle[0]),
                        (2, 3),
                        fontsize=6,
                        color=color,
                        textcoords="offset points",
                    )
            axes.set(xscale="log", yscale="log", xlabel="examples in a batch", title=f"one {what}")
        panels[0].set_ylabel("microseconds")
        panels[1].set_ylabel(f"seconds ({measured['examples']} examples)")
        plots.legend(figure, panels[0], title="median and middle 80 % of the turns")
    return figure


def paths(config: Config, setup: Setup) -> dict[str, Any]:
    """The cost of all examples along paths of equal rate: softmax regression, from a random start."""
    loaded = sets(setup)
    data = tuple(a[: config.examples] for a in loaded.parts["train"])
    inputs, examples = data[0].shape[1], len(data[1])

    def train(key: jax.Array, data: Any, *, size: Any) -> dict[str, jax.Array]:
        x, y = data
        start, drawn = jax.random.split(key)

        def cost(w: jax.Array, weights: jax.Array) -> jax.Array:
            return jnp.sum(weights * losses.softmax_cross_entropy(x @ w, y)) / jnp.sum(weights)

        def step(w: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            rank = jax.random.permutation(key, examples)
            used = (rank < jnp.where(size > 0, size, examples)).astype(x.dtype)
            w = w - config.rate * jax.grad(cost)(w, used)
            return w, cost(w, jnp.ones(examples))

        w = jax.random.normal(start, (inputs, loaded.classes)) / inputs**0.5
        _, curve = jax.lax.scan(step, w, jax.random.split(drawn, config.updates))
        curve = jnp.concatenate([cost(w, jnp.ones(examples))[None], curve])
        return {"curve": curve, "rises": jnp.mean(curve[1:] > curve[:-1])}

    arms = [{"size": size} for size in PATHS.values()]
    trained = swept(train, setup, "rises", NOISE, grid=arms, integers=["size"], shared=data)
    network = networks.mlp((inputs, loaded.classes), Layer(relu, initializers.he_normal()))
    sizes = [size or examples for size in PATHS.values()]
    calls = _passes(network, data, sizes, config.rate, jax.devices()[0])
    epochs = timed(calls, len(setup.seeds))
    logs = np.asarray(epochs["value"]) - np.log([[examples // size] for size in sizes])
    updates = Runs.of_arms(dict(zip(PATHS, logs, strict=True)))
    found = {f"curve {name}": trained.result.select(size=size)["curve"][0, 0] for name, size in PATHS.items()}
    found |= {f"mean {name}": averages(trained, "curve", [{"size": size}])[0][0] for name, size in PATHS.items()}
    seconds = np.exp(np.median(logs, 1))
    return {"rises": trained, "updates": updates, "seconds": seconds} | found | _bowl(setup)


def _bowl(setup: Setup) -> dict[str, np.ndarray]:
    """Least squares with two weights (body mass and a blood serum of patients with diabetes): the cost, and paths."""
    loaded = datasets.load("diabetes")
    x = np.asarray(loaded.x)[:, [2, 8]]
    y = np.asarray(loaded.y, float)
    x, y = np.asarray(standardize.apply(standardize.fit(x), x), float), (y - y.mean()) / y.std()
    rng = np.random.default_rng(setup.seeds.start)
    found = {}
    for name, size in PATHS.items():
        w = [START]
        for _ in range(PICTURED):
            used = rng.permutation(len(y))[: size or len(y)]
            w.append(w[-1] - 0.1 * x[used].T @ (x[used] @ w[-1] - y[used]) / len(used))
        found[f"path {name}"] = np.array(w)
    first, second = np.linspace(-1.0, 1.2, 101), np.linspace(-0.4, 1.5, 101)
    weights = np.stack(np.meshgrid(first, second), -1)
    return found | {"first": first, "second": second, "bowl": np.mean((weights @ x.T - y) ** 2, -1) / 2}


START, PICTURED = np.array([-0.8, 1.2]), 60
NOISE = [
    *(
        compared(
            f"share of updates after which the cost of all examples is higher: {more} less {less}",
            "rises",
            "greater",
            0.05,
            metric="rises",
            a={"size": PATHS[more]},
            b={"size": PATHS[less]},
        )
        for more, less in (("single", "mini-batch"), ("mini-batch", "batch"))
    ),
    compared(
        "log seconds of an update: batch less single",
        "updates",
        "greater",
        np.log(2),
        a={"arm": "batch"},
        b={"arm": "single"},
        method="sign",
    ),
]


def draw_paths(measured: Mapping[str, Any]) -> Any:
    """Paths over a bowl, and costs by update and by time."""
    from jnorm import plots

    with plots.style():
        figure, (bowl, by_update, by_time) = plots.figure(1, 3, size=(9.0, 2.9))
        levels = np.geomspace(measured["bowl"].min() * 1.01, measured["bowl"].max(), 12)
        bowl.contour(measured["first"], measured["second"], measured["bowl"], levels, colors="0.75", linewidths=0.7)
        looks = zip(PATHS, (plots.PALETTE[i] for i in (0, 2, 1)), (2.5, 1.2, 0.8), (1, 2, 3), strict=True)
        for (name, color, width, order), seconds in zip(looks, measured["seconds"], strict=True):
            line = {"color": color, "linewidth": width, "zorder": order + 2}
            bowl.plot(*measured[f"path {name}"].T, **line)
            curve = measured[f"curve {name}"]
            label = f"{name}, {PATHS[name] or 'all'} example{'s' if PATHS[name] != 1 else ''}"
            by_update.plot(np.arange(len(curve)), curve, label=label, **line)
            by_time.plot(np.arange(1, len(curve)) * seconds * 1e3, curve[1:], **line)
        bowl.plot(*START, "o", color="black", markersize=4)
        bowl.set(xlabel="weight of body mass", ylabel="weight of serum s5", title="paths over a bowl")
        by_update.set(xlabel="update", ylabel="cost of all examples", title="by update")
        by_time.set(xlabel="milliseconds", title="by time", xscale="log")
        plots.legend(figure, by_update)
    return figure


CLAIMS = (
    Claim(
        id="L6",
        statement="An update costs about the same up to a large batch, so that an epoch gets cheaper.",
        measured="Seconds of an update and of an epoch on the device by the size of the batch, three hidden layers of "
        "64; large is a tenth of the digits, about the same is within a factor of 2",
        parts=COSTS,
        measure=costs,
        draw=draw_costs,
        caption="The time of one update and of one epoch over the examples in a batch, by device. The knee is "
        "where an update takes twice as long as with a single example (dotted). Where an update takes as "
        "many times longer as it has examples, an epoch gets no cheaper.",
    ),
    Claim(
        id="D11",
        statement="The paths of batch, mini-batch and single-sample descent differ in noise and in cost.",
        measured="Softmax regression at one rate: the share of updates after which the cost of all examples is higher, "
        "and seconds of an update, with all examples, 32 and 1 in a batch",
        parts=NOISE,
        measure=paths,
        draw=draw_paths,
        caption="Descent with all examples, 32 or a single one in an update, at the same rate: paths over the cost of "
        "two weights, and the cost of all examples of a run by update and by time. Noise shows as a cost that rises "
        "between updates. What an update costs shows in the picture by time alone.",
    ),
)
