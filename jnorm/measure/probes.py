"""Probes into anybody's function: values and cotangents of its equations, without changing it.

>>> import jax
>>> import jax.numpy as jnp
>>> def loss(params, x):
...     for w in params:
...         x = jnp.tanh(x @ w)
...     return jnp.mean(x**2)
>>> params, x = [jnp.eye(3), jnp.eye(3)], jnp.ones((4, 3))
>>> (value, grads), seen = jax.jit(watch(loss, ["mean", "dead"], where="*/tanh", argnums=0))(params, x)
>>> [f"{float(row['mean']):.3f}" for row in seen.values.values()]
['0.762', '0.642']

- **Places.** Every equation that computes floating numbers is a place; a call of a function of JAX or jnorm, such as
  ``jax.nn.relu``, is one (some, such as ``jax.nn.gelu``, JAX writes out instead of calling them). Its name is a
  module path of Flax or of ``jax.named_scope``, else that of the parameter that is used, else the user's line; after
  that comes the operation. An equation with several results stands for the first floating one.
- **Derivatives.** ``argnums`` differentiates the function in the same pass and measures the cotangent of each value,
  the derivative of the output by it. A function that holds derivatives itself, such as a whole training, has
  equations of its backward passes, called ``backward/...``. Values inside a function with rules of its own have no
  cotangents.
- **Loops.** Of a scan each turn is measured, or every k-th; of a ``while`` the last; of a ``cond`` the branch that is
  taken, and NaN stands for others. Rematerialized code stays so.
- **The same numbers.** The operations of the function are not changed. XLA may fuse them differently where their values
  are also measured, and then rounds differently, as with any other use of a value.
- **Price.** The tier ``"cheap"`` (mean and variance) reads each value twice: with layers of width 256 and more a
  training step takes up to 1.2 times as long (``python -m benchmarks probes``). ``"full"`` is for looking: singular
  values and the correlation of units cost more than the layers themselves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.measure import _choice, quantities
from jnorm.measure._calls import Call
from jnorm.measure._places import Place, spots
from jnorm.measure._seen import Seen, Table
from jnorm.measure._units import units
from jnorm.measure._watching import Probe, run

__all__ = ["Place", "Seen", "steps", "units", "watch"]


def watch(
    f: Callable[..., Any],
    measures: _choice.Measures = "cheap",
    *,
    where: _choice.Where = None,
    every: int | Sequence[int] = 1,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
) -> Callable[..., tuple[Any, Seen]]:
    """A function that computes what ``f`` does, and measures the values on the way: ``g(*args) -> (out, seen)``.

    With ``argnums`` the output is that of ``jax.value_and_grad(f, argnums, has_aux)``, and cotangents are measured in
    the same pass. It is a pure function, to be jitted, vmapped, scanned and differentiated; differentiated from
    outside, what is seen is constant.

    Args:
        f: Any function of pytrees; leaves that are no arrays are fixed.
        measures: ``"cheap"`` or ``"full"``, names of functions of `jnorm.measure.quantities`, or a dictionary of
            functions of one array, or `jnorm.measure.quantities.OfSlope` of one, each returning an array.
        where: Prefixes of names, as ``"Model/Dense_0"`` or ``"model.py:31"``, patterns such as ``"*/tanh"``, a function
            of a `Place`, or None for all.
        every: In a scan only every so many turns are measured, from the first on, into arrays that are allocated
            before: for the outermost scan a number, for nested loops one each from outside.
        argnums: Arguments by which ``f``, then a scalar function, is differentiated.
        has_aux: Whether ``f`` returns a pair of what is differentiated and something else.

    Returns:
        The function.

    Raises:
        ValueError: An unknown measure, ``every`` that is no whole number >= 1; from the function, a ``where`` that is
            not there: all names are listed.
        TypeError: Measures that are no functions; from the function, an output that is no scalar with ``argnums``.

    >>> g = watch(lambda x: jnp.sin(2 * x).sum(), ["largest"], argnums=0)
    >>> _, seen = g(jnp.array([0.0, 1.0]))
    >>> [(place.operation, seen.cotangents[place.name]["largest"].item()) for place in seen.places]
    [('mul', 1.0), ('sin', 1.0), ('reduce_sum', 1.0)]
    """
    asked = _choice.measures(measures)
    thinning = (every,) if isinstance(every, int) else tuple(every)
    checks.whole(1, every=list(thinning))

    def watched(*args: Any, **keywords: Any) -> tuple[Any, Seen]:
        call = Call(f, args, keywords)
        chosen = _choice.places(spots(call.program, call.paths), where)
        places = tuple(spot.place for spot in chosen)
        probes = {spot.site.index: Probe(spot, asked, thinning) for spot in chosen}
        if argnums is None:
            out, values = run(call, probes, {}, call.leaves)
            return call.result(out), Seen(values, {}, places)
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        slots = {probe.name: probe.slots() for probe in probes.values() if probe.differentiable}

        def scalar(slots: Table, parts: Sequence[Any]) -> tuple[jax.Array, tuple[Any, Table]]:
            put = dict(zip(numbers, parts, strict=True))
            given = [put.get(number, arg) for number, arg in enumerate(args)]
            out, seen = run(call, probes, slots, call.arrays(given, keywords))
            result = call.result(out)
            value = result[0] if has_aux else result
            if jnp.shape(value) != ():
                raise TypeError(f"with `argnums` the function must return a scalar; got shape {jnp.shape(value)}")
            return value, (result, seen)

        derivative = jax.value_and_grad(scalar, (0, 1), has_aux=True)
        (_, (result, values)), (of_slots, grads) = derivative(slots, tuple(args[number] for number in numbers))
        seen = [probe for probe in probes.values() if probe.differentiable]
        cotangents = {probe.name: probe.cotangents(of_slots[probe.name]) for probe in seen}
        return (result, grads[0] if isinstance(argnums, int) else grads), Seen(values, cotangents, places)

    return watched


def steps(
    network: Any,
    loss: Callable[[Any, Any], jax.Array],
    measures: _choice.Measures = "cheap",
    *,
    where: _choice.Where = None,
) -> Callable[[Any], dict[str, jax.Array]]:
    """A probe for ``Report(steps=[...])`` of a trainer: values, cotangents, gradients and updates of each step.

    It computes the step's loss and gradient as the trainer does, on the same batch with the same key, which XLA then
    finds twice and computes once, except for loops inside the network.

    Args:
        network: What the trainer trains.
        loss: Its loss.
        measures: As for `watch`.
        where: As for `watch`.

    Returns:
        A function of a `jnorm.train.loop.Step` that returns a dictionary of arrays: what `Seen.flat` says, and for each
        leaf of the parameters ``"gradient/<path>"``, the norm of its gradient, and ``"update/<path>"``, the norm of its
        update as a share of its own, infinite where that is 0.

    >>> from types import SimpleNamespace
    >>> line = SimpleNamespace(apply=lambda w, state, x, *, train, key: (w * x, state))
    >>> probe = steps(line, lambda y, t: (y - t) ** 2, ["mean"], where="*/mul")
    >>> step = SimpleNamespace(params=jnp.array(2.0), state=(), batch=(jnp.ones(3), jnp.zeros(3)), key=None)
    >>> step.gradient, step.updates = jnp.array(4.0), jnp.array(-0.4)
    >>> [round(float(value), 3) for value in probe(step).values()]  # value, cotangent, gradient, update
    [2.0, 1.333, 4.0, 0.2]
    """

    def of_batch(params: Any, state: Any, batch: Any, key: Any) -> jax.Array:
        outputs, _ = network.apply(params, state, batch[0], train=True, key=key)
        return jnp.mean(loss(outputs, batch[1]))

    look = watch(of_batch, measures, where=where, argnums=0)

    def probe(step: Any) -> dict[str, jax.Array]:
        found = look(step.params, step.state, step.batch, step.key)[1].flat()
        leaves = jax.tree.leaves_with_path(step.params)
        paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        changes = jax.tree.leaves(step.updates)
        for path, gradient in zip(paths, jax.tree.leaves(step.gradient), strict=True):
            found[f"gradient/{path}"] = quantities.norm(gradient)
        for path, (_, value), change in zip(paths, leaves, changes, strict=True):
            found[f"update/{path}"] = quantities.norm(change) / quantities.norm(value)
        return found

    return probe
