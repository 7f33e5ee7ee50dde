"""Data sets by name, checked as they are read.

>>> data = load("digits")
>>> data.x.shape, data.shape, data.y[:3].tolist(), len(data.classes)
((1797, 64), (8, 8, 1), [0, 1, 2], 10)

- **Bundled** with scikit-learn (extra ``experiments``): digits, breast_cancer, wine, iris, diabetes (a regression).
- **From a folder** of files that you have, named by ``folder`` or else by the environment variable JNORM_DATA:
  ``mnist``, ``uci/<set>``, ``<file>.npz`` and ``<file>.csv``. Nothing is downloaded; the error for a missing file says
  whose it is and where it is published.
- **Checks.** A missing or infinite value, a label out of range, a file cut short or of another kind raises
  ``ValueError`` with the file, the rule and the value.
- **Values** are as published, but for pixels, which are scaled to [0, 1]. Standardize them after the split. The UCI
  sets were standardized before publication, in most sets with a test file each file by itself: in horse-colic,
  image-segmentation, soybean, spect, monks-1 and monks-3 one of the two is on another scale.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jnorm._ground import checks
from jnorm.data import _dataset, _formats, _mnist, _uci
from jnorm.data._dataset import Dataset, Published

__all__ = [
    "Dataset",
    "Published",
    "from_csv",
    "from_npz",
    "load",
    "names",
    "published",
]

_BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def load(name: str = "digits", folder: str | Path | None = None) -> Dataset:
    """A data set by name.

    Args:
        name: digits, breast_cancer, wine, iris or diabetes; from the folder mnist (60 000 training examples, then
            10 000 to test on), uci/<set> (training file, then test file if there is one), <file>.npz or <file>.csv.
        folder: Where mnist/, uci/ and files are; by default the environment variable JNORM_DATA.

    Returns:
        The data set, in NumPy arrays.

    Raises:
        ValueError: An unknown name, no folder where one is needed, a bad file.
        FileNotFoundError: A missing file.
        ImportError: scikit-learn is needed and missing.

    >>> data = load("iris")
    >>> data.classes, data.features[0]
    (('setosa', 'versicolor', 'virginica'), 'sepal length (cm)')
    """
    if name.startswith("uci/"):
        return _uci.load(_root(folder, name), name.removeprefix("uci/"))
    if name.endswith(".npz"):
        return from_npz(_root(folder, name) / name)
    if name.endswith(".csv"):
        return from_csv(_root(folder, name) / name)
    checks.choice("name", name, (*_BUNDLED, "mnist", "uci/<set>", "<file>.npz", "<file>.csv"))
    return _mnist.load(_root(folder, name)) if name == "mnist" else _bundled(name)


def names(folder: str | Path | None = None) -> tuple[str, ...]:
    """The names that `load` knows here: the bundled sets and, where a folder is named, the sets in it.

    Args:
        folder: As in `load`.

    >>> names()[:2]
    ('digits', 'breast_cancer')
    """
    if folder is None and "JNORM_DATA" not in os.environ:
        return _BUNDLED
    root = _root(folder, "names")
    mnist = ["mnist"] if (root / "mnist").is_dir() else []
    files = [path.name for path in sorted([*root.glob("*.npz"), *root.glob("*.csv")])]
    return (*_BUNDLED, *mnist, *(f"uci/{name}" for name in _uci.names(root)), *files)


def published(name: str, folder: str | Path | None = None) -> Published:
    """The splits published with a data set, as indices into what `load` returns.

    Args:
        name: mnist or uci/<set>.
        folder: As in `load`.

    Raises:
        ValueError: A set that has none, no folder where one is needed, a bad file.
        FileNotFoundError: A missing file.

    >>> train, test = published("mnist").holdout
    >>> len(train), len(test)
    (60000, 10000)
    """
    if name == "mnist":
        return _mnist.published()
    if not name.startswith("uci/"):
        raise ValueError(f"`name` must be mnist or uci/<set>, which have published splits; got {name!r}")
    return _uci.published(_root(folder, name), name.removeprefix("uci/"))


def from_npz(path: str | Path) -> Dataset:
    """A set from an npz file.

    It holds arrays ``x`` [examples, ...] and ``y`` [examples], and possibly ``classes``. Whole labels are those of
    classes 0, 1, ..., which ``classes`` names; floating labels are a regression.

    Args:
        path: The file.

    Raises:
        ValueError: A bad file.
        FileNotFoundError: A missing file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", x=np.ones((3, 8, 8, 1)), y=[0, 1, 1], classes=["dog", "cat"])
    ...     data = from_npz(f"{folder}/mine.npz")
    >>> data.x.shape, data.shape, data.classes
    ((3, 64), (8, 8, 1), ('dog', 'cat'))
    """
    path = Path(path)
    arrays = _formats.read_npz(path)
    if not {"x", "y"} <= set(arrays):
        raise ValueError(f"{path}: must hold arrays x and y; got {', '.join(sorted(arrays)) or 'none'}")
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != x.shape[:1] or y.size == 0:
        raise ValueError(f"{path}: must hold x [examples, ...] and y [examples]; got shapes {x.shape} and {y.shape}")
    if {x.dtype.kind, y.dtype.kind} - set("biuf"):
        raise ValueError(f"{path}: must hold real numbers; got x of {x.dtype} and y of {y.dtype}")
    _formats.finite(path, x)
    classes: Sequence[str] = ()
    if y.dtype.kind == "f":
        _formats.finite(path, y)
    else:
        classes = [str(c) for c in arrays.get("classes", range(max(0, int(y.max())) + 1))]
        y = _formats.labels(path, y, len(classes))
    return _dataset.build(x.reshape(len(x), -1), y, path.stem, classes, (), str(path), shape=x.shape[1:])


def from_csv(path: str | Path, *, target: str | None = None, regression: bool = False) -> Dataset:
    r"""A set from a CSV file: a line of column names, then numbers, and one column of labels.

    Labels are the names of classes, in the order of numbers if they are, else of the alphabet.

    Args:
        path: The file.
        target: The column of labels; by default the last.
        regression: Labels are numbers to be predicted, not classes.

    Raises:
        ValueError: A bad file, an unknown target.
        FileNotFoundError: A missing file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "pets.csv").write_text("kind,weight\ndog,12\ncat,4\n")
    ...     data = from_csv(f"{folder}/pets.csv", target="kind")
    >>> data.x.tolist(), data.y.tolist(), data.classes
    ([[12.0], [4.0]], [1, 0], ('cat', 'dog'))
    """
    path = Path(path)
    columns, rows = _formats.read_csv(path)
    if target is not None:
        checks.choice("target", target, columns)
    at = len(columns) - 1 if target is None else columns.index(target)
    x = _formats.numbers(path, [row[:at] + row[at + 1 :] for row in rows])
    labels = [row[at].strip() for row in rows]
    features = columns[:at] + columns[at + 1 :]
    if regression:
        y = _formats.numbers(path, [[label] for label in labels])[:, 0]
        return _dataset.build(x, y, path.stem, (), features, str(path))
    for i, label in enumerate(labels, 1):
        if label.lower() in ("", "nan"):
            raise ValueError(f"{path}: must hold a label for each example; got {label!r} at example {i}")
    classes = sorted(set(labels), key=float if all(map(_formats.is_number, labels)) else None)
    code = {label: i for i, label in enumerate(classes)}
    return _dataset.build(x, np.array([code[label] for label in labels]), path.stem, classes, features, str(path))


def _bundled(name: str) -> Dataset:
    try:
        from sklearn import datasets as sklearn
    except ImportError as error:
        message = f'the data set {name} comes with scikit-learn: pip install "jnorm[experiments]"'
        raise ImportError(message) from error
    source = "scikit-learn, sklearn.datasets"
    if name == "digits":
        bunch = sklearn.load_digits()
        return _dataset.from_images(bunch.images, 16, bunch.target.astype(np.int32), name, source)
    if name == "diabetes":
        bunch = sklearn.load_diabetes(scaled=False)
        return _dataset.build(bunch.data, bunch.target, name, (), bunch.feature_names, source)
    bunch = getattr(sklearn, f"load_{name}")()
    return _dataset.build(bunch.data, bunch.target, name, bunch.target_names, bunch.feature_names, source)


def _root(folder: str | Path | None, name: str) -> Path:
    """The folder of files."""
    folder = os.environ.get("JNORM_DATA") if folder is None else folder
    if not folder:
        raise ValueError(f"`folder`, or else the variable JNORM_DATA, must name the folder of {name}; got none")
    return Path(folder)
