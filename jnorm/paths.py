"""Parts of a pytree, chosen by path: what a penalty, an initializer or an optimizer mask acts on.

A path is the keys from the root to a leaf joined by ``/``, as ``"encoder/0/kernel"``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

__all__ = [
    "Where",
    "mask",
]

Where = str | Sequence[str] | Callable[[str, Any], Any] | None
"""Which leaves: a path prefix, several of them, a predicate ``(path, leaf) -> bool``, or ``None`` for every leaf."""


def mask(tree: Any, where: Where) -> Any:
    """A tree of booleans of the same structure, true on the chosen leaves, which serves ``optax.masked`` as it is.

    Args:
        tree: Any pytree.
        where: Which leaves. A prefix ends where a key ends: ``"layer/1"`` does not choose ``"layer/10/kernel"``.

    Returns:
        The tree of booleans.

    Raises:
        ValueError: A prefix or the predicate chooses no leaf; the paths of the tree are listed.

    >>> params = {"dense": {"kernel": 1.0, "bias": 2.0}, "head": 3.0}
    >>> mask(params, "dense")
    {'dense': {'bias': True, 'kernel': True}, 'head': False}
    >>> mask(params, lambda path, leaf: path.endswith("kernel"))
    {'dense': {'bias': False, 'kernel': True}, 'head': False}
    """
    flat, treedef = jax.tree.flatten_with_path(tree)
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat]
    if where is None:
        chosen = [True] * len(flat)
    elif callable(where):
        chosen = [bool(where(path, leaf)) for path, (_, leaf) in zip(paths, flat, strict=True)]
        _require_any(chosen, "`where` chooses no leaf", paths)
    else:
        chosen = [False] * len(flat)
        for prefix in [where] if isinstance(where, str) else where:
            hits = [path == prefix or path.startswith(prefix + "/") for path in paths]
            _require_any(hits, f"no leaf under the path `{prefix}`", paths)
            chosen = [a or b for a, b in zip(chosen, hits, strict=True)]
    return jax.tree.unflatten(treedef, chosen)


def _require_any(hits: Sequence[bool], problem: str, paths: Sequence[str]) -> None:
    if not any(hits):
        shown = ", ".join(paths[:20]) + (", ..." if len(paths) > 20 else "")
        raise ValueError(f"{problem}; the tree has {shown or 'no leaves'}")
