"""Networks as graphs of layers and means, and their parts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jnorm.theory.transforms._networks import Layer

Step = int | tuple[tuple[int, float], ...]
"""Of what a nonlinear layer is, or a mean: pairs of a number of a value, and its weight."""
Edge = tuple[int, int]


@dataclass(frozen=True)
class Graph:
    """A network by its parts; made by `graph`.

    Attributes:
        parts: The steps of each part, which make values one after another; 0 is what enters.
    """

    parts: tuple[tuple[Step, ...], ...]

    def __call__(self, x: Any, layer: Layer) -> Any:
        """The largest that a part makes of ``x``."""
        return max(_made(part, x, layer) for part in self.parts)


def _made(part: Sequence[Step], x: Any, layer: Layer) -> Any:
    values = [x]
    for step in part:
        values.append(layer(values[step]) if isinstance(step, int) else sum(w * values[k] for k, w in step))
    return values[-1]


def graph(nodes: Sequence[int | Mapping[int, float]], outputs: Sequence[int] | None = None) -> Graph:
    """A network of any shape, as a function of its layers: the largest that the network or a part of it makes.

    A part is what a single edge leads into and a single edge leads out of: the whole, each branch of a sum, what is
    inside of a branch. Runs of parts are parts too, and the longest is the largest, as no layer here decreases what it
    is given: slopes are at least one, curvatures are added, correlations rise. So one program serves each branch.
    Parts are found by dominators (Johnson, Pearson and Pingali 1994, regions of single entry and single exit).

    Args:
        nodes: What is computed, in order, from node 0, which enters; the first of the sequence is node 1. A whole
            number is a nonlinear layer of that node, a dictionary ``{node: weight}`` is a mean: a sum of independent
            branches ``w_k f_k`` of equal length has the weights ``w_k^2``, a concatenation has shares of widths.
        outputs: Nodes that the network returns; those that no other takes up, if not given.

    Returns:
        ``network(x, layer)``, for `deep_kernel_shaping` and its like.

    Raises:
        ValueError: A node that takes up one which does not come before it, or weights that are no shares of one.

    >>> dense = graph([0, {0: 0.5, 1: 0.5}, 2, {2: 0.5, 3: 0.5}])  # each half of the channels is what came before
    >>> dense(1.0, lambda slope: 2 * slope)
    2.25
    """
    sources = [[], *(_sources(number, node) for number, node in enumerate(nodes, 1))]
    taken = {k for row in sources for k in row}
    ends = [k for k in range(len(sources)) if k not in taken] if outputs is None else [int(k) for k in outputs]
    if not ends or any(not 0 <= k < len(sources) for k in ends):
        raise ValueError(f"`outputs` must be nodes between 0 and {len(nodes)}, one at least; got {ends}")
    wholes = [above([end], sources) for end in ends]
    alive = set[int]().union(*wholes)
    parts = [_steps(sorted(whole), 0, nodes) for whole in wholes]
    parts += [_steps(inside, entry, nodes) for inside, entry in _regions(sources, sorted(alive), ends)]
    return Graph(tuple(part for part in dict.fromkeys(parts) if part) or ((),))


def _sources(number: int, node: int | Mapping[int, float]) -> list[int]:
    row = [int(k) for k in (node if isinstance(node, Mapping) else [node])]
    if not row or any(not 0 <= k < number for k in row):
        raise ValueError(f"`nodes`: node {number} must take up nodes that come before it; got {node!r}")
    if isinstance(node, Mapping):
        weights = list(node.values())
        if min(weights) < 0 or not abs(sum(weights) - 1) <= 1e-6:
            raise ValueError(f"`nodes`: the weights of node {number} must be shares of one; got {node!r}")
    return row


def above(ends: Sequence[int], sources: Sequence[Sequence[int]]) -> set[int]:
    """Nodes and all that they are made of; ``sources`` are the nodes that each node takes up."""
    found, left = set[int](), list(ends)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += sources[node]
    return found


def _steps(inside: Sequence[int], entry: int, nodes: Sequence[int | Mapping[int, float]]) -> tuple[Step, ...]:
    """Nodes as steps, where what enters is the value of the node ``entry``."""
    at, steps = {entry: 0}, list[Step]()
    for node in inside:
        if node in at:
            continue
        made = nodes[node - 1]
        if isinstance(made, Mapping):
            steps.append(tuple(sorted((at[int(k)], float(w)) for k, w in made.items())))
        else:
            steps.append(at[int(made)])
        at[node] = len(steps)
    return tuple(steps)


def _regions(
    sources: Sequence[Sequence[int]], alive: Sequence[int], ends: Sequence[int]
) -> Iterator[tuple[list[int], int]]:
    """The nodes between the first and the last edge of each run of parts, and the node whose value enters.

    Sets of edges are bits of whole numbers; edges are in the order of what they lead to.
    """
    sink = len(sources)
    edges: list[Edge] = [(-1, 0), *((k, node) for node in alive for k in sources[node]), *((k, sink) for k in ends)]
    everything = (1 << len(edges)) - 1
    before = dict.fromkeys([*alive, sink], everything)  # edges that all ways from the input to a node go through
    after = dict.fromkeys(alive, everything)  # and those that all ways from it to the outputs do
    lead = [0] * len(edges)
    for number, (source, target) in enumerate(edges):
        lead[number] = 1 << number | (before[source] if source >= 0 else 0)
        before[target] &= lead[number]
    leave = [0] * len(edges)
    for number, (source, target) in reversed(list(enumerate(edges))):
        leave[number] = 1 << number | after.get(target, 0)
        if source >= 0:
            after[source] &= leave[number]
    seen = 0
    for first, (entry, _) in enumerate(edges):
        if seen >> first & 1:
            continue
        run = [edge for edge in _bits(leave[first]) if lead[edge] >> first & 1]
        seen |= sum(1 << edge for edge in run)
        last = run[-1]
        within = range(edges[first][1], edges[last][0] + 1)
        inside = [k for k in within if k in after and before[k] >> first & 1 and after[k] >> last & 1]
        yield inside, max(entry, 0)


def _bits(number: int) -> Iterator[int]:
    return iter(np.flatnonzero(list(map(int, reversed(f"{number:b}")))).tolist())
