"""Where units are along a training, beside the same by hand, and in a region that a proof is about."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnorm import initializers, losses
from jnorm.activations import selu
from jnorm.measure import probes
from jnorm.nn import networks
from jnorm.nn.layers import Layer
from jnorm.train import loop

pytestmark = pytest.mark.usefixtures("unoptimized")
KEY = jax.random.key(0)
BOX = SimpleNamespace(mean=(-0.1, 0.1), var=(0.8, 1.5), omega=(-0.1, 0.1), tau=(0.95, 1.1))  # theorem 1


def step(params, x, state=(), key=None):
    return SimpleNamespace(params=params, state=state, batch=(x, None), key=key)


def plain(apply):
    return SimpleNamespace(apply=lambda params, state, x, *, train, key: (apply(params, x), state))


def test_units_are_those_of_each_product_with_a_kernel():
    params = {
        "first": jax.random.normal(KEY, (3, 4)),
        "then": jax.random.normal(jax.random.key(1), (5, 4)),  # as PyTorch has them
        "scale": jnp.ones(5),
    }
    x = jax.random.normal(jax.random.key(2), (6, 3))

    def apply(params, x):
        h = jnp.tanh(x @ params["first"])
        return (h @ params["then"].T) * params["scale"][None]

    found = probes.units(plain(apply), lambda mean, var, omega, tau: tau > 3.0)(step(params, x))
    names = [name.partition("/")[2] for name in found if name.startswith("omega/")]
    hidden = np.tanh(np.asarray(x) @ np.asarray(params["first"]))
    every = []
    for name, kernel, given in zip(names, (params["first"], params["then"].T), (x, hidden), strict=True):
        # Sums of three and four terms in float32.
        np.testing.assert_allclose(found[f"omega/{name}"], np.sum(kernel, 0), atol=1e-5)
        np.testing.assert_allclose(found[f"tau/{name}"], np.sum(np.square(kernel), 0), rtol=1e-5)
        np.testing.assert_allclose(found[f"mean/{name}"], np.mean(given), atol=1e-6)
        np.testing.assert_allclose(found[f"var/{name}"], np.var(given), rtol=1e-5)
        every.append(np.sum(np.square(kernel), 0) > 3.0)
        assert found[f"inside/{name}"].tolist() == every[-1].tolist()
    assert float(found["inside"]) == pytest.approx(np.concatenate(every).mean())


def test_convolutions_of_flax_have_units_as_well():
    model = nn.Conv(5, (3, 3), use_bias=False)
    x = jax.random.normal(KEY, (2, 6, 6, 3))
    params = model.init(KEY, x)
    found = probes.units(plain(model.apply), BOX)(step(params, x))
    (name,) = (name for name in found if name.startswith("tau/"))
    assert "Conv" in name
    np.testing.assert_allclose(found[name], np.sum(np.square(params["params"]["kernel"]), (0, 1, 2)), rtol=1e-5)


def test_a_region_is_a_box_cut_by_a_strip():
    x, w = jnp.array([[1.0, -1.0]]), jnp.array([[1.0, 0.0], [0.0, 0.9]])  # mean 0, var 1
    of = lambda region: probes.units(plain(lambda w, x: x @ w), region)(step(w, x))
    box = {"mean": (-0.1, 0.1), "var": (0.8, 1.5), "omega": (-1.0, 2.0), "tau": (0.9, 1.1)}
    share = lambda **other: float(of(SimpleNamespace(**{**box, **other}))["inside"])
    assert share() == 0.5  # tau of the second is .81
    assert share(tau=(0.8, 1.1)) == 1.0
    assert share(mean=(0.05, 0.1)) == 0.0
    assert share(strip=(1.0, -1.2, -0.8)) == 0.5  # mean - var = -1
    assert share(strip=(1.0, -0.8, 0.0)) == 0.0


def test_a_certified_domain_is_a_region():
    certificate = pytest.importorskip("jnorm.proofs.certificate", exc_type=ImportError)
    domain = certificate.Domain(BOX.mean, BOX.var, BOX.omega, BOX.tau)
    x = jax.random.normal(KEY, (64, 32))
    x = (x - x.mean()) / x.std()
    w = jax.random.normal(KEY, (32, 16)) / np.sqrt(32)
    both = (probes.units(plain(lambda w, x: x @ w), region)(step(w, x))["inside"] for region in (domain, BOX))
    first, then = both
    assert float(first) == float(then)


def test_a_trainer_reports_them_of_each_step():
    init = initializers.lecun_normal()
    network = networks.mlp((8, 16, 16, 3), Layer(selu, init))
    x = jax.random.normal(KEY, (32, 8))
    data = {"train": (x, jnp.argmax(x[:, :3], 1))}
    probe = probes.units(network, BOX)
    report = loop.Report([], steps=["loss", probe])
    options = {"epochs": 3, "batch_size": 16, "report": report}
    train = loop.trainer(network, losses.softmax_cross_entropy, optax.sgd(0.1), **options)
    runs = jax.jit(jax.vmap(lambda key: train(key, data)))(jax.random.split(KEY, 2))
    assert runs["step_inside"].shape == (2, 6)
    widths = sorted(runs[name].shape[-1] for name in runs if name.startswith("step_tau/"))
    assert widths == [3, 16, 16]
    taus = next(runs[name] for name in runs if name.startswith("step_tau/"))
    assert bool(jnp.any(taus[:, 0] != taus[:, -1]))


def test_what_is_no_region_and_no_kernel_is_refused():
    with pytest.raises(TypeError, match="`region` must have intervals"):
        probes.units(plain(lambda w, x: x @ w), (0.0, 1.0))
    with pytest.raises(ValueError, match="no product with a kernel"):
        probes.units(plain(lambda w, x: x * w[None]), BOX)(step(jnp.ones(3), jnp.ones((2, 3))))
    with pytest.raises(ValueError, match="`where` has 'nowhere'"):
        probes.units(plain(lambda w, x: x @ w), BOX, where="nowhere")(step(jnp.ones((3, 3)), jnp.ones((2, 3))))
