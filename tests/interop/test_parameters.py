"""Trained parameters as safetensors, and all that a training carries with Orbax: written, read, gone on from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import initializers, losses
from jnorm.nn import batch_norm, networks
from jnorm.nn.layers import Layer
from jnorm.train import loop

pytestmark = pytest.mark.usefixtures("unoptimized")

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (12, 3))
DATA = {"train": (X, jnp.sin(X[:, :1]))}
NETWORK = networks.mlp((3, 4, 1), Layer(jnp.tanh, initializers.lecun_normal(), normalizer=batch_norm))


def trained(epochs, start=None):
    report = loop.Report(keep_params=True, keep_carry=True)
    options = {"epochs": epochs, "batch_size": 4, "report": report}
    train = loop.trainer(NETWORK, losses.squared_error, optax.adam(0.01), **options)
    return jax.jit(lambda start: train(KEY, DATA, start))(start)


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), one, other)


def test_parameters_as_safetensors(tmp_path):
    """The names are those of the tree's parts; the tree is that of a fresh network, of which only shapes are made."""
    safetensors = pytest.importorskip("safetensors.numpy")
    result = trained(1)
    tree = result["params"], result["state"]
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")

    arrays = {name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    safetensors.save_file(arrays, tmp_path / "network.safetensors")

    read = safetensors.load_file(tmp_path / "network.safetensors")
    shapes = jax.eval_shape(NETWORK.init, KEY)
    params, state = jax.tree_util.tree_map_with_path(lambda path, _: read[name(path)], shapes)

    same((params, state), jax.tree.map(np.asarray, tree))
    assert any(name.startswith("0/") for name in arrays)
    apply = jax.jit(lambda params, state: NETWORK.apply(params, state, X, train=False, key=None)[0])
    np.testing.assert_array_equal(apply(params, state), apply(*tree))


def test_a_training_goes_on_from_what_orbax_has_kept(tmp_path):
    """The same bits as from what was never written."""
    orbax = pytest.importorskip("orbax.checkpoint")
    carry = trained(2)["carry"]

    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "carry", carry)
    with orbax.StandardCheckpointer() as checkpointer:
        read = checkpointer.restore(tmp_path / "carry", jax.tree.map(jnp.zeros_like, carry))

    same(read, carry)
    same(trained(1, read), trained(1, carry))
