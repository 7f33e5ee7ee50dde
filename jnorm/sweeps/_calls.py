"""Checks of the call of a sweep, before anything runs."""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jnorm._ground import checks
from jnorm.sweeps._configurations import Configuration, Group, describe
from jnorm.sweeps._programs import Program, Train


def check_chunk(chunk: int | str) -> None:
    """That it is ``"auto"`` or a number of runs."""
    if chunk == "auto":
        return
    if isinstance(chunk, str):
        raise ValueError(f'`chunk` must be "auto" or a whole number >= 1; got {chunk!r}')
    checks.whole(1, chunk=chunk)


def check_version(version: str | None) -> None:
    """That it is a name."""
    if version is not None and (not isinstance(version, str) or not version):
        raise TypeError(f"`version` must be a text that is not empty; got {version!r}")


def check_names(train: Train, configuration: Configuration, shared: Any) -> None:
    """That ``train`` can be called with these names."""
    try:
        signature = inspect.signature(train)
    except (TypeError, ValueError):  # some callables have none
        return
    positional = ("key",) if shared is None else ("key", "shared")
    try:
        signature.bind(*positional, **configuration)
    except TypeError as error:
        call = ", ".join([*positional, *(f"{name}=..." for name in configuration)])
        raise TypeError(f"`train` must accept train({call}); its signature is {signature}: {error}") from None


def check_finite(finite: Sequence[str] | None, program: Program) -> None:
    """That it names outputs."""
    if isinstance(finite, str):
        raise TypeError(f"`finite` must be a sequence of names; got the string {finite!r}")
    for name in finite or ():
        if name not in program.outputs:
            raise ValueError(f"`finite` must name outputs of `train` ({', '.join(program.outputs)}); got {name!r}")


def check_outputs(groups: Sequence[Group], programs: Sequence[Program]) -> None:
    """That all programs return the same arrays."""
    first = programs[0].outputs
    for group, program in zip(groups[1:], programs[1:], strict=True):
        for name in sorted(set(first) | set(program.outputs)):
            pair = first.get(name), program.outputs.get(name)
            texts = [f"{output.dtype}{list(output.shape)}" if output is not None else "nothing" for output in pair]
            if texts[0] != texts[1]:
                raise ValueError(
                    f"`train` must return the same arrays whatever is static; `{name}` is {texts[0]} with "
                    f"{describe(groups[0].static)} and {texts[1]} with {describe(group.static)}"
                )


def arrays_of(shared: Any) -> Any:
    """The data as arrays in the dtypes that JAX gives them, NumPy's left on the host."""
    return jax.tree.map(_array, shared)


def _array(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind in "OSUMm":
        raise TypeError(f"`shared` must hold arrays; got {leaf!r}")
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
