"""What `jnorm.train.loop.trainer` and the functions that it makes refuse, before anything compiles."""

import sys
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import losses
from jnorm._ground import checks
from jnorm.data import batches
from jnorm.train import _examples, _metrics
from jnorm.train.early_stopping import Patience

_PAIR = "a pair init(key), apply(params, state, x, *, train, key)"

_ADAPTERS = {
    "flax.linen": "jnorm.interop.flax_linen.network(module, example)",
    "flax.nnx": "jnorm.interop.flax_nnx.network(lambda rngs: Module(rngs=rngs))",
}
"""What makes such a pair of another library's modules."""

_LARGER = (_metrics.accuracy, _metrics.auc, _metrics.binary_accuracy, _metrics.r_squared, _metrics.top_k_accuracy)
"""Metrics that are better the larger they are."""


def is_ready(part: Any) -> bool:
    """Whether a part is usable as it is, not a function of hyperparameters that makes it."""
    return part is None or not callable(part) or (hasattr(part, "init") and hasattr(part, "apply"))


def network(model: Any) -> Any:
    """The model, if it is a pair."""
    refuse_flax(model)
    if not (hasattr(model, "init") and hasattr(model, "apply")):
        raise TypeError(f"`model` must be or return {_PAIR}; got {type(model).__name__}")
    return model


def refuse_flax(model: Any) -> None:
    """Flax's modules have another init and apply, or are callable; there is one only where Flax is loaded already."""
    kind = model if isinstance(model, type) else type(model)
    for library, adapter in _ADAPTERS.items():
        if issubclass(kind, getattr(sys.modules.get(library), "Module", ())):
            raise TypeError(f"`model` must be or return {_PAIR}: {adapter}; got the module {kind.__name__}")


def measures(loss: Any, metrics: Any) -> dict[str, Any]:
    """The loss and the metrics by name."""
    if not callable(loss):
        raise TypeError(f"`loss` must be a function loss(outputs, targets); got {type(loss).__name__}")
    if metrics is None:
        return {"loss": loss}
    if not isinstance(metrics, Mapping):
        kind = type(metrics).__name__
        raise TypeError(f'`metrics` must be a dictionary, such as {{"accuracy": evaluation.accuracy}}; got a {kind}')
    for name, metric in metrics.items():
        if not (isinstance(name, str) and name and callable(metric)):
            raise TypeError(
                f"`metrics` must map names to functions metric(outputs, targets); got {metric!r} as {name!r}"
            )
    if "loss" in metrics:
        raise ValueError("`metrics` must have other names than 'loss', which the loss itself has; got 'loss'")
    return {"loss": loss, **metrics}


def watched(patience: Any, measures: Mapping[str, Any], parts: Collection[str] | None = None) -> tuple[Patience, str]:
    """The stopping rule, with its direction, and the part of the data that it watches; of the parts, where known."""
    if not isinstance(patience, Patience):
        raise TypeError(f"`stop` must be or return what early_stopping.patience does; got {type(patience).__name__}")
    monitor = patience.monitor
    # The longest name first: a metric named aux_loss ends in loss.
    names = [n for n in sorted(measures, key=len, reverse=True) if monitor.endswith(f"_{n}") and monitor != f"_{n}"]
    if not names:
        raise ValueError(f"`monitor` must be <part>_<metric> with one of {', '.join(measures)}; got {monitor!r}")
    there = [n for n in names if parts is not None and monitor.removesuffix(f"_{n}") in parts]
    name = (there or names)[0]
    if patience.maximize is None:
        if (larger := _better_when_larger(measures[name])) is None:
            raise ValueError(
                f"`maximize` must be given for {monitor!r}: True if larger values are better, else False; got None"
            )
        patience = replace(patience, maximize=larger)
    return patience, monitor.removesuffix(f"_{name}")


def _better_when_larger(metric: Any) -> bool | None:
    while isinstance(metric, partial):
        metric = metric.func
    if metric in _LARGER:
        return True
    return False if metric in [getattr(losses, name) for name in losses.__all__] else None


def dictionary(parts: Any) -> None:
    """A dictionary of parts; before anything asks which there are."""
    if not isinstance(parts, Mapping):
        kind = type(parts).__name__
        raise TypeError(f'`data` must be a dictionary, such as {{"train": (inputs, targets)}}; got a {kind}')


def data(parts: Mapping[str, Any], needed: Collection[str], batch_size: int, monitor: tuple[str, str] | None) -> None:
    """Pairs of equal lengths, all that are needed, none empty, and enough to train on.

    ``monitor`` is the part that a stopping rule watches, and what it was told to watch.
    """
    for name in dict.fromkeys(needed):
        watched = monitor is not None and name == monitor[0]
        if name not in parts:
            asked = f"; `monitor` = {monitor[1]!r} asks for it" if monitor is not None and watched else ""
            raise ValueError(f"`data` must have a part {name!r}; got {', '.join(map(repr, parts)) or 'none'}{asked}")
        pair = parts[name]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            got = f"{type(pair).__name__} of {len(pair)}" if isinstance(pair, tuple | list) else type(pair).__name__
            raise ValueError(f"`data` must hold pairs (inputs, targets); got {got} as {name!r}")
        for side, tree in zip(("inputs", "targets"), pair, strict=True):
            if isinstance(tree, tuple | list) and not all(map(jnp.shape, jax.tree.leaves(tree) or [0])):
                got = f"a {type(tree).__name__} as {side} of part {name!r}"
                raise TypeError(f"`data` must hold arrays, the examples first; got {got}: np.asarray makes one of it")
        try:
            size = batches.length(pair)
        except ValueError as error:
            raise ValueError(f"{error} in part {name!r}") from None
        if size == 0:
            repair = "leave it out"
            if name == "train":
                repair = "there is nothing to train on"
            elif monitor is not None and watched:
                repair = f"`monitor` = {monitor[1]!r} cannot judge by it"
            raise ValueError(f"`data` must have at least one example in each part; part {name!r} is empty: {repair}")
    size = batches.length(parts["train"])
    checks.require(lambda b: b <= size, f"`{{}}` must satisfy {{}} <= {size}, the examples", batch_size=batch_size)


def fitting(network: Any, measures: Mapping[str, Any], parts: Mapping[str, Any], needed: Collection[str]) -> None:
    """Outputs and targets that the loss and the metrics take, by what Python knows of the data: NumPy arrays.

    Nothing is computed. Losses check the targets that they see; here they see all of a part's.
    """
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    for name in dict.fromkeys(needed):
        x, targets = parts[name]
        if not any(isinstance(a, np.ndarray) for a in jax.tree.leaves((x, targets))):
            continue
        for what, tree in (("inputs", x), ("targets", targets)):
            _warn_of_nan(name, what, tree)
        if not any(isinstance(a, np.ndarray) for a in jax.tree.leaves(targets)):
            continue

        def measured(params: Any, state: Any, x: Any, targets: Any = targets) -> list[Any]:
            outputs = _examples.wide(network.apply(params, state, x, train=False, key=None)[0])
            return [_examples.measured(name, measure, outputs, targets) for name, measure in measures.items()]

        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), x)
        try:
            jax.eval_shape(measured, params, state, shapes)
        except ValueError as error:
            raise ValueError(
                f"`data`, part {name!r}: {error}{_COUNT_FROM_0 if '<= targets <' in str(error) else ''}"
            ) from None


_COUNT_FROM_0 = "; classes are counted from 0: np.unique(y, return_inverse=True)[1] counts those that there are"


def _warn_of_nan(part: str, what: str, tree: Any) -> None:
    for array in jax.tree.leaves(tree):
        if isinstance(array, np.ndarray) and jnp.issubdtype(array.dtype, jnp.inexact):
            bad = ~np.isfinite(array.astype(np.float32) if array.dtype.kind == "V" else array)
            if np.any(bad):
                first = np.argwhere(bad)[0].tolist()
                warnings.warn(
                    f"`data` has NaN or infinite {what} in part {part!r}, first at {first}; every loss that sees "
                    f"them is NaN: leave such examples out, fill them in, or give the loss a mask",
                    stacklevel=5,
                )
