"""Coordinate checks: what they say of networks that are right, and of those with one multiplier forgotten."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import initializers
from jnorm.sweeps import sweep
from jnorm.theory import _slopes
from jnorm.theory.parametrization import Trial, coord_check, parametrize

pytestmark = pytest.mark.usefixtures("unoptimized")

X = jax.random.normal(jax.random.key(7), (32, 8))
DATA = (X, jnp.sin(2 * X[:, :3]))
RATES = {"adam": optax.adam(1e-3), "sgd": optax.sgd(0.02)}


def loop(train, *, seeds, grid, static, shared):
    """What `coord_check` needs of a sweep."""
    assert static == ("width",)
    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    runs = [jax.jit(jax.vmap(lambda key, w=w: train(key, shared, width=w)))(keys) for w in grid["width"]]
    return {name: np.stack([np.asarray(run[name]) for run in runs]) for name in runs[0]}


def init(key, width):
    sizes = {"first": (8, width), "second": (width, width), "readout": (width, 3)}
    draw, keys = initializers.normal(1.0), jax.random.split(key, 3)
    kernels = {name: draw(k, size) * size[0] ** -0.5 for k, (name, size) in zip(keys, sizes.items(), strict=True)}
    return kernels | {"bias": jnp.zeros(width)}


def apply(params, x):
    seen = {"a": x @ params["first"] + params["bias"][None]}
    seen["b"] = jnp.tanh(seen["a"]) @ params["second"]
    return jnp.tanh(seen["b"]) @ params["readout"], seen


def make(width, rule="mup", optimizer="adam", forgotten=None, rate=None):
    """A trial of which one multiplier, ``(path, which)``, is forgotten."""
    scaled = parametrize(init, width, base=32, rule=rule, optimizer=optimizer)
    if forgotten is not None:
        path, which = forgotten
        paired = zip(scaled.tensors, scaled.multipliers, strict=True)
        scaled = replace(
            scaled, multipliers=tuple(m._replace(**{which: 1.0}) if t.path == path else m for t, m in paired)
        )
    optimizer = optax.chain(RATES[optimizer] if rate is None else optax.sgd(rate), scaled.rates())
    return Trial(lambda key: scaled.initial(init(key, width)), apply, optimizer, scaled.weights)


def check(*, widths=(32, 256), seeds=24, steps=2, **options):
    return coord_check(
        partial(make, **options), optax.squared_error, DATA, widths=widths, sweep=loop, seeds=seeds, steps=steps
    )


def slopes(found, quantity):
    return {row.tensor: getattr(row, quantity) for row in found.rows}


def test_mup_is_supported():
    found = check(seeds=96)
    assert found.verdict == "supported", str(found)
    assert found.suspects == ()
    assert [row.tensor for row in found.rows] == ["bias", "first", "readout", "second", "a", "b"]
    assert slopes(found, "start")["bias"] is None  # zeros
    lines = str(found).splitlines()
    assert lines[0].split() == ["tensor", "kind", "start", "first", "last", "verdict"]
    assert lines[-1] == "widths 32, 256, 96 seeds; flat within 0.05: supported"


def test_the_standard_parametrization_is_refuted_with_the_powers_of_theory():
    found = check(rule="standard")
    assert found.verdict == "not supported"
    assert found.suspects == ("readout",)
    assert str(found).endswith("flat within 0.05: not supported; look at readout")
    # The gradient by activations is n^-1/2 an entry, Adam's steps are of one size: sums over n, n and n^2 entries.
    first = slopes(found, "first")
    for name, power in {"bias": 0.5, "first": 0.5, "second": 1.5, "readout": 1.0}.items():
        assert first[name].value == pytest.approx(power, abs=0.1)  # of finite width, as seen in those of muP too
        assert first[name].verdict == "not supported"
    assert slopes(found, "start")["readout"].value == pytest.approx(0.5, abs=0.05)


FORGOTTEN = [
    (rule, optimizer, t.path, which)
    for rule in ("mup", "u-mup", "completep")
    for optimizer in RATES
    for scaled in [parametrize(init, 256, base=32, rule=rule, optimizer=optimizer)]
    for t, m in zip(scaled.tensors, scaled.multipliers, strict=True)
    for which, factor in m._asdict().items()
    # The rate of "u-mup" for inputs leaves the law that is judged, knowingly: forgotten, it is as in "mup".
    if factor != 1 and (rule, optimizer, t.path) != ("u-mup", "adam", "first")
]
SAMPLE = [("mup", "adam", "second", "rate")]


@pytest.mark.parametrize(
    "case", [case if case in SAMPLE else pytest.param(case, marks=pytest.mark.thorough) for case in FORGOTTEN]
)
def test_a_forgotten_multiplier_is_named(case):
    rule, optimizer, path, which = case
    found = check(rule=rule, optimizer=optimizer, forgotten=(path, which))
    assert found.verdict == "not supported"
    expected = {path}
    if (rule, optimizer, which) == ("u-mup", "adam", "rate"):
        expected.add("first")  # whose rate falls with the width by that rule
    assert set(found.suspects) == expected, str(found)
    assert set(SAMPLE) <= set(FORGOTTEN)


@pytest.mark.thorough
@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("rule", ["mup", "completep", "u-mup"])
def test_rules_that_learn_features(rule, optimizer):
    found = check(rule=rule, optimizer=optimizer, widths=(64, 128, 256, 512), seeds=96)
    if (rule, optimizer) == ("u-mup", "adam"):  # input weights have a rate of fan-out^-1/2, knowingly
        assert slopes(found, "first")["first"].value == pytest.approx(-0.5, abs=0.05)
        assert found.suspects == ("first",)
    else:
        assert found.verdict == "supported", str(found)


@pytest.mark.thorough
def test_the_kernel_regime_learns_without_features():
    found = check(rule="ntk", optimizer="sgd", widths=(64, 512), seeds=96)
    first = slopes(found, "first")
    assert [first[name].verdict for name in ("first", "second", "readout")] == ["supported"] * 3
    for name in "ab":  # Jacot et al. 2018: activations move by n^-1/2
        assert first[name].value == pytest.approx(-0.5, abs=0.05)
    assert found.suspects == ("readout",)


@pytest.mark.thorough
def test_a_transformer_of_linen():
    """Heads of eight features, their number grows; 16 tokens, of which every other one follows from the one before."""
    import flax.linen as nn

    normal, small = initializers.normal(1.0), initializers.variance_scaling(0.01, "fan_in", "normal")
    dense, norm = partial(nn.Dense, use_bias=False), partial(nn.LayerNorm, use_bias=False)

    class Transformer(nn.Module):
        width: int

        @nn.compact
        def __call__(self, tokens):
            place = self.param("place", normal, (tokens.shape[1], self.width))
            x = nn.Embed(16, self.width, embedding_init=normal)(tokens) + place[None]
            x = x + nn.MultiHeadDotProductAttention(num_heads=self.width // 8, use_bias=False)(norm()(x))
            seen = {"attended": x}
            x = seen["transformed"] = x + dense(self.width)(nn.gelu(dense(2 * self.width)(norm()(x))))
            return dense(16, kernel_init=small, name="readout")(norm()(x)), seen

    tokens = jax.random.randint(jax.random.key(0), (32, 9), 0, 16)
    tokens = tokens.at[:, 1::2].set((3 * tokens[:, 0:-1:2] + 1) % 16)
    draw = lambda key, width: Transformer(width).init(key, tokens[:1, :-1])

    def trial(width, rule):
        scaled = parametrize(draw, width, base=64, rule=rule)
        optimizer = optax.chain(optax.adam(1e-3), scaled.rates())
        return Trial(lambda key: scaled.initial(draw(key, width)), Transformer(width).apply, optimizer)

    def checked(rule, seeds):
        with jax.numpy_rank_promotion("allow"):  # Flax's attention
            return coord_check(
                partial(trial, rule=rule),
                optax.softmax_cross_entropy_with_integer_labels,
                (tokens[:, :-1], tokens[:, 1:]),
                widths=(128, 256, 512),
                sweep=partial(sweep, chunk=seeds),
                seeds=seeds,
                steps=2,
            )

    right, standard = checked("mup", 32), checked("standard", 4)
    assert right.verdict == "supported", str(right)
    assert standard.suspects == ("params/readout/kernel",)
    hidden = [row for row in standard.rows if row.kind == "hidden"]
    assert len(hidden) == 6
    for row in hidden:
        assert row.first.value == pytest.approx(1.5, abs=0.1)


def sizes(rng, slope, widths, seeds, spread=0.2):
    """Lognormal around a power of the width, with spreads that fall with it."""
    n = np.array(widths, float)[:, None]
    return n**slope * np.exp(rng.normal(size=(len(widths), seeds)) * spread * np.sqrt(widths[0] / n))


def test_a_power_law_has_its_slope():
    widths = (10, 20, 70)
    exact = np.array(widths, float)[:, None] ** np.array([[0.7, 0.7, 0.7]])
    found = _slopes.slope(exact, widths, 0.05, 0.05, 3)
    np.testing.assert_allclose(found[:3], 0.7, rtol=1e-13)  # roundings of the jackknife's differences
    assert found.verdict == "not supported"
    assert _slopes.slope(np.ones((3, 4)), widths, 0.05, 0.05, 3) == (0, 0, 0, "supported")


@pytest.mark.parametrize(("slope", "wrong"), [(0.0, "not supported"), (0.05, "supported"), (-0.06, "supported")])
def test_verdicts_err_as_seldom_as_promised(slope, wrong):
    """In 5 % at most, with 3 binomial standard errors and a few tenths of a percent of the mean's own bias."""
    rng, repeats, widths = np.random.default_rng(3), 2000, (32, 64, 128)
    verdicts = [_slopes.slope(sizes(rng, slope, widths, 12), widths, 0.05, 0.05, 1).verdict for _ in range(repeats)]
    assert verdicts.count(wrong) / repeats <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats) + 0.003


def test_decisions_are_taken_with_enough_seeds():
    rng = np.random.default_rng(4)
    decided = lambda slope: _slopes.slope(sizes(rng, slope, (32, 512), 64), (32, 512), 0.05, 0.05, 20).verdict
    assert [decided(s) for s in (0.0, 0.25, -0.5)] == ["supported", "not supported", "not supported"]


def test_what_is_off_first_is_named():
    flat, steep = np.ones((2, 4)), np.array([[1.0] * 4, [2.0] * 4])
    names = [("a", "hidden"), ("b", "hidden"), ("z", "activation")]
    judged = lambda **s: _slopes.judged(
        {q: np.stack(columns, -1) for q, columns in s.items()}, names, (1, 2), within=0.05, level=0.05
    )
    found = judged(start=[flat, flat, steep], first=[steep, flat, steep], last=[steep, steep, steep])
    assert found.suspects == ("z",)
    assert judged(first=[flat, steep, steep], last=[steep, steep, steep]).suspects == ("b",)
    found = judged(first=[0 * flat, flat, flat])
    assert [row.verdict for row in found.rows] == ["not judged", "supported", "supported"]
    assert found.verdict == "supported"
    lost = judged(first=[flat * [[1], [0]], flat * np.nan, flat])
    assert [row.verdict for row in lost.rows] == ["not supported", "not supported", "supported"]
    assert str(lost).count("no power law") == 2


def test_a_gradient_that_is_rounding_is_not_judged():
    """Attention does not see the keys' bias."""

    def draw(key, width):
        return {"w": jax.random.normal(key, (4, width)) / 2, "b": jnp.zeros(width)}

    def attend(params, x):
        keys = x @ params["w"] + params["b"][None]
        return jax.nn.softmax(x @ params["w"] @ keys.T / params["w"].shape[1], -1) @ x

    x = jax.random.normal(jax.random.key(0), (16, 4))
    trial = lambda width: Trial(partial(draw, width=width), attend, optax.adam(1e-3))
    found = coord_check(trial, optax.squared_error, (x, -x), widths=(4, 8), sweep=loop, seeds=3, steps=1)
    rows = {row.tensor: row for row in found.rows}
    assert rows["b"][2:] == (None, None, None)
    assert rows["w"].first is not None
    assert rows["w"].last is None  # of a single step


def test_bad_input():
    fails = partial(coord_check, make, optax.squared_error, DATA, sweep=None)  # which is not reached
    for widths, shown in (((64, 64), "64, 64"), ((64,), "64"), ((), "none")):
        with pytest.raises(ValueError, match=rf"`widths` must be two or more different ones; got {shown}"):
            fails(widths=widths)
    with pytest.raises(ValueError, match=r"`widths` must be a whole number >= 1; got 0"):
        fails(widths=(0, 4))
    with pytest.raises(ValueError, match=r"`seeds` must be a whole number >= 2; got 1"):
        fails(widths=(4, 8), seeds=1)
    with pytest.raises(ValueError, match=r"`steps` must be a whole number >= 1; got 0"):
        fails(widths=(4, 8), steps=0)
    with pytest.raises(ValueError, match=r"`level` must satisfy 0 < level < 0\.5; got 0\.5"):
        fails(widths=(4, 8), level=0.5)
    with pytest.raises(ValueError, match=r"`within` must satisfy within > 0; got 0"):
        fails(widths=(4, 8), within=0)
    with pytest.raises(ValueError, match=r"an axis grows with the width; at 4 and 8 all have the same .* w \(3,\)"):
        coord_check(
            lambda width: Trial(lambda key: {"w": jnp.zeros(3)}, apply, None), None, DATA, widths=(4, 8), sweep=None
        )
