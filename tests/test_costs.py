"""The committed table of costs is what is counted, and the counts of a step are what can be counted by hand."""

import jax
import jax.numpy as jnp

from tests import costs


def test_the_table_is_what_is_counted():
    # Integers, of jaxprs that no machine has a say in. Where they differ: `python -m tests.costs`, and read the diff.
    assert costs.table() == costs.TABLE.read_text()


def test_operations_are_counted_through_calls_and_once_a_loop():
    def program(x, key):
        x = jnp.sort(x @ x) + jax.jit(lambda x: jnp.sum(x, 0, keepdims=True))(x)
        turn = lambda x, _: (x @ x, jnp.max(x))
        x, _ = jax.lax.scan(turn, x, length=9)
        return x.at[0].add(jax.random.uniform(key, x.shape[1:]))

    counts = costs.unfused(jax.make_jaxpr(program)(jnp.ones((3, 3)), jax.random.key(0)).jaxpr)
    assert counts == {
        "products": 2, "reductions": 2, "sorts": 1, "scatters": 1, "loops and branches": 1, "draws": 1
    }  # fmt: skip


def test_a_step_has_the_products_of_its_layers():
    # Five layers: forward, the kernels' gradients, and but for the first layer the inputs'.
    assert all(counts["products"] == 5 + 5 + 4 for counts in costs.steps().values())
