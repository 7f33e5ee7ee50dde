"""Many differences of two groups at once, with one error for all of them."""

import numpy as np

ORDERS = 4000
ROUNDING = 1e-5  # a difference of logarithms that is not looked at


def family(first: np.ndarray, then: np.ndarray, level: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The differences in standard errors, and beyond which one of them is significant.

    ``z = (mean a - mean b) / sqrt(var a / n + var b / n + ROUNDING^2)`` for each column, and the ``1 - level`` quantile
    of the largest ``|z|`` of all columns, over random orders of the rows of both groups; the order that there is counts
    among them. Where both groups are alike, any ``|z|`` is beyond it with probability ``level`` at most, whatever the
    columns have in common.
    Source: Westfall, Young 1993, Resampling-based multiple testing, section 2.

    Args:
        first: Runs of the one group, ``[runs, columns]``; columns that hold NaN are left out.
        then: As many of the other.
        level: The probability.
        rng: What draws the orders.

    Returns:
        ``[columns]``, and the limit.
    """
    runs = len(first)
    pooled = np.clip(np.concatenate([first, then]).astype(np.float64), -1e3, 1e3)
    left_out = np.isnan(pooled).any(0)
    pooled[:, left_out] = 0.0
    centred = pooled - pooled.mean(0)
    orders = np.argsort(rng.random((ORDERS, 2 * runs)), 1) < runs
    orders[0] = np.arange(2 * runs) < runs
    every = np.concatenate([_differences(centred, part) for part in np.array_split(orders, 20)])
    largest = np.max(np.abs(every), 1, initial=0.0)
    # The smallest limit that a share `level` of the orders, this one among them, can pass.
    limit = np.sort(largest)[::-1][int(np.floor(level * ORDERS))]
    return np.where(left_out, np.nan, every[0]), float(limit)


def _differences(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``[orders, columns]``."""
    runs = values.shape[0] // 2
    one = chosen.astype(np.float64)
    total, squares = values.sum(0), np.square(values).sum(0)
    mean, power = one @ values / runs, one @ np.square(values) / runs
    rest, other = total / runs - mean, squares / runs - power
    spread = (np.maximum(power - mean**2, 0) + np.maximum(other - rest**2, 0)) / (runs - 1)
    return np.asarray((mean - rest) / np.sqrt(spread + ROUNDING**2))
