"""Multipliers by width and depth: the rules' laws, the axes that are found, and what is made of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import initializers
from jnorm.theory import _rules
from jnorm.theory.parametrization import parametrize

pytestmark = pytest.mark.usefixtures("unoptimized")

LEARNING = ("mup", "u-mup", "completep")  # features, at any width
KINDS = {"vector": (1.0, 4.0), "input": (1.0, 4.0), "hidden": (4.0, 4.0), "output": (4.0, 1.0), "fixed": (1.0, 1.0)}


def mlp(key, width):
    """Inputs of 5, two hidden layers, 2 outputs."""
    draw, keys = initializers.lecun_normal(), jax.random.split(key, 3)
    sizes = (5, width, width, 2)
    return [
        {"kernel": draw(k, (a, b)), "bias": jnp.zeros(b)} for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def outputs(params, x):
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
    return x @ params[-1]["kernel"] + params[-1]["bias"][None]


def by_path(tree):
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in jax.tree.leaves_with_path(tree)}


def multipliers(init, **options):
    made = parametrize(init, 256, base=64, **options)
    return {t.path: (t.kind, m.forward, m.init, m.rate) for t, m in zip(made.tensors, made.multipliers, strict=True)}


@pytest.mark.parametrize("rule", LEARNING)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_steps_have_the_spectral_norm_of_feature_learning(rule, kind):
    """Yang, Simon, Bernstein 2023, condition 1: norms of weights and of steps grow as sqrt(fan-out / fan-in)."""
    f, g = KINDS[kind]
    m = _rules.multipliers(rule, "adam", kind, f, g, None)
    norm = np.sqrt(g / f)
    # The norm of a random matrix is its deviation times the larger root of a fan; of a column or row that is not wide,
    # times that of the other. What is drawn has a deviation of fan-in^-1/2.
    drawn = m.forward * m.init * f**-0.5 * max(f, g) ** 0.5
    assert drawn == pytest.approx(norm if kind != "fixed" else 1.0, rel=1e-12)
    # Adam's steps have entries of one size, and a few directions: a norm of that size times sqrt(fan-in fan-out).
    step = m.forward * m.rate * np.sqrt(f * g)
    less = g**-0.5 if (rule, kind) == ("u-mup", "input") else 1.0  # which that paper changes knowingly
    assert step == pytest.approx(norm * less, rel=1e-12)


def test_rates_as_published():
    """Entries of the tables by hand: at four times the width, and at nine times the depth."""
    get = lambda rule, optimizer, kind: _rules.multipliers(rule, optimizer, kind, *KINDS[kind], None)
    assert get("mup", "sgd", "vector").rate == get("mup", "sgd", "input").rate == 4  # table 3: fan-out
    assert get("mup", "sgd", "output") == (1, 0.5, 0.25)  # variance 1/fan-in^2, 1/fan-in
    assert get("mup", "sgd", "hidden") == (1, 1, 1)
    assert get("u-mup", "adam", "hidden") == (0.5, 2, 0.5)  # table 2: 1/sqrt(fan-in), 1, 1/sqrt(fan-in)
    assert get("u-mup", "adam", "output") == (0.25, 2, 1)  # 1/fan-in, 1, 1
    assert get("u-mup", "adam", "input") == (1, 1, 0.5)  # 1, 1, 1/sqrt(fan-out)
    assert get("u-mup", "adam", "vector") == (1, 1, 1)
    assert get("ntk", "sgd", "hidden") == get("ntk", "adam", "output") == (0.5, 2, 1)
    depth = lambda rule, optimizer: _rules.multipliers(rule, optimizer, "vector", 1.0, 1.0, 9.0).rate
    assert depth("completep", "adam") == depth("mup", "sgd") == depth("standard", "adam") == 1
    assert depth("mup", "adam") == depth("u-mup", "adam") == pytest.approx(1 / 3, rel=1e-15)
    assert depth("completep", "sgd") == 9


TRAINED = {"sgd": optax.sgd(0.1, momentum=0.5), "adam": optax.adam(0.1, eps=0.0)}


@pytest.mark.parametrize("optimizer", TRAINED)
def test_rules_that_learn_features_train_alike(optimizer, x64):
    """Multipliers move between use, values and rate without a trace (appendix B.2 of Yang et al. 2022)."""
    x = jax.random.normal(jax.random.key(1), (8, 5), float)
    found = []
    # "u-mup" differs in the input weights' rate under Adam.
    for rule in LEARNING if optimizer == "sgd" else ("mup", "completep"):
        scaled = parametrize(mlp, 12, base=4, rule=rule, optimizer=optimizer)
        tx = optax.chain(TRAINED[optimizer], scaled.rates())

        @jax.jit
        def step(carry, scaled=scaled, tx=tx):
            params, state = carry
            loss = lambda p: jnp.mean((outputs(scaled.weights(p), x) - x[:, :2]) ** 2)
            with jax.numpy_dtype_promotion("standard"):
                updates, state = tx.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        params = scaled.initial(mlp(jax.random.key(0), 12))
        carry = params, tx.init(params)
        for _ in range(4):
            carry = step(carry)
        found.append(outputs(scaled.weights(carry[0]), x))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9)  # roundings, which four steps amplify
    assert not np.allclose(found[0], outputs(mlp(jax.random.key(0), 12), x), rtol=0.1)


@pytest.mark.parametrize("rule", _rules.RULES)
def test_nothing_changes_at_the_base(rule):
    made = parametrize(mlp, 64, base=64, base_depth=3, depth=3, rule=rule)
    assert {factor for m in made.multipliers for factor in m} == {1.0}
    assert made.branch == 1


def test_depth():
    made = parametrize(mlp, 64, base=64, depth=8, base_depth=2, blocks="1", rule="completep", optimizer="sgd")
    assert made.branch == 1 / 4
    assert by_path(made.rate) == {path: 4.0 if path[0] == "1" else 1.0 for path in by_path(made.rate)}
    assert parametrize(mlp, 64, base=64, depth=8, base_depth=2, blocks="1").branch == 1 / 2
    assert parametrize(mlp, 64, base=64, depth=8, base_depth=2, blocks="1", rule="ntk").branch == 1
    with pytest.raises(ValueError, match=r"`blocks` must name the parameters of residual branches .* depths 8 and 2"):
        parametrize(mlp, 64, base=64, depth=8, base_depth=2)
    with pytest.raises(ValueError, match=r"no leaf under the path `7`"):
        parametrize(mlp, 64, base=64, depth=8, base_depth=2, blocks="7")


HIDDEN, INPUT, VECTOR = ("hidden", 1, 1, 0.25), ("input", 1, 1, 1), ("vector", 1, 1, 1)
READOUT, FIXED = ("output", 1, 0.5, 0.25), ("fixed", 1, 1, 1)
MLP = {f"{i}/bias": VECTOR for i in range(2)} | {"0/kernel": INPUT, "1/kernel": HIDDEN, "2/kernel": READOUT}
MLP["2/bias"] = FIXED


def test_axes_of_plain_trees_and_kernels_of_convolutions():
    assert multipliers(mlp) == MLP
    shapes = {"a": (3, 3, 1, 64), "b": (3, 3, 64, 64), "c": (64, 10), "scale": (64,)}

    def convolutional(key, width):
        return {name: jnp.zeros([width if n == 64 else n for n in shape]) for name, shape in shapes.items()}

    assert multipliers(convolutional) == {"a": INPUT, "b": HIDDEN, "c": READOUT, "scale": VECTOR}


def test_axes_of_linen():
    import flax.linen as nn

    class Block(nn.Module):
        width: int

        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(7, self.width)(tokens)
            x = nn.MultiHeadDotProductAttention(num_heads=self.width // 8)(nn.LayerNorm()(x))
            return nn.Dense(5)(x)

    got = multipliers(lambda key, width: Block(width).init(key, jnp.zeros((1, 3), int))["params"])
    exact = {"Embed_0/embedding": INPUT, "LayerNorm_0/bias": VECTOR, "LayerNorm_0/scale": VECTOR}
    exact |= {"Dense_0/kernel": READOUT, "Dense_0/bias": FIXED}
    for part in ("query", "key", "value", "out"):  # kernels [n, heads, 8] and [heads, 8, n], biases [heads, 8] and [n]
        exact |= {
            f"MultiHeadDotProductAttention_0/{part}/{leaf}": m for leaf, m in (("kernel", HIDDEN), ("bias", VECTOR))
        }
    assert got == exact


def test_axes_of_nnx():
    from flax import nnx

    def init(key, width):
        rngs = nnx.Rngs(key)
        layers = [nnx.Linear(a, b, rngs=rngs) for a, b in ((5, width), (width, width), (width, 2))]
        return nnx.state(nnx.List(layers), nnx.Param)

    assert {path.removesuffix("/value"): m for path, m in multipliers(init).items()} == MLP
    params, made = init(jax.random.key(0), 256), parametrize(init, 256, base=64)
    readout = lambda state: np.asarray(state[2]["kernel"][...])
    np.testing.assert_array_equal(readout(made.initial(params)), readout(params) / 2)
    scaled, _ = made.rates().update(params, optax.EmptyState())
    np.testing.assert_array_equal(readout(scaled), readout(params) / 4)


def test_axes_of_equinox():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")

    def init(key, width):
        return eqx.filter(eqx.nn.MLP(5, 2, width, 2, key=key), eqx.is_array)

    got = multipliers(init, layout="out-in")
    exact = {f"layers/{path.replace('kernel', 'weight')}": m for path, m in MLP.items()}
    assert got == exact
    params, made = init(jax.random.key(0), 256), parametrize(init, 256, base=64, layout="out-in")
    scaled = jax.tree.map(lambda m, p: m * p, made.init, params)  # the multipliers' tree is that of the parameters
    for a, b in zip(jax.tree.leaves(scaled), jax.tree.leaves(made.initial(params)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(TypeError, match=r"`init` must return a pytree of arrays alone, such as .*equinox\.filter"):
        parametrize(lambda key, width: eqx.nn.MLP(5, 2, width, 2, key=key), 256, base=64)


def test_input_axes_by_name():
    transposed = lambda key, width: {"table": jnp.zeros((width, 7)), "mix": jnp.zeros((width, 2 * width, width))}
    got = multipliers(transposed, inputs={"table": (1,), "mix": (0,)})
    assert got["table"][0] == "input"
    assert parametrize(transposed, 256, base=64, inputs={"mix": (0,)}).tensors[0].fan_out == 16
    assert multipliers(lambda key, width: {"heads": jnp.zeros((width, 8))}, inputs={"heads": ()})["heads"] == VECTOR
    with pytest.raises(ValueError, match=r"`inputs` must name the input axes of mix, of which 3 axes grow"):
        parametrize(transposed, 256, base=64)
    with pytest.raises(ValueError, match=r"`inputs` must name axes of mix, which has 3; got 3"):
        parametrize(transposed, 256, base=64, inputs={"mix": (3,)})
    with pytest.raises(ValueError, match=r"no leaf under the path `mux`"):
        parametrize(transposed, 256, base=64, inputs={"mux": (0,)})


def test_dtypes_and_missing_leaves():
    made = parametrize(mlp, 256, base=64, rule="u-mup")
    params = mlp(jax.random.key(0), 256)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    for scaled in (made.initial(half), made.weights(half), jax.jit(made.weights)(half)):
        assert {a.dtype for a in jax.tree.leaves(scaled)} == {jnp.dtype(jnp.bfloat16)}
    masked = optax.masked(made.rates(), jax.tree.map(lambda a: a.ndim == 2, params))
    updates, _ = masked.update(params, masked.init(params), params)
    np.testing.assert_array_equal(updates[1]["kernel"], params[1]["kernel"] / 2)
    assert updates[1]["bias"] is params[1]["bias"]
    assert [line.split()[0] for line in str(made).splitlines()[1:-1]] == list(by_path(params))


def test_bad_input():
    for width in (64, 256):  # at the base too
        with pytest.raises(ValueError, match=r"`init` must .* of which an axis grows .* same shapes: w \(3,\)"):
            parametrize(lambda key, width: {"w": jnp.zeros(3)}, width, base=64)
    with pytest.raises(ValueError, match=r"at 64 and 256 deep/1/bias differs"):
        parametrize(lambda key, width: {"deep": mlp(key, width)[: width // 64]}, 256, base=64)
    with pytest.raises(ValueError, match=r"`rule` must be one of standard, ntk, mup, u-mup, completep; got 'muP'"):
        parametrize(mlp, 256, base=64, rule="muP")
    with pytest.raises(ValueError, match=r"`optimizer` must be one of adam, sgd; got 'lion'"):
        parametrize(mlp, 256, base=64, optimizer="lion")
    with pytest.raises(ValueError, match=r"`layout` must be one of in-out, out-in; got 'io'"):
        parametrize(mlp, 256, base=64, layout="io")
    with pytest.raises(ValueError, match=r"`base` must be a whole number >= 1; got 0"):
        parametrize(mlp, 256, base=0)
    made = parametrize(mlp, 256, base=64)
    small = mlp(jax.random.key(0), 64)
    with pytest.raises(ValueError, match=r"`params` must be those of the width .* has shape \(256,\) at 0/bias; got"):
        made.initial(small)
    with pytest.raises(ValueError, match=r"has no such parameter at 0/w; got shape \(3,\)"):
        made.rates().update([{"w": jnp.zeros(3)}], optax.EmptyState())


def test_nothing_is_compiled():
    """Not even a key is made."""
    seen = []
    listen = lambda event, *_, **__: seen.append(event) if event.endswith("backend_compile_duration") else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        parametrize(partial(mlp), 320, base=96)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not seen
