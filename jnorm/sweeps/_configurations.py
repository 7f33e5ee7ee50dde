"""What a sweep runs over: configurations and seeds, checked, described for a file, and put into one order.

The order in which results are computed comes from the contents alone, so that the order in which a caller writes a grid
down changes nothing, not even rounding.
"""

import itertools
import json
import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

Configuration = dict[str, Any]
"""The value of every hyperparameter, by name."""
Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]] | None
"""Values by name, of which the product is meant, or configurations, or none but the seeds."""
SEEDS = 2**31  # jax.random.key would wrap larger numbers silently in 32-bit mode


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
    for equal configurations, and ``TypeError`` for values that are no sequence.

    >>> expand({"depth": (2, 4), "rate": (0.1,)})
    ({'depth': 2, 'rate': 0.1}, {'depth': 4, 'rate': 0.1})
    """
    if grid is None:
        return ({},)
    configurations = _unify_numbers(_product(grid) if isinstance(grid, Mapping) else _listed(grid))
    seen: set[str] = set()
    for configuration in configurations:
        for name, value in configuration.items():
            if value != value:
                raise ValueError(f"`{name}` must not be NaN, which equals nothing")
        if sort_key(configuration) in seen:
            raise ValueError(f"`grid` must not repeat itself; got {describe(configuration)} twice")
        seen.add(sort_key(configuration))
    return configurations


def _product(grid: Mapping[str, Iterable[Any]]) -> tuple[Configuration, ...]:
    axes = {name: _values(name, values) for name, values in grid.items()}
    if not axes:
        raise ValueError("`grid` must name at least one hyperparameter; got an empty one (None runs seeds alone)")
    return tuple(dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))


def _listed(grid: Iterable[Mapping[str, Any]]) -> tuple[Configuration, ...]:
    configurations = tuple({str(name): as_python(value) for name, value in listed.items()} for listed in grid)
    if not configurations:
        raise ValueError("`grid` must hold at least one configuration; got none (None runs seeds alone)")
    for configuration in configurations:
        if set(configuration) != set(configurations[0]):
            odd = ", ".join(f"`{name}`" for name in sorted(set(configuration) ^ set(configurations[0])))
            raise ValueError(f"the configurations of `grid` must have the same names; {odd} is not in all of them")
    return configurations


def _values(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"`{name}` must be a sequence of values; got {values!r}")
    checked = tuple(as_python(value) for value in values)
    if not checked:
        raise ValueError(f"`{name}` must have at least one value; got none")
    seen: set[str] = set()
    for value in checked:
        text = json.dumps(describe(value))
        if text in seen:
            raise ValueError(f"`{name}` must not repeat a value; got {value!r} twice (as it is written down: {text})")
        seen.add(text)
    return checked


def as_python(value: Any) -> Any:
    """Numbers of NumPy and JAX, also arrays without axes, as Python's; everything else as it is."""
    if isinstance(value, np.generic) or (getattr(value, "shape", None) == () and hasattr(value, "item")):
        return value.item()
    return value


def _unify_numbers(configurations: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    """1 and 1.0 under one name are the same value, and a float."""
    floats = {
        name
        for name in configurations[0]
        if all(_is_number(c[name]) for c in configurations) and any(isinstance(c[name], float) for c in configurations)
    }
    return tuple(
        {name: float(value) if name in floats else value for name, value in configuration.items()}
        for configuration in configurations
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


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

    Raises ``ValueError`` for none, for repeated ones and for those outside [0, 2^31), ``TypeError`` for what is no
    whole number.

    >>> seed_numbers(3), seed_numbers([7, 5])
    ((0, 1, 2), (7, 5))
    """
    if isinstance(seeds, bool | str):
        raise TypeError(f"`seeds` must be a count or a sequence of whole numbers; got {seeds!r}")
    try:
        if isinstance(seeds, Iterable) and getattr(seeds, "shape", None) != ():
            whole = tuple(operator.index(seed) for seed in seeds)
        else:
            whole = tuple(range(operator.index(seeds)))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"`seeds` must be a count or a sequence of whole numbers; got {seeds!r}") from None
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

    Raises ``ValueError`` for a name in ``static`` or ``integers`` that the grid has not, for one in both, and for a
    traced value that is no number.
    """
    names = list(configurations[0])
    for option, chosen in (("static", static), ("integers", integers)):
        if isinstance(chosen, str):
            raise TypeError(f"`{option}` must be a sequence of names; got the string {chosen!r}")
        for name in chosen:
            if name not in names:
                known = ", ".join(names)
                raise ValueError(f"`{option}` must name hyperparameters of the grid ({known}); got `{name}`")
    for name in integers:
        if name in static:
            raise ValueError(f"`integers` must name traced hyperparameters; `{name}` is in `static` too")
    members: dict[str, list[tuple[str, int]]] = {}
    for place, configuration in enumerate(configurations):
        for name in names:
            if name not in static and not _is_number(configuration[name]):
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


def as_traced(name: str, values: Sequence[Any], *, whole: bool) -> np.ndarray:
    """A hyperparameter's values as the program gets them: booleans, ``whole`` numbers, or floating numbers.

    Raises ``ValueError`` for a value that its type cannot hold: not whole, beyond the range, a whole number that
    rounding changes, or a small one that becomes 0.

    >>> as_traced("rate", (1, 10), whole=False), as_traced("steps", (1, 10), whole=True)
    (array([ 1., 10.], dtype=float32), array([ 1, 10], dtype=int32))
    """
    if whole:
        dtype = jnp.result_type(int)
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for value in values:
            if value != value // 1 or not low <= value <= high:
                raise ValueError(f"`{name}` must hold whole numbers of {dtype}; got {value!r}")
        return np.asarray([int(value) for value in values], dtype)
    if all(isinstance(value, bool) for value in values):
        return np.asarray(values)
    dtype = jnp.result_type(float)
    with np.errstate(over="ignore"):
        cast = np.asarray([_as_float(value) for value in values]).astype(dtype)
    for value, number in zip(values, cast, strict=True):
        exact = int(number) == value if isinstance(value, numbers.Integral) and np.isfinite(number) else True
        if not exact or (np.isinf(number) and not _is_infinite(value)) or (number == 0 and value != 0):
            say = "name it in `integers` or in `static`" if isinstance(value, numbers.Integral) else "rescale it"
            raise ValueError(f"`{name}` must hold numbers that {dtype} can hold; got {value!r}: {say}")
    return cast


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond float64
        return math.inf


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)
