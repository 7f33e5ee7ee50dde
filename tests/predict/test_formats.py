"""Risks of number formats against closed forms, and against values of real draws that were cast."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from scipy import special

from jnorm.predict import Law, predict
from jnorm.predict._formats import FORMATS, limits

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)


def rounded(x, dtype):
    """What a cast makes of numbers."""
    with np.errstate(over="ignore"):
        return np.float32(x).astype(np.dtype(getattr(ml_dtypes, dtype, dtype))).astype(np.float32)


@pytest.mark.parametrize("dtype", FORMATS)
def test_limits_are_those_of_a_cast(dtype):
    ends, cast = limits(dtype), lambda x: rounded(x, dtype)
    near = 1e-3  # of spacings of 2^-8 at least, and above those of float32
    assert np.isfinite(cast(ends.overflow * (1 - near)))
    assert not np.isfinite(cast(ends.overflow * (1 + near)))
    assert cast(ends.flush * (1 - near)) == 0
    assert cast(ends.flush * (1 + near)) > 0
    steps = np.array([0, 1, 2]) * np.float32(ends.flush) * 2  # of the smallest numbers
    assert np.array_equal(cast(ends.normal - steps), np.float32(ends.normal) - steps)


def linear(var, n=4):
    """One layer of inputs of ones: N(0, n var)."""
    return predict(lambda w, x: x @ w, jnp.zeros((n, 64)), jnp.ones((1, n)), laws=Law("normal", var))


@pytest.mark.parametrize("scale", [1e-7, 3e-5, 1.0, 90.0, 1.3e4])
def test_a_gaussian_has_the_probabilities_of_a_gaussian(scale):
    """To 3e-3, where they are above 1e-9: parts of a sixteenth of an octave, in which logarithms are straight."""
    formats = linear(scale**2 / 4).formats()
    for dtype in FORMATS:
        ends, risk = limits(dtype), formats.rows[0].risks[dtype]
        exact = [2 * special.ndtr(-ends.overflow / scale)]
        exact += [special.erf(end / scale / np.sqrt(2)) for end in (ends.normal, ends.flush)]
        for got, p in zip(risk, exact, strict=True):
            assert got == pytest.approx(p, rel=3e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("phi", "exact"),
    [
        (jnp.square, lambda t: special.erf(np.sqrt(t / 2))),
        (lambda z: z**3, lambda t: special.erf(np.cbrt(t) / np.sqrt(2))),
        (jax.nn.relu, lambda t: special.ndtr(t) - 0.5),
        (lambda z: z - 1.0, lambda t: special.ndtr(1 + t) - special.ndtr(1 - t)),
        (
            lambda z: jnp.exp(z) - 2.0,
            lambda t: special.ndtr(np.log(2 + t)) - special.ndtr(np.log(2 - t)),
        ),
    ],
)
@pytest.mark.usefixtures("x64")
def test_small_numbers_of_functions_of_a_gaussian(phi, exact):
    """At zero, at kinks and at zeros elsewhere, to 4 % of a probability: the grid has half an octave there."""
    row = predict(lambda w, x: phi(x @ w), jnp.zeros((4, 64)), jnp.ones((1, 4)), laws=Law("normal", 0.25))[-1]
    for k in (-24, -14, -9, -4):
        assert row.sizes.below(2.0**k) == pytest.approx(exact(2.0**k), rel=0.04)
    assert row.sizes.zero + row.sizes.mass.sum() == pytest.approx(1.0, abs=1e-6)


def test_quantiles_and_zeros_of_relu():
    row = predict(lambda w, x: jax.nn.relu(x @ w), jnp.zeros((4, 64)), jnp.ones((1, 4)), laws=Law("normal", 0.25))[-1]
    assert row.sizes.zero == pytest.approx(0.5)
    assert row.sizes.quantile(0.5) == pytest.approx(special.ndtri(0.75), rel=0.01)
    assert row.sizes.above(1.0) == pytest.approx(special.ndtr(-1.0), rel=3e-3)


class Gated(nn.Module):
    """A function of a Gaussian, a product of independent values, and a softmax."""

    @nn.compact
    def __call__(self, x):
        scale = nn.initializers.variance_scaling(2e-4, "fan_in", "normal")
        x = 3e-3 * nn.gelu(nn.Dense(256, kernel_init=scale)(x))
        x = nn.Dense(256)(x) * nn.Dense(256)(x)
        return 3e5 * nn.Dense(256)(x)


def test_real_values_that_are_cast():
    """Frequencies of 64 draws within four of their standard errors, of networks and not of numbers, and 5 %."""
    model, x = Gated(), jax.random.normal(KEY, (4, 32))
    prediction = predict(model.apply, model.init(KEY, x), x)
    last = prediction.formats().rows[-1]
    draws = jax.jit(jax.vmap(lambda key: model.apply(model.init(key, x), x)))(jax.random.split(KEY, 64))
    compared = 0
    for dtype in FORMATS:
        values = np.asarray(draws, np.float32)
        cast = rounded(values, dtype)
        ends = limits(dtype)
        seen = (~np.isfinite(cast), (values != 0) & (np.abs(values) < ends.normal), (values != 0) & (cast == 0))
        for got, each in zip(last.risks[dtype], seen, strict=True):
            share = each.reshape(len(values), -1).mean(1)
            error = share.std(ddof=1) / np.sqrt(len(share))
            if share.mean() > 1e-4:
                compared += 1
                assert abs(got - share.mean()) < 4 * error + 0.05 * share.mean()
            else:
                assert got < 1e-3
    assert compared >= 3


def test_gradients_have_a_scale():
    """A gradient N(0, 1) at the output, scaled by 2^-20, is below the normal numbers of float16 at one."""
    prediction = predict(
        lambda w, x: x @ w, jnp.zeros((4, 64)), jnp.ones((1, 4)), laws=Law("normal", 0.25), gradients=True
    )
    formats = prediction.formats(["float16"], gradient_scale=2.0**-20)
    value, at, by = formats.rows
    assert [row.kind for row in formats] == ["value", "gradient", "parameter"]
    assert value.risks["float16"].underflow == pytest.approx(special.erf(2.0**-14 / np.sqrt(2)), rel=3e-3)
    assert at.risks["float16"].underflow == pytest.approx(special.erf(2.0**6 / np.sqrt(2)))
    assert at.risks["float16"].flush == pytest.approx(special.erf(2.0**-5 / np.sqrt(2)), rel=3e-3)
    assert by.risks["float16"].flush == pytest.approx(at.risks["float16"].flush, rel=3e-3)
    assert formats.worst("float16", "flush", "gradient") == (at.risks["float16"].flush, at)
    assert formats.worst("float16", "flush", "none") == (0.0, None)


def test_the_table_has_a_hundred_columns():
    text = str(linear(1e9).formats(["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float32"]))
    assert max(map(len, text.splitlines())) <= 100
    assert "float8_e4m3fn" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtypes": ["int8"]}, "`dtype` must be a floating dtype such as 'bfloat16'.*got 'int8'"),
        ({"dtypes": ["float9"]}, "`dtype` must be a floating dtype"),
        ({"dtypes": []}, "`dtypes` must name a format"),
        ({"gradient_scale": 0.0}, "`gradient_scale` must be positive and finite; got 0.0"),
    ],
)
def test_wrong_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        linear(1.0).formats(**options)
