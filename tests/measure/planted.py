"""Wrong gradients of every kind in four places: a dense layer, a convolution, a norm and attention."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def dense(x, w):
    return x @ w


def convolution(x, w):
    shape = {"window_strides": (1,), "padding": "SAME", "dimension_numbers": ("NWC", "WIO", "NWC")}
    return lax.conv_general_dilated(x.reshape(1, 6, 2), w.reshape(4, 2, 2), **shape).reshape(3, 4)


def norm(x, w):
    centred = x - x.mean(0, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(0, keepdims=True) + 0.1) * w[:1]


def attention(x, w):
    scores = x @ w @ x.T
    return jax.nn.softmax(scores) @ x


PLACES = {f.__name__: f for f in (dense, convolution, norm, attention)}


def by_vjp(core, spoil):
    """``core`` with a backward pass that ``spoil(x, w, ct)`` makes."""

    @jax.custom_vjp
    def planted(x, w):
        return core(x, w)

    planted.defvjp(lambda x, w: (core(x, w), (x, w)), lambda kept, ct: spoil(*kept, ct))
    return planted


def of_gradients(core, change):
    """A backward pass from the right one: ``change(x, gx, gw)``."""
    return by_vjp(core, lambda x, w, ct: change(x, *jax.vjp(core, x, w)[1](ct)))


def by_jvp(core, rule):
    @jax.custom_jvp
    def planted(x, w):
        return core(x, w)

    planted.defjvp(lambda primals, tangents: (core(*primals), rule(primals, tangents)))
    return planted


def curved(inner):
    return lambda x, w: jnp.tanh(inner(x, w))


def scaled(inner, x_by, w_by=1.0):
    return of_gradients(curved(inner), lambda x, gx, gw: (x_by * gx, w_by * gw))


def changed(inner, change):
    return of_gradients(curved(inner), change)


def stale(inner):
    core = curved(inner)
    return by_vjp(core, lambda x, w, ct: jax.vjp(core, 1.1 * x, w)[1](ct))


def clipped(inner):
    core = curved(inner)
    return by_vjp(core, lambda x, w, ct: jax.vjp(core, x, w)[1](jnp.clip(ct, -1e-3, 1e-3)))


def other_key(inner):
    kept = lambda seed, y: jnp.where(jax.random.bernoulli(jax.random.key(seed), 0.5, y.shape), 2 * y, 0 * y)
    core = lambda seed: lambda x, w: kept(seed, jnp.tanh(inner(x, w)))
    return by_vjp(core(0), lambda x, w, ct: jax.vjp(core(1), x, w)[1](ct))


def other_value(inner):
    core = curved(inner)

    @jax.custom_vjp
    def planted(x, w):
        return core(x, w)

    planted.defvjp(lambda x, w: (1.1 * core(x, w), (x, w)), lambda kept, ct: jax.vjp(core, *kept)[1](ct))
    return planted


def no_chain(inner):
    """Forgets the factor of the last function."""
    return by_vjp(curved(inner), lambda x, w, ct: jax.vjp(inner, x, w)[1](ct))


def tangents(inner, change):
    core = curved(inner)
    return by_jvp(core, lambda primals, tangents: change(primals, jax.jvp(core, primals, tangents)[1]))


def forgets(inner):
    core = curved(inner)
    return by_jvp(core, lambda primals, tangents: jax.jvp(lambda x: core(x, primals[1]), primals[:1], tangents[:1])[1])


def stopped(inner):
    return lambda x, w: jnp.tanh(inner(x, lax.stop_gradient(w)))


def nan_at_where(inner):
    def safe_root(x, w):
        y = inner(x, w)
        return jnp.where(y > 0, jnp.sqrt(y), 0)

    return safe_root


def stopped_slope(inner):
    """Its derivative is right, and the derivative of that is not."""
    core = curved(inner)
    return by_jvp(core, lambda primals, tangents: jax.jvp(core, lax.stop_gradient(primals), tangents)[1])


KINDS = {  # how it is planted, and the primitive to be named
    "sign": (partial(scaled, x_by=-1.0), "custom_vjp_call"),
    "factor": (partial(scaled, x_by=2.0), "custom_vjp_call"),
    "three percent": (partial(scaled, x_by=1.0, w_by=1.03), "custom_vjp_call"),
    "missing term": (partial(scaled, x_by=1.0, w_by=0.0), "custom_vjp_call"),
    "transposition": (partial(changed, change=lambda x, gx, gw: (gx, gw.T)), "custom_vjp_call"),
    "broadcast": (partial(changed, change=lambda x, gx, gw: (gx, jnp.full_like(gw, gw.mean()))), "custom_vjp_call"),
    "mean for sum": (partial(changed, change=lambda x, gx, gw: (gx, gw / len(x))), "custom_vjp_call"),
    "mask": (partial(changed, change=lambda x, gx, gw: (jnp.where(x > 0, gx, 0.0), gw)), "custom_vjp_call"),
    "wrong branch": (partial(changed, change=lambda x, gx, gw: (jnp.where(x < 0, 2 * gx, gx), gw)), "custom_vjp_call"),
    "dtype cut": (
        partial(changed, change=lambda x, gx, gw: (gx.astype(jnp.bfloat16).astype(gx.dtype), gw)),
        "custom_vjp_call",
    ),
    "stale values": (stale, "custom_vjp_call"),
    "clipped cotangent": (clipped, "custom_vjp_call"),
    "other key": (other_key, "custom_vjp_call"),
    "other value": (other_value, "custom_vjp_call"),
    "no chain factor": (no_chain, "custom_vjp_call"),
    "sign of tangents": (partial(tangents, change=lambda primals, dy: -dy), "custom_jvp_call"),
    "scale of tangents": (partial(tangents, change=lambda primals, dy: 0.99 * dy), "custom_jvp_call"),
    "missing tangent": (forgets, "custom_jvp_call"),
    "stop_gradient": (stopped, "stop_gradient"),
    "NaN at where": (nan_at_where, "sqrt"),
    "stopped slope": (stopped_slope, "custom_jvp_call"),
}


def model(planted):
    """A loss with the planted function between innocent ones that have custom derivatives and ``stop_gradient`` too."""

    def loss(params, x):
        h = jax.nn.silu(x @ params["in"])
        y = planted(h, params["w"])
        z = jax.nn.relu(y @ params["out"])
        return jnp.mean(jax.nn.logsumexp(z, axis=-1) + jax.nn.log_softmax(z)[:, 0] ** 2)

    return loss


def inputs():
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {"in": normal(4, 4), "w": normal(4, 4), "out": normal(4, 3)}, normal(3, 4)


LINE = model.__code__.co_consts[1].co_firstlineno + 2  # that calls the planted function
