"""Mean, second moment and correlation of a value, over its explicit indices."""

import numpy as np

from jnorm.predict._values import LARGE, Random, diagonal, second, select

PAIRS = 256  # explicit indices of which moments are shown, where they are many


def moments(value: Random) -> tuple[float, float, float]:
    """Mean, second moment and correlation of a value, over its explicit indices."""
    shape = [size for size in value.small if size > 1] or [1]
    first = next((unit for atoms in value.axes for size, unit in atoms if size > 1), True)
    lead = 1 if first else shape[0]  # of examples, before which there may be axes of length one
    index = np.arange(value.size).reshape(lead, -1)
    squares = diagonal(value) + value.mean**2
    mean, moment = float(value.mean.mean()), float(squares.mean())
    if value.size > LARGE:  # correlations of some
        rng = np.random.default_rng(0)
        index = index[np.sort(rng.choice(lead, min(lead, PAIRS // 4), replace=False))]
        lead = len(index)
        some = rng.choice(index.shape[1], max(PAIRS // lead, 1), replace=index.shape[1] < PAIRS // lead)
        index = index[:, some]
        value = select(value, index.ravel(), (((index.size, False),),))
        index = np.arange(index.size).reshape(index.shape)
    gram = second(value, value)
    root = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    cosines = gram / np.where(root == 0, np.inf, root)[:, None] / np.where(root == 0, np.inf, root)
    if lead > 1:
        i, j = (k[:, :, None] for k in np.broadcast_arrays(np.arange(lead)[:, None], np.arange(lead)))
        at = cosines[index[i, np.arange(index.shape[1])], index[j, np.arange(index.shape[1])]]
        pairs = at[~np.eye(lead, dtype=bool)]
    else:
        pairs = cosines[~np.eye(len(cosines), dtype=bool)]
    return mean, moment, float(pairs.mean()) if pairs.size else float("nan")
