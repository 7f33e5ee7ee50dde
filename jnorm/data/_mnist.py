"""MNIST as published: four IDX files, with or without .gz."""

import hashlib
from pathlib import Path

import numpy as np

from jnorm.data import _dataset, _formats

SOURCE = "MNIST (LeCun, Cortes, Burges), published at yann.lecun.com/exdb/mnist"
# Of the published files, decompressed: a copy that was compressed anew is the same data.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(folder: Path) -> _dataset.Dataset:
    """The 60 000 training examples, then the 10 000 test examples, from ``mnist/`` in the folder.

    The content of the files must have the published MD5 checksums.
    """
    arrays = []
    for name, digest in MD5.items():
        candidates = [folder / "mnist" / f"{name}{suffix}" for suffix in (".gz", "")]
        path = next((p for p in candidates if p.exists()), candidates[0])
        content = _formats.read(path, SOURCE)
        arrays.append(_formats.parse_idx(path, content))
        if (got := hashlib.md5(content, usedforsecurity=False).hexdigest()) != digest:
            raise ValueError(f"{path}: must hold what was published, content of MD5 {digest}; got {got}")
    images, y = np.concatenate(arrays[::2]), np.concatenate(arrays[1::2]).astype(np.int32)
    return _dataset.from_images(images, 255, y, "mnist", SOURCE)


def published() -> _dataset.Published:
    """The two parts of the published files."""
    return _dataset.Published(None, (), _dataset.holdout(60000, 10000))
