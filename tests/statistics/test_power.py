import math

import numpy as np
import pytest
import scipy
from mpmath import mp
from scipy import special, stats

from jnorm.statistics._power import detectable, equivalence_power, equivalence_size, power, sample_size

# SciPy's noncentral t was another one before 1.16, with errors up to 2e-8.
ACCURACY = 1e-12 if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 16) else 1e-7


def by_mpmath(effect, size, level, arms):
    """The rejection probability given the estimated deviation s, averaged over the law of s, in 30 digits."""
    mp.dps = 30
    df = mp.mpf(arms * (size - 1))
    t, shift = mp.mpf(float(special.stdtrit(float(df), 1 - level / 2))), mp.mpf(effect) * mp.sqrt(mp.mpf(size) / arms)
    density = lambda s: 2 * (df / 2) ** (df / 2) / mp.gamma(df / 2) * s ** (df - 1) * mp.exp(-df * s * s / 2)
    width, edge = 1 / mp.sqrt(2 * df), abs(shift) / t  # of the law of s; where a rejection sets in
    cuts = {mp.mpf(p) for p in (0, 0.5, 1, 2, 4, 9, 14)}
    cuts |= {max(mp.mpf(0), 1 + k * width) for k in (-8, -4, -2, 2, 4, 8)}
    cuts |= {max(mp.mpf(0), edge + k / t) for k in (-6, -2, 0, 2, 6)}
    rejected = lambda s: density(s) * (mp.ncdf(shift - t * s) + mp.ncdf(-shift - t * s))
    return float(mp.quad(rejected, sorted(cuts)))


CASES = [
    (0.0, 10, 0.05, 1),
    (1.0, 10, 0.05, 1),
    (-0.5, 64, 0.01, 2),
    (5.0, 2, 0.05, 1),
    (5.0, 3, 0.01, 1),  # NaN in SciPy 1.17
    (0.5, 2, 0.2, 2),
    (0.2, 500, 6e-4, 2),
]


@pytest.mark.parametrize("case", CASES)
def test_power_in_30_digits(case, monkeypatch):
    effect, size, level, arms = case
    exact = by_mpmath(*case)
    assert power(effect, size, level=level, arms=arms) == pytest.approx(exact, rel=ACCURACY)
    monkeypatch.setattr("jnorm.statistics._power.LIMIT", 0.0)
    # By quadrature; the logarithm of the density cancels more digits the more runs there are.
    assert power(effect, size, level=level, arms=arms) == pytest.approx(exact, rel=1e-12)


def test_extremes():
    mp.dps = 20
    t = mp.mpf(stats.t.isf(0.025, 1))  # one degree of freedom, noncentrality 42: SciPy's own law has been wrong there
    law = lambda s: mp.sqrt(2 / mp.pi) * mp.exp(-s * s / 2) * mp.ncdf(30 * mp.sqrt(2) - t * s)
    assert power(30.0, 2) == pytest.approx(float(mp.quad(law, [0, 1, 2, 3, 3.3, 3.6, 4, 6, 12])), rel=1e-9)
    normal = stats.norm.sf(stats.norm.isf(0.025) - 3.0)
    assert power(0.003, 10**6) == pytest.approx(normal, rel=1e-5)  # df 1e6: the t law is this close to the normal
    assert math.isnan(power(1.0, 1))
    assert math.isnan(power(math.nan, 9))
    assert math.isnan(detectable(1))


def test_equivalence_power_by_simulation():
    rng, sims, n = np.random.default_rng(0), 100_000, 12
    for effect, margin in ((0.2, 1.0), (0.9, 1.0), (0.0, 0.4)):
        mean = rng.normal(effect, 1 / math.sqrt(n), sims)
        reach = stats.t.isf(0.05, n - 1) * np.sqrt(rng.chisquare(n - 1, sims) / (n - 1) / n)
        share = np.mean((mean - reach > -margin) & (mean + reach < margin))
        exact = equivalence_power(effect, margin, n)
        assert abs(share - exact) < 4 * math.sqrt(exact * (1 - exact) / sims) + 1e-12  # z = 4
    assert equivalence_power(1.0, 1.0, 500) == pytest.approx(0.05, rel=1e-9)  # a truth at the margin: the level


def test_sizes_are_the_smallest():
    for effect, arms in ((0.5, 1), (0.5, 2), (0.02, 2), (4.0, 1)):
        n = sample_size(effect, arms=arms)
        assert power(effect, n, arms=arms) >= 0.8 > power(effect, max(n - 1, 2), arms=arms) or n == 2
        assert detectable(n, arms=arms) <= effect
    assert sample_size(0.5, arms=2) == 64  # Cohen 1988, table 2.4.1
    assert sample_size(0.2, arms=2, level=0.05) == 394  # 393 there, in its older approximation
    n = equivalence_size(0.1, 0.5)
    assert equivalence_power(0.1, 0.5, n) >= 0.8 > equivalence_power(0.1, 0.5, n - 1)
    assert sample_size(0.0) == equivalence_size(0.5, 0.5) == math.inf


def test_bad_input():
    with pytest.raises(ValueError, match=r"`level` must satisfy 0 < level < 1; got 0"):
        power(1.0, 10, level=0)
    with pytest.raises(ValueError, match=r"`size` must satisfy size >= 1; got 0"):
        power(1.0, 0)
    with pytest.raises(ValueError, match=r"`arms` must be 1 \(paired\) or 2; got 3"):
        power(1.0, 10, arms=3)
    with pytest.raises(ValueError, match=r"`target` must satisfy 0 < target < 1; got 1"):
        sample_size(1.0, target=1)
    with pytest.raises(ValueError, match=r"`margin` must satisfy margin > 0; got 0"):
        equivalence_power(0.0, 0, 10)
