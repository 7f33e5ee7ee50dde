"""What architectures make of a quantity of their layers, and what a layer must have for a network to have it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jnorm._ground import checks

Layer = Callable[[Any], Any]
"""What a nonlinear layer makes of a quantity."""
Network = Callable[[Any, Layer], Any]
"""``network(x, layer)``: the largest that the network, or a part of it, makes of ``x``, where each of its nonlinear
layers makes ``layer(x)`` of it. Sums of independent branches of variances ``w^2`` and ``1 - w^2`` are such means."""


@dataclass(frozen=True)
class Chain:
    """Layers one after another; made by `chain`.

    Attributes:
        depth: How many.
    """

    depth: int

    def __call__(self, x: Any, layer: Layer) -> Any:
        """What the layers make of ``x``."""
        for _ in range(self.depth):
            x = layer(x)
        return x


@dataclass(frozen=True)
class ResidualNet:
    """Groups of residual blocks; made by `residual`.

    Attributes:
        groups: Blocks of each group.
        layers: Nonlinear layers of a branch.
        shortcut: Weight of the shortcut.
        entries: Whether the shortcut of a group's first block has a nonlinear layer.
    """

    groups: tuple[int, ...]
    layers: int
    shortcut: float
    entries: bool

    def __call__(self, x: Any, layer: Layer) -> Any:
        """The larger of what the network and what a branch alone makes of ``x``."""
        branch, share = Chain(self.layers), self.shortcut**2
        alone = branch(x, layer)
        for blocks in self.groups:
            for block in range(blocks):
                beside = layer(x) if self.entries and block == 0 else x
                x = share * beside + (1 - share) * branch(x, layer)
        return max(layer(x), alone)


def chain(depth: int) -> Chain:
    """A fully connected or convolutional network of ``depth`` nonlinear layers, as a function of its layers.

    Args:
        depth: Its nonlinear layers.

    Returns:
        ``network(x, layer)``, for `deep_kernel_shaping` and its like.

    Raises:
        ValueError: A ``depth`` that is not a whole number >= 1.

    >>> round(chain(100)(1.0, lambda slope: 1.01 * slope), 4)  # slopes of correlation maps multiply
    2.7048
    """
    checks.whole(1, depth=depth)
    return Chain(int(depth))


def residual(blocks: int | Sequence[int], *, layers: int = 2, shortcut: float) -> ResidualNet:
    """A residual network ``x <- w x + sqrt(1 - w^2) branch(x)``, as a function of its layers; then a last layer.

    Both parts are independent and of equal length, so that correlations and their derivatives are means with weights
    ``w^2`` and ``1 - w^2``. Source: Martens et al. 2021 (arXiv 2110.01765), section on residual networks.

    Args:
        blocks: Blocks whose shortcuts are identities; or, of groups, how many each has, and then the shortcut of each
            group's first block has a nonlinear layer, as where the number of channels changes.
        layers: Nonlinear layers of a branch.
        shortcut: The weight ``w``, between 0 and 1.

    Returns:
        ``network(x, layer)``, the maximum over the network and its branches.

    Raises:
        ValueError: Blocks or layers that are no whole numbers >= 1, or a ``shortcut`` outside [0, 1].

    >>> round(residual(50, shortcut=0.9)(1.0, lambda slope: 1.01 * slope), 4), round(1.01**101, 4)
    (1.2221, 2.7319)
    """
    groups = (blocks,) if isinstance(blocks, int) else tuple(blocks)
    checks.whole(1, blocks=groups, layers=layers)
    checks.require(lambda w: (w >= 0) & (w <= 1), "`{}` must satisfy 0 <= {} <= 1", shortcut=shortcut)
    return ResidualNet(groups, int(layers), float(shortcut), not isinstance(blocks, int))


def rising(f: Callable[[float], float], goal: float, low: float, high: float) -> float | None:
    """Where a rising function of numbers reaches a goal; ``high`` is doubled until it is beyond.

    By secants that keep a bracket, whose older end counts less each time (Dowell and Jarratt 1972), and by halving
    where a secant leads nowhere; large values count by their logarithms, as depths make them powers. None where the
    goal is not reached up to 1e6, or is passed at ``low`` already.
    """
    unit = abs(goal) or 1.0
    gap = lambda x: math.asinh((_number(f, x) - goal) / unit)
    below, above = gap(low), gap(high)
    while above < 0 and high < 1e6:
        low, below, high = high, above, 2 * high
        above = gap(high)
    if not below <= 0 <= above:
        return None
    for _ in range(200):
        middle = high - above * (high - low) / (above - below) if above != below else high
        if not min(low, high) < middle < max(low, high):
            middle = (low + high) / 2
        if abs(above) <= 1e-14 or middle in (low, high):
            break
        here = gap(middle)
        if here * above < 0:
            low, below = high, above
        elif here != 0:
            below *= above / (above + here)
        high, above = middle, here
    return high


def _number(f: Callable[[float], float], x: float) -> float:
    try:
        return float(f(x))
    except OverflowError:
        return math.inf
