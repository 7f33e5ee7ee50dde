"""Order and chaos over the plane of weight and bias variance, and the line between them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.polynomial import chebyshev

from jnorm import gaussian
from jnorm._ground import callables, nodes
from jnorm.theory._leaps import leaps
from jnorm.theory._parts import Activation, known_kinks
from jnorm.theory.meanfield._dense import LONGEST, Dense, dense, inner
from jnorm.theory.meanfield._duals import rule
from jnorm.theory.meanfield._steady import DepthScales, steady

PANELS, NODES = 64, 33  # of the tables: points of a panel in the logarithm of the length, or angles
SPLIT = 4  # panels of the length in the table of angles
SHORTEST = 1e-24
TURNS = 8


class PhaseDiagram(NamedTuple):
    """What deep networks of one activation do, arrays ``[rows, columns]`` of biases and weights.

    Attributes:
        sigma_w: Standard deviation of the weights times the root of the fan-in.
        sigma_b: Standard deviation of the biases.
        length: The variance that stays.
        chi: The slope of the correlation map at one.
        correlation: The correlation that stays.
        scales: Depth scales of both.
    """

    sigma_w: jax.Array
    sigma_b: jax.Array
    length: jax.Array
    chi: jax.Array
    correlation: jax.Array
    scales: DepthScales


def critical_line(
    phi: Activation, *, sigma_b: ArrayLike, start: ArrayLike = 1.0, kinks: Sequence[float] | None = None
) -> jax.Array:
    """The weights for which gradients neither vanish nor explode, ``chi = 1``, for given biases.

    At the length q the condition is ``sigma_w^2 = 1 / E[phi'(z)^2]``, ``z ~ N(0, q)``, and q stays if
    ``q = sigma_b^2 + E[phi(z)^2] / E[phi'(z)^2]``. Differentiable by ``sigma_b``.
    Source: Poole et al. 2016 (arXiv 1606.05340), figure 1.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        sigma_b: Standard deviation of the biases.
        start: Length from which that on the line is looked for, positive.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        ``sigma_w``, of the broadcast shape; NaN where no length is on the line (the line of `relu` is one point,
        ``sqrt(2)`` without biases, where every length stays; activations that jump have none).

    Raises:
        ValueError: A known ``sigma_b < 0`` or ``start <= 0``, or a ``phi`` that is not elementwise.

    >>> from jnorm.activations import relu, tanh
    >>> [f"{w:.3f}" for w in critical_line(tanh, sigma_b=jnp.array([0.0, 0.05**0.5]))]
    ['1.000', '1.327']
    >>> [f"{w:.4f}" for w in critical_line(relu, sigma_b=jnp.array([0.0, 0.1]))]
    ['1.4142', 'nan']
    """
    layer = dense(phi, 1.0, sigma_b, 0.0, kinks, start)
    return _critical_line(layer.settled(start=start), start)


def phase_diagram(
    phi: Activation, *, sigma_w: ArrayLike, sigma_b: ArrayLike, kinks: Sequence[float] | None = None
) -> PhaseDiagram:
    """Length, `chi`, correlation and depth scales over a grid, where `length` begins at one.

    All are functions of the length, and of a correlation, that are read from tables: piecewise polynomials in the
    logarithm of the length from 1e-12 to 1e4, and in the angle of the correlation. Lengths below are 0 and above are
    infinite. Works on the host, in double precision; away from the critical line the relative error is below 1e-6, and
    that of lengths and `chi` below 1e-10. For derivatives use the functions that compute one quantity.

    Args:
        phi: The activation; ``kinks`` as in `jnorm.theory.moments`.
        sigma_w: The horizontal axis, ``[columns]``.
        sigma_b: The vertical axis, ``[rows]``.
        kinks: Points at which ``phi`` or a derivative jumps.

    Returns:
        The grid and what is found there.

    Raises:
        ValueError: Axes that are not one-dimensional, a negative entry, or a ``phi`` that is not elementwise or jumps.
        TypeError: An axis that is traced.

    >>> from jnorm.activations import tanh
    >>> found = phase_diagram(tanh, sigma_w=[0.8, 1.5, 3.0], sigma_b=[0.0, 0.5])
    >>> [[round(float(chi), 2) for chi in row] for row in found.chi]
    [[0.64, 1.14, 1.86], [0.4, 0.97, 1.82]]
    """
    layer = dense(phi, sigma_w, sigma_b, 0.0, kinks)
    axes = {"sigma_w": sigma_w, "sigma_b": sigma_b}
    for name, axis in axes.items():
        if isinstance(axis, jax.core.Tracer):
            raise TypeError(f"`{name}` is traced: the diagram works on the host")
        if np.ndim(np.asarray(axis)) != 1:
            raise ValueError(f"`{name}` must be a one-dimensional axis; got shape {np.shape(np.asarray(axis))}")
    w, b = np.meshgrid(*(np.asarray(axis, float) for axis in axes.values()))
    with jax.enable_x64(True):
        points = jax.ShapeDtypeStruct((1, PANELS, NODES), jnp.float64)
        settled = callables.settle(layer.phi, points, name="phi")
        origin: Any = np.zeros(points.shape[1:])
        if leaps(settled, origin, origin + LONGEST**0.5, layer.kinks) is not None:
            raise ValueError("`phi` must not jump: there is no order where it does, and `chi` is infinite")
        with ThreadPoolExecutor(1) as beside:
            beside.submit(_compile, settled, layer.kinks)
            lengths = _Lengths(settled, layer.kinks)
            q = lengths.stay(w, b)
        second, chi, growth = lengths.at(q)
        slopes, chi = w * w * np.where(q == 0, chi, growth), w * w * chi
        corr, along = np.ones_like(q), chi.copy()
        chaotic = (chi > 1) & np.isfinite(q)
        if chaotic.any():
            at = q[chaotic]
            aim = (w * w * second + b * b)[chaotic] / (w[chaotic] ** 2 * at)
            angle, rise = _Secants(settled, layer.kinks, at.min(), at.max()).meet(at, aim)
            corr[chaotic], along[chaotic] = np.cos(angle), rise / aim
    nowhere = np.where(np.isfinite(q), 0.0, np.nan)
    scales = DepthScales(*(jnp.asarray(_scale(slope) + nowhere) for slope in (slopes, along)))
    found = [jnp.asarray(a) for a in (w, b, q, chi, corr + nowhere)]
    return PhaseDiagram(found[0], found[1], found[2], found[3], found[4], scales)


@jax.jit
def _critical_line(layer: Dense, start: ArrayLike) -> jax.Array:
    dtype, layer, (start,) = layer.spread(start=start)
    bias = jnp.square(layer.sigma_b)
    on_line = lambda q: bias + layer.second(q) / layer.chi(q)
    q = steady(on_line, jnp.where(start > 0, start, jnp.nan), layer.keeps_zero(start))
    slope = layer.chi(inner(q))
    return jnp.where((q < jnp.inf) & (slope < jnp.inf), 1 / jnp.sqrt(slope), jnp.nan).astype(dtype)


@nodes.register
@dataclass(frozen=True, eq=False)
class _Squares:
    """The square of an activation and that of its derivative."""

    phi: Activation

    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, slope = jax.jvp(self.phi, (z,), (jnp.ones_like(z),))
        return value * value, slope * slope


@partial(jax.jit, static_argnames="kinks")
def _products(phi: Activation, kinks: tuple[float, ...] | None, q: jax.Array, corr: jax.Array) -> jax.Array:
    known = known_kinks(phi, kinks)
    many = known is None or len(known) > 1
    return rule(phi, kinks, 32 if many else 48).value(q, q, corr)


def _compile(phi: Activation, kinks: tuple[float, ...] | None) -> None:
    """Compile the table of `_Secants`, which takes a core longer than to find the lengths."""
    with jax.enable_x64(True):
        like = jax.ShapeDtypeStruct((PANELS, NODES), jnp.float64)
        _products.lower(phi, kinks, like, like).compile()


def _nodes(count: int) -> np.ndarray:
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


def _series(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients of values at `_nodes`, along the first axis."""
    count = len(values)
    basis = chebyshev.chebvander(_nodes(count), count - 1)
    weight = np.where(np.arange(count) == 0, 1.0, 2.0) / count
    return weight.reshape(-1, *(1,) * (values.ndim - 1)) * np.tensordot(basis.T, values, 1)


class _Lengths:
    """``E[phi(z)^2]``, ``E[phi'(z)^2]`` and the derivative of the first by the length, from panels of polynomials."""

    def __init__(self, phi: Activation, kinks: tuple[float, ...] | None) -> None:
        self.edges = np.linspace(np.log(SHORTEST), np.log(LONGEST), PANELS + 1)
        self.half = (self.edges[1] - self.edges[0]) / 2
        places = self.edges[:-1, None] + self.half * (1 + _nodes(NODES)[::-1])
        split = known_kinks(phi, kinks)
        squares = gaussian.expectation(_Squares(phi), 0.0, np.exp(places), kinks=split)
        second, slope = (np.asarray(a) for a in squares)
        self.places, self.second = places.ravel(), np.where(np.isnan(second), np.inf, second).ravel()
        with np.errstate(all="ignore"):  # what overflows stays in its panel
            ratio = _series((second / np.exp(places))[:, ::-1].T)
            self.ratio, self.slope = ratio, _series(slope[:, ::-1].T)
            self.growth = chebyshev.chebder(ratio) / self.half

    def at(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three at lengths, which are moved into the table."""
        place, (ratio, by_place, slope) = self._read(q, self.ratio, self.growth, self.slope)
        return ratio * np.exp(place), slope, ratio + by_place

    def _read(self, q: np.ndarray, *series: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """The logarithms of lengths, moved into the table, and what polynomials of its panels are there."""
        place = np.clip(np.log(np.clip(q, SHORTEST, LONGEST)), self.edges[0], self.edges[-1])
        panel = np.clip(((place - self.edges[0]) // (2 * self.half)).astype(int), 0, PANELS - 1)
        x = (place - self.edges[panel]) / self.half - 1
        return place, [chebyshev.chebval(x, a[:, panel], tensor=False) for a in series]

    def stay(self, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The length that stays: the first on the way from one where a layer does not go on."""
        places, second = self.places[::3], self.second[::3]
        lengths, middle = np.exp(places), int(np.searchsorted(places, 0.0))
        left, right, end = np.empty_like(w), np.empty_like(w), np.empty_like(w)
        for row in range(len(w)):
            rises = w[row, :, None] ** 2 * second + b[row, :, None] ** 2 > lengths
            up = rises[:, middle]
            falls, behind = ~rises[:, middle:], rises[:, middle::-1]
            low = np.where(up, middle + np.argmax(falls, 1) - 1, middle - np.argmax(behind, 1))
            left[row], right[row] = places[low], places[np.minimum(low + 1, len(places) - 1)]
            passed = np.where(up, falls.any(1), behind.any(1))
            end[row] = np.where(passed, np.nan, np.where(up, np.inf, 0.0))
        between = np.isnan(end)
        end[between] = self._between(*(a[between] for a in (left, right, w, b)))
        return end

    def _between(self, left: np.ndarray, right: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Newton's iteration between two places of the table, kept there by halving."""
        place = (left + right) / 2
        for _ in range(TURNS):
            q = np.exp(place)
            at, (ratio, by_place) = self._read(q, self.ratio, self.growth)
            gap = w * w * ratio * np.exp(at) + b * b - q
            left, right = np.where(gap > 0, place, left), np.where(gap > 0, right, place)
            with np.errstate(all="ignore"):
                step = place - gap / ((w * w * (ratio + by_place) - 1) * q)
            place = np.where((step >= left) & (step <= right), step, (left + right) / 2)
        return np.exp(place)


class _Secants:
    """The slope of secants ``(E[phi(u)^2] - E[phi(u) phi(v)]) / (q (1 - c))`` by length, in panels, and angle.

    Its limit at an angle of zero is ``E[phi'(z)^2]``.
    """

    def __init__(self, phi: Activation, kinks: tuple[float, ...] | None, shortest: float, longest: float) -> None:
        each, count = PANELS // SPLIT, NODES - 1
        self.edges = np.linspace(np.log(shortest) - 0.05, np.log(longest) + 0.05, SPLIT + 1)
        self.half = (self.edges[1] - self.edges[0]) / 2
        places = (self.edges[:-1, None] + self.half * (1 + _nodes(each))).ravel()
        angle = np.append(np.pi / 4 * (1 + _nodes(count)), 0.0)
        q, corr = np.broadcast_arrays(np.exp(places)[:, None], np.cos(angle))
        product = np.asarray(_products(phi, kinks, q, corr))
        secant = (product[:, -1:] - product[:, :-1]) / (2 * q[:, :-1] * np.sin(angle[:-1] / 2) ** 2)
        by_angle = _series(secant.T).reshape(count, SPLIT, each)
        self.series = _series(np.moveaxis(by_angle, -1, 0))  # [length, angle, panel]

    def meet(self, q: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The angles at which secants have the slopes that are aimed at, and the slopes of the function there."""
        place = np.log(q)
        panel = np.clip(((place - self.edges[0]) // (2 * self.half)).astype(int), 0, SPLIT - 1)
        powers = chebyshev.chebvander((place - self.edges[panel]) / self.half - 1, PANELS // SPLIT - 1)
        of_angle = np.empty((NODES - 1, len(q)))
        for which in range(SPLIT):
            of_angle[:, panel == which] = self.series[:, :, which].T @ powers[panel == which].T
        derivative = chebyshev.chebder(of_angle) * 4 / np.pi
        value = lambda series, angle: chebyshev.chebval(angle * 4 / np.pi - 1, series, tensor=False)
        left, right = np.zeros_like(q), np.full_like(q, np.pi / 2)
        angle = (left + right) / 2
        for _ in range(TURNS + 4):  # the slope falls with the angle
            gap = value(of_angle, angle) - aim
            left, right = np.where(gap > 0, angle, left), np.where(gap > 0, right, angle)
            with np.errstate(all="ignore"):
                step = angle - gap / value(derivative, angle)
            angle = np.where((step >= left) & (step <= right), step, (left + right) / 2)
        return angle, value(of_angle, angle) + np.tan(angle / 2) * value(derivative, angle)


def _scale(slope: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        rate = np.abs(np.log(np.abs(slope)))
        return np.where(rate <= 8 * np.finfo(float).eps, np.inf, 1 / rate)
