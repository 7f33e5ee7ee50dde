"""Transformed models: constants of the architecture written by hand, and models rewritten by hand."""

import itertools
import json
import math
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnorm.predict import Law, laws, predict, transforms
from jnorm.theory import transforms as theory
from tests.thorough import thorough

pytestmark = pytest.mark.usefixtures("unoptimized")
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "transforms.json").read_text())
EXACT = 1e-7  # weights of sums are float32 in programs: 6e-8 of a weight, of which constants carry about as much
KEY = jax.random.key(0)
WIDTH = 64


def fan_in(shape, gain=1.0):
    return Law("normal", gain / math.prod(shape[:-1]))


def drawn(weights, gain=1.0):
    return jax.tree.map(lambda w: fan_in(w.shape, gain), weights)


def square(count, width=WIDTH):
    return [jnp.zeros((width, width))] * count


def dense(phi, count, last=None):
    """A chain of layers, and the shapes of its weights."""

    def apply(weights, x):
        for w in weights[:-1]:
            x = phi(x @ w)
        return x @ weights[-1]

    return apply, [*square(count), jnp.zeros((WIDTH, 8))]


def constants(found):
    return np.array([one.constants for one in found.activations])


def assert_alike(found, exact):
    assert found.converged
    assert exact.converged
    np.testing.assert_allclose(constants(found), [exact.constants] * len(found.activations), rtol=EXACT)


X = jnp.ones((2, WIDTH))


@pytest.mark.parametrize("phi", [jax.nn.softplus, thorough(jnp.tanh), thorough(jax.nn.gelu), thorough(jax.nn.silu)])
@pytest.mark.parametrize("goal", [{"slope": 1.3}, {"curvature": 0.4}], ids=str)
def test_a_chain_has_the_constants_of_its_map(phi, goal):
    apply, weights = dense(phi, 12)
    found = transforms(apply, weights, X, laws=drawn(weights), **goal)
    solve = theory.deep_kernel_shaping if "slope" in goal else theory.tailored
    assert_alike(found, solve(phi, theory.chain(12), **goal))
    assert found.network == theory.graph(range(12))


def published(weights, x):
    """The modified ResNet of the published constants, with layers in the place of convolutions."""
    weights = iter(weights)
    x = x @ next(weights)
    for blocks in (3, 4, 23, 3):
        for block in range(blocks):
            h = jax.nn.softplus(x)
            beside = h @ next(weights) if block == 0 else x
            for _ in range(2):
                h = jax.nn.softplus(h @ next(weights))
            x = 0.6 * beside + 0.8 * (h @ next(weights))
    return jax.nn.softplus(x) @ next(weights)


def test_the_published_network_has_the_published_constants():
    weights = square(1 + 4 + 3 * 33 + 1)
    for goal, name in (({"slope": 1.2}, "DKS"), ({"curvature": 0.2}, "TAT")):
        found = transforms(published, weights, X, laws=drawn(weights), **goal)
        exact = GOLDEN[name]["softplus"]
        (a, b, c, d), *rest = constants(found)
        assert len(rest) == 99
        # the square of .8 and .6 in float32, over their sum, is off by 1e-8, and the slope of a layer less one as much
        np.testing.assert_allclose(
            [a, b, c, d / a],
            [exact[k] for k in ("output_scale", "input_scale", "input_shift", "output_shift")],
            rtol=2e-7,
        )
    hand = theory.residual((3, 4, 23, 3), layers=3, shortcut=0.6)
    for layer, x in ((lambda s: 1.01 * s, 1.0), (lambda k: k + 0.01, 0.0)):
        np.testing.assert_allclose(found.network(x, layer), hand(x, layer), rtol=EXACT)


def random_graph(rng, count):
    nodes = []
    for number in range(1, count + 1):
        some = rng.choice(number, size=min(number, rng.integers(1, 4)), replace=False)
        if len(some) == 1 or rng.random() < 0.4:
            nodes.append(int(some[0]))
        else:
            shares = rng.dirichlet(np.ones(len(some)))
            nodes.append({int(k): float(w) for k, w in zip(some, shares, strict=True)})
    return nodes


def by_enumeration(nodes, outputs, x, layer):
    """The largest value of every set of nodes that one edge leads into and one leads out of, and of the whole."""
    sources = [[-1], *([n] if isinstance(n, int) else list(n) for n in nodes)]
    sink = len(sources)

    def alive(node):
        return node in outputs or any(node in sources[k] and alive(k) for k in range(1, sink))

    there = [k for k in range(sink) if alive(k)]
    edges = [(k, node) for node in there for k in sources[node]] + [(k, sink) for k in outputs]

    def value(node, entry, known):
        if node not in known:
            made = nodes[node - 1]
            read = lambda k: x if (k, node) == entry else value(k, entry, known)
            known[node] = layer(read(made)) if isinstance(made, int) else sum(w * read(k) for k, w in made.items())
        return known[node]

    best = max(value(k, None, {0: x}) for k in outputs)
    for size in range(1, len(there) + 1):
        for chosen in itertools.combinations(there, size):
            into = [e for e in edges if e[1] in chosen and e[0] not in chosen]
            out = [e for e in edges if e[0] in chosen and e[1] not in chosen]
            if len(into) == len(out) == 1:
                known = {0: x} if into[0] == (-1, 0) else {}
                best = max(best, value(out[0][0], into[0], known))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_part_is_that_of_all_parts(seed):
    """Every set of nodes is looked at, as against regions by dominators; layers that increase what they are given."""
    rng = np.random.default_rng(seed)
    nodes = random_graph(rng, int(rng.integers(1, 9)))
    taken = {k for n in nodes for k in ([n] if isinstance(n, int) else n)}
    outputs = [k for k in range(len(nodes) + 1) if k not in taken]
    network = theory.graph(nodes)
    for x, layer in ((1.0, lambda s: 1.3 * s), (0.0, lambda k: k + 0.7), (0.1, lambda c: (1 + c) / 2)):
        np.testing.assert_allclose(network(x, layer), by_enumeration(nodes, outputs, x, layer), rtol=1e-13)


def test_a_branch_may_be_larger_than_the_whole():
    network = theory.graph([0, 1, 2, {0: 0.9, 3: 0.1}])
    assert network(1.0, lambda s: 1.5 * s) == 1.5**3
    for nodes in ([1], [{0: 0.5, 1: 0.5}], [{0: 0.5}], [{}], [{0: -0.5, 1: 1.5}]):
        with pytest.raises(ValueError, match="node 1"):
            theory.graph(nodes)
    with pytest.raises(ValueError, match="outputs"):
        theory.graph([0], outputs=[2])


def residual_net(weights, x):
    x = x @ weights[0]
    for i in range(1, len(weights) - 1, 2):
        x = 0.8 * x + 0.6 * (jax.nn.softplus(jax.nn.softplus(x) @ weights[i]) @ weights[i + 1])
    return jax.nn.softplus(x) @ weights[-1]


def dense_net(weights, x):
    """Each layer's units are put beside all that came before."""
    x = x @ weights[0]
    for w in weights[1:-1]:
        x = jnp.concatenate([x, jax.nn.softplus(x) @ w], 1)
    return jax.nn.softplus(x) @ weights[-1]


def dense_map(x, layer, first=64, growth=32, layers=4):
    for width in (first + growth * k for k in range(layers)):
        x = (width * x + growth * layer(x)) / (width + growth)
    return layer(x)


def test_residual_and_dense_networks_have_the_maps_written_by_hand():
    weights = square(8)
    found = transforms(residual_net, weights, X, laws=drawn(weights), slope=1.3)
    assert_alike(found, theory.deep_kernel_shaping(jax.nn.softplus, theory.residual(3, shortcut=0.8), slope=1.3))
    weights = [jnp.zeros((64, 64)), *(jnp.zeros((64 + 32 * k, 32)) for k in range(4)), jnp.zeros((192, 8))]
    found = transforms(dense_net, weights, X, laws=drawn(weights), slope=1.3)
    assert_alike(found, theory.deep_kernel_shaping(jax.nn.softplus, dense_map, slope=1.3))


def test_streams_that_grow_and_weights_that_are_too_large_are_taken_as_they_are():
    """A norm sets lengths to one, and without it each activation divides by its own; so predictions have all of one."""

    def normed(z):
        return z / jnp.sqrt(jnp.mean(z * z, -1, keepdims=True))

    def apply(weights, x, norm):
        x = x @ weights[0]
        for w, v in zip(weights[1:-1:2], weights[2:-1:2], strict=True):
            x = x + jax.nn.softplus(norm(x) @ w) @ v
        return jax.nn.softplus(norm(x)) @ weights[-1]

    weights = square(10)

    def by_hand(x, layer):
        for k in range(4):
            x = (k + 1) / (k + 2) * x + layer(x) / (k + 2)
        return layer(x)

    exact = theory.deep_kernel_shaping(jax.nn.softplus, by_hand, slope=1.3)
    found = transforms(partial(apply, norm=normed), weights, X, laws=drawn(weights), slope=1.3)
    assert_alike(found, exact)
    found = transforms(partial(apply, norm=lambda z: z), weights, X, laws=drawn(weights), slope=1.3)
    seconds = [one.second for one in found.activations]
    np.testing.assert_allclose(seconds, [1, 2, 3, 4, 5], rtol=1e-12)
    np.testing.assert_allclose(constants(found)[:, 1], exact.constants[1] / np.sqrt(seconds), rtol=EXACT)
    rows = predict(found.apply, weights, X, laws=drawn(weights))
    sizes = [row.second for row in rows if row.name == "dot_general"]
    np.testing.assert_allclose(sizes, [1, 1, 1, 2, 1, 3, 1, 4, 1, 1][:1] + sizes[1:], rtol=1e-6)
    np.testing.assert_allclose(sizes[2::2], 1, rtol=1e-5)  # what each branch adds


def test_weights_of_any_variance_have_activations_of_length_one():
    apply, weights = dense(jax.nn.softplus, 5)
    he = drawn(weights, 2.0)
    found = transforms(apply, weights, X, laws=he)
    exact = theory.deep_kernel_shaping(jax.nn.softplus, theory.chain(5))
    np.testing.assert_allclose(constants(found)[:, 1] * np.sqrt(2), exact.constants[1], rtol=EXACT)
    rows = predict(found.apply, weights, X, laws=he)
    np.testing.assert_allclose([row.second for row in rows if row.name == "dot_general"], 2, rtol=1e-5)


@pytest.mark.parametrize("goal", [{"slope": 1.4}, {"curvature": 0.5}], ids=str)
def test_predictions_of_the_transformed_model_show_what_was_promised(goal):
    """Two inputs of correlation near one: 1 - C(c) = C'(1) (1 - c) - C''(1) (1 - c)^2 / 2 + ..., lengths of one."""
    apply, weights = dense(jax.nn.softplus, 10)
    gap = 0.01
    x = np.ones((2, WIDTH), np.float32)
    x[1] = np.sqrt(1 - (1 - gap) ** 2) * np.resize([1, -1], WIDTH) + (1 - gap)
    found = transforms(apply, weights, x, laws=drawn(weights), **goal)
    last = predict(found.apply, weights, x, laws=drawn(weights))[-1]
    np.testing.assert_allclose(last.second, 1, rtol=1e-4)  # rounding of float32, that Q'(1) = 1 keeps
    change = (1 - last.correlation) / gap
    if "slope" in goal:
        assert 1 < found.network(1.0, lambda s: found.functions[0].predicted.slope * s) == pytest.approx(1.4, abs=1e-9)
        assert change == pytest.approx(1.4, abs=0.02)
    else:
        assert change == pytest.approx(1 - 0.5 * gap / 2, abs=3e-4)


def by_hand(found):
    """The function that replaces the activation of a model that has one."""
    (transform,) = found.functions
    a, b, c, d = transform.constants
    return lambda phi: lambda z: a * phi(b * z + c) + d


class Linen(nn.Module):
    phi: object = jax.nn.softplus

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(WIDTH)(x)
        for _ in range(2):
            x = 0.8 * x + 0.6 * nn.Dense(WIDTH)(self.phi(nn.Dense(WIDTH)(self.phi(nn.LayerNorm()(x)))))
        return nn.softmax(nn.Dense(8)(self.phi(x)))


class Convolutional(nn.Module):
    phi: object = jax.nn.softplus

    @nn.compact
    def __call__(self, x):
        x = self.phi(nn.Conv(16, (3, 3))(x))
        x = self.phi(nn.Conv(32, (3, 3), strides=2)(x))
        x = self.phi(nn.Dense(WIDTH)(x.reshape(len(x), -1)))
        return nn.Dense(8)(x)


class Scanned(nn.Module):
    phi: object = jax.nn.softplus

    @nn.compact
    def __call__(self, x):
        phi = self.phi

        class Block(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return x + nn.Dense(WIDTH)(phi(nn.Dense(WIDTH)(phi(x)))), None

        blocks = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return nn.Dense(8)(phi(blocks()(nn.Dense(WIDTH)(x), None)[0]))


IMAGES = jax.random.normal(KEY, (2, 8, 8, 4))


@pytest.mark.parametrize(("model", "x", "depth"), [(Linen, X, 5), (Convolutional, IMAGES, 3)], ids=["linen", "cnn"])
def test_a_model_of_flax_is_the_one_rewritten_by_hand(model, x, depth):
    params = model().init(KEY, x)
    known = jax.tree.map(lambda w: fan_in(w.shape) if w.ndim > 1 else None, params)
    found = transforms(model().apply, params, x, laws=known)
    assert len(found.activations) == depth
    rewritten = model(by_hand(found)(jax.nn.softplus))
    for call in (lambda f: f(params, x), lambda f: jax.jit(f)(params, x)):
        np.testing.assert_allclose(call(found.apply), call(rewritten.apply), rtol=1e-4, atol=1e-5)  # float32
    loss = lambda f: lambda params: jnp.sum(f(params, x) ** 2)
    ours, theirs = (jax.jit(jax.grad(loss(f)))(params) for f in (found.apply, rewritten.apply))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def test_scanned_blocks_have_an_own_length_at_each_turn():
    params = Scanned().init(KEY, X)
    known = jax.tree_util.tree_map_with_path(
        lambda path, w: None if "bias" in str(path[-1]) else Law("normal", 1 / w.shape[-2]), params
    )
    found = transforms(Scanned().apply, params, X, laws=known)
    np.testing.assert_allclose([one.second for one in found.activations], [1, 1, 2, 1, 3, 1, 4], rtol=1e-12)
    assert [one.turns for one in found.activations] == [(0,), (0,), (1,), (1,), (2,), (2,), ()]
    a, b, c, d = found.functions[0].constants
    phi = lambda z, q: a * jax.nn.softplus(b / q**0.5 * z + c) + d

    def unrolled(params, x):
        inner, p = params["params"], lambda layer, x: x @ layer["kernel"] + layer["bias"][None]
        (block,) = (part for name, part in inner.items() if "Block" in name)
        x = p(inner["Dense_1"], x)  # Flax counts modules as they are made: from outside
        for turn in range(3):
            row = jax.tree.map(lambda w: w[turn], block)  # noqa: B023
            x = x + p(row["Dense_0"], phi(p(row["Dense_1"], phi(x, turn + 1)), 1))
        return p(inner["Dense_0"], phi(x, 4))

    x = jax.random.normal(KEY, X.shape)
    np.testing.assert_allclose(jax.jit(found.apply)(params, x), unrolled(params, x), rtol=1e-4, atol=1e-5)
    ours, theirs = (jax.grad(lambda p: jnp.sum(f(p, x) ** 2))(params) for f in (found.apply, unrolled))  # noqa: B023
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


def test_models_of_nnx_and_equinox():
    model = nnx.Sequential(
        nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0)), jax.nn.softplus, nnx.Linear(WIDTH, 8, rngs=nnx.Rngs(1))
    )
    tree, state = nnx.split(model)
    exact = theory.deep_kernel_shaping(jax.nn.softplus, theory.chain(1))
    found = transforms(lambda state, x: nnx.merge(tree, state)(x), state, X)
    np.testing.assert_allclose(constants(found)[:, [0, 2, 3]], [np.array(exact.constants)[[0, 2, 3]]], rtol=EXACT)
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(
        WIDTH, 8, WIDTH, 2, jax.nn.softplus, use_bias=False, use_final_bias=False, key=KEY
    )  # None for biases
    params, rest = eqx.partition(model, eqx.is_array)
    known = jax.tree.map(lambda w: Law("uniform", 1 / w.shape[1]), params)
    found = transforms(lambda p, x: jax.vmap(eqx.combine(p, rest))(x), params, X, laws=known)
    assert_alike(found, theory.deep_kernel_shaping(jax.nn.softplus, theory.chain(2)))
    assert found.apply(params, X).shape == (2, 8)


def test_functions_of_ones_own_and_those_that_differ():
    """What an activation is is seen by what it computes: written out, called, scaled; equal ones are one."""
    mine = lambda z: jnp.log1p(jnp.exp(z))

    def apply(weights, x):
        x = mine(x @ weights[0])
        x = mine(x @ weights[1])
        z = x @ weights[2]
        return jax.nn.sigmoid((z * jax.nn.sigmoid(z)) @ weights[3])

    weights = square(4)
    found = transforms(apply, weights, X, laws=drawn(weights))
    assert len(found.functions) == 2
    exact = theory.deep_kernel_shaping(jax.nn.softplus, theory.chain(3))
    np.testing.assert_allclose(constants(found)[:2], [exact.constants] * 2, rtol=1e-6)  # log1p(exp) in float64
    exact = theory.deep_kernel_shaping(jax.nn.silu, theory.chain(3))
    np.testing.assert_allclose(constants(found)[2], exact.constants, rtol=EXACT)
    a, b, c, d = exact.constants
    x = jax.random.normal(KEY, X.shape)
    weights = [jax.random.normal(k, w.shape) / 8 for k, w in zip(jax.random.split(KEY, 4), weights, strict=True)]
    p, q, r, s = constants(found)[0]
    y = x
    for w in weights[:2]:
        y = p * jnp.log1p(jnp.exp(q * (y @ w) + r)) + s
    exact = jax.nn.sigmoid((a * jax.nn.silu(b * (y @ weights[2]) + c) + d) @ weights[3])
    np.testing.assert_allclose(found.apply(weights, x), exact, rtol=1e-4)
    per_example = jax.vmap(lambda x: found.apply(weights, x[None])[0])(x)
    np.testing.assert_allclose(per_example, exact, rtol=1e-4)
    text = str(found)
    assert "silu" not in text.splitlines()[1]
    assert "forms.py:" in text


def test_functions_that_differ_by_a_number_are_two():
    apply = lambda w, x: jax.nn.leaky_relu(jax.nn.leaky_relu(x @ w[0], 0.1) @ w[1], 0.3) @ w[2]
    found = transforms(apply, square(3), X, laws=drawn(square(3)), slope=1.1)
    assert len(found.functions) == 2
    slopes = [one.predicted.slope for one in found.functions]
    np.testing.assert_allclose(slopes, math.sqrt(1.1), rtol=1e-9)  # both converged, with constants of their own
    assert found.activations[0].constants[0] != found.activations[1].constants[0]


def test_relu_is_shaped_and_not_tailored():
    apply, weights = dense(jax.nn.relu, 6)
    found = transforms(apply, weights, X, laws=drawn(weights), slope=1.2)
    assert_alike(found, theory.deep_kernel_shaping(jax.nn.relu, theory.chain(6), slope=1.2))
    assert "positively homogeneous" in str(found)
    z = jnp.zeros(WIDTH).at[0].set(-found.activations[0].constants[2] / found.activations[0].constants[1])
    grad = jax.grad(lambda w: jnp.sum(found.apply([w, *weights[1:]], z[None])))(jnp.eye(WIDTH))
    assert np.isfinite(grad).all()
    with pytest.raises(ValueError, match=r"test_transforms.py.*C''\(1\) is infinite"):
        transforms(apply, weights, X, laws=drawn(weights), curvature=0.3)


W = [jnp.zeros((WIDTH, WIDTH))] * 4
softplus = jax.nn.softplus


def attention(w, x):
    q, k, v = (x[None] @ m for m in w[:3])
    return softplus(jax.nn.softmax(q @ k.swapaxes(1, 2)) @ v) @ w[3]


def batch_norm(w, x):
    z = x @ w[0]
    return softplus((z - z.mean(0, keepdims=True)) / z.std(0, keepdims=True)) @ w[1]


REFUSED = {
    "gates": (lambda w, x: (jax.nn.silu(x @ w[0]) * (x @ w[1])) @ w[2], "a function of two values"),
    "attention": (attention, "a product of two values"),
    "batch norm": (batch_norm, "a batch's mean is taken off|averages over positions"),
    "maxima": (lambda w, x: softplus((x @ w[0]).reshape(2, 32, 2).max(2)) @ w[1][:32], "no rule of correlation maps"),
    "a bias": (lambda w, x: softplus(x @ w[0] + jnp.arange(64.0)[None]) @ w[1], "a bias that is not zero"),
    "a number": (lambda w, x: (x @ w[0] + 1.0) @ w[1], "adds a number that is not zero"),
    "a drawn bias": (lambda w, x: (softplus(x @ w[0]) @ w[1] + w[2][:2]) @ w[3], "a bias that is drawn"),
    "tied": (lambda w, x: softplus(softplus(x @ w[0]) @ w[0].T) @ w[1], "used transposed"),
    "pooling": (
        lambda w, x: softplus(softplus(jnp.stack([x, x], 1) @ w[0]).mean(1) @ w[1]) @ w[2],
        "averages over positions",
    ),
    "a branch": (lambda w, x: jax.lax.cond(x[0, 0] > 0, jnp.tanh, jnp.sin, x @ w[0]) @ w[1], "depends on the data"),
    "no draws": (
        lambda w, x: softplus(x @ w[0] @ jnp.arange(64.0 * 64).reshape(64, 64)) @ w[1],
        "a product of two values|known numbers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_at_its_line(name):
    apply, match = REFUSED[name]
    with pytest.raises((NotImplementedError, ValueError), match=f"test_transforms.py.*({match})"):
        transforms(apply, W, X, laws=drawn(W))


def test_bad_input():
    apply, weights = dense(softplus, 2)
    call = partial(transforms, apply, weights, X, laws=drawn(weights))
    with pytest.raises(TypeError, match="`apply`"):
        transforms(3, weights, X)
    with pytest.raises(ValueError, match=r"slope > 1; got 1\.0"):
        call(slope=1.0)
    with pytest.raises(ValueError, match=r"curvature > 0; got -1"):
        call(curvature=-1.0)
    with pytest.raises(ValueError, match="exclude each other"):
        call(slope=1.5, curvature=0.3)
    with pytest.raises(ValueError, match="no activation that a weight takes up"):
        transforms(lambda w, x: softplus(x @ w[0] @ w[1]), W, X, laws=drawn(W))
    with pytest.raises(ValueError, match="structure"):
        transforms(apply, weights, X, laws=drawn(weights[1:]))
    with pytest.raises(ValueError, match="jump"):
        transforms(lambda w, x: jnp.sign(x @ w[0]) @ w[1], W, X, laws=drawn(W))
    found = call()
    assert found.apply(weights, jnp.ones((5, WIDTH))).shape == (5, 8)
    other = transforms(lambda w, x: softplus(x @ w[0] if len(x) < 3 else jnp.sin(x) @ w[0]) @ w[1], W, X, laws=drawn(W))
    with pytest.raises(ValueError, match="another program"):
        other.apply(W, jnp.ones((5, WIDTH)))


def test_laws_are_recognized_and_precision_is_the_models_own(x64):
    apply, weights = dense(softplus, 3)
    keys = jax.random.split(KEY, 3)
    draw = lambda key: [
        jax.random.normal(k, w.shape, jnp.float32) / 8 for k, w in zip(jax.random.split(key, 4), weights, strict=True)
    ]
    params = draw(KEY)
    found = transforms(apply, params, X, laws=laws(*map(draw, keys)))
    assert_alike(found, theory.deep_kernel_shaping(softplus, theory.chain(3)))
    assert found.apply(params, X.astype(jnp.float32)).dtype == jnp.float32
    half = [w.astype(jnp.bfloat16) for w in params]
    assert (
        transforms(apply, half, X.astype(jnp.bfloat16), laws=drawn(half)).apply(half, X.astype(jnp.bfloat16)).dtype
        == jnp.bfloat16
    )
