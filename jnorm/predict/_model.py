"""A model as the rules take it: its program, and what its parameters are."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jnorm.predict import _backward, _laws
from jnorm.predict._values import Random, Weight


class Model(NamedTuple):
    """A program and its arguments.

    Attributes:
        program: That of ``apply(params, x)``.
        names: Paths of the parameters.
        flat: Their leaves.
        rest: The leaves of the data.
        inputs: What the rules take for the leaves of the parameters: a `Weight`, or the numbers that are known.
    """

    program: Any
    names: list[str]
    flat: list[Any]
    rest: list[Any]
    inputs: list[Any]

    @property
    def moving(self) -> list[str]:
        """The parameters by which there are gradients."""
        return [name for name, leaf in zip(self.names, self.flat, strict=True) if _backward.moves(leaf)]


def model(apply: Callable[..., Any], params: Any, x: Any, laws: Any) -> Model:
    """Raises what `jnorm.predict.predict` raises for its arguments."""
    if not callable(apply):
        raise TypeError(f"`apply` must be a function of parameters and data; got {apply!r}")
    leaves = _laws.of_leaves(params, laws)
    flat = jax.tree.leaves(params)
    inputs = [
        leaf if law.kind == "known" else Weight((name,), tuple(leaf.shape), law.var, law.kind == "normal")
        for (name, law), leaf in zip(leaves, flat, strict=True)
    ]
    names = [name for name, _ in leaves]
    return Model(jax.make_jaxpr(apply)(params, x), names, flat, jax.tree.leaves(x), inputs)


def cotangents(results: Sequence[Any], predictor: Any, var: float = 1.0) -> list[Random]:
    """Gradients N(0, var) at the results, with their axes."""
    out = []
    for i, value in enumerate(results):
        value, shape = predictor.ready(value), tuple(value.shape)
        axes = value.axes if isinstance(value, Random) else tuple(((size, False),) for size in shape)
        out.append(predictor.as_random(Weight((("cotangent", i),), shape, var, True), axes))
    return out
