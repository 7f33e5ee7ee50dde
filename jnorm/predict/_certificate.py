"""Proofs about a model of one's own: interval bounds of its moments, layer by layer (extra: verify)."""

import dataclasses
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jnorm._ground import tables
from jnorm.jaxprs import Line
from jnorm.predict._chains import Link, chain
from jnorm.proofs._balls import flint
from jnorm.proofs._boxes import contraction_box
from jnorm.proofs._certificates import Certificate
from jnorm.proofs._domains import Domain
from jnorm.proofs._search import BUDGET, extremes
from jnorm.proofs._shapes import Interval, IntervalLike, interval, number, whole

HEAD = ("layer", "activation", "mean", "variance", "gradient factor", "line")
WIDTHS = (14, 12, 21, 21, 17, 10)
LEFT = frozenset({0, 1, 5})


@dataclasses.dataclass(frozen=True)
class LayerBounds:
    """What surely holds of a layer: z = w.x is Gaussian, and f(z) its output.

    Attributes:
        name: The module, where there is one.
        activation: The operations of f.
        omega: Interval of the sum of a unit's weights.
        tau: Interval of the sum of its squared weights.
        mean: Interval of E[f(z)].
        var: Interval of Var f(z).
        gradient: Interval of tau*E[f'(z)^2], the factor by which squared gradients change; None where not asked for.
        line: The user's line.
    """

    name: str
    activation: str
    omega: Interval
    tau: Interval
    mean: Interval
    var: Interval
    gradient: Interval | None
    line: Line | None


@dataclasses.dataclass(frozen=True)
class ChainBounds:
    """Interval bounds of a chain's moments; prints as a table.

    Attributes:
        layers: In the order of computation.
        contractions: Of each activation that several layers have, the proof of a rectangle that the layer map takes
            into itself and contracts; undecided where none is found. Empty where they were not asked for.
    """

    layers: tuple[LayerBounds, ...]
    contractions: tuple[Certificate, ...] = ()

    def __str__(self) -> str:
        lines = [tables.line(cells, WIDTHS, LEFT) for cells in (HEAD, *map(_cells, self.layers))]
        for proof in self.contractions:
            said = proof.proposition if proof.holds else f"no contraction is shown of {proof.arguments['target'].name}"
            lines += textwrap.wrap(said, 100, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(lines)


def certificate(
    apply: Callable[..., Any],
    params: Any,
    x: Any,
    *,
    mean: IntervalLike = 0.0,
    var: IntervalLike = 1.0,
    omega: IntervalLike | Sequence[IntervalLike] | None = None,
    tau: IntervalLike | Sequence[IntervalLike] | None = None,
    gradients: bool = False,
    contractions: bool = False,
    tol: float = 1e-9,
    budget: int = BUDGET,
) -> ChainBounds:
    """Proven interval bounds of the moments at every depth of a chain of layers and elementwise activations.

    The statement is that of Klambauer et al. 2017 (arXiv 1706.02515), for any activation: a layer takes independent
    inputs of one mean and one variance, its products z = w.x are Gaussian with mean ``mean*omega`` and variance
    ``var*tau``, where omega is the sum of a unit's weights and tau that of their squares, and its output is f(z).
    Whatever omega and tau each layer has within their intervals, and whatever moments in theirs the input has, mean and
    variance of each output lie in what is returned. That is interval arithmetic, quadrature's error and the Gaussian's
    tails included; the rounding of the model's own arithmetic is not. Of f the program's numbers are taken as they are
    in float64. A bias is part of f, and so must be one number for all units of a layer.

    Args:
        apply: The model, ``apply(params, x)``, that JAX can trace: Flax, Equinox, Haiku or plain.
        params: Its parameters, a pytree of arrays.
        x: Its data; only shapes count.
        mean: Interval of the mean of what the first layer takes, or a number.
        var: Interval of its variance, > 0.
        omega: Interval of the sum of a unit's weights, or a list of one for each layer; None for what ``params`` have.
        tau: Interval of the sum of its squared weights, > 0, in the same way.
        gradients: Whether the factors of squared gradients are bounded too.
        contractions: Whether a contraction is sought for each activation that several layers have: see
            `jnorm.proofs.certificate.contraction_box`.
        tol: Width to which extremes are enclosed: relative to the variance, to its root for means.
        budget: Boxes that may be looked at for each bound, after which it is as wide as it is.

    Returns:
        Bounds for each layer, in the order of computation.

    Raises:
        TypeError: ``apply`` is not callable, or parameters are no arrays.
        ValueError: The model is no chain, with the line that makes it none; an interval is none; a list has another
            length than the model has layers; or a variance cannot be bounded away from 0, or a moment not at all.
        NotImplementedError: An activation holds an operation that python-flint does not enclose, with its line.
        ModuleNotFoundError: Without python-flint (extra: verify).

    >>> import jax
    >>> import jax.numpy as jnp
    >>> model = lambda w, x: jnp.tanh(jnp.tanh(x @ w[0]) @ w[1])
    >>> weights = [jnp.zeros((8, 64)), jnp.zeros((64, 64))]
    >>> for layer in certificate(model, weights, jnp.ones(8), omega=(-0.1, 0.1), tau=(1.9, 2.1)).layers:
    ...     print(layer.activation, [round(end, 6) for end in layer.var])
    tanh [0.51087, 0.528581]
    tanh [0.388884, 0.413317]
    """
    flint()
    links = chain(apply, params, x)
    omegas, taus = (
        _each("omega", omega, [link.omega for link in links]),
        _each("tau", tau, [link.tau for link in links]),
    )
    start = interval("mean", mean), interval("var", var)
    tol, budget = number("tol", tol, positive=True), whole("budget", budget, 1)
    found: list[LayerBounds] = []
    for link, w, t in zip(links, omegas, taus, strict=True):
        before = start if link.source is None else (found[link.source].mean, found[link.source].var)
        domain = Domain(*before, w, t)
        after, spread = (_extremes(link, domain, quantity, tol, budget) for quantity in ("mean", "variance"))
        factor = _extremes(link, domain, "gradient factor", tol, budget) if gradients else None
        found.append(LayerBounds(link.name, link.phi.name, w, t, after, spread, factor, link.line))
    return ChainBounds(tuple(found), tuple(_contractions(links, omegas, taus)) if contractions else ())


def _contractions(links: Sequence[Link], omegas: Sequence[Interval], taus: Sequence[Interval]) -> Iterator[Certificate]:
    """Over all weights that the layers of one activation have."""
    for phi in dict.fromkeys(link.phi for link in links):
        mine = [i for i, link in enumerate(links) if link.phi == phi]
        if len(mine) > 1:
            omega, tau = ((min(given[i][0] for i in mine), max(given[i][1] for i in mine)) for given in (omegas, taus))
            yield contraction_box(omega, tau, phi=phi)


def _each(name: str, given: Any, own: list[Interval]) -> list[Interval]:
    """An interval for each layer."""
    if given is None:
        return own
    if isinstance(given, Sequence) and any(isinstance(part, Sequence) for part in given):
        if len(given) != len(own):
            raise ValueError(f"`{name}` must hold an interval for each of {len(own)} layers; got {len(given)}")
        return [interval(name, part) for part in given]
    return [interval(name, given)] * len(own)


def _extremes(link: Link, domain: Domain, quantity: str, tol: float, budget: int) -> Interval:
    """Least and largest value of a quantity."""
    high = domain.var[1] * domain.tau[1]
    width = tol * {"variance": high, "mean": math.sqrt(high)}.get(quantity, 1.0)
    ends = extremes(quantity, domain, link.phi, tol=width, budget=budget)
    if not all(map(math.isfinite, ends)) or (quantity == "variance" and ends[0] <= 0):
        raise ValueError(f"the {quantity} of {link.phi.name} at {link.line} is not bounded: {ends} over {domain}")
    return ends


def _cells(layer: LayerBounds) -> tuple[str, ...]:
    where = f"{layer.line.file.rsplit('/', 1)[-1]}:{layer.line.number}" if layer.line else ""
    factor = _text(layer.gradient) if layer.gradient else ""
    return (layer.name, layer.activation, _text(layer.mean), _text(layer.var), factor, where)


def _text(ends: Interval) -> str:
    return f"{ends[0]:.3g} .. {ends[1]:.3g}"
