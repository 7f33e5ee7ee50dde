"""Critical points: the way out of a saddle, and those of a small network, with their losses and negative eigenvalues.

The toy is ``(1 - w1 w2)^2``: at the origin its eigenvalues are -2 and 2, and the way out is along (1, 1). The network
classifies digits, by tanh units and with weight decay. From points along its training, and beyond, a search goes to the
nearest critical point, into saddles too: the higher its loss, the more directions lead down (Dauphin et al. 2014). Many
searches end where the gradient is flat and not zero, which is said of each (Frye et al. 2020).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import checks
from experiments.common import Output
from experiments.showing import Clock
from jnorm import losses
from jnorm.data import datasets
from jnorm.measure import curvature

TOL = 1e-5
"""Length of the gradient that counts as none."""


FACTORIZES = True
"""Networks side by side have eigenvalues."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/critical_points")
    """Folder for the figure, its numbers and the report; made where missing."""
    seeds: int = 8
    """Networks; seed s draws its weights from jax.random.key(s)."""
    units: int = 6
    """Hidden units."""
    examples: int = 256
    """Digits, of 4 x 4 pixels."""
    steps: int = 300
    """Of Adam; searches begin at eight of them."""
    decay: float = 1e-2
    """Of the weights: half of it times their square is added to the loss, and no direction is flat."""
    quick: bool = False
    """One network, two searches of few steps: to see that everything runs."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"seeds": 1, "units": 1, "examples": 1, "steps": 8}.items():
            checks.whole(least, **{name: getattr(self, name)})
        checks.require(lambda d: d > 0, "`{}` must satisfy {} > 0", decay=self.decay)


def toy(w: jax.Array) -> jax.Array:
    """``(1 - w1 w2)^2``, which is 1 at its saddle and 0 along a hyperbola."""
    return (1 - w[0] * w[1]) ** 2


def descents(starts: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Gradient descent on the toy from some starts, ``[start, step, 2]``."""

    def step(w: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return w - rate * jax.grad(toy)(w), w

    return np.asarray(jax.jit(jax.vmap(lambda w: jax.lax.scan(step, w, None, steps)[1]))(jnp.asarray(starts)))


def digits(examples: int) -> tuple[jax.Array, jax.Array]:
    """Images of 4 x 4 pixels and their classes."""
    data = datasets.load("digits", None)
    x = np.asarray(data.x, np.float64).reshape(-1, 4, 2, 4, 2)[:examples].mean((2, 4)).reshape(examples, -1)
    return jnp.asarray((x - x.mean()) / x.std()), jnp.asarray(data.y[:examples])


def objective(decay: float) -> Any:
    """The loss of a network with one hidden layer: the mean cross-entropy, and the decay of all parameters."""

    def loss(params: Any, data: Any) -> jax.Array:
        outputs = jnp.tanh(data[0] @ params["in"] + params["bias"]) @ params["out"]
        square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return jnp.mean(losses.softmax_cross_entropy(outputs, data[1])) + decay / 2 * square

    return loss


def paths(config: Config, seeds: int, data: Any) -> Any:
    """Parameters ``[seed, place, ...]`` at eight steps of a training, later ones farther apart."""
    loss, optimizer = objective(config.decay), optax.adam(0.03)
    places = np.unique(np.geomspace(1, config.steps, 8).astype(int) - 1)

    def train(key: jax.Array) -> Any:
        first, second = jax.random.split(key)
        inputs, classes = data[0].shape[1], 10
        params = {
            "in": jax.random.normal(first, (inputs, config.units)) / inputs**0.5,
            "bias": jnp.zeros((1, config.units)),
            "out": jax.random.normal(second, (config.units, classes)) / config.units**0.5,
        }

        def step(carry: Any, _: None) -> Any:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, data), state, params)
            return (optax.apply_updates(params, updates), state), params

        path = jax.lax.scan(step, (params, optimizer.init(params)), None, config.steps)[1]
        return jax.tree.map(lambda a: a[places], path)

    return jax.jit(jax.vmap(train))(jax.vmap(jax.random.key)(np.arange(seeds)))


def searched(config: Config, starts: Any, data: Any) -> dict[str, np.ndarray]:
    """The critical points that searches from some starts end in: loss, share of negative eigenvalues, all of these."""
    loss = objective(config.decay)

    def search(params: Any) -> dict[str, jax.Array]:
        found = curvature.find_critical_point(loss, params, data, tol=TOL, steps=5 if config.quick else 60, inner=150)
        hessian = curvature.hessian(loss, found.params, data)
        values = curvature.eigenpairs(hessian, top=hessian.size).values
        point = curvature.classify_critical_point(loss, found.params, data, gradient_limit=TOL)
        return {
            "loss": loss(found.params, data),
            "index": point.negative.value / hessian.size,
            "kind": point.code,
            "converged": found.converged,
            "gradient": found.gradient_norm,
            "eigenvalues": values,
        }

    found = jax.jit(lambda starts: jax.lax.map(search, starts))(starts)
    return {name: np.asarray(a) for name, a in found.items()}


def run(config: Config) -> dict[str, Any]:
    """Search, draw and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    with clock("toy"), jax.enable_x64(True):
        point = curvature.classify_critical_point(toy, jnp.zeros(2))
        escape = curvature.saddle_escape(toy, jnp.zeros(2), longest=2**0.5)
        starts = np.array([[1.5, -1.45], [1.8, -1.4], [-1.45, 1.5], [-1.4, 1.8]])
        ways = descents(starts, 0.05, 200)
    with clock("network"), jax.enable_x64(True):
        data = digits(config.examples)
        begun = paths(config, 1 if config.quick else config.seeds, data)
        begun = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[: 2 if config.quick else None], begun)
        found = searched(config, begun, data)
    kinds = [curvature.KINDS[code] for code in found["kind"]]
    critical = found["converged"]
    with clock("drawing"):
        figure = draw(ways, escape, found, kinds)
        output.figure("critical_points", figure, descents=ways, **found)
    kinds_found = list(np.array(kinds)[critical])
    correlation = np.corrcoef(found["loss"], found["index"])[0, 1]
    numbers = {
        "config": {name: str(value) for name, value in asdict(config).items()},
        "toy": {"kind": point.kind, "lowest": point.lowest, "highest": point.highest, "escape": escape.direction},
        "searches": len(kinds),
        "converged": int(critical.sum()),
        "kinds": {name: kinds_found.count(name) for name in sorted(set(kinds_found))},
        "correlation": float(correlation),
        "largest gradient": float(found["gradient"].max()),
    }
    way, before, after = np.abs(np.asarray(escape.direction)), float(escape.before), float(escape.after)
    counts = ", ".join(f"{count} {name}" for name, count in numbers["kinds"].items()) or "none"
    lines = [
        "# Critical points\n",
        f"(1 - w1 w2)^2 at the origin: {point.kind}, eigenvalues {point.lowest:.3g} and {point.highest:.3g};",
        f"along {way.round(3).tolist()} the loss falls from {before:.3g} to {after:.3g}.\n",
        f"A network of {found['eigenvalues'].shape[1]} parameters: {numbers['converged']} of {len(kinds)} searches end",
        f"where the gradient is below {TOL:g} ({counts}), the others where it is flat, of length up to",
        f"{numbers['largest gradient']:.2g}. The correlation of loss and share of negative eigenvalues is",
        f"{correlation:.3f}.\n",
    ]
    output.report("\n".join(lines), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers


def draw(ways: np.ndarray, escape: Any, found: dict[str, np.ndarray], kinds: list[str]) -> Any:
    """The toy with its ways down; losses and negative eigenvalues of a network's critical points; their spectra."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    with plots.style():
        figure, (left, middle, right) = plots.figure(1, 3, size=(9.6, 3.1))
        span = np.linspace(-2, 2, 161)
        surface = np.asarray(toy(np.stack(np.meshgrid(span, span))))
        plots.plane(left, span, span, surface, limits=(0.0, 4.0), label="loss", colormap="cividis")
        left.contour(span, span, surface, [0.1, 0.5, 1.0, 2.0, 4.0], colors="white", linewidths=0.4, alpha=0.7)
        for way in ways:
            left.plot(*way.T, color="white", linewidth=1.0, alpha=0.9)
        arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": plots.PALETTE[1], "lw": 1.6}
        for sign in (1, -1):
            end = tuple(sign * float(escape.step) * np.asarray(escape.direction))
            left.annotate("", end, (0, 0), arrowprops=arrow, zorder=6)
        plots.point(left, 0.0, 0.0, "saddle: -2, 2", offset=(6, -10))
        left.set(xlabel="$w_1$", ylabel="$w_2$", title="$(1 - w_1 w_2)^2$: descent, and one step out")
        shown, kind = found["converged"], np.array(kinds)
        groups = {"gradient flat, not zero": (~shown, "o", "0.6")}
        looks = zip(curvature.KINDS, "oo^vsD", (*plots.PALETTE, *plots.PALETTE), strict=False)
        groups |= {name: (shown & (kind == name), marker, color) for name, marker, color in looks}
        for name, (these, marker, color) in groups.items():
            if these.any():
                style = {"color": color, "markersize": 4.5, "mew": 0.9, "label": f"{name} ({these.sum()})"}
                fill = "none" if color == "0.6" else color
                middle.plot(found["loss"][these], 100 * found["index"][these], marker, mfc=fill, **style)
        middle.set(xlabel="loss", ylabel="negative eigenvalues, %", title="where searches end in a network")
        middle.legend()
        wanted = np.linspace(found["loss"].min(), found["loss"].max(), 4)
        some = np.unique(np.abs(found["loss"][:, None] - wanted).argmin(0))
        some = some[np.argsort(found["loss"][some])]
        for place, color in zip(some, plots.PALETTE, strict=False):
            values = np.sort(found["eigenvalues"][place])
            label = f"loss {found['loss'][place]:.2f}"
            right.plot(values, 100 * np.arange(1, len(values) + 1) / len(values), color=color, lw=1.2, label=label)
        right.axvline(0, color="0.6", linewidth=0.8)
        right.set_xscale("symlog", linthresh=1e-2)
        right.set_xticks([-0.1, -0.01, 0.0, 0.01, 0.1, 1.0])
        right.set(xlabel="eigenvalue", ylabel="smaller ones, %", title="all eigenvalues of some of them")
        right.legend()
    return figure
