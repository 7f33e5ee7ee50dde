import math

import numpy as np
import pytest
from mpmath import mp
from scipy import stats

from jnorm.statistics._power import detectable, equivalence_power, equivalence_size, power, sample_size


@pytest.mark.parametrize(
    ("effect", "size", "arms", "level"),
    [
        (0.0, 10, 1, 0.05),
        (1.0, 10, 1, 0.05),
        (-0.5, 64, 2, 0.01),
        (5.0, 2, 1, 0.05),
        (0.5, 2, 2, 0.2),
        (0.2, 500, 2, 6e-4),
    ],
)
def test_power_equals_the_noncentral_t(effect, size, arms, level):
    df, shift = arms * (size - 1), effect * math.sqrt(size / arms)
    t = stats.t.isf(level / 2, df)
    exact = stats.nct.sf(t, df, shift) + stats.nct.cdf(-t, df, shift)
    assert power(effect, size, arms=arms, level=level) == pytest.approx(exact, rel=1e-11)  # double quadrature both


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
