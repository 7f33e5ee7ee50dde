"""Laws of `jnorm.plots`: drawn twice, a picture is the same byte for byte."""

import io
import tempfile
import types
from functools import partial

import jax.numpy as jnp
import matplotlib
import numpy as np

from jnorm import plots, predict
from jnorm.statistics import Runs
from tests.registry import host

GRID, SAMPLES = np.linspace(-1.0, 1.0, 5), np.random.default_rng(0).normal(size=(6, 5))
RUNS = Runs(
    [{"phi": phi, "task": task} for phi in ("relu", "selu", "elu") for task in (0, 1)],
    {"score": SAMPLES[:, :4], "curve_loss": SAMPLES[:, :4, None] + GRID},
)
VALUES = np.where(GRID > 0.5, np.nan, GRID[:, None] + GRID)


def pictured(draw, *args, **options):
    """The picture that a function draws on new axes."""
    buffer = io.BytesIO()
    with plots.style():
        figure, axes = plots.figure(size=(2.0, 2.0))
        draw(axes, *args, **options)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def legend():
    with plots.style():
        figure, axes = plots.figure(size=(2.0, 2.0))
        plots.trajectory(axes, GRID, GRID, color="black", label="path")
        plots.legend(figure, axes)
    return [text.get_text() for text in figure.legends[0].get_texts()]


def saved():
    with tempfile.TemporaryDirectory() as folder, plots.style():
        return [path.read_bytes() for path in plots.save(plots.figure(size=(2.0, 2.0))[0], f"{folder}/empty")]


def styled():
    with plots.style():
        return matplotlib.rcParams["font.size"]


def signal():
    model = lambda w, x: jnp.tanh(jnp.tanh(x @ w) @ w)
    found = predict.predict(model, jnp.zeros((64, 64)), jnp.ones((2, 64)), laws=predict.Law("normal", 1 / 64))
    buffer = io.BytesIO()
    with plots.style():
        plots.signal(found).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


COLOR = {"color": plots.PALETTE[0]}
AUDIT = types.SimpleNamespace(
    rows=[
        types.SimpleNamespace(of="value", equation=i, predicted=1.0, sound=1.1, measured=m, verdict=verdict)
        for i, (m, verdict) in enumerate([(1.0, "as predicted"), (2.0, "off"), (0.0, "off")])
    ]
)
for _name, _args, _options in (
    ("audit", (AUDIT,), COLOR),
    ("band", (GRID, SAMPLES), COLOR),
    ("branch", (GRID, GRID, GRID > 0), COLOR),
    ("cloud", (SAMPLES, SAMPLES[::-1]), COLOR),
    ("contour", (GRID, GRID, VALUES, 0.1), {"text": "here", **COLOR}),
    ("critical_difference", (RUNS, "score", "phi"), {}),
    ("curves", (RUNS, "curve_loss"), {}),
    ("heat_map", (RUNS, "score", "phi", "task"), {}),
    ("performance_profile", (RUNS, "score", "phi"), {"samples": 50}),
    ("plane", (GRID, GRID, VALUES), {"missing": "none", "label": "value"}),
    ("point", (0.0, 1.0, "here"), {}),
    ("region", (0.0, 1.0, "here"), {}),
    ("trajectory", (GRID, GRID), COLOR),
    ("tuning_curve", (RUNS, "score"), {"by": "phi"}),
    ("vector_field", (GRID, GRID, SAMPLES[:5], SAMPLES[1:]), {"label": "shift"}),
):
    host(f"plots.{_name}", partial(pictured, getattr(plots, _name), *_args, **_options))
host("plots.figure", lambda: plots.figure(2, 3, size=(2.0, 1.0))[0].get_size_inches())
host("plots.legend", legend)
host("plots.save", saved)
host("plots.signal", signal)
host("plots.style", styled)
