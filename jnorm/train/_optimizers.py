"""What an optimizer is given, which of its steps it refused, and at which parameters it wants to be judged."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnorm.train.averages import AverageState

_OFFERED = ("value", "grad", "value_fn", "obj_fn", "grad_fn")
"""What `jnorm.train.loop.trainer` can pass to an update beside gradients and parameters, where the update names it."""

_USUAL = ("value", "grad", "value_fn")
"""What it passes to an update that takes any names: line searches refuse others."""


class Optimizer(NamedTuple):
    """An optimizer of Optax with clear errors.

    Attributes:
        init: ``init(params)``, its state.
        update: ``update(gradient, state, params, **offered)``, the updates and the next state; it takes what it names.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


def prepared(optimizer: Any) -> Optimizer:
    """The optimizer, anything with ``init`` and ``update`` such as Optax's; ``MultiSteps`` gets extra arguments too."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        kind = type(optimizer).__name__
        raise TypeError(f"`optimizer` must be or return an optimizer of Optax, such as optax.sgd(0.1); got {kind}")
    parameters = inspect.signature(optimizer.update).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def init(params: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            state = optimizer.init(params)
        if any(isinstance(node, optax.LookaheadState) for node in _nodes(state)):
            raise TypeError(
                "`optimizer` must not be Optax's lookahead, which moves pairs of parameters; use it in a loop of your "
                "own, or report what another average of parameters gives by `eval_params`"
            )
        return state

    def update(gradient: Any, state: Any, params: Any, **offered: Any) -> tuple[Any, Any]:
        taken = {name: value for name, value in offered.items() if name in parameters or (anything and name in _USUAL)}
        left_out: dict[str, str] = {}
        while True:
            try:
                with jax.numpy_dtype_promotion(
                    "standard"
                ):  # Optax multiplies counts by floats, which strict JAX refuses
                    return optimizer.update(gradient, state, params, **taken)
            except (TypeError, ValueError, AttributeError) as error:
                # A chain or a wrapper takes all names, and hands them to parts that may know none of them, as sam does,
                # or need another.
                unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
                wanted = [n for n in _OFFERED if anything and n not in [*taken, *left_out] and n in str(error)]
                if anything and unknown and unknown[1] in taken:
                    left_out[unknown[1]] = str(error)
                    del taken[unknown[1]]
                elif wanted:
                    taken[wanted[0]] = offered[wanted[0]]
                else:
                    raise _refusal(error, left_out) from error

    return Optimizer(init, update)


def _refusal(error: Exception, left_out: Mapping[str, str]) -> TypeError:
    must = (
        f"`optimizer` must make its updates of the gradient, its state, the parameters and those of "
        f"{', '.join(_OFFERED)} that its update names; got {type(error).__name__}: {error}"
    )
    for name, message in left_out.items():
        if name in str(error):
            must += (
                f"; another part refuses {name!r} ({message}): optax.GradientTransformation(*part) hides it from that"
            )
    return TypeError(must)


def refused(state: Any) -> jax.Array | None:
    """Whether the last step was refused as not finite, by ``apply_if_finite`` or ``MultiSteps``; None: none refuses."""
    flags = []
    for node in _nodes(state):
        if isinstance(node, optax.ApplyIfFiniteState):
            flags.append(~node.last_finite)
        elif isinstance(node, optax.MultiStepsState) and "should_skip" in node.skip_state:
            flags.append(node.skip_state["should_skip"])
    return jnp.any(jnp.stack(flags)) if flags else None


def judged(state: Any, params: Any) -> Any:
    """The parameters to evaluate: averages that are kept, and of ``sam`` those before it looked around."""
    for node in _nodes(state):
        if isinstance(node, AverageState):
            return jax.tree.map(lambda a, p: a.astype(p.dtype), node.average, params)
        if isinstance(node, optax.contrib.ScheduleFreeState):
            with jax.numpy_dtype_promotion("standard"):
                averages = optax.contrib.schedule_free_eval_params(node, params)
            return jax.tree.map(lambda a, p: a.astype(p.dtype), averages, params)
        if isinstance(node, optax.contrib.SAMState) and node.cache is not None:
            return jax.tree.map(partial(jnp.where, node.steps_since_sync == 0), params, node.cache)
    return params


def _nodes(state: Any) -> Iterator[Any]:
    """The states of Optax in a state, from the outside in; those of which it is told what they mean."""
    known = (
        AverageState,
        optax.ApplyIfFiniteState,
        optax.MultiStepsState,
        optax.LookaheadState,
        optax.contrib.ScheduleFreeState,
        optax.contrib.SAMState,
    )
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, known)):
        if isinstance(node, known):
            yield node
            for inner in node:
                yield from _nodes(inner)
