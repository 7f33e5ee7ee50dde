"""What windows see, and who sees a number."""

from collections.abc import Sequence

import numpy as np


def windows(
    shape: Sequence[int],
    out: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    low: Sequence[int],
    inner: Sequence[int],
    between: Sequence[int],
) -> np.ndarray:
    """The flat indices ``[prod(out), prod(window)]`` that each window sees, -1 outside.

    ``inner`` is the dilation of what is seen, ``between`` that of the window.
    """
    total, inside = np.zeros((1, 1), int), np.ones((1, 1), bool)
    for size, o, w, stride, pad, base, gap in zip(shape, out, window, strides, low, inner, between, strict=True):
        at = np.arange(o)[:, None] * stride + np.arange(w) * gap - pad
        fine = (at % base == 0) & (at >= 0) & (at // base < size)
        each = (len(total) * o, total.shape[1] * w)
        total = (total[:, None, :, None] * size + (at // base)[None, :, None, :]).reshape(each)
        inside = (inside[:, None, :, None] & fine[None, :, None, :]).reshape(each)
    return np.where(inside, total, -1)


def inverse(places: np.ndarray, size: int) -> np.ndarray:
    """Of each of ``size`` places who is there, ``[size, most]``; -1 for nobody, of whom negative places are."""
    order = np.argsort(places, kind="stable")
    order = order[places[order] >= 0]
    there = places[order]
    count = np.bincount(there, minlength=size)
    out = np.full((size, max(count.max(initial=1), 1)), -1)
    out[there, np.arange(len(there)) - (np.cumsum(count) - count)[there]] = order
    return out
