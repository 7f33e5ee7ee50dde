"""How predictions are shown: findings that are right, tables that fit, frames and pages."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm.predict import Law, predict
from jnorm.predict._display import HEAD

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)
N, DEPTH = 64, 8


def chain(phi):
    def apply(weights, x):
        for w in weights:
            x = phi(x @ w)
        return x

    return apply


def predicted(phi, sigma, *, n=N, x=None, gradients=False):
    x = jax.random.normal(KEY, (2, n)) if x is None else x
    laws = [Law("normal", sigma**2 / n)] * DEPTH
    return predict(chain(phi), [jnp.zeros((n, n))] * DEPTH, x, laws=laws, gradients=gradients)


def test_a_signal_that_halves_is_told_with_its_place_and_its_repair():
    """relu with weights of variance 1 / n halves the second moment exactly, and the gradient too."""
    found = predicted(jax.nn.relu, 1.0, gradients=True).findings
    assert re.fullmatch(
        r"the signal halves a layer from dot_general, test_display.py:\d+ on, to .*: e-fold depth 1.4", found[0]
    )
    assert re.match(r"gradients halve a layer back from dot_general, test_display.py:\d+, to ", found[1])
    assert found[-1] == 'repair: jnorm.predict.gains(apply, params, x, by="both"), a factor near 1.41 a weight'


def test_rates_are_those_of_the_layers():
    """Linear layers multiply second moments by sigma_w^2."""
    found = predicted(lambda z: z * 1.0, 1.25**0.5).findings
    assert "grows 1.25 a layer" in found[0]
    assert f"e-fold depth {1 / np.log(1.25):.2g}" in found[0]
    assert found[-1] == "repair: jnorm.predict.gains(apply, params, x), a factor near 0.894 a weight"


def test_healthy_networks_have_no_findings():
    assert predicted(lambda z: z * 1.0, 1.0, n=512).findings == ()


def test_examples_that_become_alike_and_numbers_that_overflow():
    x = jnp.stack([jnp.ones(N), jnp.concatenate([jnp.ones(N // 2), -jnp.ones(N // 2)])])
    found = predicted(lambda z: jax.nn.relu(z) + 3.0, 1.4, x=x).findings
    assert any(re.match(r"examples become alike: correlation 0.00 at first, above 0.99 from", text) for text in found)
    found = predicted(lambda z: z * 1.0, 4.0).findings
    assert any(re.match(r"float16: \S+ of dot_general, test_display.py:\d+ overflows", text) for text in found)


def test_deep_and_narrow_networks_stray():
    found = predicted(jax.nn.relu, 2**0.5, n=16).findings
    assert any(text.startswith("single draws stray from ") for text in found)
    assert any("rows of fewer than 64 units" in text for text in found)


def test_text_has_a_hundred_columns():
    prediction = predicted(jax.nn.relu, 0.3, gradients=True)
    text = str(prediction)
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[0].split() == list(HEAD)
    assert len(text.splitlines()) > len(prediction) + 3


def test_a_notebook_gets_a_table_with_bars():
    prediction = predicted(lambda z: jnp.tanh(z) * 2.0, 1.3, gradients=True)
    page = prediction._repr_html_()
    assert page.count("<tr>") == len(prediction) + 1
    assert page.count("background:") == 2 * len(prediction)
    widths = [int(width) for width in re.findall(r"width:(\d+)px;height", page)]
    assert 28 <= max(widths) <= 30  # of half a bar, for the largest logarithm
    assert "<li>" in page or not prediction.findings


def test_a_frame_has_a_row_each():
    pytest.importorskip("pandas")
    prediction = predicted(jnp.tanh, 1.0, gradients=True)
    frame = prediction.to_pandas()
    assert list(frame.columns[:5]) == ["name", "shape", "dtype", "mean", "second"]
    assert frame["second"].tolist() == [row.second for row in prediction]
    assert frame["gradient"].notna().all()
    assert frame["file"].eq(__file__).all()
