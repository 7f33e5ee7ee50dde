"""Rules by which claims are judged, declared before the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jnorm._ground import checks
from jnorm.statistics._runs import Configuration

CLAIMS = ("greater", "less", "equal")
METHODS = ("t", "bootstrap-mean", "bootstrap-median", "bootstrap-iqm")
DIVERGED = ("exclude", "lowest", "highest")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a claim about two arms will be judged, declared before the data.

    Raises ``ValueError`` for unknown options, a negative ``effect`` (or zero, for equality), a level outside (0, .5), a
    target outside (0, 1), and a bootstrap of runs that are not paired.

    >>> Rule(claim="greater", effect=0.01, diverged="exclude", level=2)
    Traceback (most recent call last):
    ...
    ValueError: `level` must satisfy 0 < level < 0.5; got 2
    """

    claim: str  # a is "greater", "less" or "equal", compared with b
    effect: float  # the smallest difference that matters, in units of the metric; for "equal" the margin
    diverged: (
        str | float
    )  # a non-finite run: "exclude" it (with its pair), count it as the "lowest" or "highest" of both
    # arms in its setting, or as this number
    name: str = ""  # the claim in words
    metric: str = ""
    a: Configuration = field(default_factory=dict)  # the hyperparameter values that make the arms; any others that
    b: Configuration = field(default_factory=dict)  # vary are the settings
    transform: Callable[[np.ndarray], np.ndarray] | None = (
        None  # of the metric [configuration, seed, ...] to one number
    )
    # a run, as ``lambda curve: curve[..., -1]``
    paired: bool = True  # seed s of a belongs to seed s of b
    method: str = (
        "t"  # Student's (Welch's where unpaired), or "bootstrap-" "mean", "median" or "iqm" of paired differences
    )
    level: float = 0.05
    target: float = 0.8  # power of the size that would decide
    family: str = ""  # verdicts of one family are corrected together

    def __post_init__(self) -> None:
        checks.choice("claim", self.claim, CLAIMS)
        checks.choice("method", self.method, METHODS)
        if isinstance(self.diverged, str):
            checks.choice("diverged", self.diverged, (*DIVERGED, "or a number"))
        elif not math.isfinite(self.diverged):
            raise ValueError(f"`diverged` must be finite; got {self.diverged}")
        if not 0 <= self.effect < math.inf or (self.claim == "equal" and self.effect == 0):
            least = "<" if self.claim == "equal" else "<="
            raise ValueError(f"`effect` must satisfy 0 {least} effect < inf; got {self.effect}")
        for name, value, top in (("level", self.level, 0.5), ("target", self.target, 1)):
            if not 0 < value < top:
                raise ValueError(f"`{name}` must satisfy 0 < {name} < {top}; got {value}")
        if not self.paired and self.method != "t":
            raise ValueError(f"`method` must be 't' where runs are not paired; got {self.method!r}")
