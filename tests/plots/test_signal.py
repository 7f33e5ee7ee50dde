"""The picture of a prediction shows the numbers that it has."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import plots
from jnorm.predict import Law, predict


def model(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return x


def predicted(**options):
    return predict(model, [jnp.zeros((64, 64))] * 3, jnp.ones((2, 64)), laws=[Law("normal", 1 / 64)] * 3, **options)


def test_lines_go_through_what_weights_make():
    prediction = predicted(gradients=True)
    figure = plots.signal(prediction)
    forward, backward, alike, formats = figure.axes
    made = [i for i, row in enumerate(prediction) if row.name == "dot_general"]
    for axes, values in (
        (forward, [row.second for row in prediction]),
        (backward, [row.gradient for row in prediction]),
        (alike, [row.correlation for row in prediction]),
    ):
        line, dots = axes.lines[:2]
        assert line.get_xdata().tolist() == made
        np.testing.assert_allclose(line.get_ydata(), [values[i] for i in made])
        np.testing.assert_allclose(dots.get_ydata(), values)
    low, high = prediction[made[-1]].interval(2.0)
    band = forward.collections[0].get_paths()[0].vertices
    at = band[band[:, 0] == made[-1], 1]
    np.testing.assert_allclose([at.min(), at.max()], [low, high])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["values", "gradients"]
    assert [text.get_text() for text in formats.texts] == ["bfloat16", "float16", "e5m2", "e4m3fn"]
    assert forward.get_yscale() == backward.get_yscale() == "log"


def test_without_gradients_the_picture_says_so():
    backward = plots.signal(predicted()).axes[1]
    assert [text.get_text() for text in backward.texts] == ["not predicted"]


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="`prediction` must have rows"):
        plots.signal(SimpleNamespace(rows=()))
