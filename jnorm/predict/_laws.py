"""What parameters are: independent draws of one law, or numbers that are known."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

FEWEST = 8  # numbers from which a law can be told


@dataclasses.dataclass(frozen=True)
class Law:
    """The law of a parameter: independent draws with mean zero, or the numbers that it has.

    Attributes:
        kind: ``"normal"``, ``"uniform"``, ``"other"`` (only the variance is known) or ``"known"``.
        var: The variance of a draw; of known numbers it does not count.
    """

    kind: str
    var: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("normal", "uniform", "other", "known"):
            raise ValueError(f"`kind` must be 'normal', 'uniform', 'other' or 'known'; got {self.kind!r}")
        if not 0 <= self.var < math.inf:
            raise ValueError(f"`var` must be finite and >= 0; got {self.var}")


def laws(*draws: Any) -> Any:
    """The law of each parameter, recognized from draws of an initializer: the more there are, the better it is known.

    Numbers that are the same in all draws, such as zeros and ones, are known. Others are told by their kurtosis and by
    their largest number; the variance is that of the one usual initializer which agrees with it within two and a half
    standard errors (``1 / fan``, ``2 / fan``, ``1``, ``0.01^2``, ``0.02^2``), else the one that is measured.

    Args:
        *draws: Parameters, pytrees of arrays of the same structure and shapes.

    Returns:
        The tree with a `Law` at each leaf.

    Raises:
        TypeError: No draws.
        ValueError: Draws of several structures, or numbers that are draws of no law with mean zero.

    >>> import jax.numpy as jnp
    >>> init = lambda key: {"w": jax.random.normal(key, (64, 32)) / 8, "b": jnp.zeros(32)}
    >>> laws(*map(init, jax.random.split(jax.random.key(0), 4)))
    {'b': Law(kind='known', var=0.0), 'w': Law(kind='normal', var=0.015625)}
    """
    if not draws:
        raise TypeError("`draws` must be parameters, one draw at least")
    structures: list[Any] = [jax.tree.structure(draw) for draw in draws]
    if any(other != structures[0] for other in structures):
        raise ValueError(f"`draws` must have one structure; got {structures[0]} and others")

    def of_leaf(path: Any, *leaves: Any) -> Law:
        if not _is_drawn(leaves[0]):
            return Law("known")
        numbers = np.stack([np.asarray(leaf).astype(np.float64) for leaf in leaves])
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return Law("known") if np.all(numbers == numbers[0]) and len(draws) > 1 else recognized(numbers, name)

    return jax.tree.map_with_path(of_leaf, *draws)


def _is_drawn(leaf: Any) -> bool:
    """Whether a leaf is an array of floating numbers, in which draws can be."""
    if not hasattr(leaf, "dtype") or _is_key(leaf):
        return False
    return bool(np.issubdtype(leaf.dtype, np.floating)) or leaf.dtype.name == "bfloat16"


def _is_key(leaf: Any) -> bool:
    return bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended))


def of_leaves(params: Any, laws: Any) -> list[tuple[str, Law]]:
    """Path and law of every leaf; those laws that are not given are recognized.

    Raises:
        TypeError: A leaf is no array of numbers.
        ValueError: Laws of another structure, or numbers that are draws of no law that is known.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    given: list[Any] = [None] * len(leaves)
    if laws is not None:
        try:
            given = structure.flatten_up_to(laws)  # type: ignore[attr-defined]
            wrong = [law for law in given if not (law is None or isinstance(law, Law))]
            fits = jax.tree_util.all_leaves(wrong)
        except ValueError:
            fits = False
        if not fits:
            other = jax.tree.structure(laws, is_leaf=lambda law: law is None or isinstance(law, Law))
            raise ValueError(f"`laws` must have the structure of `params`, {structure}; got {other}")
        if wrong:
            raise ValueError(f"`laws` must hold jnorm.predict.Law or None; got {wrong[0]!r}")
    found = []
    for (path, leaf), law in zip(leaves, given, strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not _is_drawn(leaf):
            law = Law("known")
        found.append((name, law or recognized(np.asarray(leaf).astype(np.float64)[None], name)))
    return found


def recognized(numbers: np.ndarray, name: str) -> Law:
    """The law of a leaf, of ``[draws, ...]``.

    Constants, and leaves of a few numbers, are known. Others must have mean zero and the same variance in each of their
    slices, within five standard errors; uniform ones are told from others by the largest number.
    """
    size, flat = numbers.size, numbers.ravel()
    if size < FEWEST or np.all(flat == flat[0]):
        return Law("known")
    if not np.all(np.isfinite(flat)):
        raise ValueError(f"parameter `{name}` is not finite")
    squares = np.square(numbers)
    var = float(squares.mean())
    if abs(flat.mean()) > 5 * math.sqrt(var / size):
        raise ValueError(
            f"parameter `{name}` has mean {flat.mean():.3g} at a deviation of {math.sqrt(var):.3g}: no independent "
            "draws with mean zero; give its law in `laws`, Law('known') if these numbers are to stay"
        )
    kurtosis = float(np.mean(np.square(squares))) / var**2
    for axis in range(numbers.ndim):
        rest = size // numbers.shape[axis]
        if numbers.shape[axis] == 1 or rest < FEWEST:
            continue
        each = squares.mean(tuple(i for i in range(numbers.ndim) if i != axis)) / var - 1
        allowed = 1.5 + 5 / math.sqrt(len(each))
        if np.mean(each**2) > allowed * max(kurtosis - 1, 0.2) / rest:
            where = f"along axis {axis - 1}" if axis else "between draws"
            raise ValueError(
                f"parameter `{name}` differs in size {where} by more than draws of one law do, as trained "
                "weights do; give its law in `laws`, Law('known') if these numbers are to stay"
            )
    limit = float(np.abs(flat).max()) * (size + 1) / size
    if abs(kurtosis - 1.8) < 5 * math.sqrt(1.2 / size) and abs(var / (limit**2 / 3) - 1) < 5 / math.sqrt(size):
        return Law("uniform", limit**2 / 3)
    return Law(
        "normal" if abs(kurtosis - 3) < 5 * math.sqrt(24 / size) else "other", _usual(numbers.shape, var, kurtosis)
    )


def _usual(shape: tuple[int, ...], var: float, kurtosis: float) -> float:
    """The variance of the one usual initializer within two and a half standard errors, else the sample's own."""
    size, outer = math.prod(shape), shape[-1]
    inner = math.prod(shape[1:-1])
    usual = {scale / fan for scale in (1.0, 2.0) for fan in (inner, outer, (inner + outer) / 2)} | {
        0.02**2,
        0.01**2,
        1.0,
    }
    near = [v for v in usual if abs(v / var - 1) < 2.5 * math.sqrt(max(kurtosis - 1, 0.1) / size)]
    return near[0] if len(near) == 1 and len(shape) > 2 else var
