"""Parametrizations as tables: powers of fan-in and fan-out by the kind of a parameter.

A parametrization gives each parameter w, used as ``A w``, drawn with a standard deviation ``B`` and trained at a rate
``C``. Training is the same for ``(A s, B / s, C / s)`` under Adam and ``(A s, B / s, C / s^2)`` under SGD, so that what
counts is ``A B`` and ``A C`` or ``A^2 C``.
"""

from collections.abc import Mapping
from typing import NamedTuple

OPTIMIZERS = ("adam", "sgd")


class Powers(NamedTuple):
    """Powers of fan-in, and of fan-out for the rates, beyond a drawing with variance 1/fan-in and one rate for all."""

    forward: float = 0.0
    init: float = 0.0
    adam: tuple[float, float] = (0.0, 0.0)
    sgd: tuple[float, float] = (0.0, 0.0)


class Rule(NamedTuple):
    """A parametrization.

    Attributes:
        powers: By kind; what is not there stays as it is.
        alpha: Residual branches get ``depth^-alpha``, and what is in them rates that make up for it; None: nothing.
        source: Where it is written.
    """

    powers: Mapping[str, Powers]
    alpha: float | None
    source: str


_WIDE = Powers(sgd=(0.0, 1.0))
_HIDDEN = Powers(adam=(-1.0, 0.0), sgd=(-1.0, 1.0))
_SCALED_OUTPUT = Powers(forward=-1.0, init=0.5, sgd=(1.0, 0.0))
_NEURAL_TANGENT = Powers(forward=-0.5, init=0.5)

RULES: Mapping[str, Rule] = {
    "standard": Rule({}, None, "one rate, variance 1/fan-in (LeCun et al. 1998; He et al. 2015)"),
    "ntk": Rule({"hidden": _NEURAL_TANGENT, "output": _NEURAL_TANGENT}, None, "Jacot et al. 2018 (arXiv 1806.07572)"),
    "mup": Rule(
        {
            "vector": _WIDE,
            "input": _WIDE,
            "hidden": _HIDDEN,
            "output": Powers(init=-0.5, adam=(-1.0, 0.0), sgd=(-1.0, 0.0)),
        },
        0.5,
        "Yang et al. 2022 (arXiv 2203.03466), table 3; depth: Yang et al. 2023 (arXiv 2310.02244)",
    ),
    "u-mup": Rule(
        {
            "vector": _WIDE,
            "input": Powers(adam=(0.0, -0.5), sgd=(0.0, 1.0)),
            "hidden": Powers(forward=-0.5, init=0.5, adam=(-0.5, 0.0), sgd=(0.0, 1.0)),
            "output": _SCALED_OUTPUT,
        },
        0.5,
        "Blake et al. 2024 (arXiv 2407.17465), table 2",
    ),
    "completep": Rule(
        {"vector": _WIDE, "input": _WIDE, "hidden": _HIDDEN, "output": _SCALED_OUTPUT},
        1.0,
        "Dey et al. 2025 (arXiv 2505.01618), table 1",
    ),
}


class Multipliers(NamedTuple):
    """What a parameter is multiplied by, relative to the base.

    Attributes:
        forward: In every use, A.
        init: Where it is drawn, B.
        rate: In every step, C.
    """

    forward: float
    init: float
    rate: float


def multipliers(
    rule: str, optimizer: str, kind: str, fan_in: float, fan_out: float, depth: float | None
) -> Multipliers:
    """The multipliers of one parameter.

    Args:
        rule: One of `RULES`.
        optimizer: One of `OPTIMIZERS`.
        kind: That of a `jnorm.theory._widths.Tensor`.
        fan_in: Its fan-in over that at the base.
        fan_out: Likewise.
        depth: The depth over that at the base for a parameter of a residual branch; None for others.

    >>> multipliers("mup", "adam", "output", 4.0, 1.0, None)
    Multipliers(forward=1.0, init=0.5, rate=0.25)
    """
    found, powers = RULES[rule], RULES[rule].powers.get(kind, Powers())
    inward, outward = getattr(powers, optimizer)
    rate = fan_in**inward * fan_out**outward
    if depth is not None and found.alpha is not None:
        # The branch gives depth^-alpha to the output, and again to the gradient, which Adam does not see.
        rate *= depth ** (found.alpha - 1 if optimizer == "adam" else 2 * found.alpha - 1)
    return Multipliers(fan_in**powers.forward, fan_in**powers.init, rate)


def drawn_power(kind: str) -> float:
    """The power of fan-in that ``A B`` has where features are learned (all of `RULES` but the first two).

    >>> drawn_power("output")
    -1.0
    """
    return {"hidden": -0.5, "output": -1.0}.get(kind, 0.0)
