"""Interval proofs that SELU normalizes itself: the paper's three theorems with tight constants, and far past them.

Prints a table of statements, draws the certified boxes over the vector field, and writes a certificate file that
``--check FILE`` verifies again, box by box and without searching.
"""

import decimal
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments import checks
from experiments.checks import Refused
from experiments.common import Output
from experiments.showing import Clock
from jnorm.proofs import certificate as proofs
from jnorm.proofs.certificate import Certificate

PAPER = {"mean": (-0.1, 0.1), "var": (0.8, 1.5)}
WIDE = (0.8, 1.25)
# The larger boxes, as the arguments of a contraction.
LARGER: list[dict[str, Any]] = [
    {"mean": (-1, 1), "var": (0.61, 13.6)},
    {"mean": (-1.3, 1.3), "var": (0.63, 19)},
    {"mean": (-0.1, 2.5), "var": (0.3695, 60), "omega": 0, "tau": 1},
    {**PAPER, "tau": WIDE, "self_map": False},
    {**PAPER, "p": 0.64},
    {"mean": (-1, 1), "var": (0.06, 13.6), "p": 0.64},
    {"mean": (-3, 3), "var": (0.45, 67), "p": 0.64},
    {"mean": (-1, 1), "var": (0.08, 11.9), "tau": WIDE, "p": 0.64},
    {"mean": (-0.5, 0.5), "var": (0.2, 5.5), "omega": (-0.2, 0.2), "p": 0.64},
]
DRAWN = [("2-norm, |mean| <= 1.3", 1), ("log metric, |mean| <= 1", 5), ("log metric, |mean| <= 3", 6)]


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    out: Path = Path("out/certificate")
    """Folder for the certificate file, the figure, its numbers and the report; made where missing."""
    check: Path | None = None
    """Certificate file to verify instead; nothing is proved, drawn or written then."""
    tol: float = 1e-9
    """Width to which the extremes are enclosed."""
    budget: int = 20_000
    """Boxes that may be looked at for each inequality before it counts as undecided."""

    def __post_init__(self) -> None:
        checks.require(lambda x: x > 0, "`{}` must satisfy {} > 0", tol=self.tol)
        checks.require(lambda n: n >= 1, "`{}` must satisfy {} >= 1", budget=self.budget)


def run(config: Config) -> dict[str, Any]:
    """Prove, draw and write, or check; returns the numbers of ``report.json`` or the outcomes of the check."""
    if config.check is not None:
        return verify(config.check)
    output, clock = Output.open(config.out), Clock()
    certificates = prove(tol=config.tol, budget=config.budget, clock=clock)
    table = [row(c) for c in certificates]
    print(text := aligned(table))
    proofs.write(config.out / "certificate.json", certificates)
    with clock("drawing"):
        draw(output, certificates)
    lines = ["# Certificates for SELU\n", "```", text, "```\n", *remarks(certificates)]
    numbers = {"config": asdict(config), "certificates": [summary(c) for c in certificates], "seconds": clock.seconds}
    output.report("\n".join(lines), numbers)
    print(f"\nverify again with: python -m experiments certificate --check {config.out / 'certificate.json'}")
    return numbers


def statements(*, tol: float, budget: int) -> list[Callable[[], Certificate]]:
    """Every statement, the paper's first, as a function that proves it."""
    options = {"tol": tol, "budget": budget}
    searched = [
        (proofs.theorem1, (), {}),
        (proofs.theorem2, (), {}),
        (proofs.theorem3, (), {}),
        (proofs.image_box, (), PAPER),
        *((proofs.contraction, (), arguments) for arguments in LARGER),
        (proofs.variance_decreases, ((-1, 1), (2.4985, 1e6)), {}),
        (proofs.variance_increases, ((-0.1, 0.1), (2e-4, 0.38)), {}),
        (proofs.variance_increases, ((-0.1, 0.1), (2e-4, 0.63)), {"tau": (0.9, 1.25)}),
    ]
    corners = [(omega, tau) for omega in (-0.1, 0.1) for tau in (0.95, 1.1)]
    return [
        *(partial(prove, *domain, **arguments, **options) for prove, domain, arguments in searched),
        partial(proofs.global_convergence, 0.0, 1.0, budget=budget),
        partial(proofs.global_convergence, budget=budget),
        partial(proofs.limit_set, (-3.5, 3.5), (0.01, 12), tau=WIDE, budget=budget),
        partial(proofs.gradient_bounds, **PAPER, **options),
        proofs.omega_range,
        proofs.tau_range,
        *(partial(proofs.fixed_point, *corner) for corner in corners),
    ]


def prove(*, tol: float, budget: int, clock: Clock | None = None) -> list[Certificate]:
    """The certificates of all `statements`."""
    left = statements(tol=tol, budget=budget)
    certificates = []
    with (clock or Clock())("proofs", len(left), "statements") as shown:
        for statement in left:
            certificates.append(statement())
            shown.advance()
    return certificates


def verify(path: Path) -> dict[str, Any]:
    """Check a certificate file and print what its boxes show. Raises `Refused` where that is not what it claims."""
    try:
        with Clock()("check"):
            outcomes = proofs.check(path)
    except (OSError, ValueError) as error:
        raise Refused(str(error)) from None
    head = ("statement", "claimed", "shown", "boxes", "ms")
    print(
        aligned(
            [(o.title, outcome(o.claimed), outcome(o.holds), str(o.boxes), f"{o.seconds * 1e3:.1f}") for o in outcomes],
            head,
        )
    )
    seconds = sum(o.seconds for o in outcomes)
    print("\nproved:", *(f"- {o.proposition}" for o in outcomes if o.holds), sep="\n")
    print(f"\n{sum(o.boxes for o in outcomes)} boxes verified in {seconds:.2f} s")
    if wrong := [f"{o.title} ({o.reason})" if o.reason else o.title for o in outcomes if o.holds != o.claimed]:
        raise Refused(f"{path} does not show what it claims: {', '.join(wrong)}")
    return {"outcomes": [o._asdict() for o in outcomes], "seconds": seconds}


def outcome(holds: bool | None) -> str:
    """The three outcomes in words."""
    return {True: "proved", False: "refuted", None: "undecided"}[holds]


def outward(x: float, side: int, digits: int = 7) -> str:
    """A few digits of x, rounded down (side -1) or up (side 1), so that what is printed is proved too."""
    rounding = decimal.ROUND_FLOOR if side < 0 else decimal.ROUND_CEILING
    short = decimal.Context(prec=digits, rounding=rounding).create_decimal(repr(x)) if math.isfinite(x) else x
    return f"{float(short):.{digits}g}"


def interval(ends: tuple[float, float]) -> str:
    """[low, high], or one number."""
    low, high = outward(ends[0], -1), outward(ends[1], 1)
    return low if ends[0] == ends[1] else f"[{low}, {high}]"


def row(c: Certificate) -> tuple[str, ...]:
    """Statement, domain, outcome, bound, boxes and time of a certificate."""
    where = "; ".join(" ".join(interval(ends) for ends in domain) for domain in domains(c))
    bound = f"hull {interval(c.path[-1][0])} {interval(c.path[-1][1])}" if c.path else bounds(c)
    return c.title, where, outcome(c.holds), bound, str(len(c.boxes)), f"{c.seconds * 1e3:.1f}"


def domains(c: Certificate) -> list[tuple[tuple[float, float], ...]]:
    """Intervals of mean, var, omega and tau, whole as they were stated; of a path, where it starts."""
    if "domains" in c.arguments:
        return list(c.arguments["domains"])
    first = c.domain[0]
    mean, var = c.path[0] if c.path else (first.mean, first.var)
    omega, tau = ((d[0][0], d[-1][1]) for d in ([d.omega for d in c.domain], [d.tau for d in c.domain]))
    return [(mean, var, omega, tau)]


def bounds(c: Certificate) -> str:
    """The rate, the extremes that were asked for, or that of the first inequality, each rounded to its certain side."""
    if c.rate is not None:
        return f"rate {outward(c.rate, 1, 10)}" + (f" (p = {c.arguments['p']})" if c.arguments.get("p") else "")
    ranges = {p.inequality.extreme for p in c.proofs if p.inequality.level is None} or {c.proofs[0].inequality.extreme}
    ends = {name: end for name, end in c.extremes.items() if name in ranges}
    return " ".join(outward(b[0], -1) if "at least" in name else outward(b[1], 1) for name, b in ends.items())


def aligned(rows: list[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    """A table of text."""
    head = head or ("statement", "mean, var, omega, tau", "holds", "bound", "boxes", "ms")
    rows = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows)


def summary(c: Certificate) -> dict[str, Any]:
    """A certificate without its boxes."""
    return {
        "title": c.title,
        "proposition": c.proposition,
        "arguments": {key: value for key, value in c.arguments.items() if key not in ("path", "fall")},
        "holds": c.holds,
        "bound": c.bound,
        "rate": c.rate,
        "metric": c.metric,
        "hull": c.path[-1] if c.path else None,
        "enters": c.enters() if c.path else None,
        "boxes": len(c.boxes),
        "seconds": c.seconds,
        "counterexample": c.counterexample,
    }


def remarks(certificates: list[Certificate]) -> list[str]:
    """What the table does not hold: metrics, layers, and how much of the hull is reached."""
    lines = ["- p = 0.64: rate in the metric 0.64^2 dmean^2/var + dvar^2/var^2; otherwise in the 2-norm"]
    paths = [c for c in certificates if c.path and c.enters() is not None]
    lines += [f"- {c.title} from {c.path[0]}: in the paper's box from layer {c.enters()}" for c in paths]
    points = [c.domain[0] for c in certificates if c.title.startswith("fixed point")]
    mean = min(p.mean[0] for p in points), max(p.mean[1] for p in points)
    var = min(p.var[0] for p in points), max(p.var[1] for p in points)
    lines.append(f"- fixed points at the corners of (omega, tau) reach mean {interval(mean)}, variance {interval(var)}")
    return [*lines, ""]


def draw(output: Output, certificates: list[Certificate]) -> None:
    """The certified boxes over the vector field at omega = 0, tau = 1, and the path that every start takes."""
    from jnorm import plots

    image, *larger = certificates[3 : 4 + len(LARGER)]
    general = next(c for c in certificates if c.title == "global" and c.domain[0].omega[1] > 0)
    layers = {0, 1, 2, 4, 8, 16, 24, general.enters() or 0, len(general.path) - 1} & set(range(len(general.path)))
    low, high, least, most = (ends[side] for ends, side in zip(image.extremes.values(), (0, 1, 0, 1), strict=True))
    boxes = [
        ("theorem 1", PAPER["mean"], PAPER["var"]),
        ("its image", (low, high), (least, most)),
        *((name, larger[k].domain[0].mean, larger[k].domain[0].var) for name, k in DRAWN),
    ]
    near = {"mean": np.linspace(-0.2, 0.2, 17), "var": np.linspace(0.6, 1.7, 18)}
    far = {"mean": np.linspace(-4.2, 4.2, 25), "var": np.linspace(-3.2, 2.2, 28)}
    arrays: dict[str, Any] = {"path": np.array(general.path), "boxes": np.array([box[1:] for box in boxes])}
    with plots.style():
        figure, panels = plots.figure(1, 2, size=(7.0, 3.7))
        for name, grid, log, axes in (("near", near, False, panels[0]), ("far", far, True, panels[1])):
            shift = field(grid["mean"], grid["var"], log)
            plots.vector_field(axes, **grid, **shift)
            arrays |= {f"{name}_{key}": a for key, a in (grid | shift).items()}
            for k in sorted(layers):
                label = "global: path by layer" if k == 0 else None
                outline(axes, *general.path[k], log, color=plots.PALETTE[3], label=label, width=0.8)
            for (label, *box), color in zip(boxes, plots.PALETTE[:3] + plots.PALETTE[4:6], strict=True):
                outline(axes, *box, log, color=color, label=label, width=1.3)
            plots.point(axes, 0.0, 0.0 if log else 1.0)
        panels[0].set_title("Theorem 1 and the limit set")
        panels[1].set(title="Larger boxes, and the way of every start", ylabel=r"$\log_{10}$ variance $\nu$")
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        output.figure("certificate", figure, **arrays)


def field(mean: np.ndarray, var: np.ndarray, log: bool) -> dict[str, np.ndarray]:
    """Shift of mean and variance (or of its decimal logarithm) by one layer at omega = 0, tau = 1."""
    from jnorm.activations import selu
    from jnorm.theory.moments import Moments, layer_map

    x, y = np.meshgrid(mean, 10.0**var if log else var)
    after = layer_map(selu)(Moments(x.astype(np.float32), y.astype(np.float32)))
    rise = np.log10(after.var / y) if log else after.var - y
    return {"dmean": np.asarray(after.mean - x), "dvar": np.asarray(rise)}


def outline(axes: Any, mean: Any, var: Any, log: bool, *, color: str, label: str | None, width: float) -> None:
    """A rectangle of mean and variance, drawn inside the limits that the axes have."""
    limits = axes.axis()
    x, y = np.array(mean)[[0, 1, 1, 0, 0]], np.array(var)[[0, 0, 1, 1, 0]]
    axes.plot(x, np.log10(y) if log else y, color=color, label=label, linewidth=width, zorder=3)
    axes.axis(limits)
