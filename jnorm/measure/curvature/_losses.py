"""The curvatures of a loss: Hessian, Gauss-Newton, Fisher and empirical Fisher."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.data import batches
from jnorm.measure.curvature._operators import Operator, real
from jnorm.measure.curvature._products import arrays, mean_of, product, steady


def hessian(
    loss: Callable[..., jax.Array], params: Any, data: Any = None, *, microbatch: int | None = None
) -> Operator:
    """The matrix of second derivatives of ``loss(params)``, or of the mean of ``loss(params, data)`` over the examples.

    A product is the derivative of the gradient along a vector, ``H v = d/dt grad(w + t v)``, and costs about two
    gradients. Where a derivative jumps (relu) that is the Hessian of the piece on which the parameters lie.
    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.

    Args:
        loss: Returns one number, the mean over the examples of ``data``, or one number for each example.
        params: A tree of floating arrays; half precision is computed in float32.
        data: A tree of arrays with the examples first.
        microbatch: Examples that are looked at together; memory is that of so many, and products are computed anew.

    Returns:
        The operator, ``like`` the parameters.

    Raises:
        TypeError: ``params`` is no tree of floating arrays, or the loss is not real.
        ValueError: A loss of another shape, or one that differs from call to call; a ``microbatch`` out of range.

    >>> toy = lambda w: (1 - w[0] * w[1]) ** 2
    >>> hessian(toy, jnp.zeros(2)).dense()
    Array([[ 0., -2.],
           [-2.,  0.]], dtype=float32)
    """
    params, data = real(params=params), arrays(data)
    settled = partial(_loss, loss, params, numbers=False)
    return Operator(product(_hessian, settled, params, data, microbatch), params)


def gauss_newton(
    predict: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], jax.Array],
    params: Any,
    data: tuple[Any, Any],
    *,
    microbatch: int | None = None,
) -> Operator:
    """The generalized Gauss-Newton matrix, the mean over the examples of ``J^T M J``.

    J is the Jacobian of an example's outputs by the parameters, and M the Hessian of its loss by the outputs. It is the
    Hessian of the model made linear, and positive semidefinite where the loss is convex in the outputs. A product costs
    about one and a half gradients. Source: Schraudolph 2002, Fast curvature matrix-vector products.

    Args:
        predict: ``predict(params, inputs)`` returns the outputs with the examples first.
        loss: ``loss(outputs, targets)`` returns one number, the mean, or one for each example (or several, averaged).
        params: As for `hessian`.
        data: The pair of inputs and targets, trees of arrays with the examples first.
        microbatch: As for `hessian`.

    Returns:
        The operator, ``like`` the parameters.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian`, and ``data`` that is no pair.

    >>> line = lambda w, x: x @ w
    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> gauss_newton(line, lambda outputs, targets: (outputs - targets) ** 2, jnp.zeros(2), (x, jnp.ones(2))).dense()
    Array([[1., 0.],
           [0., 4.]], dtype=float32)
    """
    params, data = real(params=params), arrays(_pair(data))

    def settled(data: Any) -> tuple[Any, Any]:
        inputs, targets = data
        model = steady(predict, params, inputs, name="predict")
        outputs = jax.eval_shape(lambda *a: model(*a), params, inputs)
        judged = steady(loss, outputs, targets, name="loss")
        _number(jax.eval_shape(lambda *a: judged(*a), outputs, targets))
        return model, judged

    return Operator(product(_gauss_newton, settled, params, data, microbatch), params)


def fisher(
    predict: Callable[[Any, Any], jax.Array], family: str, params: Any, inputs: Any, *, microbatch: int | None = None
) -> Operator:
    """The Fisher information of a model, the mean over the examples of ``J^T F J``, without targets.

    F is the Fisher information of the distribution that the outputs of an example give: of "categorical" the last axis
    holds logits, ``F = diag(p) - p p^T``; of "bernoulli" each output is a logit, ``F = p (1 - p)``; of "normal" each is
    a mean of variance one, ``F = 1``. Nothing is sampled. Source: Martens 2020 (arXiv 1412.1193), sections 5 and 9.

    Args:
        predict: As for `gauss_newton`.
        family: "categorical", "bernoulli" or "normal".
        params: As for `hessian`.
        inputs: A tree of arrays with the examples first.
        microbatch: As for `hessian`.

    Returns:
        The operator, ``like`` the parameters.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian`, and an unknown ``family``.

    >>> logits = lambda w, x: x * w
    >>> fisher(logits, "bernoulli", jnp.zeros(1), jnp.array([[1.0], [3.0]])).dense()  # (1 + 9) / 2 / 4
    Array([[1.25]], dtype=float32)
    """
    checks.choice("family", family, FAMILIES)
    params, inputs = real(params=params), arrays(inputs)
    settled = lambda inputs: (steady(predict, params, inputs, name="predict"),)
    return Operator(product(RULES[family], settled, params, inputs, microbatch), params)


def empirical_fisher(
    loss: Callable[[Any, Any], jax.Array], params: Any, data: Any, *, microbatch: int | None = None
) -> Operator:
    """The second moment of the examples' gradients, the mean over the examples of ``g g^T``.

    It is the Fisher information with the targets of the data in the place of the model's own, and no curvature away
    from a good fit. Source: Kunstner et al. 2019 (arXiv 1905.12558).

    Args:
        loss: ``loss(params, data)`` returns one number for each example.
        params: As for `hessian`.
        data: As for `hessian`.
        microbatch: As for `hessian`.

    Returns:
        The operator, ``like`` the parameters.

    Raises:
        TypeError: As `hessian`.
        ValueError: As `hessian`, and a loss that is no number for each example.

    >>> empirical_fisher(lambda w, x: w[0] * x, jnp.zeros(1), jnp.array([1.0, 3.0])).dense()
    Array([[5.]], dtype=float32)
    """
    params, data = real(params=params), arrays(data)
    settled = partial(_loss, loss, params, numbers=True)
    return Operator(product(_empirical_fisher, settled, params, data, microbatch), params)


def _hessian(functions: tuple[Any, ...], params: Any, data: Any) -> Callable[[Any], Any]:
    gradient = jax.grad(lambda params: mean_of(functions[0], params, data))
    return jax.linearize(gradient, params)[1]


def _empirical_fisher(functions: tuple[Any, ...], params: Any, data: Any) -> Callable[[Any], Any]:
    values, forward = jax.linearize(lambda params: functions[0](params, data), params)
    backward = jax.linear_transpose(forward, params)
    return lambda v: backward(forward(v) / values.size)[0]


def _gauss_newton(functions: tuple[Any, ...], params: Any, data: Any) -> Callable[[Any], Any]:
    (predict, loss), (inputs, targets) = functions, data
    gradient = jax.grad(lambda outputs: mean_of(loss, outputs, targets))
    return _sandwich(lambda params: predict(params, inputs), params, lambda out: jax.linearize(gradient, out)[1])


def _categorical(outputs: jax.Array) -> Callable[[jax.Array], jax.Array]:
    p = jax.nn.softmax(outputs)
    return lambda u: p * (u - jnp.sum(p * u, -1, keepdims=True))


def _bernoulli(outputs: jax.Array) -> Callable[[jax.Array], jax.Array]:
    p = jax.nn.sigmoid(outputs) * jax.nn.sigmoid(-outputs)
    return lambda u: p * u


def _normal(outputs: jax.Array) -> Callable[[jax.Array], jax.Array]:
    return lambda u: u


FAMILIES = {"categorical": _categorical, "bernoulli": _bernoulli, "normal": _normal}
"""The Fisher information of outputs as a linear map, by the family of distributions that they are parameters of."""


def _fisher(
    family: Callable[[jax.Array], Callable[[jax.Array], jax.Array]],
    functions: tuple[Any, ...],
    params: Any,
    inputs: Any,
) -> Callable[[Any], Any]:
    examples = batches.length(inputs)

    def mean(outputs: jax.Array) -> Callable[[jax.Array], jax.Array]:
        information = family(outputs)
        return lambda u: information(u) / examples

    return _sandwich(lambda params: functions[0](params, inputs), params, mean)


RULES = {name: partial(_fisher, family) for name, family in FAMILIES.items()}


def _sandwich(
    model: Callable[[Any], Any], params: Any, middle: Callable[[Any], Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """``v -> J^T M J v``, with J and M linearized once."""
    outputs, forward = jax.linearize(model, params)
    backward, metric = jax.linear_transpose(forward, params), middle(outputs)
    return lambda v: backward(metric(forward(v)))[0]


def _loss(loss: Callable[..., jax.Array], params: Any, data: Any, *, numbers: bool) -> tuple[Any]:
    """The loss for data of such shapes, settled: a mean, or numbers of the examples."""
    examples = (params,) if data is None else (params, data)
    settled = steady(loss, *examples, name="loss")
    each = [] if data is None else [(batches.length(data),)]
    _number(jax.eval_shape(lambda *a: settled(*a), *examples), each if numbers else [(), *each])
    return (settled,)


def _number(out: Any, shapes: Sequence[tuple[int, ...]] | None = None) -> None:
    """Refuse what a loss may not return: what is not real, or of none of the shapes."""
    shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"`loss` must return real numbers; got {out}")
    if shapes is not None and shape not in shapes:
        raise ValueError(f"`loss` must return an array of shape {' or '.join(map(str, shapes))}; got shape {shape}")


def _pair(data: Any) -> tuple[Any, Any]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"`data` must be a pair of inputs and targets; got {type(data).__name__}")
    return data[0], data[1]
