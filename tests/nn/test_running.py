"""Running statistics over batches of any sizes, against averages taken in NumPy and double precision."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jnorm import initializers
from jnorm.nn import batch_norm, batch_renorm, feature_norm, networks
from jnorm.nn._moments import BatchMoments
from jnorm.nn._running import update
from jnorm.nn.batch_norm import WARM, Params, State
from jnorm.nn.layers import Layer

pytestmark = pytest.mark.usefixtures("unoptimized")

NONE = Params(None, None)
STATIC = ["train", "decay", "unbiased", "axis_name"]
APPLY = {
    batch_norm: jax.jit(batch_norm.apply, static_argnames=[*STATIC, "ghost"]),
    batch_renorm: jax.jit(batch_renorm.apply, static_argnames=STATIC),
}


def after(batches, *, norm=batch_norm, state=None, **options):
    """The state after batches that may have any sizes."""
    state = norm.init(np.shape(batches[0])[-1])[1] if state is None else state
    for batch in batches:
        _, state = APPLY[norm](NONE, state, jnp.asarray(batch), train=True, **options)
    return state


def average(batches, decay, *, ddof=1):
    """Mean, variance and count by the definition; without a variance a batch counts for the mean alone.

    Holds where such batches come last.
    """
    sizes = np.array([len(batch) for batch in batches])
    weights = sizes * decay ** np.arange(len(batches) - 1, -1, -1.0)
    mean = np.average([batch.mean(0) for batch in batches], axis=0, weights=weights)
    free = sizes > ddof
    variances = [batch.var(0, ddof=ddof) for batch, f in zip(batches, free, strict=True) if f]
    return mean, np.average(variances, axis=0, weights=weights[free]), weights.sum()


def masked_epochs(x, mask, decay):
    """States after epochs of equal batches with entries hidden, for each row of data sets: one program for all."""

    def one(x, mask):
        step = lambda state, batch: (
            batch_norm.apply(NONE, state, batch[0], train=True, decay=decay, mask=batch[1])[1],
            0,
        )
        return lax.scan(step, batch_norm.init(x.shape[-1])[1], (x, mask))[0]

    return jax.jit(jax.vmap(one))(x, mask)


@pytest.mark.parametrize("norm", [batch_norm, batch_renorm])
@pytest.mark.parametrize("unbiased", [True, False])
def test_batches_weigh_by_their_entries(norm, unbiased, x64):
    rng = np.random.default_rng(21)
    batches = [rng.normal(size=(n, 3)) + rng.normal(size=3) for n in (32, 3, 17, 2, 32)]
    state = after(batches, norm=norm, decay=0.9, unbiased=unbiased)
    # Sums of up to 32 numbers in double precision.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13),
        tuple(state),
        average(batches, 0.9, ddof=int(unbiased)),
    )


def test_every_size_of_an_epoch(x64):
    """33 to 127 examples in batches of 32: the weighted averages, and without forgetting the mean of the data."""
    rng = np.random.default_rng(22)
    sizes = np.arange(33, 128)
    data = rng.normal(size=(len(sizes), 128, 5)) * [1, 2, 3, 4, 5] + 10
    mask = np.arange(128) < sizes[:, None]
    for decay in (0.9, 1 - 1e-9):
        got = masked_epochs(data.reshape(-1, 4, 32, 5), mask.reshape(-1, 4, 32), decay)
        for i, n in enumerate(sizes):
            batches = np.split(data[i, :n], range(32, n, 32))
            exact = average(batches, decay)
            # Sums of 32 numbers around 10 in double precision.
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), tuple(v[i] for v in got), exact)
            if decay > 0.9:
                # Of at most four batches the first one weighs 3e-9 less; no batch's mean is further from that of all.
                gap = np.max(np.abs([b.mean(0) - data[i, :n].mean(0) for b in batches]))
                np.testing.assert_allclose(got.mean[i], data[i, :n].mean(0), rtol=0, atol=3e-9 * gap + 1e-13)


@pytest.mark.parametrize(("n", "batch"), [(4, 3), (5, 3), (5, 4), (6, 4), (6, 5)])
def test_over_all_orders_the_expected_statistics_are_those_of_the_data(n, batch, x64):
    """Exactly without bias: mean and unbiased variance, whatever remains of an epoch, forgetting half of each batch."""
    data = np.random.default_rng(23).normal(size=(n, 2)) + np.array([0.0, 3.0])
    orders = data[np.array(list(itertools.permutations(range(n))))]
    padded = np.concatenate([orders, np.zeros((len(orders), 2 * batch - n, 2))], 1).reshape(-1, 2, batch, 2)
    mask = np.broadcast_to((np.arange(2 * batch) < n).reshape(2, batch), padded.shape[:3])
    got = masked_epochs(padded, mask, 0.5)
    np.testing.assert_allclose(got.mean.mean(0), data.mean(0), rtol=1e-12)  # sums of up to 720 numbers
    np.testing.assert_allclose(got.var.mean(0), data.var(0, ddof=1), rtol=1e-12)
    if n % batch == 1:
        # A weight of one for each batch, whose variance is biased, is what came out as .5 of the truth.
        usual = (0.5 * np.array([o[:batch].var(0) for o in orders]).mean(0) + 0) / 1.5
        assert np.all(usual < 0.4 * data.var(0, ddof=1))


def test_a_single_example_moves_the_mean_alone(x64):
    rng = np.random.default_rng(24)
    batches = [rng.normal(size=(n, 3)) for n in (1, 8, 1, 1, 4)]
    fresh = batch_norm.init(3)[1]
    jax.tree.map(np.testing.assert_array_equal, after(batches[:1]), fresh)  # its variance of 1 is no statistic
    states = [after(batches[:k], decay=0.9) for k in range(2, 6)]
    np.testing.assert_allclose(states[0].mean, batches[1].mean(0), rtol=1e-14)
    np.testing.assert_allclose([s.var for s in states[:3]], [batches[1].var(0, ddof=1)] * 3, rtol=1e-14)
    exact = average(batches[1:4], 0.9)
    np.testing.assert_allclose(states[2].mean, exact[0], rtol=1e-14)
    np.testing.assert_allclose(states[2].count, 8 * 0.81 + 0.9 + 1, rtol=1e-14)
    weight = 4 / (4 + 0.9 * (8 * 0.81 + 0.9 + 1))
    mixed = (1 - weight) * batches[1].var(0, ddof=1) + weight * batches[4].var(0, ddof=1)
    np.testing.assert_allclose(states[3].var, mixed, rtol=1e-14)
    # Biased, it counts as a variance of 0.
    np.testing.assert_array_equal(after(batches[:1], unbiased=False).var, 0)


def test_features_without_freedom_stay_by_themselves():
    state = batch_norm.init(3)[1]._replace(count=jnp.array([0.0, 4.0, 4.0]))
    x = jnp.asarray(np.random.default_rng(25).normal(size=(4, 3)), jnp.float32)
    mask = jnp.array([[True, True, True], [False, False, True], [False, False, False], [False, False, True]])
    new = APPLY[batch_norm](NONE, state, x, train=True, decay=0.5, mask=mask)[1]
    np.testing.assert_allclose(new.count, [0, 3, 5], rtol=1e-7)
    np.testing.assert_allclose(new.mean, [0, x[0, 1] / 3, 3 / 5 * np.mean(x[[0, 1, 3], 2])], rtol=1e-6)
    np.testing.assert_allclose(new.var, [1, 1, 2 / 5 + 3 / 5 * np.var(x[[0, 1, 3], 2], ddof=1)], rtol=1e-6)


def test_members_and_ghost_batches_weigh_by_their_entries(x64):
    """Of an axis, the entries of all members; of ghost batches, all, with the freedom that they leave."""
    rng = np.random.default_rng(26)
    x = rng.normal(size=(2, 2, 12, 3))  # two steps of two members
    mask = rng.random((2, 2, 12)) < 0.5
    mask[:, 0, :2] = True
    state = batch_norm.init(3)[1]
    for xs, masks in zip(x, mask, strict=True):
        lanes = jax.vmap(
            lambda s, x, m: after([x], state=s, decay=0.9, mask=m, axis_name="i"), (None, 0, 0), axis_name="i"
        )
        state = jax.tree.map(lambda v: v[0], lanes(state, xs, masks))
    exact = average([x[k][mask[k]] for k in range(2)], 0.9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), tuple(state), exact)

    sizes = (12, 4)
    batches = [rng.normal(size=(n, 3)) for n in sizes]
    state = after(batches, decay=0.9, ghost=4)
    within = [np.mean([part.var(0, ddof=1) for part in np.split(b, len(b) // 4)], 0) for b in batches]
    np.testing.assert_allclose(state.count, 12 * 0.9 + 4, rtol=1e-14)
    np.testing.assert_allclose(state.mean, average(batches, 0.9)[0], rtol=1e-13)
    np.testing.assert_allclose(state.var, (12 * 0.9 * within[0] + 4 * within[1]) / (12 * 0.9 + 4), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_narrow_inputs(dtype):
    batches = [jnp.asarray(np.random.default_rng(k).normal(size=(n, 3)), dtype) for k, n in enumerate((32, 3, 32, 1))]
    state = after(batches, decay=0.99)
    assert {v.dtype for v in state} == {jnp.dtype("float32")}
    exact = average([np.float64(batch) for batch in batches], 0.99)
    # Statistics are taken in float32, of 32 numbers near 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), tuple(state), exact)


@pytest.mark.parametrize("entries", [1.0, 3.2e6, 5e9])
def test_equal_batches_weigh_by_age_however_many_entries_they_hold(entries):
    """Images of a large batch hold millions of entries a feature: no number of them is taken for a warm state."""
    decay, steps = 0.999, 2000
    values = np.random.default_rng(27).normal(size=steps)

    def step(state, value):
        return update(state, BatchMoments(value[None], value[None] ** 2, jnp.array([entries])), decay=decay), 0

    state, _ = lax.scan(step, batch_norm.init(1)[1], jnp.asarray(values, jnp.float32))
    weights = decay ** np.arange(steps - 1, -1, -1.0)
    np.testing.assert_allclose(state.count, entries * weights.sum(), rtol=1e-4)  # of 1 000 roundings, as old ones fade
    np.testing.assert_allclose(state.mean[0], np.average(values, weights=weights), atol=1e-5)
    np.testing.assert_allclose(state.var[0], np.average(values**2, weights=weights), rtol=1e-5)


@pytest.mark.parametrize("count", [WARM, np.inf, WARM / 64])
def test_statistics_from_elsewhere_are_warm(count, x64):
    """Of a checkpoint without a count, or the average of such a state and others: the next batch weighs 1 - decay."""
    rng = np.random.default_rng(28)
    batches = [rng.normal(size=(n, 3)) for n in (8, 8, 2)]
    state = State(jnp.ones(3), jnp.full(3, 2.0), jnp.asarray(count))
    state = after(batches, state=state, decay=0.9)
    mean, var = np.ones(3), np.full(3, 2.0)
    for batch, weight in zip(batches, (0.1, 0.1, 2 / (2 + 0.9 * 80)), strict=True):
        mean = mean + weight * (batch.mean(0) - mean)
        var = var + weight * (batch.var(0, ddof=1) - var)
    np.testing.assert_allclose(state.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(state.var, var, rtol=1e-14)
    np.testing.assert_allclose(state.count, 2 + 0.9 * 80, rtol=1e-14)


def test_a_count_of_updates_is_taken_for_entries(x64):
    """A state of before, after 50 updates: it goes on as an average, of the old one and of what comes."""
    rng = np.random.default_rng(29)
    batches = [rng.normal(size=(32, 3)) for _ in range(2)]
    state = after(batches, state=State(jnp.ones(3), jnp.full(3, 2.0), jnp.asarray(50.0)), decay=0.99)
    weights = np.array([50 * 0.99**2, 32 * 0.99, 32])
    exact = np.average([np.ones(3), *[b.mean(0) for b in batches]], axis=0, weights=weights)
    np.testing.assert_allclose(state.mean, exact, rtol=1e-13)


@pytest.mark.parametrize("norm", [batch_norm, batch_renorm, feature_norm])
def test_fresh_values_have_the_default_float(norm):
    dtypes = lambda **options: {leaf.dtype.name for leaf in jax.tree.leaves(norm.init(3, **options))}
    assert dtypes() == {"float32"}
    with jax.enable_x64(True):
        assert dtypes() == {"float64"}
        assert dtypes(dtype=jnp.float32) == {"float32"}


def test_a_network_in_double_precision(x64):
    """Parameters, running statistics and outputs, against NumPy."""
    rng = np.random.default_rng(30)
    xs = [rng.normal(size=(n, 3)) + 100 for n in (16, 16, 5)]
    layer = Layer(jnp.tanh, initializers.lecun_normal(), normalizer=batch_norm)
    network = networks.mlp((3, 4, 2), layer)
    params, state = jax.jit(network.init)(jax.random.key(0))
    assert {leaf.dtype.name for leaf in jax.tree.leaves((params, state))} == {"float64"}
    step = jax.jit(lambda state, x: network.apply(params, state, x, train=True)[1])
    for x in xs:
        state = step(state, jnp.asarray(x))
    kernel = np.asarray(params[0]["kernel"])
    mean, var, count = average([x @ kernel for x in xs], 0.99)
    # Sums of three products of 100: 1e-14 of them, beside deviations of 1.
    np.testing.assert_allclose(state[0].mean, mean, rtol=1e-13)
    np.testing.assert_allclose(state[0].var, var, rtol=1e-12)
    np.testing.assert_allclose(state[0].count, count, rtol=1e-14)
    y, _ = network.apply(params, state, jnp.asarray(xs[0]), train=False)
    hidden = np.tanh((xs[0] @ kernel - mean) / np.sqrt(var + 1e-5))
    np.testing.assert_allclose(y, hidden @ np.asarray(params[1]["kernel"]) + np.asarray(params[1]["bias"]), atol=1e-12)
