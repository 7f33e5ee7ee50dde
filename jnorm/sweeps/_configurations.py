"""What a sweep runs over: configurations and seeds, checked, described for a file, and put into one order.

The order in which results are computed comes from the contents alone, so that the order in which a caller writes a grid
down changes nothing, not even rounding.
"""

import itertools
import json
import numbers
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, NamedTuple

import jax
import numpy as np

from jnorm.sweeps._numbers import as_python, index, is_number

Configuration = dict[str, Any]
"""The value of every hyperparameter, by name."""
Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]] | None
"""Values by name, of which the product is meant, or configurations, or none but the seeds."""
SEEDS = 2**31  # jax.random.key would wrap larger numbers silently in 32-bit mode
MOST = 2**24  # seeds of one sweep: results are held in memory, and a larger count was meant to be a seed


class Group(NamedTuple):
    """Configurations of one program: they share the static values.

    Attributes:
        static: values that are known when the program is compiled.
        traced: the other values, a configuration each, in canonical order.
        places: where these configurations stand in the caller's order.
    """

    static: Configuration
    traced: tuple[Configuration, ...]
    places: tuple[int, ...]


def expand(grid: Grid) -> tuple[Configuration, ...]:
    """The configurations of a grid: the product of a mapping's sequences, or the mappings of a sequence as they are.

    Raises ``ValueError`` for an empty grid, for an empty or repeated set of values, for mappings of unequal names and
    for equal configurations, and ``TypeError`` for values that are no sequence, or whose order is not their own.

    >>> expand({"depth": (2, 4), "rate": (0.1,)})
    ({'depth': 2, 'rate': 0.1}, {'depth': 4, 'rate': 0.1})
    """
    if grid is None:
        return ({},)
    configurations = _unify_numbers(_product(grid) if isinstance(grid, Mapping) else _listed(grid))
    seen: set[str] = set()
    for configuration in configurations:
        for name, value in configuration.items():
            if is_number(value) and value != value:
                raise ValueError(f"`{name}` must not be NaN, which equals nothing")
        if sort_key(configuration) in seen:
            raise ValueError(f"`grid` must not repeat itself; got {describe(configuration)} twice")
        seen.add(sort_key(configuration))
    return configurations


def _product(grid: Mapping[str, Iterable[Any]]) -> tuple[Configuration, ...]:
    axes = {_name(name, grid): values_of(name, values) for name, values in grid.items()}
    if not axes:
        raise ValueError("`grid` must name at least one hyperparameter; got an empty one (None runs seeds alone)")
    return tuple(dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))


def _listed(grid: Any) -> tuple[Configuration, ...]:
    listed = tuple(grid) if isinstance(grid, Iterable) and not isinstance(grid, str | bytes) else (grid,)
    for configuration in listed:
        if not isinstance(configuration, Mapping):
            raise TypeError(
                f"`grid` must map names to sequences of values, or be a sequence of configurations, which map names to "
                f"single values; got {configuration!r}{'' if configuration is grid else ' in it'}"
            )
    configurations = tuple({_name(n, c): _single(n, value) for n, value in c.items()} for c in listed)
    if not configurations:
        raise ValueError("`grid` must hold at least one configuration; got none (None runs seeds alone)")
    for configuration in configurations:
        if set(configuration) != set(configurations[0]):
            odd = ", ".join(f"`{name}`" for name in sorted(set(configuration) ^ set(configurations[0])))
            raise ValueError(f"the configurations of `grid` must have the same names; {odd} is not in all of them")
    return configurations


def _name(name: Any, where: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"`grid` must have texts as names; got {name!r} in {where!r}")
    return name


def _single(name: str, value: Any) -> Any:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape != ():
        raise TypeError(f"`{name}` must hold single values; got an array of shape {shape}: give tuples of numbers")
    return as_python(value)


def values_of(name: str, values: Any) -> tuple[Any, ...]:
    """A sequence of different values, numbers as Python's."""
    shape = getattr(values, "shape", None)
    not_one_by_one = isinstance(values, str | bytes | Mapping) or hasattr(values, "_fields")  # a NamedTuple is a value
    if not_one_by_one or not isinstance(values, Iterable) or shape == ():
        raise TypeError(f"`{name}` must be a sequence of values; got {values!r}")
    _refuse_set(name, values)
    if isinstance(shape, tuple) and len(shape) > 1:
        raise ValueError(f"`{name}` must be a sequence of single values; got an array of shape {shape}")
    if isinstance(values, jax.Array) and not jax.dtypes.issubdtype(values.dtype, jax.dtypes.extended):
        values = np.asarray(values)  # its values are read here anyway, and one by one they would compile a program
    checked = tuple(_single(name, value) for value in values)
    if not checked:
        raise ValueError(f"`{name}` must have at least one value; got none")
    seen: set[str] = set()
    for value in checked:
        text = json.dumps(describe(value))
        if text in seen:
            raise ValueError(f"`{name}` must not repeat a value; got {value!r} twice (as it is written down: {text})")
        seen.add(text)
    return checked


def _refuse_set(name: str, values: Any) -> None:
    if isinstance(values, set | frozenset):
        raise TypeError(f"`{name}` must be a sequence, as a set has no order; got {values!r}: give a tuple or a list")


def _unify_numbers(configurations: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    """1 and 1.0 under one name are the same value, and a float; a whole number that no float is stays what it is."""
    floats = {
        name
        for name in configurations[0]
        if all(is_number(c[name]) for c in configurations) and any(isinstance(c[name], float) for c in configurations)
    }
    return tuple(
        {
            name: _exact_float(value) if name in floats and not isinstance(value, bool) else value
            for name, value in configuration.items()
        }
        for configuration in configurations
    )


def _exact_float(value: Any) -> Any:
    try:
        return value if isinstance(value, numbers.Integral) and float(value) != value else float(value)
    except OverflowError:
        return value


def describe(value: Any) -> Any:
    """The value as it is written into JSON; a function by its name.

    Raises ``ValueError`` for an object that says nothing about itself but its address.

    >>> import jax
    >>> describe({"activation": jax.nn.selu, "widths": (64, 64)})
    {'activation': 'jax._src.nn.functions.selu', 'widths': [64, 64]}
    """
    value = as_python(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): describe(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [describe(inner) for inner in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if " at 0x" in repr(value):
        raise ValueError(f"{value!r} has no stable name to write down; use a string, a number or a named function")
    return repr(value)


def sort_key(configuration: Mapping[str, Any]) -> str:
    """A text by which configurations are sorted and compared: equal for equal ones, in whatever order of names."""
    return json.dumps(describe(configuration), sort_keys=True)


def seed_numbers(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Seeds as whole numbers; a count n means 0, ..., n - 1.

    Raises ``ValueError`` for none, for repeated ones, for those outside [0, 2^31) and for more than 2^24, ``TypeError``
    for what is no whole number, or has no order.

    >>> seed_numbers(3), seed_numbers([7, 5])
    ((0, 1, 2), (7, 5))
    """
    _refuse_set("seeds", seeds)
    listed = isinstance(seeds, Iterable) and not isinstance(seeds, str | bytes | Mapping)
    listed = listed and getattr(seeds, "shape", None) != ()
    count = len(seeds) if listed and isinstance(seeds, Sized) else index(seeds)
    if count is not None and count > MOST:
        hint = f"; for this one seed give [{count}]" if not listed and count < SEEDS else ""
        raise ValueError(f"`seeds` must be 2^24 at most, as results are held in memory; got {count}{hint}")
    given = [index(seed) for seed in seeds] if listed else [None] if count is None else list(range(count))  # type: ignore[union-attr]
    whole = tuple(seed for seed in given if seed is not None)
    if len(whole) < len(given):
        raise TypeError(f"`seeds` must be a count or a sequence of whole numbers; got {seeds!r}")
    if not whole:
        raise ValueError(f"`seeds` must name at least one seed; got {seeds!r}")
    for seed in whole:
        if not 0 <= seed < SEEDS:
            raise ValueError(f"`seeds` must satisfy 0 <= seed < 2^31; got {seed}")
    if len(set(whole)) < len(whole):
        raise ValueError(f"`seeds` must not repeat one; got {next(s for s in whole if whole.count(s) > 1)} twice")
    return whole


def grouped(
    configurations: Sequence[Configuration], static: Sequence[str], integers: Sequence[str] = ()
) -> tuple[Group, ...]:
    """The configurations by their static values, groups and members in the order of their contents.

    Raises ``ValueError`` for a name in ``static`` or ``integers`` that the grid has not, for one in both, for a traced
    value that is no number, and for booleans among numbers.
    """
    names = list(configurations[0])
    for option, chosen in (("static", static), ("integers", integers)):
        for name in chosen:
            if name not in names:
                known = ", ".join(names)
                raise ValueError(f"`{option}` must name hyperparameters of the grid ({known}); got `{name}`")
    for name in integers:
        if name in static:
            raise ValueError(f"`integers` must name traced hyperparameters; `{name}` is in `static` too")
    for name in names:
        kinds = {isinstance(configuration[name], bool) for configuration in configurations}
        if name not in static and len(kinds) > 1:
            raise ValueError(f"`{name}` must hold booleans or numbers, not both; got {configurations[0][name]!r} first")
    members: dict[str, list[tuple[str, int]]] = {}
    for place, configuration in enumerate(configurations):
        for name in names:
            if name not in static and not is_number(configuration[name]):
                raise ValueError(f"`{name}` must hold numbers, or be named in `static`; got {configuration[name]!r}")
        fixed = sort_key({name: configuration[name] for name in static})
        members.setdefault(fixed, []).append((sort_key(configuration), place))
    groups = []
    for _, group in sorted(members.items()):
        places = tuple(place for _, place in sorted(group))
        shared = {name: configurations[places[0]][name] for name in static}
        traced = tuple({n: v for n, v in configurations[place].items() if n not in static} for place in places)
        groups.append(Group(shared, traced, places))
    return tuple(groups)
