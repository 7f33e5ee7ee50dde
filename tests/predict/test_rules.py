"""The rule of every operation against real draws, every refusal, and the page on which they stand."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnorm import jaxprs
from jnorm.predict import Law, predict
from jnorm.predict._predictor import RULES
from tests import rules
from tests.accuracy import written
from tests.predict.cases import CASES, REFUSED, UNITS, is_shape, zeros
from tests.thorough import beside

pytestmark = pytest.mark.usefixtures("unoptimized")
DRAWS = 64
SOME = ("tanh", "clamp", "select_n", "mul", "split", "concatenate", "select_and_scatter_add", "reduce_sum", "scan")


def variance(shape):
    return 1 / np.prod(shape[:-1])


def programs(case):
    """The operations of the program and of its reverse pass."""
    params = zeros(case)
    made = [jax.make_jaxpr(case.apply)(params, case.x)]
    if case.gradients:
        made.append(
            jax.make_jaxpr(lambda w: jax.vjp(lambda w: case.apply(w, case.x), w)[1](case.apply(w, case.x)))(params)
        )
    return [{site.primitive for site in jaxprs.walk(program)} for program in made]


def cosine(y):
    """Of different examples, over the units of one draw; NaN where there are positions or one example."""
    if y.ndim != 2 or len(y) < 2:
        return jnp.nan
    y = y / jnp.maximum(jnp.linalg.norm(y, axis=1, keepdims=True), 1e-9)
    return (y @ y.T)[~np.eye(len(y), dtype=bool)].mean()


@pytest.mark.parametrize("name", beside(SOME, CASES))
def test_a_rule_agrees_with_draws(name):
    """Within five standard errors of 64 draws of 256 units, and what is said to be left."""
    case = CASES[name]
    assert name in set.union(*programs(case))
    leaves, tree = jax.tree.flatten(case.shapes, is_leaf=is_shape)
    laws = jax.tree.unflatten(tree, [Law("normal", variance(shape)) for shape in leaves])
    params = jax.tree.unflatten(tree, [jnp.zeros(shape) for shape in leaves])
    found = predict(case.apply, params, case.x, laws=laws, gradients=case.gradients)

    @jax.jit
    @jax.vmap
    def real(key):
        *keys, last = jax.random.split(key, len(leaves) + 1)
        drawn = [jax.random.normal(k, s) * np.sqrt(variance(s)) for k, s in zip(keys, leaves, strict=True)]
        f = lambda w: case.apply(w, case.x)
        w = jax.tree.unflatten(tree, drawn)
        y, back = jax.vjp(f, w) if case.gradients else (f(w), None)
        slopes = jax.tree.leaves(back(jax.random.normal(last, y.shape))) if back else []
        return jnp.stack([jnp.mean(y), jnp.mean(jnp.square(y)), cosine(y), *(jnp.mean(jnp.square(s)) for s in slopes)])

    values = np.asarray(real(jax.random.split(jax.random.key(1), DRAWS)), np.float64)
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(DRAWS)
    row, slopes = found[-1], list(found.parameters.values())
    got = np.array([row.mean, row.second, row.correlation, *slopes])
    size = np.array([np.sqrt(row.second), row.second, 1.0, *slopes])
    left = case.left + (0.1 if row.status == "sampled" else 0.0)  # 4096 samples know a second moment to 2 %
    left = np.where(np.arange(len(got)) == 2, left + 2 / UNITS, left)  # what is normalized in each draw
    shown = [f"{g:.4g} {m:.4g} +- {e:.2g}" for g, m, e in zip(got, mean, error, strict=True)]
    told = np.isfinite(mean)
    assert np.all(np.abs(got - mean)[told] <= (5 * error + left * size + 1e-6)[told]), shown


def test_every_rule_has_its_law():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_is_said(reason):
    case = REFUSED[reason]
    laws = jax.tree.map(lambda shape: Law("normal", variance(shape)), case.shapes, is_leaf=is_shape)
    with pytest.raises(NotImplementedError, match=f"is refused: {re.escape(reason).replace('N', '[0-9]+')}$"):
        predict(case.apply, zeros(case), case.x, laws=laws, gradients=case.gradients)


def test_every_reason_to_refuse_has_its_case():
    assert set(REFUSED) == set.union(*map(rules.refusals, RULES.values()))


def test_the_page_is_what_the_code_says():
    """But for reverse passes, which are those of the JAX at hand."""
    text = rules.PAGE.read_text()
    kept = lambda text: [line for line in text.splitlines() if not line.startswith(("|", "Reverse pass"))]
    sections = {family: rules.section(family, lambda name: "") for family in rules.FAMILIES}
    assert kept(text) == kept(written(text, sections)), "python -m tests.rules writes it anew"
    assert set(
        re.findall(r"`([^`]+)`", "".join(line for line in text.splitlines() if line[:2] in ("| ", "##")))
    ) == set(RULES)
