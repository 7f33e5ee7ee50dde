"""Which runs of a sweep have diverged, by which outputs, and since when."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

_TO_THE_STOP = ("curve_", "probe_", "step_")


def not_finite(
    outputs: Mapping[str, np.ndarray], runs: int, finite: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Where each of ``runs`` runs, the first axis of every output, is first not finite: -1 for nowhere.

    By output, an index along its first further axis, 0 without one. The rule is in `SweepResult`.

    >>> not_finite({"loss": np.array([[1.0, 0.5], [9.0, np.inf]]), "accuracy": np.array([0.9, 0.1])}, 2)["loss"]
    array([-1,  1])
    """
    explicit = outputs.get("diverged")
    if finite is None and explicit is not None and explicit.dtype == bool and explicit.ndim == 1:
        return {"diverged": np.where(explicit, 0, -1)}
    epochs = outputs.get("epochs")
    if epochs is not None and (epochs.ndim > 1 or not np.issubdtype(epochs.dtype, np.integer)):
        epochs = None
    chosen = outputs if finite is None else finite
    names = [name for name in chosen if jnp.issubdtype(outputs[name].dtype, jnp.inexact)]
    return {name: _first(name, outputs[name], runs, epochs) for name in names}


def failed_runs(outputs: Mapping[str, np.ndarray], runs: int, finite: Sequence[str] | None = None) -> np.ndarray:
    """Which of ``runs`` runs diverged.

    >>> failed_runs({"loss": np.array([0.1, np.nan]), "curve": np.array([[1.0, 0.2], [np.nan, np.nan]])}, 2)
    array([False,  True])
    """
    failed = np.zeros(runs, bool)
    for steps in not_finite(outputs, runs, finite).values():
        failed |= steps >= 0
    return failed


def after_the_stop(outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Which rows of an output [configuration, seed, row, ...] an early stop left empty; None where nothing tells.

    >>> curve = np.array([[[0.5, 0.4, np.nan], [0.5, np.nan, np.nan]]])
    >>> after_the_stop({"epochs": np.array([[2, 3]]), "curve_loss": curve}, "curve_loss").tolist()
    [[[False, False, True], [False, False, False]]]
    """
    array, epochs = outputs[name], outputs.get("epochs")
    told = epochs is not None and epochs.ndim == 2 and np.issubdtype(epochs.dtype, np.integer)
    if not told or not name.startswith(_TO_THE_STOP) or not jnp.issubdtype(array.dtype, jnp.inexact) or array.ndim < 3:
        return None
    assert epochs is not None
    runs = array.reshape(-1, *array.shape[2:])
    return _after_the_stop(runs, epochs.ravel(), by_epoch=not name.startswith("step_")).reshape(array.shape[:3])


def _first(name: str, array: np.ndarray, runs: int, epochs: np.ndarray | None) -> np.ndarray:
    bad = ~np.isfinite(array)  # works for bfloat16 too
    if not bad.any():
        return np.full(runs, -1)
    if array.ndim == 1:
        return np.where(bad, 0, -1)
    bad = bad.reshape(runs, array.shape[1], -1).any(2)
    if epochs is not None and name.startswith(_TO_THE_STOP):
        bad &= ~_after_the_stop(array, epochs, by_epoch=not name.startswith("step_"))
    return np.where(bad.any(1), bad.argmax(1), -1)


def _after_the_stop(array: np.ndarray, epochs: np.ndarray, *, by_epoch: bool) -> np.ndarray:
    """The rows of NaN at the end that an early stop left: after as many as there were epochs, or a multiple of it."""
    runs, length = array.shape[:2]
    blank = np.isnan(array).reshape(runs, length, -1).all(2)
    kept = length - np.cumprod(blank[:, ::-1], 1).sum(1)
    stopped = kept == epochs if by_epoch else (kept > 0) & (kept % np.maximum(epochs, 1) == 0)
    return stopped[:, None] & (np.arange(length) >= kept[:, None])
