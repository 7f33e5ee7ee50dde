"""The doctor: every mistake of the catalogue is named, sound set-ups get no cross, and what is said can be read."""

import functools
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm.measure import diagnosis, doctor
from jnorm.measure.diagnosis import CATALOGUE, Mistake, Sign
from tests.measure import patients, real, sound
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")

CASES = [(model, mistake) for mistake in patients.CATALOGUED for model in patients.MODELS]
SAMPLE = [
    ("perceptron", "softmax twice"),
    ("flax perceptron", "running statistics"),
    ("perceptron", "shuffled labels"),
]


@contextmanager
def lenient():
    """As users have it: Flax counts on the promotion of dtypes, and one mistake is made of that of ranks."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def examined(make, *args, **options):
    with lenient():
        return doctor(*make(*args), **options)


@pytest.mark.parametrize("case", beside(SAMPLE, CASES), ids=": ".join)
def test_mistakes_are_named_first_or_second(case):
    model, mistake = case
    make, entry = patients.CATALOGUED[mistake]
    found = examined(make, model)
    assert entry in [finding.mistake for finding in found.findings[:2]], str(found)
    assert found.crosses, str(found)


@pytest.mark.parametrize("name", beside(["perceptron", "logistic regression"], sound.SOUND))
def test_sound_setups_get_no_cross(name):
    found = examined(sound.SOUND[name])
    assert not found.crosses, str(found)


@pytest.mark.parametrize("name", beside(["answers"], real.REAL))
def test_sound_setups_on_published_data_get_no_cross(name, data_dir):
    found = examined(real.REAL[name], data_dir)
    assert not found.crosses, str(found)


@pytest.mark.parametrize("name", beside(["labels from one", "half masked", "wrong rule"], sound.OTHERS))
def test_other_mistakes_are_named_too(name):
    make, entry = sound.OTHERS[name]
    found = examined(make)
    assert entry in [finding.mistake for finding in found.findings[:2]], str(found)


def test_it_is_shown_in_a_hundred_columns_and_repeats():
    found, again = (examined(patients.broadcast, "perceptron", steps=10) for _ in range(2))
    assert found == again
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("✗ targets broadcast")
    assert found.findings[0].line.function == "square"
    assert "patients.py" in str(found)
    assert {finding.mark for finding in found.ticks} == {"tick"}


def test_the_line_is_that_of_the_mistake():
    first = examined(lambda: patients.sound("perceptron", stop=True), steps=10).findings[0]
    assert first.line.function == "perceptron"
    assert "stop_gradient" in Path(first.line.file).read_text().splitlines()[first.line.number - 1]


def test_entries_of_ones_own():
    wide = Mistake("wide", "model", lambda patient: Sign(f"{patient.products[0].units} units"), "make it narrow")
    found = examined(patients.sound, "perceptron", catalogue=(wide,))
    assert [(finding.mistake, finding.seen, finding.advice) for finding in found.crosses] == [
        ("wide", "32 units", "make it narrow")
    ]


def test_the_catalogue_is_whole():
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    assert {entry for _, entry in patients.CATALOGUED.values()} <= set(names)
    assert {entry for _, entry in sound.OTHERS.values()} <= set(names)


def test_without_an_optimizer():
    found = examined(lambda: patients.sound("perceptron")._replace(optimizer=None), steps=10)
    assert "no optimizer was given" in str(found)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"apply": 3}, TypeError, "`apply` must be a function"),
        ({"loss": "mse"}, TypeError, "`loss` must be a function"),
        ({"optimizer": 0.1}, TypeError, "`optimizer` must be one of Optax"),
        ({"params": {"n": jnp.arange(3)}}, TypeError, "`params` must be floating arrays; got int32 at 'n'"),
        ({"loss": lambda outputs, labels: outputs[:, 0]}, TypeError, "`loss` must return one real number"),
        ({"x": np.zeros((0, 8)), "targets": np.zeros(0)}, ValueError, "must hold examples"),
    ],
)
def test_what_cannot_be_examined(change, error, text):
    with pytest.raises(error, match=text):
        doctor(*patients.sound("perceptron")._replace(**change))


def graph(f, params, x):
    program = jax.make_jaxpr(lambda params, x: f(params, x))(params, x)
    return diagnosis.Graph(program, len(jax.tree.leaves(params)), 1)


W = [jnp.ones((4, 4)), jnp.ones((4, 4))]
BETWEEN = {
    "nothing": (lambda x: x, True),
    "a bias and a scale": (lambda x: 2 * x[:, ::-1] + 1, True),
    "a norm": (lambda x: (x - x.mean(0, keepdims=True)) / jnp.sqrt(x.var(0, keepdims=True) + 1), True),
    "dropout": (lambda x: jnp.where(jnp.arange(4)[None] > 1, x, 0), True),
    "a jitted sum": (jax.jit(lambda x: x + 1), True),
    "relu": (jax.nn.relu, False),
    "relu by hand": (lambda x: jnp.where(x > 0, x, 0), False),
    "a square": (lambda x: x * x, False),
    "gelu": (jax.nn.gelu, False),
    "a gate": (lambda x: x * jax.nn.sigmoid(x), False),
    "softmax": (jax.nn.softmax, False),
    "a skip": (lambda x: x + jnp.tanh(x), False),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_what_bends_between_two_products(name):
    act, is_linear = BETWEEN[name]
    found = graph(lambda w, x: act(x @ w[0]) @ w[1], W, jnp.ones((3, 4)))
    assert len(found.products) == 2
    assert (found.between(found.products[1]) is found.products[0]) == is_linear


def test_what_a_gradient_comes_back_to():
    def f(w, x):
        return jnp.sum(jax.lax.stop_gradient(x @ w[0]) @ w[1])

    result = graph(f, W, jnp.ones((3, 4))).results[0]
    assert (result.leaves, result.live) == ({0, 1}, {1})


def test_layers_in_a_loop_are_seen():
    def f(w, x):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]

    found = graph(f, jnp.ones((5, 4, 4)), jnp.ones((3, 4)))
    assert len(found.products) == 2
    assert found.between(found.products[1]) is found.products[0]


def outcomes(loss, outputs, targets):
    return diagnosis._outcomes.Outcomes(loss, jnp.asarray(outputs), targets, np.random.default_rng(0))


LABELS = np.arange(12) % 3
OUTPUTS = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
HOT = np.eye(3, dtype=np.float32)[LABELS]
OF_LOGITS = {
    "cross entropy": (patients.cross_entropy, LABELS, True),
    "optax": (lambda o, t: optax.softmax_cross_entropy_with_integer_labels(o, t).mean(), LABELS, True),
    "one-hot": (lambda o, t: optax.softmax_cross_entropy(o, t).sum(), HOT, True),
    "square": (patients.square, HOT, False),
    "logarithms of probabilities": (lambda o, t: -jnp.mean(t * jnp.log(jnp.abs(o))), HOT, False),
    "sigmoids": (lambda o, t: optax.sigmoid_binary_cross_entropy(o, t).mean(), HOT, False),
}


@pytest.mark.parametrize("name", OF_LOGITS)
def test_which_losses_take_logits(name):
    loss, targets, takes = OF_LOGITS[name]
    found = outcomes(loss, OUTPUTS, targets)
    assert found.takes_logits == takes
    assert found.takes_binary_logits == (name == "sigmoids")
    assert round(found.doubling, 3) == (2 if name == "one-hot" else 1)
    assert found["right"] < found["wrong"]


@functools.cache
def chance():
    """The p of independent targets, of as many draws: uniform, so that at most 1 in 100 are below 0.01."""
    rng = np.random.default_rng(0)

    class Independent:
        x, aligned, outputs = None, True, np.zeros((1, 1))

    found = []
    for _ in range(200):
        one = Independent()
        one.x, one.targets, one.rng = rng.normal(size=(40, 3)), rng.normal(size=40), rng
        found += diagnosis._of_training._neighbours(one)
    return np.array(found)


@pytest.mark.thorough
def test_labels_of_others_pass_as_often_as_is_said():
    # 200 draws at level 0.01: eight or more with probability 0.001; half of them below 0.5 within 4 deviations
    assert (chance() <= 0.01).sum() <= 7
    assert abs((chance() <= 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 / 200)
