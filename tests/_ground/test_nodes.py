"""Structures of different classes are different, also where fields are as many and static ones equal."""

import re
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest

import jnorm
from jnorm._ground import nodes
from jnorm.activations import selu
from jnorm.theory import meanfield
from jnorm.theory.moments import FixedWeights, Moments, layer_map
from jnorm.train import early_stopping


@nodes.register
@dataclass(frozen=True, eq=False)
class Pair:
    """Two numbers."""

    a: float
    b: float


@nodes.register
@dataclass(frozen=True, eq=False)
class Other(Pair):
    """Two others."""


NODES = {
    "pair": Pair(1.0, 2.0),
    "other": Other(1.0, 2.0),
    "fixed": FixedWeights(1.0, 2.0),
    "random": meanfield.RandomWeights(1.0, 2.0),
    "map of fixed": layer_map(selu),
    "map of random": meanfield.layer_map(selu, sigma_w=1.0),
    "patience": early_stopping.patience(3),
}


@pytest.mark.parametrize("name", NODES)
def test_a_structure_is_equal_to_itself_alone(name):
    structure = jax.tree.structure(NODES[name])
    for other, node in NODES.items():
        assert (jax.tree.structure(node) == structure) == (other == name)
        assert (jax.tree.structure((node, 1.0)) == jax.tree.structure((NODES[name], 1.0))) == (other == name)


@pytest.mark.parametrize("name", NODES)
def test_a_node_comes_back_and_its_leaves_have_paths(name):
    node = NODES[name]
    leaves, structure = jax.tree_util.tree_flatten_with_path(node)
    back = jax.tree.unflatten(structure, [leaf for _, leaf in leaves])
    assert type(back) is type(node)
    assert str(back) == str(node)
    assert all(isinstance(path[0], jax.tree_util.GetAttrKey) for path, _ in leaves)


def test_each_map_gets_its_own_program():
    """The hashes of both structures are what addresses make them: here one cache decides by equality."""
    start = Moments(np.array([1.0]), np.array([0.5]))
    maps = {"fixed": layer_map(selu), "random": meanfield.layer_map(selu, sigma_w=1.0)}
    known = {jax.tree.structure(step): name for name, step in maps.items()}
    assert len(known) == 2
    texts = {name: jax.jit(lambda step, x: step(x)).lower(step, start).as_text() for name, step in maps.items()}
    assert texts["fixed"] != texts["random"]


def test_no_class_is_registered_otherwise():
    modules = Path(jnorm.__file__).parent.rglob("*.py")
    call = re.compile(r"^[^`]*register_dataclass", re.MULTILINE)  # in a text it stands in backticks
    assert [path.name for path in modules if call.search(path.read_text())] == []
