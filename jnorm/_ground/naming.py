"""Hyperparameters in few words, for tables and pictures."""

import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any


def text(value: Any) -> str:
    """A value in few letters: functions, and texts that are the whole name of one, by its own name; four digits.

    >>> text(0.1 + 0.2), text(len), text("builtins.len"), text("jnorm.activations._piecewise.relu"), text("data.csv")
    ('0.3', 'len', 'len', 'relu', 'data.csv')
    """
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.4g}"
    if isinstance(value, str):  # a function, as a store writes it down
        module, _, name = value.rpartition(".")
        ours = module.startswith(("jnorm.", "jax.")) and name.isidentifier()  # loaded or not
        return name if ours or callable(getattr(sys.modules.get(module), name, None)) else value
    return str(getattr(value, "__name__", value))


def varying(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the hyperparameters that have more than one value.

    >>> varying([{"depth": 8, "rate": 0.1}, {"depth": 8, "rate": 0.2}])
    ['rate']
    """
    names = dict.fromkeys(name for one in configurations for name in one)
    return [name for name in names if len({repr(one.get(name)) for one in configurations}) > 1]


def labels(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each configuration, of the hyperparameters that vary: texts alone, numbers with their name.

    >>> labels([{"activation": "selu", "rate": 0.1, "depth": 8}, {"activation": "relu", "rate": 0.1, "depth": 2}])
    ['selu, depth 8', 'relu, depth 2']
    """
    named = lambda name, value: text(value) if isinstance(value, str) or callable(value) else f"{name} {text(value)}"
    vary = varying(configurations)
    return [", ".join(named(name, one[name]) for name in vary if name in one) for one in configurations]
