"""Enclosures contain what power series at 60 digits say, at every scale of box, and are tight."""

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest

flint = pytest.importorskip("flint")

from jnorm.proofs import _enclosures as enclosures  # noqa: E402
from jnorm.proofs._balls import above, below, decimal, rational, working  # noqa: E402
from jnorm.proofs._enclosures import over  # noqa: E402
from jnorm.proofs._jets import Jet  # noqa: E402
from jnorm.proofs._scaled_elu import constants  # noqa: E402

arb, series = flint.arb, flint.arb_series
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "certificate.json").read_text())


def taylor(m, v, direction, lam, alpha):
    """Mean, variance and E[f'^2] of f(m + x*a + ..., v + x*b) as series in x: a second way, no derivative formula."""
    m, v = series([m, direction[0]]), series([v, direction[1]])
    s = v.sqrt()
    root2 = arb(2).sqrt()
    phi = (-m * m / (2 * v)).exp() / (2 * arb.pi()).sqrt()
    up, down = (-m / (s * root2)).erfc() / 2, (m / (s * root2)).erfc() / 2
    e1, e2 = ((k * m + k * k * v / 2).exp() * ((m + k * v) / (s * root2)).erfc() / 2 for k in (1, 2))
    mean = lam * (m * up + s * phi + alpha * (e1 - down))
    square = lam**2 * ((m * m + v) * up + m * s * phi + alpha**2 * (e2 - 2 * e1 + down))
    return mean, square - mean * mean, lam**2 * (up + alpha**2 * e2)


def truth(m, v, c):
    """Every field of an enclosure at (m, v), with gradient, from second-order series along three directions."""
    along_m, along_v, diagonal = (taylor(m, v, d, *c) for d in ((1, 0), (0, 1), (1, 1)))
    fields = {}
    for k, name in enumerate(("mean", "var", "gradient")):
        x, dm, dmm = along_m[k][0], along_m[k][1], 2 * along_m[k][2]
        dv, dvv = along_v[k][1], 2 * along_v[k][2]
        dmv = diagonal[k][2] - (dmm + dvv) / 2
        fields[name] = (x, dm, dv)
        if name != "gradient":
            fields[f"{name}_m"], fields[f"{name}_v"] = (dm, dmm, dmv), (dv, dmv, dvv)
    return fields


def test_points_lie_in_their_enclosures():
    """A tenth of what .ci/attacks/proofs.py looks at."""
    assert enclose(4_000, 20170608)["balls"] == 84_000


def enclose(count, seed):
    """Counts of points and of balls: every field of an enclosure, with derivatives, against series at 60 digits."""
    rng, balls = np.random.default_rng(seed), 0
    flint.ctx.cap, cap = 3, flint.ctx.cap
    try:
        with working(256):
            c60 = constants()
        for _ in range(count):
            v = 10 ** rng.uniform(-5, 3)
            m = rng.uniform(-3, 3) * math.sqrt(v) if rng.random() < 0.5 else rng.uniform(-1, 1)
            scale = 10 ** rng.uniform(-13, 0)  # of m against s and of v against itself
            box = (m, m + scale * math.sqrt(v) * rng.random(), v, v * (1 + scale * rng.random()))
            inside = [low + (high - low) * u for (low, high), u in zip((box[:2], box[2:]), rng.random(2), strict=True)]
            inside = [min(max(x, low), high) for x, (low, high) in zip(inside, (box[:2], box[2:]), strict=True)]
            with working():
                enclosure = over(box, constants())
            with working(256):
                expected = truth(*map(arb, inside), c60)
            for name, values in expected.items():
                jet = getattr(enclosure, name)
                for ball, value in zip((jet.x, jet.dm, jet.dv), values, strict=True):
                    # where the truth is below 1e-50 the oracle's own radius may be the wider of the two
                    near = ball.overlaps(value) and value.rad() < 1e-50
                    assert ball.contains(value) or near, (name, box, inside)
                    balls += 1
    finally:
        flint.ctx.cap = cap
    return {"points": count, "balls": balls}


def test_points_are_enclosed_to_rounding():
    rng = np.random.default_rng(3)
    flint.ctx.cap, cap = 3, flint.ctx.cap
    try:
        for _ in range(200):
            v = 10 ** rng.uniform(-4, 3)
            m = rng.uniform(-3, 3) * math.sqrt(v)
            with working():
                enclosure = enclosures.at(arb(m), arb(v), constants())
            with working(256):
                expected = truth(arb(m), arb(v), constants())
            for name, values in expected.items():
                ball = getattr(enclosure, name)
                assert ball.contains(values[0])
                # 128 bits less what the variance's difference of squares cancels at v >= 1e-4, t <= 3
                assert float(ball.rad()) <= 1e-28 * max(1.0, v)
    finally:
        flint.ctx.cap = cap


def test_the_oracle_is_the_integral():
    """The series' constant terms against quadrature of the definition, so that both rest on E[f] itself."""
    lam, alpha = (mpmath.mpf(GOLDEN["constants"][0][name]) for name in ("lam", "alpha"))

    def expectation(power, m, v):
        def integrand(z):
            f = lam * z if z > 0 else lam * alpha * mpmath.expm1(z)
            return f**power * mpmath.npdf(z, m, mpmath.sqrt(v))

        return mpmath.quad(integrand, [-mpmath.inf, -1, 0, 1, mpmath.inf])

    for m, v in ((0.3, 0.5), (-1.2, 2.0), (0.0, 9.0)):
        with mpmath.workdps(20):
            first, second = expectation(1, m, v), expectation(2, m, v)
        with working():
            enclosure = enclosures.at(arb(m), arb(v), constants())
        assert float(enclosure.mean) == pytest.approx(float(first), abs=1e-13)  # 20-digit quadrature, read as a float
        assert float(enclosure.var) == pytest.approx(float(second - first**2), abs=1e-13)


@pytest.mark.parametrize("width", [1e-2, 1e-3, 1e-4])
def test_enclosures_are_first_order_tight(width):
    """Mean and variance are monotone here, so corners give their range: the excess is second order in the width."""
    box = (0.2, 0.2 + width, 1.3, 1.3 + width)
    with working():
        enclosure, c = over(box, constants()), constants()
        corners = [enclosures.at(arb(m), arb(v), c) for m in box[:2] for v in box[2:]]
    for name in ("mean", "var"):
        values = [float(getattr(corner, name)) for corner in corners]
        span, excess = max(values) - min(values), 2 * float(getattr(enclosure, name).x.rad())
        assert span <= excess <= span * (1 + 10 * width)


def test_boxes_open_at_zero_variance():
    rng = np.random.default_rng(5)
    with working():
        c = constants()
        enclosure = over((-0.5, 0.4, 0.0, 0.01), c)
        for m, u in zip(rng.uniform(-0.5, 0.4, 300), rng.uniform(0, 1, 300), strict=True):
            point = enclosures.at(arb(m), arb(0.01 * u**4 + 1e-12), c)
            assert enclosure.mean.x.contains(point.mean)
            assert enclosure.var.x.contains(point.var)
        assert not enclosure.var_v.x.is_finite()


@pytest.mark.parametrize("case", GOLDEN["constants"], ids=lambda case: str(case["fixed_point"]))
def test_constants_to_thirty_digits(case):
    with working(160):
        c = constants(*case["fixed_point"], *case["weights"])
        for ball, digits in zip(c, (case["lam"], case["alpha"]), strict=True):
            assert abs(ball - arb(digits)) < arb("1e-27")  # the digits given
    with working():
        x = enclosures.at(
            *(decimal(a) * decimal(b) for a, b in zip(case["fixed_point"], case["weights"], strict=True)),
            c,
        )
        for ball, value in zip((x.mean, x.var), case["fixed_point"], strict=True):
            assert ball.contains(decimal(value))


@pytest.mark.parametrize("case", GOLDEN["no_constants"])
def test_constants_that_do_not_exist(case):
    with working(), pytest.raises(ValueError, match=r"no scaled ELU has the fixed point"):
        constants(*case)


def test_constants_reject_bad_input():
    with pytest.raises(ValueError, match=r"`var` must satisfy 0 < var < inf; got -1.0"):
        constants(0.0, -1.0)
    with pytest.raises(ValueError, match=r"`tau` must satisfy 0 < tau < inf; got 0.0"):
        constants(0.0, 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"`mean` must be finite; got inf"):
        constants(math.inf)


def test_rounding_goes_outward():
    with working():
        third = arb(1) / 3
        assert below(third) < above(third) == math.nextafter(below(third), 1)
        assert below(arb(0.5)) == above(arb(0.5)) == 0.5
        assert (below(arb.nan()), above(arb.nan())) == (-math.inf, math.inf)
        assert rational(0.1) == rational("0.1") != 0.1
        assert decimal(0.1).contains(arb(1) / 10)
        assert not decimal(0.1).contains(arb(0.1))


def test_jets_differentiate():
    """Against the derivatives of sqrt(m*v/(m - v)) worked by hand at (3, 2)."""
    m, v = Jet(arb(3), arb(1), arb(0)), Jet(arb(2), arb(0), arb(1))
    jet = (m * v / (m - v)).sqrt()
    root = math.sqrt(6)
    assert float(jet.x) == pytest.approx(root, rel=1e-15)
    assert float(jet.dm) == pytest.approx(-(2**2) / (2 * root), rel=1e-15)
    assert float(jet.dv) == pytest.approx(3**2 / (2 * root), rel=1e-15)


def test_without_flint_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flint", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jnorm\[verify\]"'):
        constants()
