"""Compiling for tests: most of their programs are small and run once, so that optimizing them is most of the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import pytest
from jax._src import compiler  # no public switch sets a compiler option for all that is compiled in a block


@cache
def options() -> dict[str, Any]:
    """What XLA may leave out, as compiler options; one that this XLA does not know is left away."""
    wanted = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_use_fusion_emitters": False,  # half of the time of small programs
    }

    def known(name: str) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options={name: wanted[name]})()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {name: value for name, value in wanted.items() if known(name)}


@contextmanager
def unoptimized() -> Iterator[None]:
    """Compile all that is compiled in this block, operations outside ``jit`` included, without optimizing it."""
    full, few = compiler.get_compile_options, options()

    def quick(*args: Any, env_options_overrides: dict[str, Any] | None = None, **others: Any) -> Any:
        return full(*args, env_options_overrides=few | (env_options_overrides or {}), **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", quick)
        yield
