"""All fixed points of SELU's layer map as tau runs at omega = 0 and as omega runs at tau = 1, and which attract.

Only ``m = omega * mu`` and ``v = tau * nu`` enter a layer map, so a fixed point is a pair (m, v) with
``omega = m / E[phi]`` and ``tau = v / Var[phi]``: curves that need no continuation. At omega = 0, m is 0 and v counts
off the branch. At tau = 1, ``v = Var[phi]`` fixes one m for every v, which counts off the branch; and (0, 1) is fixed
for every omega, since E[phi] is 0 there. Point masses (v = 0) follow ``omega = m / phi(m)``. The branches end at the
fixed points of the piecewise linear functions that SELU becomes near zero and far out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.optimize import brentq

from experiments.common import Output
from jnorm import plots
from jnorm.activations import leaky_relu, selu
from jnorm.theory.fixed_points import Stability, stability
from jnorm.theory.moments import Moments, activation_moments, layer_map


class Curve(NamedTuple):
    """Fixed points at the parameters (omega, tau), arrays of one shape."""

    omega: jax.Array
    tau: jax.Array
    point: Moments


class Limit(NamedTuple):
    """``above * max(z, 0) + below * min(z, 0)``, what an activation becomes at a small or at a large scale."""

    above: jax.Array
    below: jax.Array

    def moments(self, m: jax.Array, v: jax.Array) -> Moments:
        """Mean and variance under N(m, v)."""
        unit = activation_moments(partial(leaky_relu, negative_slope=self.below / self.above), m, v)
        return Moments(self.above * unit.mean, self.above**2 * unit.var)


def bisect(f: Callable[[jax.Array], jax.Array], low: jax.Array, high: jax.Array) -> jax.Array:
    """Where ``f`` passes zero from below to above between ``low`` and ``high``, arrays of one shape."""

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = (ends[0] + ends[1]) / 2
        below = f(middle) < 0
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    low, high = lax.fori_loop(0, 80, halve, (low, high))
    return (low + high) / 2


def limits() -> tuple[Limit, Limit]:
    """SELU near zero and far out, from its own slopes."""
    slope = jax.vmap(jax.grad(selu))
    near, far = (slope(scale * jnp.array([1.0, -1.0])) for scale in (1e-30, 1e30))
    return Limit(*near), Limit(*far)


def along_tau(v: jax.Array) -> Curve:
    """The fixed points with omega = 0, counted off by ``v``, the variance of the pre-activation."""
    out = activation_moments(selu, jnp.zeros_like(v), v)
    return Curve(jnp.zeros_like(v), v / out.var, out)


def tau_ends() -> jax.Array:
    """The open range of tau over which `along_tau` runs as v goes from zero to infinity."""
    one = jnp.ones(())
    return jnp.stack([1 / limit.moments(0 * one, one).var for limit in limits()])


def along_omega(v: jax.Array) -> Curve:
    """The fixed points with tau = 1 and m != 0, counted off by ``v``; they pass (0, 1) where m changes its sign."""
    m = bisect(lambda m: activation_moments(selu, m, v).var / v - 1, -jnp.ones_like(v), 1 + 2 * jnp.sqrt(v))
    out = activation_moments(selu, m, v)
    return Curve(m / out.mean, jnp.ones_like(v), out)


def omega_end() -> jax.Array:
    """The omega at which `along_omega` goes off to infinity with v."""
    one = jnp.ones(())
    far = limits()[1]
    m = bisect(lambda m: far.moments(m, one).var - 1, -one, 3 * one)
    return m / far.moments(m, one).mean


def standard(omega: jax.Array) -> Curve:
    """The fixed point (0, 1) at tau = 1, which is one for every omega."""
    return Curve(omega, jnp.ones_like(omega), Moments(jnp.zeros_like(omega), jnp.ones_like(omega)))


def along(curve: Curve) -> Stability:
    """What the layer map does near each point of a curve, ``var > 0``."""
    return stability(layer_map(selu, omega=curve.omega, tau=curve.tau), curve.point)


def standard_range(jacobian: np.ndarray, reach: float) -> np.ndarray:
    """Where in ``(-reach, reach)`` the point (0, 1) stops attracting, from its Jacobian at omega = 1.

    The moments depend on omega through ``omega * mu`` alone, so that omega multiplies the column of the mean.
    """

    def excess(omega: float) -> float:
        return float(np.max(np.abs(np.linalg.eigvals(jacobian * np.array([omega, 1.0]))))) - 1

    return np.array([brentq(excess, 0.0, end, xtol=1e-14) for end in (-reach, reach)])


def point_masses(m: jax.Array) -> tuple[Curve, jax.Array]:
    """The fixed points of variance zero at tau = 1 for ``m < 0``, and their spectral radius.

    The Jacobian is triangular there: ``omega * phi'(m)`` multiplies a shift of the mean, ``phi'(m)^2`` a variance.
    """
    mean, slope = selu(m), _slope(m)
    curve = Curve(m / mean, jnp.ones_like(m), Moments(mean, jnp.zeros_like(m)))
    return curve, jnp.maximum(jnp.abs(curve.omega * slope), slope**2)


def cycles(m: jax.Array) -> tuple[Curve, Curve, jax.Array]:
    """Point masses that take turns with tau = 1 and omega < 0, and the spectral radius over both layers.

    With ``m < 0`` one pre-activation and m' > 0 the other, ``m' = omega * phi(m)`` and ``m = omega * phi(1) * m'``, as
    phi is linear above zero: ``omega^2 = m / (phi(1) * phi(m))``.
    """
    one = jnp.ones_like(m)
    low = selu(m)
    omega = -jnp.sqrt(m / (selu(one) * low))
    slope = _slope(m) * _slope(one)
    points = (Moments(mean, jnp.zeros_like(m)) for mean in (low, selu(omega * low)))
    return *(Curve(omega, one, point) for point in points), jnp.maximum(omega**2 * slope, slope**2)


def births() -> tuple[jax.Array, jax.Array]:
    """The omega from which on (upwards) a point mass and (downwards) a cycle attracts.

    There a variance is no longer multiplied by more than one.
    """
    high, low = jnp.zeros(1), -5 * jnp.ones(1)
    mass = bisect(lambda m: 1 - _slope(m), high, low)
    cycle = bisect(lambda m: 1 - _slope(m) * _slope(-low), high, low)
    return point_masses(mass)[0].omega[0], cycles(cycle)[0].omega[0]


def _slope(m: jax.Array) -> jax.Array:
    return jax.vmap(jax.grad(selu))(m)


def draw(output: Output) -> tuple[dict[str, Any], list[str]]:
    """The figure with its numbers; returns the report's numbers and lines."""

    def work(v: jax.Array, m: jax.Array, omega: jax.Array) -> Any:
        curves = {"tau": along_tau(v), "omega": along_omega(v), "standard": standard(omega)}
        # One program for every derivative: they take seconds to compile.
        near = along(jax.tree.map(lambda *a: jnp.concatenate(a), *curves.values()))
        split = np.cumsum([len(curve.tau) for curve in curves.values()])[:-1]
        radii = dict(zip(curves, jnp.split(near.spectral_radius, split), strict=True))
        curves["masses"], radii["masses"] = point_masses(m)
        curves["cycle_low"], curves["cycle_high"], radii["cycle_low"] = cycles(m)
        radii["cycle_high"] = radii["cycle_low"]
        return curves, radii, near.jacobian[-1], tau_ends(), omega_end(), births()

    # An even number of points leaves out v = 1, where m = 0 makes omega = m / E[phi] 0 / 0.
    grids = np.logspace(-9, 9, 600), -np.logspace(-3, 1, 400), np.linspace(-2, 2, 401)
    with jax.enable_x64(True):
        curves, radii, last, taus, away, (mass, cycle) = jax.tree.map(np.asarray, jax.jit(work)(*grids))
    ends = {
        "tau_range": taus,
        "omega_range_attracts": standard_range(last / np.array([grids[2][-1], 1.0]), 2.0),
        "omega_runs_away": away,
        "omega_point_mass_attracts": mass,
        "omega_cycle_attracts": cycle,
    }
    arrays = {f"{name}_radius": a for name, a in radii.items()}
    for name, curve in curves.items():
        columns = {"omega": curve.omega, "tau": curve.tau, **curve.point._asdict()}
        arrays |= {f"{name}_{column}": a for column, a in columns.items()}
    with plots.style():
        output.figure("branches", picture(curves, radii, ends), **arrays, **ends)
    chosen = (0.8, 0.9, 1.0, 1.25)
    variances = np.exp(np.interp(chosen, curves["tau"].tau, np.log(curves["tau"].point.var)))
    some = ", ".join(f"{v:.3f} at tau {t:g}" for t, v in zip(chosen, variances, strict=True))
    low, high = ends["omega_range_attracts"]
    lines = [
        "## Branches of fixed points\n",
        f"- omega 0: one fixed point of positive variance for tau in ({taus[0]:.6f}, {taus[1]:.6f}), which attracts; "
        "the variance vanishes below and runs away above",
        f"- omega 0: variance {some}",
        f"- tau 1: (0, 1) attracts for omega in ({low:.4f}, {high:.5f})",
        f"- tau 1: above omega {high:.5f} a point of positive mean attracts until it runs away at {away:.5f}",
        f"- tau 1: a point mass attracts from omega {mass:.5f} on, a cycle of two below omega {cycle:.5f}\n",
    ]
    return ends, lines


def picture(curves: dict[str, Curve], radii: dict[str, np.ndarray], ends: dict[str, np.ndarray]) -> Any:
    """Mean over variance of every fixed point, against tau and against omega."""
    figure, panels = plots.figure(2, 2, size=(7.0, 4.8), sharex="col")
    names = {
        "standard": (0, "(0, 1)"),
        "omega": (1, r"other points with $\nu > 0$"),
        "masses": (2, r"points with $\nu = 0$"),
        "cycle_low": (3, r"cycle of two points, $\nu = 0$"),
        "cycle_high": (3, None),
    }
    for row, (left, right) in enumerate(panels):
        plots.branch(left, curves["tau"].tau, curves["tau"].point[row], radii["tau"] < 1, color=plots.PALETTE[0])
        low, high = ends["tau_range"]
        plots.region(left, 0.3, low, f"variance vanishes below {low:.4f}")
        plots.region(left, high, 2.9, f"runs away above {high:.4f}")
        for name, (color, label) in names.items():
            attracts = radii[name] < 1
            plots.branch(
                right, curves[name].omega, curves[name].point[row], attracts, color=plots.PALETTE[color], label=label
            )
        away = ends["omega_runs_away"]
        text = f"runs away\nfrom $\\mu > 0$\nabove {away:.4f}"
        plots.region(right, away, 2.0, text, height=0.7, turned=False)
    panels[0, 0].set(ylim=(-0.5, 3.5), ylabel=r"mean $\mu$", title=r"$\omega = 0$, $\tau$ varies")
    panels[1, 0].set(yscale="log", ylim=(1e-3, 1e3), ylabel=r"variance $\nu$")
    panels[1, 0].set(xlim=(0.3, 2.9), xlabel=r"sum of squared weights $\tau$")
    panels[0, 1].set(ylim=(-2.0, 3.5), title=r"$\tau = 1$, $\omega$ varies")
    panels[1, 1].set(ylim=(-0.2, 4.0), xlim=(-2, 2), xlabel=r"sum of weights $\omega$")
    left_of, right_of = {"offset": (-6, 5), "align": "right"}, {"offset": (6, 5)}
    labels = [
        (0, ends["omega_range_attracts"][0], left_of),
        (0, ends["omega_range_attracts"][1], left_of),
        (1, ends["omega_point_mass_attracts"], left_of),
        (1, ends["omega_cycle_attracts"], right_of),
    ]
    for row, omega, place in labels:
        plots.point(panels[row, 1], omega, 0.0, f"{omega:.4f}".replace("-", "\N{MINUS SIGN}"), **place)
    for dash, text in {"-": "attracts", "--": "repels"}.items():
        panels[0, 1].plot([], [], dash, color="black", label=text)
    plots.legend(figure, panels[0, 1])
    return figure
