"""Drop-in modules for Flax, over `jnorm.nn`; linen and nnx are each imported where they are named."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jnorm.interop import flax_linen as flax_linen
    from jnorm.interop import flax_nnx as flax_nnx

__all__ = ["flax_linen", "flax_nnx"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
