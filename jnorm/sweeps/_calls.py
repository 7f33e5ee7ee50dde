"""Checks of the call of a sweep, before anything runs."""

import functools
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jnorm.sweeps._configurations import Configuration, Group, describe
from jnorm.sweeps._numbers import whole_number
from jnorm.sweeps._programs import Lanes, Program, Train


def check_types(train: Any, mesh: Any, progress: Any, version: Any) -> None:
    """That the arguments are of the kinds that they should be."""
    if not callable(train):
        raise TypeError(f"`train` must be a function train(key, **hyperparameters); got {train!r}")
    if not (mesh is None or isinstance(mesh, Mesh)) or (mesh is not None and mesh.empty):
        text = '`mesh` must be a jax.sharding.Mesh, such as jax.make_mesh((2,), ("runs",)), or None for all devices'
        raise TypeError(f"{text}; got {mesh!r}")
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"`progress` must be True, False or a function of a Progress; got {progress!r}")
    if version is not None and (not isinstance(version, str) or not version):
        raise TypeError(f"`version` must be a text that is not empty; got {version!r}")


def as_chunk(chunk: Any) -> int | Literal["auto"]:
    """``"auto"``, or a number of runs."""
    if isinstance(chunk, str) and chunk == "auto":
        return "auto"
    return whole_number("chunk", chunk, '"auto" or a whole number >= 1')


def names_of(option: str, chosen: Any) -> tuple[str, ...]:
    """The names that an option holds; a generator is read here once."""
    if isinstance(chosen, str | bytes):
        raise TypeError(f"`{option}` must be a sequence of names; got the string {chosen!r}")
    names = tuple(chosen) if isinstance(chosen, Iterable) else (chosen,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"`{option}` must be a sequence of names; got {chosen!r}")
    return names


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


def check_data(train: Train, group: Group, lanes: Lanes, shared: Any) -> None:
    """Let ``train.check(shared, **hyperparameters)``, if there is one, look at the data, with their values.

    It may fetch them; those that are spread over processes stay unseen. Traced hyperparameters have no value, as in
    ``train``. A check that cannot do with such arguments stops nothing.
    """
    fixed: dict[str, Any] = dict(group.static)
    while isinstance(train, functools.partial) and not train.args:
        fixed, train = train.keywords | fixed, train.func
    check, leaves = getattr(train, "check", None), jax.tree.leaves(shared)
    if not callable(check) or not leaves or not all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves):
        return
    shapes = {name: jax.ShapeDtypeStruct((), values.dtype) for name, values in lanes.traced.items()}
    try:
        inspect.signature(check).bind(shared, **fixed | shapes)
        jax.eval_shape(lambda traced: check(shared, **fixed | traced), shapes)
    except (AttributeError, IndexError, TypeError):  # of the program itself, tracing tells of it again
        return
    except ValueError as error:
        raise ValueError(f"`shared`: {error}") from error


def check_finite(finite: Sequence[str] | None, program: Program) -> None:
    """That it names outputs."""
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
    """The data as arrays in the dtypes that JAX gives them, NumPy's left on the host.

    Raises ``TypeError`` for what is no array, and ``ValueError`` where NumPy's numbers are beyond JAX's dtype.
    """
    return jax.tree_util.tree_map_with_path(_array, shared)


def _array(path: Any, leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return leaf
    name = f"`shared{jax.tree_util.keystr(path)}`"
    if isinstance(leaf, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array without a mask, which JAX has not; give data and mask as two arrays")
    array = np.asarray(leaf)
    try:
        if array.dtype.kind in "OSUMm":
            raise TypeError
        jnp.promote_types(array.dtype, array.dtype)  # raises for what JAX has not: longdouble, records
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of JAX's dtypes; got {array.dtype}: {leaf!r}") from None
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if jnp.issubdtype(dtype, jnp.integer) and dtype != array.dtype and array.size:
        for value in (array.min(), array.max()):
            if not jnp.iinfo(dtype).min <= value <= jnp.iinfo(dtype).max:
                say = "give differences from the first, floating numbers, or jax.enable_x64"
                raise ValueError(f"{name} must hold whole numbers of {dtype}; got {value}: {say}")
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        value = array[np.abs(array) > jnp.finfo(dtype).max].flat[0]
        say = "rescale it, or jax.enable_x64"
        raise ValueError(f"{name} must hold numbers that {dtype} can hold; got {value}: {say}") from None
