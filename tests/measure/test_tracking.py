"""Sharpness along trainings."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from jnorm import losses
from jnorm.measure import curvature
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import loop
from tests.measure.spectra import planted, regression

X, Y, _, _ = regression(3)


def test_what_does_not_change_is_found_in_a_few_steps(x64):
    values = np.r_[np.linspace(-1, 1, 50), 4, 3]
    operator = planted(values)
    step = lambda seen, _: (curvature.track(operator, seen), None)
    seen, _ = jax.lax.scan(step, curvature.start_tracking(operator.like, top=2), None, 12)
    np.testing.assert_allclose(seen.values, [4, 3], atol=1e-9)
    assert np.all(seen.residuals < 1e-4)


def test_values_are_bounds_and_residuals_hold_while_it_changes(x64):
    """Never above the largest eigenvalue, and within the residual of one."""
    turn = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(30, 30)))[0])

    def step(seen, t):
        eigenvalues = jnp.linspace(0, 1, 30) + jnp.where(jnp.arange(30) == 7, t, 0)
        seen = curvature.track(curvature.operator(lambda v: turn @ (eigenvalues * (turn.T @ v)), jnp.zeros(30)), seen)
        return seen, (seen.values[0], seen.residuals[0], eigenvalues)

    _, (tops, residuals, spectra) = jax.lax.scan(step, curvature.start_tracking(jnp.zeros(30)), jnp.linspace(0, 2, 15))
    assert np.all(tops <= spectra.max(1) + 1e-12)
    assert np.all(np.min(np.abs(tops[:, None] - spectra), 1) <= residuals + 1e-12)
    np.testing.assert_allclose(tops[-1], spectra[-1].max(), rtol=1e-6)


def test_converged_and_degenerate_directions_do_no_harm():
    operator = curvature.operator(lambda v: 0 * v, jnp.zeros(5))
    seen = curvature.track(operator, curvature.start_tracking(jnp.zeros(5), top=2), depth=1)
    np.testing.assert_array_equal(seen.values, 0)
    np.testing.assert_allclose(seen.vectors @ seen.vectors.T, np.eye(2), atol=1e-6)


def test_after_a_nan_it_begins_anew():
    scaled = lambda scale: curvature.operator(lambda v: scale * jnp.arange(1.0, 5.0) * v, jnp.zeros(4))
    seen = curvature.track(scaled(jnp.nan), curvature.start_tracking(jnp.zeros(4)))
    assert np.isnan(seen.values[0])
    for _ in range(4):
        seen = curvature.track(scaled(1.0), seen, depth=3)
    np.testing.assert_allclose(seen.values, [4], rtol=1e-5)


def quadratic_network():
    network = networks.mlp((3, 4, 1), Layer(jnp.tanh, jax.nn.initializers.lecun_normal()))
    data = (jnp.asarray(X, jnp.float32), jnp.asarray(Y[:, None], jnp.float32))
    return network, data


def test_along_a_training_over_seeds_it_is_the_hessians_top():
    """A probe of the trainer: of every step and seed, against the dense Hessian at the parameters of the last one."""
    network, data = quadratic_network()
    tracker = curvature.tracking(top=2, depth=3)
    report = loop.Report(
        parts=[], steps=["loss", curvature.tracked_sharpness, lambda step: {"params": ravel_pytree(step.params)[0]}]
    )
    train = loop.trainer(
        network,
        losses.squared_error,
        lambda learning_rate: optax.chain(tracker, optax.sgd(learning_rate)),
        steps=12,
        batch_size=len(X),
        report=report,
    )
    keys = jax.random.split(jax.random.key(0), 3)
    seen = jax.jit(jax.vmap(lambda key: train(key, {"train": data}, learning_rate=0.05)))(keys)
    assert seen["step_sharpness"].shape == (3, 12, 2)

    for seed in range(3):
        first, state = network.init(keys[0])
        params = ravel_pytree(first)[1](seen["step_params"][seed, -1])
        mean = lambda params, state=state: losses.squared_error(
            network.apply(params, state, data[0], train=True, key=keys[0])[0], data[1]
        ).mean()
        exact = curvature.eigenpairs(curvature.hessian(mean, params), top=2).values
        off = np.abs(seen["step_sharpness"][seed, -1] - exact)
        assert np.all(off <= seen["step_sharpness_residual"][seed, -1] + 1e-5 * exact[0])
        assert off[0] < 1e-3 * exact[0]
    bare = loop.trainer(
        network,
        losses.squared_error,
        optax.sgd(0.05),
        steps=12,
        batch_size=len(X),
        report=loop.Report([], steps=["loss"]),
    )
    np.testing.assert_allclose(jax.jit(bare)(keys[0], {"train": data})["step_loss"], seen["step_loss"][0], rtol=1e-5)


def test_of_all_data_and_every_few_steps():
    loss = lambda w: w[0] ** 2 + 4 * (1 + w[0] ** 2) * w[1] ** 2
    tracker = curvature.tracking(lambda w: curvature.hessian(loss, w), every=2, depth=1)
    state, w = tracker.init(jnp.ones(2)), jnp.zeros(2)
    seen = []
    for t in range(4):
        _, state = tracker.update(w, state, jnp.full(2, 0.0).at[0].set(float(t)))
        seen.append(round(float(curvature.tracked(state).values[0]), 3))
    assert seen == [8.0, 8.0, 40.0, 40.0]


def test_descent_is_stable_below_the_threshold_and_not_above():
    """Twenty steps from one on ``s w^2 / 2``, one per cent to each side of it."""
    for momentum, nesterov in ((0.0, False), (0.5, False), (0.5, True)):
        threshold = curvature.stability_threshold(0.1, momentum=momentum, nesterov=nesterov)
        optimizer = optax.sgd(0.1, momentum=momentum, nesterov=nesterov)
        for factor, grows in ((0.99, False), (1.01, True)):
            w, state = jnp.ones(()), optimizer.init(jnp.ones(()))
            sharpness = factor * threshold

            def step(carry, _, optimizer=optimizer, sharpness=sharpness):
                w, state = carry
                updates, state = optimizer.update(sharpness * w, state, w)
                return (w + updates, state), jnp.abs(w)

            _, path = jax.lax.scan(step, (w, state), None, 400)
            assert (path[-1] > path[100]) == grows, (momentum, nesterov, factor)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: curvature.start_tracking(jnp.ones(2), top=3), "`top` must be at most the 2 parameters; got 3"),
        (
            lambda: curvature.track(planted(np.ones(4)), curvature.start_tracking(jnp.ones(4), top=2)),
            r"top \(depth \+ 1\) must be at most the 4 parameters; got 6",
        ),
        (lambda: curvature.tracking().update(1.0, None), "`update` must get params, and grad_fn"),
        (lambda: curvature.tracked(optax.sgd(0.1).init(jnp.ones(2))), "one `tracking` in its chain; got 0"),
        (lambda: curvature.stability_threshold(0.0), "`rate` must satisfy rate > 0; got 0"),
        (lambda: curvature.stability_threshold(1.0, momentum=1.0), "0 <= momentum < 1; got 1"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
