"""Rules by which claims are judged, declared before the data."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jnorm._ground import checks
from jnorm.statistics._methods import METHODS

CLAIMS = ("greater", "less", "equal")
DIVERGED = ("exclude", "lowest", "highest")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a claim about two arms, a and b, will be judged: declared before the data.

    Attributes:
        claim: a is "greater", "less" or "equal", compared with b.
        effect: The smallest difference that matters, in units of the metric; for "equal" the margin.
        diverged: What becomes of a run that is not finite: "exclude" it (with its pair), count it as the "lowest" or
            "highest" of both arms in its setting, or as this number.
        name: The claim in words.
        metric: The name of the array in the result.
        a: Values of the hyperparameters that make arm a. Those that neither arm names and that vary are the settings.
        b: Values of the hyperparameters that make arm b.
        transform: Reduces the metric ``[configuration, seed, ...]`` to one number a run, as
            ``lambda curve: curve[..., -1]``.
        paired: Whether seed s of a belongs to seed s of b.
        method: How a and b are compared: a name in `METHODS`, which says what it estimates and assumes.
        level: The error rate, over the whole family.
        target: The power of the number of runs that would decide.
        family: Verdicts whose rules name the same family are corrected together.

    Raises:
        ValueError: For unknown options, a negative ``effect`` (or zero, for equality), a level outside (0, .5), a
            target outside (0, 1), and a method that does not serve runs that are paired, or that are not.

    >>> arms = {"a": {"phi": "selu"}, "b": {"phi": "relu"}}
    >>> rule = Rule(claim="greater", effect=0.01, diverged=0.1, metric="accuracy", method="wilcoxon", **arms)
    >>> print(METHODS[rule.method])
    the median of all pairwise means (Hodges and Lehmann), by Wilcoxon's signed ranks; of symmetric differences (paired)
    >>> Rule(claim="greater", effect=0.01, diverged="exclude", level=2)
    Traceback (most recent call last):
    ...
    ValueError: `level` must satisfy 0 < level < 0.5; got 2
    """

    claim: str
    effect: float
    diverged: str | float
    name: str = ""
    metric: str = ""
    a: Mapping[str, Any] = field(default_factory=dict)
    b: Mapping[str, Any] = field(default_factory=dict)
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    paired: bool = True
    method: str = "t"
    level: float = 0.05
    target: float = 0.8
    family: str = ""

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
        serve = [name for name, method in METHODS.items() if (method.paired if self.paired else method.unpaired)]
        if self.method not in serve:
            runs = "are paired" if self.paired else "are not paired"
            raise ValueError(f"`method` must be one of {', '.join(serve)} where runs {runs}; got {self.method!r}")
