"""Products with the curvature of a loss: of all examples at once, or of microbatches one after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnorm import jaxprs
from jnorm._ground import callables, nodes
from jnorm.data import batches

Rule = Callable[[tuple[Any, ...], Any, Any], Callable[[Any], Any]]
"""``rule(functions, params, data)`` returns the linear map of the mean over the examples of ``data``."""


@nodes.register
@dataclass(frozen=True)
class Product:
    """The product of an operator that is a mean over examples.

    Attributes:
        rule: How the linear map is made.
        whole: The functions that it is made of, settled for all examples, or for those of a microbatch.
        rest: The same for the last microbatch, if it is smaller.
        params: The parameters.
        data: A tree of arrays with the examples first, or None.
        microbatch: Examples that are looked at together, or None for all.
    """

    rule: Rule = field(metadata={"static": True})
    whole: tuple[Any, ...]
    rest: tuple[Any, ...] | None
    params: Any
    data: Any
    microbatch: int | None = field(metadata={"static": True})

    def __call__(self) -> Callable[[Any], Any]:
        """The linear map. That of all examples is linearized once, that of microbatches anew in each product."""
        if self.microbatch is None:
            return self.rule(self.whole, self.params, self.data)
        return lambda v: self.mean(lambda functions, data: self.rule(functions, self.params, data)(v))

    def value_and_grad(self, params: Any) -> tuple[jax.Array, Any]:
        """The mean of a loss, the first of the functions, at these parameters, and its gradient."""
        at = lambda functions, data: jax.value_and_grad(lambda params: mean_of(functions[0], params, data))(params)
        return self.mean(at)

    def mean(self, f: Callable[[tuple[Any, ...], Any], Any]) -> Any:
        """The mean of ``f(functions, data)`` over the microbatches, each as heavy as it has examples."""
        if self.microbatch is None:
            return f(self.whole, self.data)
        examples, size = batches.length(self.data), self.microbatch
        count = examples // size
        head = jax.tree.map(lambda a: jnp.reshape(a[: count * size], (count, size, *a.shape[1:])), self.data)
        tail = jax.tree.map(lambda a: a[count * size :], self.data)
        add = lambda total, tree, weight: jax.tree.map(lambda a, b: a + weight * b, total, tree)
        shapes = jax.eval_shape(lambda head: f(self.whole, jax.tree.map(lambda a: a[0], head)), head)
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        step = lambda total, data: (add(total, f(self.whole, data), size / examples), None)
        total, _ = lax.scan(step, zero, head)
        return total if self.rest is None else add(total, f(self.rest, tail), 1 - count * size / examples)


def product(
    rule: Rule, settled: Callable[[Any], tuple[Any, ...]], params: Any, data: Any, microbatch: int | None
) -> Product:
    """The product by a rule.

    Args:
        rule: The rule.
        settled: The functions of the rule for data of such shapes.
        params: The parameters.
        data: A tree of arrays with the examples first, or None.
        microbatch: Examples that are looked at together.

    Returns:
        The product.

    Raises:
        ValueError: A ``microbatch`` that is not a number from 1 to that of the examples, or without data.
    """
    if microbatch is None:
        return Product(rule, settled(data), None, params, data, None)
    examples = 0 if data is None else batches.length(data)
    if isinstance(microbatch, bool) or not isinstance(microbatch, int | np.integer) or not 1 <= microbatch <= examples:
        raise ValueError(f"`microbatch` must be a whole number from 1 to the {examples} examples; got {microbatch}")
    part = lambda count: jax.tree.map(lambda a: jax.ShapeDtypeStruct((count, *a.shape[1:]), a.dtype), data)
    left = examples % microbatch
    rest = settled(part(left)) if left else None
    return Product(rule, settled(part(int(microbatch))), rest, params, data, int(microbatch))


def arrays(data: Any) -> Any:
    """The data as arrays."""
    return jax.tree.map(jnp.asarray, data)


def steady(f: Callable[..., Any], *examples: Any, name: str) -> Callable[..., Any]:
    """The function settled, of which two traces compute the same.

    Rules of custom derivatives may be other objects in each trace, as those of batch norm are: they do not count.

    Args:
        f: The function.
        *examples: Its arguments, or their shapes.
        name: The name of the argument.

    Returns:
        The function as a pytree.

    Raises:
        ValueError: It did something else when it was traced again: it draws numbers that no key fixes.
    """
    first, again = (callables.settle(f, *examples, name=name) for _ in range(2))
    if not _equal(first, again) and not _equal(*(_opened(f, examples) for f in (first, again))):
        must = f"`{name}` must do the same whenever it is called"
        raise ValueError(f"{must}; got two traces that differ, as by random numbers that no key fixes")
    return first


def _equal(first: Any, again: Any) -> bool:
    """Whether two settled functions are the same, numbers included."""
    (leaves, structure), (others, other) = (jax.tree.flatten(f) for f in (first, again))
    if not bool(structure == other):  # type: ignore[operator]
        return False
    pairs = [pair for pair in zip(leaves, others, strict=True) if not any(isinstance(a, jax.core.Tracer) for a in pair)]
    return all(a is b or np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in pairs)


def _opened(f: Callable[..., Any], examples: Sequence[Any]) -> Callable[..., Any]:
    """The function without its calls and custom derivatives, settled."""
    program = jax.make_jaxpr(f)(*examples)
    return callables.settle(lambda *args: jaxprs.evaluate(program, *jax.tree.leaves(args)), *examples)


def mean_of(loss: Callable[..., jax.Array], params: Any, data: Any) -> jax.Array:
    """The mean loss: a number as it is, numbers of examples averaged."""
    return jnp.mean(loss(params) if data is None else loss(params, data))
