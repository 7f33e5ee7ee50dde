"""An audit of a deep residual network: three planted faults at their equations, and how small a wrong gain is found.

One layer is 10 % too large, one is dead, and one block forgets the scale of its branch: nobody sees it in the loss.
Each value is set to the size that is predicted before it goes on, so that each equation answers for itself. Then one
gain is changed by less and less: the share of audits that find it, and of alarms where there is nothing to find.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from experiments import checks
from experiments.common import Output
from experiments.showing import Clock
from jnorm.measure import audit
from jnorm.predict import Law

EXAMPLES, ROWS = 8, 5
"""Of the data, and rows of a block: a product, relu, a product, the sum, and the norm before the next one."""
FAULTS = {"gain": "10 % too large", "dead": "dead layer", "scale": "forgotten scale"}


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/audit")
    """Folder for the figure, its numbers and the report; made where missing."""
    blocks: int = 24
    """Residual blocks of two layers, at least 8."""
    width: int = 64
    """Units."""
    seeds: int = 32
    """Draws of the network in each audit, and as many of it as it is meant; at least 8."""
    gains: tuple[float, ...] = (1.0, 1.01, 1.02, 1.03, 1.05, 1.1)
    """Factors of one layer's weights in smaller networks, of 6 blocks; 1 is none."""
    audits: int = 16
    """Audits for each of these gains."""
    quick: bool = False
    """8 blocks, and one audit of two gains: to see that everything runs."""
    cache: Path | None = None
    """Folder for compiled programs, for the next start; None: JAX's own setting, else in the user's cache folder."""

    def __post_init__(self) -> None:
        for name, least in {"blocks": 8, "width": 2, "seeds": 8, "audits": 1}.items():
            checks.whole(least, **{name: getattr(self, name)})
        checks.require(lambda g: g > 0, "`{}` must satisfy {} > 0", gains=self.gains)


def network(blocks: int, width: int, gains: dict[int, float], forgets: int | None = None) -> tuple[Any, Any, Any]:
    """``(init, apply, laws)``: the weights that enter some blocks have a gain, and one block forgets its scale."""

    def init(key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        def block(number: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            first, second = (jax.random.normal(k, (width, width)) for k in jax.random.split(key))
            return first * (gains.get(number, 1.0) * (2 / width) ** 0.5), second / width**0.5

        return [block(i, k) for i, k in enumerate(jax.random.split(key, blocks))]

    def apply(params: Any, x: jax.Array) -> jax.Array:
        for number, (first, second) in enumerate(params):
            h = x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True))
            h = jax.nn.relu(h @ first)
            h = h @ second
            x = x + h / (1.0 if number == forgets else blocks**0.5)
        return x

    return init, apply, [(Law("normal", 2 / width), Law("normal", 1 / width))] * blocks


def planted(config: Config, blocks: int) -> tuple[Any, dict[str, int]]:
    """The audit of a network with all three faults, and the block of each."""
    at = {"gain": blocks // 4, "scale": blocks // 2, "dead": 3 * blocks // 4}
    init, apply, _ = network(blocks, config.width, {at["gain"]: 1.1, at["dead"]: 0.0}, at["scale"])
    right, meant, _ = network(blocks, config.width, {})
    x = jax.random.normal(jax.random.key(1), (EXAMPLES, config.width))
    return audit(init, apply, x, jax.random.key(0), seeds=config.seeds, reference=(right, meant)), at


def power(config: Config, gain: float, audits: int, advance: Callable[[], object]) -> tuple[int, int]:
    """Of so many audits of 6 blocks with a gain in the third, which find it, and which raise any other alarm."""
    init, apply, laws = network(6, config.width, {2: gain})
    x = jax.random.normal(jax.random.key(1), (EXAMPLES, config.width))
    hits = others = 0
    for number in range(audits):
        faults = audit(init, apply, x, jax.random.key(number), seeds=config.seeds, laws=laws, tolerance=0.0).faults
        wrong = [row.equation == 2 * ROWS for row in faults]
        hits, others = hits + any(wrong), others + (not all(wrong))
        advance()
    return hits, others


def run(config: Config) -> dict[str, Any]:
    """Audit, draw and report; returns the numbers of ``report.json``."""
    output, clock = Output.open(config.out), Clock()
    blocks = min(config.blocks, 8) if config.quick else config.blocks
    gains, audits = (
        (config.gains[:: max(len(config.gains) - 1, 1)], 1) if config.quick else (config.gains, config.audits)
    )
    with clock("three faults"):
        found, at = planted(config, blocks)
    with clock("smaller and smaller", len(gains) * audits, "audits") as shown:
        counts = np.array([power(config, gain, audits, shown.advance) for gain in gains])
    with clock("drawing"):
        figure = draw(found, at, gains, counts, audits)
        rows = {name: [getattr(row, name) for row in found] for name in ("equation", "predicted", "measured", "sound")}
        output.figure("audit", figure, **rows, z=[row.z for row in found], gains=gains, hits=counts[:, 0])
    numbers = {
        "config": {name: str(value) for name, value in asdict(config).items()},
        "faults": [str(row) for row in found.faults],
        "power": {f"{gain:g}": hits / audits for gain, (hits, _) in zip(gains, counts, strict=True)},
        "other alarms": int(counts[:, 1].sum()),
        "audits": len(gains) * audits,
    }
    lines = [
        f"# An audit of {blocks} residual blocks\n",
        "Planted: " + ", ".join(f"{text} in block {at[name] + 1}" for name, text in FAULTS.items()) + ". Found:\n",
        *(f"- {row}" for row in found.faults),
        f"\n| gain | found by, of {audits} audits of 6 blocks | other alarms |",
        "|---|---|---|",
        *(f"| {gain:g} | {hits} | {others} |" for gain, (hits, others) in zip(gains, counts, strict=True)),
    ]
    output.report("\n".join([*lines, ""]), numbers)
    print(f"{len(output.files)} files in {config.out}; start with {config.out / 'report.md'}")
    return numbers


def draw(found: Any, at: dict[str, int], gains: Any, counts: np.ndarray, audits: int) -> Any:
    """The audit with its faults, and how often a wrong gain is found."""
    from jnorm import plots  # deferred: matplotlib takes longer to import than the help should

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(9.0, 3.2), width_ratios=(2, 1))
        plots.audit(left, found)
        left.set_ylim(0.35, 2.9)  # what is dead is below
        left.set_yticks([0.5, 1.0, 2.0], ["0.5", "1", "2"])
        left.minorticks_off()
        for row in found.faults:
            name = next(name for name, block in at.items() if row.equation // ROWS == block)
            height = row.measured / row.predicted
            style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 7}
            style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8}
            text = f"{FAULTS[name]}\nfound: {100 * (row.ratio - 1):+.0f} %"
            left.annotate(text, (row.equation, max(height, 0.37)), (0, 12 if height > 0.37 else 4), **style)
        left.set_title("three planted faults, each found at its equation")
        left.legend(loc="lower left")
        share = counts[:, 0] / audits
        ends = special.betaincinv(counts[:, 0], audits - counts[:, 0] + 1, 0.025)
        low = np.where(counts[:, 0] > 0, ends, 0.0)
        ends = special.betaincinv(counts[:, 0] + 1, np.maximum(audits - counts[:, 0], 1e-9), 0.975)
        high = np.where(counts[:, 0] < audits, ends, 1.0)
        percent = 100 * (np.asarray(gains) - 1)
        bars = np.maximum(np.stack([share - low, high - share]), 0)
        right.errorbar(percent, share, bars, fmt="o-", color=plots.PALETTE[0], markersize=4, capsize=2, lw=1.0)
        right.axhline(found.level, color="0.5", linewidth=0.8, linestyle=":")
        style = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right", "fontsize": 7}
        right.annotate(f"level {found.level:g}", (1, found.level), (0, 3), **style)
        right.set(
            xlabel="weights of a layer too large by, %", ylabel="share of audits that find it", ylim=(-0.03, 1.05)
        )
        right.set_title(f"how small a fault is found ({found.seeds} draws)")
    return figure
