"""Critical points of small smooth networks: what the Hessian says, the way out of saddles, and how many are minima."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.claims.arms import compared, runs
from experiments.claims.claim import Claim, Number, Setup
from experiments.claims.critical import NEAR, RATE, Points, Sizes, met
from jnorm.measure import curvature
from jnorm.statistics import Runs


@dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        widths: Hidden units of the networks; what is not about widths is about the last one.
        examples: Digits that a network learns to tell odd from even.
        snapshots: Steps of descent after which a point is kept.
        solving: Steps of the search for a critical point at most.
        waiting: Steps of descent from a saddle at most.
    """

    widths: tuple[int, ...] = (1, 2, 3)
    examples: int = 64
    snapshots: tuple[int, ...] = (0, 30, 100, 300, 1000, 3000, 10_000, 30_000)
    solving: int = 300
    waiting: int = 20_000

    def points(self, width: int, setup: Setup) -> tuple[Points, Points]:
        """Points of networks; the ways out of saddles are of those of the last width."""
        waiting = self.waiting if width == self.widths[-1] else 0
        seeds = range(setup.seeds.start, setup.seeds.start + 2 * len(setup.seeds))  # not every search ends
        return met(Sizes(self.examples, self.snapshots, self.solving, waiting), seeds, width)


QUICK = Config(widths=(1, 2), examples=16, snapshots=(0, 300, 1000), waiting=500)


def averaged(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The mean of each seed over its points; NaN for a seed without any."""
    count = where.sum(1)
    with np.errstate(all="ignore"):
        return np.where(count > 0, np.where(where, values, 0.0).sum(1) / count, np.nan)


def kept(values: np.ndarray) -> Any:
    """Runs of the seeds that have a value."""
    known = values[np.isfinite(values)]
    return runs(known if len(known) else np.full(1, np.nan))


def kinds(config: Config, setup: Setup) -> dict[str, Any]:
    """A toy whose kind is known, and networks: what eigenvalues say beside what the loss does."""
    toy = lambda w: (1 - w[0] * w[1]) ** 2
    with jax.enable_x64(True):
        at = curvature.classify_critical_point(toy, jnp.zeros(2))
        toys = {"low": float(at.lowest), "high": float(at.highest), "kind": float(at.kind == "saddle")}
    here, there = config.points(config.widths[-1], setup)
    return toys | {
        "agree": kept(averaged(there.agree, there.converged)),
        "order": kept(np.nanmedian(here.order, 1)),
    }


def draw_kinds(measured: Mapping[str, Any]) -> Any:
    """The toy's surface, with both eigenvectors at its saddle; nothing of it is measured."""
    del measured
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(1, 1, size=(4.4, 3.7))
        w = np.linspace(-1.5, 1.5, 121)
        levels = [0.02, 0.1, 0.3, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0]
        axes.contour(w, w, (1 - w[:, None] * w) ** 2, levels=levels, colors="0.6", linewidths=0.7)
        for sign, name, color in ((1, "eigenvalue -2: down", 0), (-1, "eigenvalue 2: up", 1)):
            line = np.array([-0.7, 0.7])
            axes.plot(line, sign * line, color=plots.PALETTE[color], linewidth=2.2, label=name)
        axes.plot(0, 0, "ko", markersize=5)
        axes.annotate("saddle, loss 1", (0, 0), (0.12, 0.05), fontsize=8)
        axes.plot(w[w > 0.66], 1 / w[w > 0.66], color="k", linewidth=1, linestyle=":", label="loss 0")
        axes.plot(w[w < -0.66], 1 / w[w < -0.66], color="k", linewidth=1, linestyle=":")
        axes.set(xlabel="$w_1$", ylabel="$w_2$", title="$(1 - w_1 w_2)^2$", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
        axes.legend(loc="lower right", fontsize=7)
    return figure


def escapes(config: Config, setup: Setup) -> dict[str, Any]:
    """The way out of the saddles that a search finds, beside plain descent from there."""
    _, there = config.points(config.widths[-1], setup)
    saddles = there.converged & (there.negative > 0) & (there.positive > 0)
    with np.errstate(all="ignore"):
        saved = np.log2(there.plain / there.direct)
        falls = np.where(np.isfinite(there.lowered), there.lowered > 0, False).astype(float)
    return {
        "falls": kept(averaged(falls, saddles)),
        "saved": kept(averaged(saved, saddles & np.isfinite(saved))),
        "plain": there.plain[saddles],
        "direct": there.direct[saddles],
        "notes": f"{int(saddles.sum())} saddles of networks with {config.widths[-1]} hidden units. Descent from "
        f"the saddle, moved by {NEAR:g}, at rate {RATE:g} and for {config.waiting} steps at most, which count "
        "as that many.",
    }


def draw_escapes(measured: Mapping[str, Any]) -> Any:
    """Steps of plain descent to where the eigenvector leads at once."""
    from jnorm import plots

    with plots.style():
        figure, axes = plots.figure(1, 1, size=(4.6, 3.2))
        steps = np.sort(measured["plain"][np.isfinite(measured["plain"])])
        share = np.arange(1, len(steps) + 1) / max(len(steps), 1)
        axes.step(np.maximum(steps, 1), share, where="post", color=plots.PALETTE[0], label="plain descent")
        direct = np.nanmean(measured["direct"]) if len(steps) else 1.0
        axes.axvline(direct, color=plots.PALETTE[1], label="the Hessian's eigenvector, its cost in steps")
        axes.set(xlabel="steps until the loss is as low", ylabel="share of saddles", xscale="log", ylim=(0, 1.02))
        axes.legend(loc="lower right", fontsize=7)
    return figure


def shares(config: Config, setup: Setup) -> dict[str, Any]:
    """Eigenvalues against loss for points that training meets and for critical points that a search finds, by width."""
    found = {width: config.points(width, setup) for width in config.widths}
    here, there = found[config.widths[-1]]
    saddle = ((there.negative > 0) & (there.positive > 0)).astype(float)
    critical = np.where(there.converged, there.loss, np.inf)
    lowest = np.argmin(critical, 1)
    rows = np.arange(len(lowest))
    known = np.isfinite(critical[rows, lowest])
    signed = there.positive / np.maximum(there.positive + there.negative, 1e-9)
    ratio = np.max(np.where(there.converged, signed, -np.inf), 1)
    minima = {w: averaged((points.negative == 0).astype(float), points.converged) for w, (_, points) in found.items()}
    ends = {w: np.where(p.converged[:, -1], p.negative[:, -1] == 0, np.nan) for w, (_, p) in found.items()}
    first, last = config.widths[0], config.widths[-1]
    return {
        "saddles": kept(averaged(saddle, there.converged)),
        "down": kept(np.where(known, there.negative[rows, lowest] > 0, np.nan)),
        "ratio": kept(np.where(np.isfinite(ratio), ratio, np.nan)),
        "met": kept(np.mean(here.negative > 0, 1)),
        "minima": Runs.of_arms({"narrow": minima[first], "wide": minima[last]}),
        "ends": Runs.of_arms({"narrow": ends[first], "wide": ends[last]}),
        "points": np.stack([there.loss, signed, there.converged]),
        "passed": np.stack([here.loss, here.positive / np.maximum(here.positive + here.negative, 1e-9)]),
        "widths": np.array(config.widths),
        "by width": np.array(
            [[averaged(a[None], np.isfinite(a)[None])[0] for a in (minima[w], ends[w])] for w in config.widths]
        ),
        "notes": f"Points after {', '.join(map(str, config.snapshots))} steps of descent at rate {RATE:g}, and "
        f"the critical points to which a search leads from there ({100 * np.mean(there.converged):.0f} % of the "
        "searches end in one); eigenvalues below a millionth of the largest count as zero.",
    }


def draw_shares(measured: Mapping[str, Any]) -> Any:
    """The share of positive eigenvalues against the loss, and the share of minima against the width."""
    from jnorm import plots

    with plots.style():
        figure, (left, right) = plots.figure(1, 2, size=(7.0, 3.0))
        loss, share, converged = measured["points"]
        left.plot(*measured["passed"].reshape(2, -1), ".", color="0.75", markersize=3, label="met in training")
        good = converged.astype(bool)
        left.plot(loss[good], share[good], ".", color=plots.PALETTE[0], markersize=4, label="critical")
        left.axhline(0.5, color="0.4", linewidth=0.8, linestyle=":")
        left.set(xlabel="loss", ylabel="ways up, of all that bend", ylim=(-0.03, 1.03))
        left.legend(fontsize=7)
        for i, name in enumerate(("of all that were found", "of those at the end of training")):
            right.plot(measured["widths"], measured["by width"][:, i], "o-", color=plots.PALETTE[i], label=name)
        right.set(xlabel="hidden units", ylabel="share of minima", xscale="log", ylim=(-0.03, 1.03))
        right.set_xticks(measured["widths"], [str(w) for w in measured["widths"]])
        right.minorticks_off()
        right.legend(fontsize=7)
    return figure


NETWORKS = (
    "networks with one hidden layer of tanh that tell odd from even digits, 4 x 4 pixels, 64 examples, penalty 1e-3"
)
ARMS: dict[str, Any] = {"a": {"arm": "narrow"}, "b": {"arm": "wide"}, "paired": False}
CLAIMS = (
    Claim(
        id="L3",
        statement="The eigenvalues of the Hessian tell minima, maxima and saddles apart.",
        measured=f"The toy (1 - w1 w2)^2 at the origin; {NETWORKS}: along each eigenvector of critical points that a "
        "search finds, whether the loss changes as the eigenvalue says, and the power of the step with which "
        "the second-order model errs, at points of a training",
        parts=[
            Number("smallest eigenvalue of the toy", "low", -2 - 1e-12, -2 + 1e-12, "the derivative by hand"),
            Number("largest eigenvalue of the toy", "high", 2 - 1e-12, 2 + 1e-12, "the derivative by hand"),
            Number("the toy's origin is called a saddle", "kind", 1, 1),
            compared("share of eigenvectors along which the loss does as they say", "agree", "greater", 0.0, b=0.99),
            compared("power of the step in the error of the second-order model", "order", "equal", 0.2, b=3.0),
        ],
        measure=kinds,
        draw=draw_kinds,
        caption="The loss of a network with two weights and one example. At the origin the gradient is zero, and the "
        "Hessian has the eigenvalues -2 and 2: down along one diagonal, up along the other. The dotted lines are where "
        "the loss is zero.",
    ),
    Claim(
        id="L4",
        statement="At a saddle, the eigenvector of a negative eigenvalue leads down, where the gradient leads nowhere.",
        measured=f"Saddles that a search finds, of {NETWORKS}: whether a step along the eigenvector of the smallest "
        "eigenvalue lowers the loss, and binary logarithm of the steps that plain descent takes from beside the "
        "saddle to a loss as low, over those that the Hessian costs (two for each parameter)",
        parts=[
            compared("share of saddles at which the loss falls", "falls", "greater", 0.0, b=0.99),
            compared("log2 of the steps, plain over direct", "saved", "greater", 1.0, b=0.0),
        ],
        measure=escapes,
        draw=draw_escapes,
        caption="Steps of plain descent from beside a saddle until the loss is as low as after one step along the "
        "eigenvector of the smallest eigenvalue: the share of saddles that have got there. The vertical line is what "
        "computing the eigenvector costs, counted in steps.",
    ),
    Claim(
        id="L5",
        statement="Critical points that are met in training are nearly always saddles: even the lowest keep ways down.",
        measured=f"Signs of all eigenvalues, of {NETWORKS}: at critical points that a search finds from points of a "
        "training, and at these themselves",
        parts=[
            compared("share of saddles among critical points", "saddles", "greater", 0.0, b=0.9),
            compared("the lowest critical point has a way down, share of runs", "down", "greater", 0.0, b=0.9),
            compared("largest share of ways up at a critical point", "ratio", "less", 0.0, b=0.65),
            compared("share of points of the training that have a way down", "met", "greater", 0.0, b=0.9),
        ],
        measure=shares,
        draw=draw_shares,
        caption="Left, the share of positive eigenvalues, of those that are not zero, against the loss, for networks "
        "of the largest width: points of trainings, and critical points that a search finds from there. At 1 all ways "
        "lead up, which is a minimum; the lecture sees about half (dotted). Right, the share of minima by width.",
    ),
    Claim(
        id="D8",
        statement="More parameters leave fewer minima: in many dimensions nearly all critical points are saddles.",
        measured="Share of minima among critical points that a search finds, the narrowest networks less the widest, "
        f"of {NETWORKS}: from all points of the training, and from its end alone",
        parts=[
            compared("share of minima, narrowest less widest", "minima", "greater", 0.05, **ARMS),
            compared("share of minima at the end of training, narrowest less widest", "ends", "greater", 0.05, **ARMS),
        ],
        measure=shares,
        draw=draw_shares,
        caption="Left, the share of positive eigenvalues, of those that are not zero, against the loss, for networks "
        "of the largest width. Right, the share of minima among critical points by width.",
    ),
)
