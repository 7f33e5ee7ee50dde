"""What `jnorm.train.loop.trainer` and the functions that it makes refuse, before anything compiles."""

import sys
from collections.abc import Collection, Mapping
from typing import Any

from jnorm._ground import checks
from jnorm.data import batches
from jnorm.train.early_stopping import Patience

_PAIR = "a pair init(key), apply(params, state, x, *, train, key)"

_ADAPTERS = {
    "flax.linen": "jnorm.interop.flax_linen.network(module, example)",
    "flax.nnx": "jnorm.interop.flax_nnx.network(lambda rngs: Module(rngs=rngs))",
}
"""What makes such a pair of another library's modules."""


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


def monitored(patience: Any, measures: Collection[str]) -> str:
    """The part of the data whose metric decides when to stop."""
    if not isinstance(patience, Patience):
        raise TypeError(f"`stop` must be or return what early_stopping.patience does; got {type(patience).__name__}")
    for name in measures:
        if patience.monitor.endswith(f"_{name}") and patience.monitor != f"_{name}":
            return patience.monitor.removesuffix(f"_{name}")
    raise ValueError(f"`monitor` must be <part>_<metric> with one of {', '.join(measures)}; got {patience.monitor!r}")


def data(parts: Mapping[str, Any], needed: Collection[str], batch_size: int) -> None:
    """Pairs of equal lengths, all that are needed, and enough to train on."""
    for name in needed:
        if name not in parts:
            raise ValueError(f"`data` must have a part {name!r}; got {', '.join(map(repr, parts)) or 'none'}")
        if not isinstance(parts[name], tuple | list) or len(parts[name]) != 2:
            raise ValueError(f"`data` must hold pairs (inputs, targets); got {type(parts[name]).__name__} as {name!r}")
        batches.length(parts[name])
    size = batches.length(parts["train"])
    checks.require(lambda b: b <= size, f"`{{}}` must satisfy {{}} <= {size}, the examples", batch_size=batch_size)
