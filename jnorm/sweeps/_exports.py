"""Results as tables of pandas and data sets of xarray, and back.

Names and axes are the same in both. The first axis of outputs that are called ``curve_...`` or ``probe_...`` is
``epoch``, that of ``step_...`` is ``step``, both counted from 1; axis k of others, beyond configurations and seeds, is
``NAME_k``, counted from 0. Where the name of a hyperparameter or an output is taken by an axis, by a flag or by each
other, the latter of them gets an underscore at its end.
"""

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jnorm.sweeps._divergence import after_the_stop

Result = Any  # a `SweepResult`, whose module this one is below
SHARED = {"curve_": "epoch", "probe_": "epoch", "step_": "step"}
TAKEN = ("configuration", "seed", "failed", "done", "epoch", "step")


class Layout(NamedTuple):
    """How outputs and hyperparameters are called.

    Attributes:
        axes: of every output, the names of its axes beyond configurations and seeds.
        sizes: of every such axis.
        hyperparameters: how each is called.
        outputs: how each is called.
    """

    axes: dict[str, tuple[str, ...]]
    sizes: dict[str, int]
    hyperparameters: dict[str, str]
    outputs: dict[str, str]


def layout(result: Result) -> Layout:
    """Names for all of a result."""
    axes = {name: _axes(result, name) for name in result.outputs}
    sizes = {axis: n for name, a in result.outputs.items() for axis, n in zip(axes[name], a.shape[2:], strict=True)}
    taken = {*TAKEN, *sizes}
    called: list[dict[str, str]] = []
    for names in (dict.fromkeys(name for one in result.configurations for name in one), result.outputs):
        called.append({})
        for name in names:
            label = name
            while label in taken:
                label += "_"
            taken.add(label)
            called[-1][name] = label
    return Layout(axes, sizes, *called)


def _axes(result: Result, name: str) -> tuple[str, ...]:
    """The names of the axes of an output; those of one kind whose length is not that of most have their own."""
    shape = result.outputs[name].shape[2:]
    own = [f"{name}_{k}" for k in range(len(shape))]
    shared = next((axis for prefix, axis in SHARED.items() if name.startswith(prefix)), None)
    if shape and shared:
        prefixes = tuple(prefix for prefix, axis in SHARED.items() if axis == shared)
        lengths = [a.shape[2] for other, a in result.outputs.items() if other.startswith(prefixes) and a.ndim > 2]
        if shape[0] == max(lengths, key=lengths.count):
            own[0] = shared
    return tuple(own)


def column(values: Sequence[Any]) -> tuple[list[Any], bool]:
    """Described values as they are where all are booleans, all numbers or all texts, else as JSON; and whether so.

    >>> column([1, 2.5]), column([None, [64, 64]])
    (([1, 2.5], False), (['null', '[64, 64]'], True))
    """
    is_number = lambda v: isinstance(v, float) or (isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**63)
    for is_kind in (lambda v: isinstance(v, bool), is_number, lambda v: isinstance(v, str)):
        if all(map(is_kind, values)):
            return list(values), False
    return [json.dumps(value) for value in values], True


def native(array: np.ndarray, *, half: bool = False) -> np.ndarray:
    """Numbers of types that NumPy lacks, as bfloat16, in the next wider type that it has; with ``half`` float16 too."""
    if array.dtype.kind in "biufc" and not (half and array.dtype == np.float16):
        return array
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float32)
    return array.astype(np.uint8 if jnp.issubdtype(array.dtype, jnp.unsignedinteger) else np.int8)


def needed(name: str) -> ModuleType:
    """A package of the extra ``analysis``."""
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(f'this needs {name}: pip install "jnorm[analysis]"', name=name) from None


def frame(result: Result, hyperparameters: Mapping[str, Sequence[Any]], along: str | Sequence[str], every: int) -> Any:
    """The table of `SweepResult.to_pandas`; ``hyperparameters`` are described values by name."""
    pandas = needed("pandas")
    names = layout(result)
    along = (along,) if isinstance(along, str) else tuple(along)
    for axis in along:
        if axis not in names.sizes:
            raise ValueError(
                f"`along` must name axes of outputs ({', '.join(names.sizes) or 'there are none'}); got {axis!r}"
            )
    if not any(set(along) <= set(axes) for axes in names.axes.values()):
        raise ValueError(f"`along` must name axes of one output; none has {' and '.join(along)}: make a table of each")
    shape = (*result.done.shape, *(names.sizes[axis] for axis in along))
    kept = np.broadcast_to(result.done.reshape(*result.done.shape, *[1] * len(along)), shape).copy()
    kept &= ~_stopped(result, names, along, shape)
    place = np.nonzero(kept)
    columns: dict[str, Any] = {}
    for name, values in hyperparameters.items():
        columns[names.hyperparameters[name]] = pandas.Series(column(values)[0]).take(place[0]).array
    columns["seed"] = np.asarray(result.seeds)[place[1]]
    for k, axis in enumerate(along, 2):
        columns[axis] = place[k] + 1 if axis in TAKEN else place[k]
    if "epoch" in columns and "epoch" in along:
        columns["epoch"] = columns["epoch"] * every
    for name, array in result.outputs.items():
        if set(names.axes[name]) <= set(along):
            columns[names.outputs[name]] = _spread(native(array), names.axes[name], along, shape)[kept]
    columns["failed"] = result.failed[place[0], place[1]]
    return pandas.DataFrame(columns)


def _spread(array: np.ndarray, axes: Sequence[str], along: Sequence[str], shape: Sequence[int]) -> np.ndarray:
    """An array with its axes in the order of ``along``, the same for all places along those that it lacks."""
    order = sorted(range(len(axes)), key=lambda k: along.index(axes[k]))
    array = array.transpose(0, 1, *(2 + k for k in order))
    sizes = iter(array.shape[2:])
    return np.broadcast_to(array.reshape(*array.shape[:2], *(next(sizes) if a in axes else 1 for a in along)), shape)


def _stopped(result: Result, names: Layout, along: Sequence[str], shape: Sequence[int]) -> np.ndarray:
    """Where an early stop has left all outputs along an axis empty."""
    empty = np.zeros(shape, bool)
    for axis in set(along) & set(SHARED.values()):
        rows = [after_the_stop(result.outputs, name) for name, axes in names.axes.items() if axes[:1] == (axis,)]
        if known := [one for one in rows if one is not None]:
            empty |= _spread(np.logical_and.reduce(known), (axis,), along, shape)
    return empty


def dataset(
    result: Result, hyperparameters: Mapping[str, Sequence[Any]], attributes: Mapping[str, Any], every: int
) -> Any:
    """The data set of `SweepResult.to_xarray`; ``hyperparameters`` are described values by name."""
    xarray = needed("xarray")
    names = layout(result)
    runs = ("configuration", "seed")
    variables: dict[str, Any] = {"failed": (runs, result.failed)}
    if not result.done.all():
        variables["done"] = (runs, result.done)
    for name, array in result.outputs.items():
        stored = native(array, half=True)
        told = {} if stored.dtype == array.dtype else {"computed_as": array.dtype.name}
        told |= {} if names.outputs[name] == name else {"called": name}
        variables[names.outputs[name]] = ((*runs, *names.axes[name]), stored, told)
    coordinates: dict[str, Any] = {"seed": list(result.seeds)}
    for axis, size in names.sizes.items():
        if axis in TAKEN:
            coordinates[axis] = np.arange(1, size + 1) * (every if axis == "epoch" else 1)
    for name, values in hyperparameters.items():
        shown, is_json = column(values)
        told = {"written_as": "JSON"} if is_json else {}
        told |= {} if names.hyperparameters[name] == name else {"called": name}
        coordinates[names.hyperparameters[name]] = ("configuration", shown, told)
    attributes = {**attributes, "order": [*names.hyperparameters.values(), *names.outputs.values()]}
    written = {name: v if isinstance(v, str) else json.dumps(v) for name, v in attributes.items() if v is not None}
    return xarray.Dataset(variables, coordinates, written)


def parts(dataset: Any) -> dict[str, Any]:
    """The arguments of the `SweepResult` that a data set was made of, and its other attributes as ``origin``."""
    runs = ("configuration", "seed")
    if not {*runs, "failed"} <= {*dataset.dims, *dataset.variables}:
        raise ValueError(
            f"`dataset` must have dimensions configuration and seed and a variable `failed`; got {dataset}"
        )
    attributes = {name: _read(value) for name, value in dataset.attrs.items()}
    finite, order = attributes.pop("finite", None), attributes.pop("order", [])  # which files of netCDF 3 do not keep
    placed = lambda variables: sorted(
        variables.items(), key=lambda item: order.index(item[0]) if item[0] in order else -1
    )
    configurations: list[dict[str, Any]] = [{} for _ in range(dataset.sizes["configuration"])]
    for label, coordinate in placed(dataset.coords):
        if coordinate.dims == ("configuration",):
            read = json.loads if coordinate.attrs.get("written_as") == "JSON" else lambda value: value
            for one, value in zip(configurations, coordinate.values.tolist(), strict=True):
                one[coordinate.attrs.get("called", label)] = read(value)
    flags = {
        label: dataset[label].transpose(*runs).values.astype(bool) for label in ("failed", "done") if label in dataset
    }
    outputs = {}
    for label, variable in placed(dataset.data_vars):
        if label not in flags:
            array = variable.transpose(*runs, ...).values
            dtype = variable.attrs.get("computed_as", array.dtype.name)
            outputs[variable.attrs.get("called", label)] = array.astype(jnp.dtype(dtype))
    return {
        "outputs": outputs,
        "configurations": tuple(configurations),
        "seeds": tuple(dataset["seed"].values.tolist()),
        "finite": None if finite is None else tuple(finite),
        "origin": attributes or None,
        **flags,
    }


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
