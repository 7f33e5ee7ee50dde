"""Functions of a Gaussian at each index, as Hermite series: means, and covariances of any two of them.

With ``f(m + s x) = sum_k c_k h_k(x)``, ``h_k`` the normalized Hermite polynomials, ``Cov[f(u), g(v)]`` at correlation
``r`` is ``sum_(k >= 1) c_k d_k r^k`` (Mehler). Coefficients are integrals by panels of Gauss-Legendre nodes that
end at the kinks of the function.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import special

from jnorm import gaussian
from jnorm.predict._values import Refused

TERMS = 128  # .8^128 = 4e-13
NODES = 256
FEW = 2**17  # numbers of powers that are made at once
REACH = 8.5  # standard deviations: the mass outside is 2e-17


class Series(NamedTuple):
    """A function at each index.

    Attributes:
        coefficients: ``[TERMS + 1, E]``.
        x: Nodes in standard units, ``[nodes, E]``.
        weights: ``[nodes, E]``.
        values: ``[nodes, E]``.
        std: Of the Gaussian, ``[E]``.
    """

    coefficients: np.ndarray
    x: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    std: np.ndarray

    @property
    def slope(self) -> np.ndarray:
        """``E[f']``."""
        return self.coefficients[1] / np.where(self.std == 0, 1.0, self.std)


def series(node: Any, mean: np.ndarray, std: np.ndarray) -> Series:
    """The series of a function of ``N(mean, std^2)`` at each index."""
    splits = standard_kinks(node, mean, std)
    if np.all(splits == splits[:, :1]):
        splits = splits[:, :1]  # the same nodes for all
    x, w = _nodes(splits)
    values = np.asarray(node.at(mean + std * x), np.float64)
    if x.shape[1] == 1:
        coefficients = _polynomials(x.tobytes()) @ (w * values)
    else:
        coefficients = np.stack([np.sum(w * values * h, 0) for h in _recursion(x)])
    coefficients[1:, std == 0] = 0.0
    return Series(coefficients, x, w, values, std)


def standard_kinks(node: Any, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The kinks in standard units, ``[k, E]``: those of the function, or of that at each index."""
    if node.smooth or node.key is not None:
        at = np.asarray(_kinks(node))[:, None]
    else:
        each = [_kinks(node.selected(np.array([i]))) for i in range(mean.size)]
        at = np.full((max(map(len, each)), mean.size), np.inf)
        for i, found in enumerate(each):
            at[: len(found), i] = found
    return np.clip((at - mean) / np.where(std == 0, np.inf, std), -REACH, REACH)


_found: dict[int, tuple[float, ...]] = {}


def _kinks(node: Any) -> tuple[float, ...]:
    if node.smooth:
        return (0.0,)
    if node.key not in _found:
        try:
            _found[node.key] = gaussian.kinks(lambda z: node.at(z).astype(jnp.float64)) or (0.0,)
        except ValueError as error:
            raise Refused("a function whose kinks cannot be read") from error
    return _found[node.key]


def _recursion(x: np.ndarray) -> Iterator[np.ndarray]:
    """The normalized Hermite polynomials at the nodes, one degree after the other."""
    before, now = np.zeros_like(x), np.ones_like(x)
    for k in range(TERMS + 1):
        yield now
        before, now = now, (x * now - np.sqrt(k) * before) / np.sqrt(k + 1)


_legendre = functools.lru_cache(np.polynomial.legendre.leggauss)


@functools.lru_cache(maxsize=8)
def _polynomials(x: bytes) -> np.ndarray:
    return np.stack(list(_recursion(np.frombuffer(x))))


def _nodes(splits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights ``[node, E]`` of panels that end at the splits."""
    ends = np.full((1, splits.shape[1]), REACH)
    edges = np.concatenate([-ends, splits, ends])
    nodes, weights = _legendre(max(NODES // (len(edges) - 1) // 16 * 16, 48))
    center, radius = (edges[1:] + edges[:-1])[:, None] / 2, (edges[1:] - edges[:-1])[:, None] / 2
    x = center + radius * nodes[:, None]
    w = radius * weights[:, None] * np.exp(-x * x / 2)
    x, w = (a.reshape(-1, a.shape[-1]) for a in (x, w))
    return x, w / w.sum(0)


def covariance(f: Series, g: Series, cov: np.ndarray, *, same: bool) -> np.ndarray:
    """The covariances ``[E, E']`` of two functions of Gaussians with covariances ``cov``.

    What the series leaves out is known at correlation one, where it is an integral over one variable; between it falls
    as the next term does.
    """
    scale = np.outer(f.std, g.std)
    r = np.clip(cov / np.where(scale == 0, 1.0, scale), -1.0, 1.0)
    total = _mehler(f.coefficients, g.coefficients, r)
    if same:
        centred = f.values - f.coefficients[0]
        exact = np.sum(f.weights * centred**2, 0)
        left = np.maximum(exact - np.sum(f.coefficients[1:] ** 2, 0), 0.0)
        total += np.sqrt(np.outer(left, left)) * _rest(r)
        np.fill_diagonal(total, exact)
    return total


def _mehler(c: np.ndarray, d: np.ndarray, r: np.ndarray) -> np.ndarray:
    """``sum_(k >= 1) c_k d_k r^k``."""
    if TERMS * r.size <= FEW:  # all powers at once
        powers = np.cumprod(np.broadcast_to(r, (TERMS, *r.shape)), 0)
        return np.asarray(np.einsum("ke,kf,kef->ef", c[1:], d[1:], powers))
    total = np.zeros_like(r)
    for k in range(TERMS, 0, -1):
        total = (total + np.outer(c[k], d[k])) * r
    return total


def _rest(r: np.ndarray) -> np.ndarray:
    """The share at ``r`` of what is left out at one, for coefficients that fall as those at a kink, ``c_k^2 ~ k^-2.5``.

    The sum of ``k^-2.5 r^k`` from `TERMS` on is an exponential integral of half order.
    """
    a = -TERMS * np.log(np.maximum(np.abs(r), 1e-300))
    tail = np.exp(-a)
    half = np.sqrt(np.pi / np.where(a == 0, 1.0, a)) * special.erfc(np.sqrt(a))
    integral = (tail - a * 2 * (tail - a * half)) / 1.5
    return np.where(a > 30, 0.0, 1.5 * integral)
