"""Where the units of a network are along a training, and whether a proof holds there."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jnorm import jaxprs
from jnorm.measure import _choice, quantities
from jnorm.measure._calls import Call
from jnorm.measure._places import Spot, spots

MOVED = frozenset({"broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose", "slice"})


def units(network: Any, region: Any, *, where: _choice.Where = None) -> Callable[[Any], dict[str, jax.Array]]:
    """A probe for ``Report(steps=[...])`` of a trainer: (mean, var, omega, tau) of all units, and how many are inside.

    Of each product with a kernel, dense or convolutional, ``omega = sum w`` and ``tau = sum w^2`` of the weights into a
    unit, and mean and variance of what goes into the layer, over examples and units: the coordinates of the map of SELU
    networks. The region is where something is known of that map, such as the `jnorm.proofs.certificate.Domain` of a
    certificate that holds: a unit inside of it does, to that layer's mean and variance, what has been proved.
    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017 (arXiv 1706.02515), theorem 1.

    Args:
        network: What the trainer trains. What is inside of its loops is not seen.
        region: Anything with intervals ``mean``, ``var``, ``omega`` and ``tau``, and perhaps a ``strip`` ``(slope, low,
            high)`` for ``low <= mean - slope var <= high``; or a function of the four that returns booleans.
        where: As for `watch`.

    Returns:
        A function of a `jnorm.train.loop.Step` that returns ``"omega/<place>"``, ``"tau/<place>"`` and
        ``"inside/<place>"`` [units], ``"mean/<place>"`` and ``"var/<place>"``, and ``"inside"``, the share of all.

    Raises:
        TypeError: ``region`` is neither; from the function
        ValueError: where there is no product with a kernel, or a ``where`` that is not there.

    >>> from types import SimpleNamespace
    >>> network = SimpleNamespace(apply=lambda w, state, x, *, train, key: (x @ w["w"], state))
    >>> region = lambda mean, var, omega, tau: tau <= 1.1
    >>> step = SimpleNamespace(params={"w": jnp.array([[1.0, 2.0], [0.0, 1.0]])}, state=(), key=None)
    >>> step.batch = (jnp.array([[1.0, -1.0]]), None)
    >>> {name: value.tolist() for name, value in units(network, region)(step).items() if "/" in name}
    ... # doctest: +ELLIPSIS
    {'omega/...': [1.0, 3.0], 'tau/...': [1.0, 5.0], 'mean/...': 0.0, 'var/...': 1.0, 'inside/...': [1.0, 0.0]}
    """
    inside = _inside(region)

    def probe(step: Any) -> dict[str, jax.Array]:
        f = lambda params, x: network.apply(params, step.state, x, train=True, key=step.key)[0]
        found: dict[str, jax.Array] = {}
        every: list[jax.Array] = []
        for name, (kernel, axis, x) in _products(f, step.params, step.batch[0], where).items():
            rows = jnp.moveaxis(kernel, axis, -1).reshape(-1, kernel.shape[axis])
            rows, x = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (rows, x))
            omega, tau = jnp.sum(rows, 0), jnp.sum(jnp.square(rows), 0)
            mean, var = quantities.mean(x), quantities.variance(x)
            held = jnp.broadcast_to(inside(mean, var, omega, tau), omega.shape).astype(omega.dtype)
            numbers = {"omega": omega, "tau": tau, "mean": mean, "var": var, "inside": held}
            found |= {f"{quantity}/{name}": value for quantity, value in numbers.items()}
            every.append(held)
        return {**found, "inside": jnp.mean(jnp.concatenate(every))}

    return probe


def _products(
    f: Callable[[Any, Any], Any], params: Any, x: Any, where: _choice.Where
) -> Mapping[str, tuple[jax.Array, int, jax.Array]]:
    """By place, each kernel with the axis of its units, and what goes in."""
    call = Call(f, (params, x), {})
    found = [spot for spot in spots(call.program, call.paths, inside=True) if not spot.place.loops]
    named = {spot.site.index: spot for spot in found if spot.site.primitive in _UNITS}
    leaves = len(jax.tree.leaves(params))
    kernels = _kernels(call, named, leaves)
    chosen = _choice.places([named[index] for index in kernels], where)
    if not chosen:
        raise ValueError("`network` has no product with a kernel outside of loops")
    names = {spot.site.index: spot.place.name for spot in chosen}
    seen: dict[str, tuple[jax.Array, int, jax.Array]] = {}

    def hook(site: jaxprs.Site, *inputs: Any) -> list[Any]:
        if site.index in names:
            at = kernels[site.index]
            seen[names[site.index]] = (inputs[at], _UNITS[site.primitive](site.params, at), inputs[1 - at])
        return site.run(*inputs)

    jaxprs.evaluate(call.program, *call.leaves, hook=hook, opens=jaxprs.CALLS)
    return seen


def _kernels(call: Call, named: Mapping[tuple[int, ...], Spot], leaves: int) -> dict[tuple[int, ...], int]:
    """Of each product the input that is a parameter, as it stands or moved about, where one of them is."""
    kernels: dict[tuple[int, ...], int] = {}

    def hook(site: jaxprs.Site, *inputs: Any) -> list[Any]:
        flags = [x is True for x in inputs]
        if site.index in named and sum(flags) == 1 and _UNITS[site.primitive](site.params, flags.index(True)) >= 0:
            kernels[site.index] = flags.index(True)
        return [site.primitive in MOVED and flags[0]] * len(site.equation.outvars)

    given = [number < leaves for number in range(len(call.leaves))]
    jaxprs.evaluate(call.program, *given, hook=hook, opens=jaxprs.CALLS)
    return kernels


def _of_dot(params: Mapping[str, Any], at: int) -> int:
    """The axis of units of a kernel; -1 where there is not one."""
    contracted, batched = params["dimension_numbers"]
    rest = {0, 1} - set(contracted[at])
    return rest.pop() if len(contracted[at]) == 1 and not batched[at] and len(rest) == 1 else -1


def _of_convolution(params: Mapping[str, Any], at: int) -> int:
    return int(params["dimension_numbers"].rhs_spec[0]) if at == 1 else -1


_UNITS: dict[str, Callable[[Mapping[str, Any], int], int]] = {
    "dot_general": _of_dot,
    "conv_general_dilated": _of_convolution,
}


def _inside(region: Any) -> Callable[..., jax.Array]:
    """Whether units are in a region, as a function of arrays."""
    if callable(region):
        return region
    names = ("mean", "var", "omega", "tau")
    if not all(hasattr(region, name) for name in names):
        raise TypeError(f"`region` must have intervals mean, var, omega and tau, or be a function; got {region!r}")
    ends = [getattr(region, name) for name in names]
    strip = getattr(region, "strip", None)

    def held(*point: jax.Array) -> jax.Array:
        inside = jnp.ones((), bool)
        for value, (low, high) in zip(point, ends, strict=True):
            inside = inside & (value >= low) & (value <= high)
        if strip is not None:
            slope, low, high = strip
            offset = point[0] - slope * point[1]
            inside = inside & (offset >= low) & (offset <= high)
        return inside

    return held
