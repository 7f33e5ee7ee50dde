"""Moments of anybody's activation: enclosed by quadrature, against closed forms and 40 digits, and refused by name."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

flint = pytest.importorskip("flint")

from jnorm import activations  # noqa: E402
from jnorm.proofs._activations import activation  # noqa: E402
from jnorm.proofs._balls import working  # noqa: E402
from jnorm.proofs._enclosures import Constants  # noqa: E402
from jnorm.proofs._growth import majorant  # noqa: E402
from jnorm.proofs._scaled_elu import constants  # noqa: E402
from jnorm.proofs._tapes import tape  # noqa: E402
from jnorm.proofs.certificate import (  # noqa: E402
    contraction,
    contraction_box,
    fixed_point,
    gradient_bounds,
    image_box,
    theorem1,
    variance_decreases,
    write,
)
from tests.thorough import beside  # noqa: E402

arb = flint.arb
ORACLES = json.loads((Path(__file__).parents[1] / "golden" / "certificate.json").read_text())
LAMBDA, ALPHA = (mpmath.mpf(ORACLES["constants"][0][name]) for name in ("lam", "alpha"))


def gelu_tanh(z):
    """With the program's numbers, as they are in float64."""
    c = mpmath.mpf(float(np.sqrt(2 / np.pi)))
    return z / 2 * (1 + mpmath.tanh(c * (z + mpmath.mpf(0.044715) * z**3)))


def step(z):
    """A composition that nobody has a closed form of: a kink at .3 and a jump at -1.1."""
    return jnp.where(z > 0.3, jnp.tanh(z), jnp.sin(z) * jnp.exp(-(z**2))) + jnp.where(z < -1.1, 0.25, 0.0)


def step_exact(z):
    body = mpmath.tanh(z) if z > mpmath.mpf(0.3) else mpmath.sin(z) * mpmath.exp(-(z**2))
    return body + (mpmath.mpf(0.25) if z < -mpmath.mpf(1.1) else 0)


# a function, the same in mpmath, and where it has kinks
CASES = {
    "tanh": (jnp.tanh, mpmath.tanh, ()),
    "gelu": (jax.nn.gelu, gelu_tanh, ()),
    "gelu of erf": (activations.gelu, lambda z: z * mpmath.ncdf(z), ()),
    "silu": (jax.nn.silu, lambda z: z / (1 + mpmath.exp(-z)), ()),
    "softplus": (jax.nn.softplus, lambda z: mpmath.log1p(mpmath.exp(z)), ()),
    "erf": (activations.erf, mpmath.erf, ()),
    "elu": (jax.nn.elu, lambda z: z if z > 0 else mpmath.expm1(z), (0,)),
    "relu": (jax.nn.relu, lambda z: max(z, mpmath.mpf(0)), (0,)),
    "leaky relu": (jax.nn.leaky_relu, lambda z: z if z > 0 else mpmath.mpf(0.01) * z, (0,)),
    "hard tanh": (activations.hard_tanh, lambda z: min(max(z, mpmath.mpf(-1)), mpmath.mpf(1)), (-1, 1)),
    "sin": (jnp.sin, mpmath.sin, ()),
    "mish": (activations.mish, lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))), ()),
    "softsign": (activations.softsign, lambda z: z / (1 + abs(z)), (0,)),
    "sigmoid": (jax.nn.sigmoid, lambda z: 1 / (1 + mpmath.exp(-z)), ()),
    "Gaussian": (lambda z: jnp.exp(-z * z), lambda z: mpmath.exp(-z * z), ()),
    "logarithm": (lambda z: jnp.log1p(z**2), lambda z: mpmath.log1p(z**2), ()),
    "root": (lambda z: jnp.sqrt(1 + z * z) - 1, lambda z: mpmath.sqrt(1 + z * z) - 1, ()),
    "hard swish": (jax.nn.hard_swish, lambda z: z * min(max(z + 3, 0), 6) * (mpmath.mpf(1) / 6), (-3, 3)),
    "composed": (step, step_exact, (mpmath.mpf(0.3), -mpmath.mpf(1.1))),
}
SAMPLE = ("tanh", "gelu", "softplus", "hard tanh", "composed")
POINTS = [(0.0, 1.0), (0.3, 0.7), (-1.2, 0.01), (2.0, 30.0), (0.0, 1e-6)]


def integral(f, m, v, kinks):
    """E[f] by Gauss-Legendre pieces of mpmath at 25 digits, split at the kinks: no ball in sight."""
    s = mpmath.sqrt(v)
    ends = sorted({*(m + k * s for k in range(-12, 13, 2)), *(mpmath.mpf(k) for k in kinks if abs(k - m) < 12 * s)})
    return mpmath.quad(lambda z: f(z) * mpmath.npdf(z, m, s), ends)


def centred(f, first):
    return lambda z: (f(z) - first) ** 2


def contains(ball, value, slack=1e-16):
    """``slack``: what 25-digit quadrature by pieces errs, and where a program's numbers are rounded ones."""
    return bool(abs(ball - arb(mpmath.nstr(value, 30))).lower() <= slack)


@pytest.mark.parametrize("name", beside(SAMPLE, CASES))
def test_moments_are_enclosed(name):
    f, exact, kinks = CASES[name]
    found = activation(f)
    for m, v in POINTS:
        with mpmath.workdps(25):
            first = integral(exact, mpmath.mpf(m), mpmath.mpf(v), kinks)
            variance = integral(centred(exact, first), mpmath.mpf(m), mpmath.mpf(v), kinks)
        with working():
            x = found.at(arb(m), arb(v))
        scale = max(1.0, v)
        assert contains(x.mean, first, 1e-15 * scale), (m, v, x.mean, first)  # softplus and mish: the program's numbers
        assert contains(x.var, variance, 1e-15 * scale), (m, v, x.var, variance)
        assert x.mean.rad() < 1e-16 * scale
        assert x.var.rad() < 1e-15 * min(scale, v**0.5) + 1e-15 * v


def test_closed_forms_lie_inside():
    """To every digit that a ball has: no quadrature on the other side."""
    with working():
        lam, alpha = (float(x.mid()) for x in constants())  # as the program's numbers are
    elu = activation(lambda z: lam * jnp.where(z > 0, z, alpha * jnp.expm1(z)))
    for point in [(0.0, 1.0), (0.5, 2.0), (-3.0, 0.25)]:
        with working():
            m, v = map(arb, point)
            closed, found = Constants(arb(lam), arb(alpha)).at(m, v), elu.at(m, v)
            for name in ("mean", "var", "mean_m", "mean_v", "var_m", "var_v"):
                assert getattr(found, name).contains(getattr(closed, name)), name
                assert getattr(found, name).rad() < 1e-15
            root = (1 + arb(2) * v).sqrt()  # E[exp(-z^2)]
            gaussian = (-m * m / (1 + 2 * v)).exp() / root
            assert activation(lambda z: jnp.exp(-z * z)).at(m, v).mean.contains(gaussian)
            sine = m.sin() * (-v / 2).exp()
            assert activation(jnp.sin).at(m, v).mean.contains(sine)
            erf = (m / (1 + 2 * v).sqrt()).erf()
            assert activation(jax.scipy.special.erf).at(m, v).mean.contains(erf)
            cube = activation(lambda z: z**3).at(m, v)
            assert cube.mean.contains(m * m * m + 3 * m * v)
            assert cube.mean_v.contains(3 * m)


@pytest.mark.parametrize("name", ["tanh", "relu", "composed"])
def test_boxes_hold_their_points_and_are_tight(name):
    """Every field with derivatives, at random points inside; the same at a tenth of the width is ten times tighter."""
    f = activation(CASES[name][0])
    rng = np.random.default_rng(11)
    with working():
        widths = []
        for scale in (1.0, 0.1):
            box = (0.1, 0.1 + 0.2 * scale, 0.8, 0.8 + 0.2 * scale)
            over = f.over(box)
            for u, w in [*rng.uniform(size=(6, 2)), (0, 0), (1, 1)]:
                m, v = box[0] + u * (box[1] - box[0]), box[2] + w * (box[3] - box[2])
                point = f.at(arb(m), arb(v))
                h = 1e-5
                for field in ("mean", "var", "mean_m", "mean_v", "var_m", "var_v"):
                    jet, value = getattr(over, field), getattr(point, field)
                    assert jet.x.overlaps(value), (field, m, v)
                    if field in ("mean", "var"):
                        slopes = [getattr(over, f"{field}_{way}").x for way in "mv"]
                        assert all(a.overlaps(b) for a, b in zip((jet.dm, jet.dv), slopes, strict=True))
                    after = f.at(arb(m + h), arb(v)), f.at(arb(m - h), arb(v))
                    slope = (getattr(after[0], field) - getattr(after[1], field)) / (2 * arb(h))
                    assert (jet.dm + arb(0, 1e-6)).overlaps(slope), field  # h^2 times a third derivative, twice rounded
            widths.append(float(over.var.x.rad()))
    assert widths[1] < 0.15 * widths[0]


def test_boxes_that_are_too_wide_are_not_bounded():
    with working():
        assert not activation(jnp.tanh).over((0.0, 0.1, 0.1, 1.0)).mean.x.is_finite()
        assert not activation(jnp.tanh).over((0.0, 0.1, 0.0, 1.0)).var.x.is_finite()


def test_selu_by_its_program_has_the_published_theorems():
    closed, read = theorem1(), contraction((-0.1, 0.1), (0.8, 1.5), phi=activations.selu)
    assert read.holds is True
    assert read.rate == pytest.approx(closed.rate, abs=1e-14)  # the program's lam and alpha are rounded to 1e-16
    assert read.title == "contraction"
    for prove in (image_box, gradient_bounds):
        ends = prove((-0.1, 0.1), (0.8, 1.5)).extremes, prove((-0.1, 0.1), (0.8, 1.5), phi=activations.selu).extremes
        for name in ends[0]:
            assert ends[1][name] == pytest.approx(ends[0][name], abs=1e-9)  # tol


def test_what_is_false_is_not_certified():
    """Planted falsehoods: just past the truth, and an activation with a scale that is 1 % off."""
    assert contraction((-0.1, 0.1), (0.8, 1.5), tau=(0.95, 1.2), phi=jax.nn.selu).holds is False
    assert contraction((-0.1, 0.1), (0.8, 1.5), phi=lambda z: 1.02 * jax.nn.selu(z)).holds is False
    low, high = contraction_box((-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh).domain[0].var
    for var in ((low, 0.98 * high), (1.02 * low, high), (0.21, high)):
        proof = contraction((-0.1, 0.1), var, (-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh)
        inside = image_box((-0.1, 0.1), var, (-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh).extremes
        truth = var[0] < inside["variance at least"][0] and inside["variance at most"][1] < var[1]
        assert (proof.holds is True) == truth
    assert variance_decreases((-0.1, 0.1), (0.1, 1.0), tau=(1.6, 1.7), phi=jnp.tanh).holds is False
    assert variance_decreases((-0.1, 0.1), (0.1, 1.0), tau=(0.9, 1.0), phi=jnp.tanh).holds is True


def test_a_wrong_polynomial_or_a_missed_kink_would_show(monkeypatch):
    """The two things that quadrature is told: kinks are hints alone, the polynomial counts in the tails."""
    from jnorm.proofs import _activations, _quadrature

    with working():
        right = activation(jax.nn.relu).at(arb(0.3), arb(1))
        monkeypatch.setattr(_activations, "_cuts", lambda f, reach: [])
        blind = activation(jax.nn.relu).at(arb(0.3), arb(1))
        assert blind.mean.overlaps(right.mean)
        assert blind.mean.rad() < 1e-12
        monkeypatch.undo()
        monkeypatch.setattr(_quadrature, "REACH", 2)  # tails of two deviations: wide, and right
        _quadrature._partial.cache_clear()
        near = activation(jax.nn.relu).at(arb(0.3), arb(1))
        assert near.mean.contains(right.mean.mid())
        assert near.mean.rad() > 1e-3
    _quadrature._partial.cache_clear()


def test_polynomials_are_above_functions():
    z = np.concatenate([np.linspace(-40, 40, 4001), [-1e3, 1e3]])
    for f, _, _ in CASES.values():
        with jax.enable_x64(True):
            sizes = np.abs(np.asarray(f(jnp.asarray(z))))
        most = sum(c * np.abs(z) ** k for k, c in enumerate(majorant(tape(f))))
        assert (sizes <= most * (1 + 1e-12)).all()
    for f in (jnp.exp, jnp.sinh, jnp.cosh):
        with pytest.raises(ValueError, match="must be bounded by a polynomial"):
            majorant(tape(f))
    with pytest.raises(ValueError, match="must be finite"):
        majorant(tape(lambda z: 1 / z))


def test_the_box_of_tanh():
    """One fixed point for each (omega, tau), which real iteration reaches from the corners of the rectangle."""
    proof = contraction_box((-0.1, 0.1), (1.5, 1.6), phi=jnp.tanh)
    assert proof.holds is True
    assert proof.rate < 1
    (mean, var), phi = (proof.domain[0].mean, proof.domain[0].var), activation(jnp.tanh)
    for omega, tau in ((-0.1, 1.5), (0.1, 1.6), (0.0, 1.55)):
        at = fixed_point(omega, tau, phi=jnp.tanh, start=(mean[1], var[0]))
        assert at.holds is True
        assert var[0] < at.domain[0].var[0] <= at.domain[0].var[1] < var[1]
        with working():
            x = phi.at(arb(0), arb(at.domain[0].var[0]) * arb(tau))
            assert abs(x.var - at.domain[0].var[0]) < 1e-6
    for kind in ({"phi": jnp.tanh, "tau": (0.8, 0.9)}, {"phi": jax.nn.relu, "tau": (1.9, 2.0)}):
        none = contraction_box(0.0, kind["tau"], phi=kind["phi"])
        assert none.holds is None
        assert none.counterexample is None
    assert contraction_box().holds is True  # SELU by its closed form


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda z: 2 * jnp.round(z), NotImplementedError, r"`round` at .*py:\d+ .* is no elementwise"),
        (lambda z: 2 * jnp.cumsum(z[None])[0], NotImplementedError, r"`cumsum` at .*py:\d+ .* is no elementwise"),
        (lambda z: z + jax.lax.rem(z, 2.0), NotImplementedError, r"`rem` at .*test_activations.py:"),
        (lambda z: z.astype(int).astype(float) * 1.0, NotImplementedError, r"`convert_element_type` .*whole numbers"),
        (lambda z: z * jnp.arange(3.0), ValueError, r"`mul` at .*test_activations.py:\d+ .*differ from unit to unit"),
        (lambda z: (z, z), ValueError, r"must return one array; got 2"),
        ("tanh", TypeError, r"`phi` must be an elementwise function; got 'tanh'"),
        (jnp.exp, ValueError, r"must be bounded by a polynomial"),
    ],
)
def test_what_is_not_enclosed_is_refused_by_name(f, error, message):
    with pytest.raises(error, match=message):
        image_box((-0.1, 0.1), (0.8, 1.0), phi=f)


def test_other_refusals(tmp_path):
    with pytest.raises(ValueError, match="`phi` is the activation"):
        image_box((-0.1, 0.1), (0.8, 1.0), phi=jnp.tanh, target=(0.1, 1.0))
    with pytest.raises(ValueError, match="must be of scaled ELUs, which numbers name; one is of tanh"):
        write(tmp_path / "no.json", [image_box(0.0, 1.0, 0.0, 1.0, phi=jnp.tanh)])


def test_small_variances_keep_their_digits():
    """relu scales: var at v = 1e-20 is 1e-20 times the one at 1; tanh is there the identity."""
    with working():
        relu, tanh = (activation(f).at(arb(0), arb(1e-20)).var for f in (jax.nn.relu, jnp.tanh))
        assert float(relu) == pytest.approx(1e-20 * (0.5 - 0.5 / math.pi), rel=1e-14)
        assert float(tanh) == pytest.approx(1e-20, rel=1e-14)
        assert tanh.rad() < 1e-30
