"""jnorm: why one deep network trains and another does not.

Pure JAX functions in rooms of one idea each. A room is loaded when it is named, so that ``import jnorm`` costs nothing:

>>> import jnorm
>>> jnorm.activations.selu(1.0).round(4)
Array(1.0507, dtype=float32, weak_type=True)

What is public is what the ``__all__`` of a room lists, and of the modules that it lists.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from jnorm._ground import rooms as _rooms

if TYPE_CHECKING:
    from jnorm import activations as activations
    from jnorm import data as data
    from jnorm import gaussian as gaussian
    from jnorm import initializers as initializers
    from jnorm import interop as interop
    from jnorm import jaxprs as jaxprs
    from jnorm import losses as losses
    from jnorm import measure as measure
    from jnorm import nn as nn
    from jnorm import paths as paths
    from jnorm import plots as plots
    from jnorm import predict as predict
    from jnorm import proofs as proofs
    from jnorm import statistics as statistics
    from jnorm import sweeps as sweeps
    from jnorm import theory as theory
    from jnorm import train as train

__version__ = "0.1.0"

FLOORS = (
    ("jaxprs", "paths"),
    ("activations", "gaussian"),
    ("initializers", "losses"),
    ("data", "nn", "proofs", "statistics", "sweeps", "theory"),
    ("predict",),
    ("interop", "measure", "plots", "train"),
)
"""The rooms, from the ground up: each imports only from floors below its own."""

__all__ = [room for floor in FLOORS for room in floor]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"jnorm.{name}")
    raise AttributeError(_rooms.unknown(name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if _rooms.Finder not in sys.meta_path:
    sys.meta_path.append(_rooms.Finder)
