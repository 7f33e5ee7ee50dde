"""Products with curvature beside a gradient, in seconds and memory, and eigenvalues beside PyHessian's way and matfree.

A product is timed in two ways: as a search without microbatches takes it, all examples linearized once and many
products after, and by itself, as searches with microbatches take it, which needs less memory and more time. PyHessian's
algorithm is power iteration with deflation, until two successive values agree to 1e-3; where matfree is installed its
Lanczos runs for as many products as ours took.
"""

import importlib.util
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from benchmarks.harness import Row, interleave, ratio
from jnorm import losses
from jnorm.measure import curvature
from jnorm.nn import networks
from jnorm.nn.layers import Layer

ROUNDS = 9
REPEATS = 8  # products of a round, one after another, as in a search
EXAMPLES, WIDTHS = 512, (256, 256, 256, 256, 256, 10)


def problem() -> tuple[
    Callable[[Any, Any], jax.Array], Callable[[Any, Any], jax.Array], Any, tuple[jax.Array, jax.Array]
]:
    """Outputs, losses, parameters and data of a perceptron on noise."""
    network = networks.mlp(WIDTHS, Layer(jnp.tanh, jax.nn.initializers.lecun_normal()))
    params, state = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (EXAMPLES, WIDTHS[0]))
    y = jax.random.randint(jax.random.key(2), (EXAMPLES,), 0, WIDTHS[-1])
    predict = lambda params, x: network.apply(params, state, x, train=False, key=None)[0]
    loss = lambda params, data: losses.softmax_cross_entropy(predict(params, data[0]), data[1])
    return predict, loss, params, (x, y)


def repeated(step: Callable[[jax.Array], jax.Array], start: jax.Array) -> jax.Array:
    """The step ``REPEATS`` times, each from what the one before returned, at a steady length."""
    return lax.fori_loop(0, REPEATS, lambda _, v: (w := step(v)) / jnp.linalg.norm(w), start)


def peak(program: Any) -> int:
    """Bytes of a compiled program: arguments, results, and what it needs between."""
    sizes = program.memory_analysis()
    return sizes.temp_size_in_bytes + sizes.argument_size_in_bytes + sizes.output_size_in_bytes


def costs() -> Iterator[Row]:
    """Seconds of a product over those of a gradient, and the memory of both."""
    predict, loss, params, data = problem()
    flat, unravel = ravel_pytree(params)
    v = jax.random.normal(jax.random.key(3), flat.shape)
    hessian = curvature.hessian(loss, params, data)
    gauss_newton = curvature.gauss_newton(predict, losses.softmax_cross_entropy, params, data)

    def gradient(w: jax.Array) -> jax.Array:
        return ravel_pytree(jax.grad(lambda params: loss(params, data).mean())(unravel(w)))[0]

    def search(operator: curvature.Operator, v: jax.Array) -> jax.Array:
        linear = operator.product()
        return repeated(lambda v: ravel_pytree(linear(unravel(v)))[0], v)

    one = lambda operator, v: ravel_pytree(operator.product()(unravel(v)))[0]
    programs = {
        "gradients": jax.jit(lambda w: repeated(gradient, w)).lower(flat).compile(),
        "Hessian products": jax.jit(search).lower(hessian, v).compile(),
        "Gauss-Newton products": jax.jit(search).lower(gauss_newton, v).compile(),
        "gradient": jax.jit(gradient).lower(flat).compile(),
        "Hessian product": jax.jit(one).lower(hessian, v).compile(),
        "Gauss-Newton product": jax.jit(one).lower(gauss_newton, v).compile(),
    }
    arguments = {"gradient": (flat,), "Hessian": (hessian, v), "Gauss-Newton": (gauss_newton, v)}
    given = lambda name: arguments[next(kind for kind in arguments if name.startswith(kind))]
    contenders = {name: partial(program, *given(name)) for name, program in programs.items()}
    seconds = interleave(contenders, rounds=ROUNDS)
    memory = {name: peak(program) for name, program in programs.items()}
    for kind, most in (("Hessian", 2.3), ("Gauss-Newton", 1.6)):
        for way, product, base in (
            ("linearized once", f"{kind} products", "gradients"),
            ("by itself", f"{kind} product", "gradient"),
        ):
            what = f"{kind} product, {way}"
            yield Row(what, ratio(seconds[product], seconds[base]), "gradients", most=most)
            yield Row(f"{what}: peak memory", memory[product] / memory["gradient"], "of a gradient's", most=2.7)


def power_iteration(matvec: Callable[[jax.Array], jax.Array], size: int, top: int) -> tuple[jax.Array, jax.Array]:
    """PyHessian's way: each eigenvector by power iteration beside those before, until values agree to 1e-3."""

    def one(carry: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        basis, i = carry
        off = lambda v: v - basis.T @ (basis @ v)
        unit = lambda v: off(v) / jnp.linalg.norm(off(v))

        def step(state: Any) -> Any:
            v, value, _, count = state
            image = matvec(v)
            return unit(image), v @ image, value, count + 1

        def going(state: Any) -> jax.Array:
            _, value, before, count = state
            return (jnp.abs(value - before) > 1e-3 * (jnp.abs(before) + 1e-6)) & (count < 100)

        begin = unit(jax.random.normal(key, (size,))), jnp.inf, -jnp.inf, 0
        v, value, _, count = lax.while_loop(
            going, step, (begin[0], jnp.float32(1e30), jnp.float32(-1e30), jnp.int32(0))
        )
        return (basis.at[i].set(v), i + 1), (value, count)

    start = jnp.zeros((top, size)), 0
    _, (values, counts) = lax.scan(one, start, jax.random.split(jax.random.key(0), top))
    return values, jnp.sum(counts)


def peers() -> Iterator[Row]:
    """Five eigenvalues of a network's Hessian."""
    _, loss, params, data = problem()
    operator = curvature.hessian(loss, params, data)
    unravel, size = ravel_pytree(params)[1], operator.size

    @jax.jit
    def pyhessian(operator: curvature.Operator) -> tuple[jax.Array, jax.Array]:
        linear = operator.product()
        return power_iteration(lambda v: ravel_pytree(linear(unravel(v)))[0], size, 5)

    contenders: dict[str, Callable[[], Any]] = {
        "jnorm": lambda: curvature.eigenpairs(operator, top=5, tol=1e-3),
        "PyHessian's algorithm": lambda: pyhessian(operator),
    }
    found = contenders["jnorm"]()
    taken = int(found.products)
    if importlib.util.find_spec("matfree"):
        from matfree import decomp, eig

        @jax.jit
        def matfree(operator: curvature.Operator) -> Any:
            linear = operator.product()
            tridiag = decomp.tridiag_sym(taken, materialize=True, reortho="full")
            return eig.eigh_partial(tridiag)(lambda v: ravel_pytree(linear(unravel(v)))[0], jnp.ones(size))

        contenders["matfree"] = lambda: matfree(operator)
    seconds = interleave(contenders, rounds=3)
    exact = curvature.eigenpairs(operator, top=5).values
    values, count = pyhessian(operator)
    off = lambda values: float(jnp.max(jnp.abs(values - exact)) / exact[0])
    bound = float(found.residuals.max() / exact[0])
    details = {
        "jnorm": f"{taken} products, off by {off(found.values):.1e}, within a bound of {bound:.1e}",
        "PyHessian's algorithm": f"{int(count)} products, off by {off(jnp.sort(values)[::-1]):.1e}, no bound",
    }
    for name, times in seconds.items():
        what = f"five eigenvalues of {size} parameters: {name}"
        yield Row(what, statistics.median(times), "s", detail=details.get(name, f"{taken} products, no bound"))


def run() -> Iterator[Row]:
    """Costs of products, and peers; about two minutes."""
    yield from costs()
    yield from peers()
