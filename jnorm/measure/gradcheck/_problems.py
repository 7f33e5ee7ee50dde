"""What is checked: a real number as a function of the floating leaves, in float64 where the loss can be traced so."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import jaxprs

Leaves = Sequence[Any]


class Problem(NamedTuple):
    """A loss of its floating leaves.

    Attributes:
        f: From the leaves to a real number.
        x: The leaves.
        names: Their paths.
        eps: That of the coarsest dtype between the leaves and the loss.
    """

    f: Callable[[Leaves], jax.Array]
    x: Leaves
    names: tuple[str, ...]
    eps: float


def inexact(a: Any) -> bool:
    """Whether an array holds real or complex floats."""
    return bool(jnp.issubdtype(a.dtype, jnp.inexact))


def pair(a: Sequence[Any], b: Sequence[Any]) -> float:
    """``Re sum a b``: the slope along ``b`` of a function with the gradient ``a``, complex ones as JAX has them."""
    return float(sum(np.sum(np.real(host(p) * host(q))) for p, q in zip(a, b, strict=True)))


def size(a: Sequence[Any], b: Sequence[Any]) -> float:
    """What the terms of `pair` add up to without their signs."""
    return float(sum(np.sum(np.abs(host(p) * host(q))) for p, q in zip(a, b, strict=True)))


def total(a: Sequence[Any], b: Sequence[Any]) -> jax.Array:
    """`pair` as a function that JAX can trace."""
    return jnp.sum(jnp.stack([jnp.sum(jnp.real(p * q)).astype(float) for p, q in zip(a, b, strict=True)]))


def scales(x: Sequence[Any]) -> list[Any]:
    """The root mean square of every leaf, one for a leaf of zeros."""
    return [(np.sqrt(np.mean(np.abs(host(a)) ** 2)) or np.float64(1.0)).astype(jnp.finfo(a.dtype).dtype) for a in x]


def generators(key: jax.Array, count: int) -> list[np.random.Generator]:
    """Streams of random numbers on the host, where they compile nothing."""
    seeds = np.random.SeedSequence(np.asarray(jax.random.key_data(key)).ravel().tolist())
    return [np.random.default_rng(seed) for seed in seeds.spawn(count)]


def draw(rng: np.random.Generator, x: Sequence[Any]) -> list[np.ndarray]:
    """A random direction: normal entries, as large as those of their leaf."""
    return [s * normal(rng, a) for a, s in zip(x, scales(x), strict=True)]


def normal(rng: np.random.Generator, like: Any) -> np.ndarray:
    """Normal entries with the shape and dtype of an array."""
    parts = rng.normal(size=(2, *like.shape))
    return (parts[0] + 1j * parts[1] if jnp.iscomplexobj(like) else parts[0]).astype(like.dtype)


def moved(x: Sequence[Any], t: Any, v: Sequence[Any]) -> list[Any]:
    """``x + t v``, with the dtypes of ``x``."""
    return [a + t.astype(a.dtype) * b for a, b in zip(x, v, strict=True)]


def own(loss: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> Problem:
    """The loss as it is.

    Raises:
        TypeError: A leaf that is no number or array, or no floating one; a loss that is not one real number.
    """
    for path, leaf in jax.tree.leaves_with_path(params):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float | complex):
            raise TypeError(f"`params` must hold arrays; {_named(path)} is {type(leaf).__name__}")
    f, x, names = _bound(loss, params, args)
    if not x:
        kinds = ", ".join(jax.typeof(leaf).str_short() for leaf in jax.tree.leaves(params)) or "no leaf"
        raise TypeError(f"`params` must hold floating leaves; got {kinds}")
    program = jax.make_jaxpr(f)(x)
    out = [aval.str_short() for aval in program.out_avals]
    if len(out) != 1 or program.out_avals[0].shape or not jnp.issubdtype(program.out_avals[0].dtype, jnp.floating):
        raise TypeError(f"`loss` must return one real floating number; got {', '.join(out) or 'nothing'}")
    return Problem(f, x, names, _coarsest(program))


def wide(loss: Callable[..., Any], params: Any, args: tuple[Any, ...], eps: float) -> Problem | None:
    """The loss of the same leaves in float64, to be called where that is enabled.

    Args:
        loss: As for `own`.
        params: As there.
        args: As there.
        eps: The rounding of the loss as it stands.

    Returns:
        The problem; ``None`` where the loss cannot be traced so, or gains nothing by it.
    """
    f, x, names = _bound(loss, *jax.tree.map(_widened, (params, args)))
    try:
        finer = _coarsest(jax.make_jaxpr(f)(x))
    except (TypeError, ValueError):  # dtypes that the loss fixes meet those of the leaves
        return None
    return Problem(f, x, names, finer) if finer < eps else None


def _bound(loss: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> Any:
    paths, tree = jax.tree.flatten_with_path(params)
    leaves = [jnp.asarray(leaf) for _, leaf in paths]
    moving = [i for i, leaf in enumerate(leaves) if inexact(leaf) and leaf.size]

    def f(x: Leaves) -> jax.Array:
        full = list(leaves)
        for i, a in zip(moving, x, strict=True):
            full[i] = a
        return loss(jax.tree.unflatten(tree, full), *args)

    return f, [leaves[i] for i in moving], tuple(_named(paths[i][0]) for i in moving)


def _named(path: Any) -> str:
    return f"`params{jax.tree_util.keystr(path)}`"


def _widened(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or not inexact(leaf):
        return leaf
    return leaf.astype(jnp.complex128 if jnp.iscomplexobj(leaf) else jnp.float64)


class _Rounding(float):
    """The largest eps on the way from the inputs to a value."""


def _coarsest(program: Any) -> float:
    """The largest eps on the ways from the inputs to the outputs that a derivative takes: through floating values."""

    def hook(site: jaxprs.Site, *values: Any) -> list[Any]:
        before = [v for v in values if isinstance(v, _Rounding)]
        inside = (inner.equation for body in site.bodies for inner in jaxprs.walk(body))
        outs = [v.aval for v in site.equation.outvars]
        met = (*outs, *(v.aval for equation in inside for v in equation.outvars))
        worst = max([*before, *map(_eps, met)], default=0.0)
        return [_Rounding(worst) if before and _eps(a) else None for a in outs]

    given = [_Rounding(_eps(aval)) for aval in program.in_avals]
    outs = jaxprs.evaluate(program, *given, hook=hook, opens=jaxprs.CALLS)
    return max(*given, *map(_eps, program.out_avals), *(v for v in outs if isinstance(v, _Rounding)))


def _eps(aval: Any) -> float:
    return float(jnp.finfo(aval.dtype).eps) if hasattr(aval, "dtype") and inexact(aval) else 0.0


def host(a: Any) -> np.ndarray:
    """An array on the host, in float64 or complex128."""
    return np.asarray(a).astype(np.complex128 if jnp.iscomplexobj(a) else np.float64)
