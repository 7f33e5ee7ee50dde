"""Which axes of a user's parameters grow with the width: the shapes of an initialization at two widths, compared."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jnorm import paths
from jnorm._ground import checks

LAYOUTS = ("in-out", "out-in")
_PLAIN = ("value", "raw_value")  # what Flax's variables call the array that they hold
Init = Callable[[jax.Array, int], Any]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Tensor(NamedTuple):
    """A parameter, and what the width does to it.

    Attributes:
        path: Where it is, as in `jnorm.paths`.
        shape: Its shape at the width asked for.
        kind: "hidden" where fan-in and fan-out grow, "input" where fan-out alone does, "vector" likewise but without
            an input axis (biases, gains), "output" where fan-in alone does, "fixed" where nothing does.
        fan_in: Fan-in over that at the base width.
        fan_out: Fan-out over that at the base width.
    """

    path: str
    shape: tuple[int, ...]
    kind: str
    fan_in: float
    fan_out: float


def tensors(
    init: Init,
    width: int,
    base: int,
    layout: str = "in-out",
    inputs: Mapping[str, Sequence[int]] | None = None,
) -> tuple[tuple[Tensor, ...], Any]:
    """The parameters of ``init(key, width)`` beside those at the base width, and their tree; nothing is computed.

    Args:
        init: ``init(key, width)`` returns a pytree of arrays.
        width: The width asked for.
        base: That with which fans are compared. Axes are found by it and ``width``, or twice itself if they are equal.
        layout: Where a kernel's inputs are, "in-out" or "out-in".
        inputs: Input axes of the parameters under a path, in the place of what the layout says.

    Raises:
        TypeError: ``init`` returns something else than arrays.
        ValueError: An unknown layout or path; no axis moves; more than two do; names or ranks differ.
    """
    checks.whole(1, width=width, base=base)
    checks.choice("layout", layout, LAYOUTS)
    other = width if width != base else 2 * base
    (first, base_tree), (second, other_tree) = _shapes(init, base), _shapes(init, other)
    ranks = [{path: len(shape) for path, shape in shapes} for shapes in (first, second)]
    if unequal := sorted(path for path, _ in ranks[0].items() ^ ranks[1].items()):
        raise ValueError(
            f"`init` must return arrays of the same names and numbers of axes at all widths; at {base} and {other} "
            f"{unequal[0]} differs"
        )
    if first == second:
        shown = ", ".join(f"{path} {shape}" for path, shape in first[:6]) + (", ..." if len(first) > 6 else "")
        raise ValueError(
            f"`init` must return arrays of which an axis grows with the width; at {base} and {other} all have the "
            f"same shapes: {shown or 'there are none'}"
        )
    actual, tree = (dict(second), other_tree) if width != base else (dict(first), base_tree)
    axes = _named_axes(inputs or {}, tree)
    found = []
    for (path, a), (_, b) in zip(first, second, strict=True):
        moving = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        named = axes[path] if path in axes else _input_axes(path, len(a), moving, layout)
        ratio = [new / old if old else 1.0 for new, old in zip(actual[path], a, strict=True)]
        if bad := [i for i in named if not 0 <= i < len(a)]:
            raise ValueError(f"`inputs` must name axes of {path}, which has {len(a)}; got {bad[0]}")
        fan_in = math.prod(ratio[i] for i in named)
        fan_out = math.prod(ratio[i] for i in range(len(a)) if i not in named)
        kind = _kind(any(i in named for i in moving), any(i not in named for i in moving), bool(named))
        found.append(Tensor(path, actual[path], kind, fan_in, fan_out))
    return tuple(found), tree


def _kind(grows_in: bool, grows_out: bool, has_inputs: bool) -> str:
    if grows_in:
        return "hidden" if grows_out else "output"
    return ("input" if has_inputs else "vector") if grows_out else "fixed"


def _shapes(init: Init, width: int) -> tuple[Shapes, Any]:
    """Paths and shapes at a width, traced without a device."""
    try:
        made = jax.eval_shape(lambda: init(jax.random.key(0), width))
    except TypeError as error:
        if "JAX type" not in str(error):
            raise
        raise TypeError(
            "`init` must return a pytree of arrays alone, such as nnx.state(model, nnx.Param) or equinox.filter(model, "
            f"equinox.is_array); {error}"
        ) from error
    flat, tree = jax.tree.flatten_with_path(made)
    return tuple((named(path), tuple(leaf.shape)) for path, leaf in flat), tree


def named(path: Any) -> str:
    """The name of a place in a tree, as `jnorm.paths` writes it."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _named_axes(inputs: Mapping[str, Sequence[int]], tree: Any) -> dict[str, tuple[int, ...]]:
    """The input axes that a user names, by full path."""
    found = {}
    skeleton = jax.tree.unflatten(tree, [0.0] * tree.num_leaves)
    for prefix, axes in inputs.items():
        for path, hit in jax.tree.leaves_with_path(paths.mask(skeleton, prefix)):
            if hit:
                found[named(path)] = tuple(axes)
    return found


def _input_axes(path: str, ndim: int, moving: Sequence[int], layout: str) -> tuple[int, ...]:
    """The axes that are summed over, as far as the layout and what moves can tell."""
    name = next((part for part in reversed(path.split("/")) if part not in _PLAIN), "")
    if ndim <= 1 or name == "bias":
        return ()
    if len(moving) > 2:
        raise ValueError(
            f"`inputs` must name the input axes of {path}, of which {len(moving)} axes grow with the width: write "
            f"inputs={{{path!r}: (0,)}}, say"
        )
    candidates = moving if len(moving) == 2 else range(ndim)
    out = candidates[-1 if layout == "in-out" else 0]
    return tuple(i for i in range(ndim) if i != out)
