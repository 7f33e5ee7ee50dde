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
- **Values** are as published, but for pixels, which are scaled to [0, 1]. Standardize them after the split.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jnorm._ground import checks
from jnorm.data import _formats as formats
from jnorm.data.splits import Fold

__all__ = [
    "BUNDLED",
    "Dataset",
    "Folder",
    "Published",
    "from_csv",
    "from_npz",
    "load",
    "mnist",
    "names",
    "published",
    "uci",
]

BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
Folder = str | Path | None

_MNIST_SOURCE = "MNIST (LeCun, Cortes, Burges), published at yann.lecun.com/exdb/mnist"
_UCI_SOURCE = (
    "the 121 UCI sets of Fernandez-Delgado, Cernadas, Barro, Amorim (JMLR 15, 2014), published as data.tar.gz at "
    "persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr"
)
# Of the published files, decompressed: a copy that was compressed anew is the same data.
_MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("x", "y"),
    meta_fields=("name", "classes", "features", "shape", "source"),
)
@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and their labels, which are the arrays of a pytree, and static facts about them."""

    x: Any  # float32 [examples, features]; x.reshape(-1, *shape) restores images
    y: Any  # int32 [examples]; float32 for a regression
    name: str
    classes: tuple[str, ...]  # names; none for a regression
    features: tuple[str, ...]  # names; none for pixels
    shape: tuple[int, ...]  # of one example, (height, width, channels) for an image
    source: str  # who made it, and where it is published


class Published(NamedTuple):
    """The splits that come with a data set, arrays of indices.

    UCI: ``tuning`` chooses hyperparameters; a model is judged by ``holdout`` where there is one and by the mean over
    ``folds`` elsewhere. These are four independent divisions 3 : 1 of the training file, not a partition: their test
    sets overlap, and about a third of the examples is in none of them.
    """

    tuning: Fold | None
    folds: tuple[Fold, ...]
    holdout: Fold | None


def load(name: str = "digits", folder: Folder = None) -> Dataset:
    """A data set by name: digits, breast_cancer, wine, iris, diabetes, mnist, uci/<set>, <file>.npz or <file>.csv.

    Raises ``ValueError`` for an unknown name, for a folder that is needed and not named, and for bad files;
    ``FileNotFoundError`` for a missing file; ``ImportError`` where scikit-learn is needed and missing.

    >>> data = load("iris")
    >>> data.classes, data.features[0]
    (('setosa', 'versicolor', 'virginica'), 'sepal length (cm)')
    """
    if name.startswith("uci/"):
        return uci(name.removeprefix("uci/"), folder)
    if name.endswith(".npz"):
        return from_npz(_folder(folder, name) / name)
    if name.endswith(".csv"):
        return from_csv(_folder(folder, name) / name)
    checks.choice("name", name, (*BUNDLED, "mnist", "uci/<set>", "<file>.npz", "<file>.csv"))
    return mnist(folder) if name == "mnist" else _bundled(name)


def names(folder: Folder = None) -> tuple[str, ...]:
    """The names that `load` knows here: the bundled sets and, where a folder is named, the sets in it.

    >>> names()[:2]
    ('digits', 'breast_cancer')
    """
    if folder is None and "JNORM_DATA" not in os.environ:
        return BUNDLED
    root = _folder(folder, "names")
    found = ["mnist"] if (root / "mnist").is_dir() else []
    found += [f"uci/{path.parent.name}" for path in sorted(root.glob("uci/*/*.txt")) if path.stem == path.parent.name]
    found += [path.name for path in sorted([*root.glob("*.npz"), *root.glob("*.csv")])]
    return (*BUNDLED, *found)


def published(name: str, folder: Folder = None) -> Published:
    """The splits published with ``mnist`` (60 000 and 10 000 examples) or ``uci/<set>``: indices into its `load`.

    Raises ``ValueError`` for a set that has none and for bad files; ``FileNotFoundError`` for a missing file.
    """
    if name == "mnist":
        return Published(None, (), _holdout(60000, 10000))
    if not name.startswith("uci/"):
        raise ValueError(f"`name` must be mnist or uci/<set>, which have published splits; got {name!r}")
    name = name.removeprefix("uci/")
    at = _folder(folder, name) / "uci" / name
    facts = _uci_facts(at / f"{name}.txt")
    sizes = facts.sizes
    (tuning,) = _uci_folds(at / "conxuntos.dat", sizes[0], 1)
    folds = _uci_folds(at / "conxuntos_kfold.dat", sizes[0], 4)
    return Published(tuning, folds, _holdout(*sizes) if len(sizes) > 1 else None)


def mnist(folder: Folder = None) -> Dataset:
    """MNIST from ``mnist/`` in the folder: four IDX files, with or without .gz; 60 000 training, 10 000 test examples.

    Their content must have the published MD5 checksums; other data in this format can be read by `formats.read_idx`.
    Raises ``ValueError`` for other content and ``FileNotFoundError`` for a missing file.
    """
    at = _folder(folder, "mnist") / "mnist"
    arrays = []
    for name, digest in _MNIST_MD5.items():
        path = next((p for p in (at / f"{name}.gz", at / name) if p.exists()), at / f"{name}.gz")
        content = formats.read(path, _MNIST_SOURCE)
        arrays.append(formats.parse_idx(path, content))
        if (got := hashlib.md5(content, usedforsecurity=False).hexdigest()) != digest:
            raise ValueError(f"{path}: must hold what was published, content of MD5 {digest}; got {got}")
    x = np.concatenate(arrays[::2])
    y = np.concatenate(arrays[1::2]).astype(np.int32)
    return _images(x, 255, y, "mnist", _MNIST_SOURCE)


def uci(name: str, folder: Folder = None) -> Dataset:
    """A set in the layout of the 121 UCI sets, from ``uci/<name>/``: the training file, then the test file if any.

    ``<name>.txt`` says how many features, classes and files there are and what these are called; each has a line of
    names, then lines of number, features and class. Values were standardized before publication, in most sets with a
    test file each file by itself: in horse-colic, image-segmentation, soybean, spect, monks-1 and monks-3 one of the
    two is on another scale. `published` has the splits.

    Raises ``ValueError`` for bad files and ``FileNotFoundError`` for a missing one.
    Source: Fernandez-Delgado et al., *Do we need hundreds of classifiers?*, JMLR 15 (2014).
    """
    at = _folder(folder, f"uci/{name}") / "uci" / name
    facts = _uci_facts(at / f"{name}.txt")
    parts = []
    for file, size in zip(facts.files, facts.sizes, strict=True):
        path = at / file
        first, *rows = [line.split() for line in formats.text(path, _UCI_SOURCE).splitlines() if line.strip()] or [[]]
        if len(rows) != size:
            raise ValueError(f"{path}: must hold {size} examples, by {name}.txt; got {len(rows)}")
        table = formats.numbers(path, formats.rectangular(path, rows, facts.features + 2))
        parts.append((table[:, 1:-1], formats.labels(path, table[:, -1], facts.classes), first[:-1]))
    x, y = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:2])
    return _dataset(x, y, f"uci/{name}", map(str, range(facts.classes)), parts[0][2], _UCI_SOURCE)


def from_npz(path: str | Path) -> Dataset:
    """A set from the arrays ``x`` [examples, ...] and ``y`` [examples] of an npz file, and the optional ``classes``.

    Whole labels are those of classes 0, 1, ..., which ``classes`` names; floating labels are a regression. Raises
    ``ValueError`` for bad files and ``FileNotFoundError`` for a missing one.
    """
    path = Path(path)
    arrays = formats.read_npz(path)
    if not {"x", "y"} <= set(arrays):
        raise ValueError(f"{path}: must hold arrays x and y; got {', '.join(sorted(arrays)) or 'none'}")
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.shape != x.shape[:1] or y.size == 0:
        raise ValueError(f"{path}: must hold x [examples, ...] and y [examples]; got shapes {x.shape} and {y.shape}")
    if {x.dtype.kind, y.dtype.kind} - set("biuf"):
        raise ValueError(f"{path}: must hold real numbers; got x of {x.dtype} and y of {y.dtype}")
    formats.finite(path, x)
    classes: Sequence[str] = ()
    if y.dtype.kind == "f":
        formats.finite(path, y)
    else:
        classes = [str(c) for c in arrays.get("classes", range(max(0, int(y.max())) + 1))]
        y = formats.labels(path, y, len(classes))
    return _dataset(x.reshape(len(x), -1), y, path.stem, classes, (), str(path), shape=x.shape[1:])


def from_csv(path: str | Path, *, target: str | None = None, regression: bool = False) -> Dataset:
    """A set from a CSV file: a line of column names, then numbers; the column ``target``, else the last, is the label.

    Labels are the names of classes, in the order of numbers if they are, else of the alphabet; with ``regression`` they
    are numbers. Raises ``ValueError`` for bad files and an unknown target, ``FileNotFoundError`` for a missing file.
    """
    path = Path(path)
    columns, rows = formats.read_csv(path)
    if target is not None:
        checks.choice("target", target, columns)
    at = len(columns) - 1 if target is None else columns.index(target)
    x = formats.numbers(path, [row[:at] + row[at + 1 :] for row in rows])
    given = [row[at].strip() for row in rows]
    features = columns[:at] + columns[at + 1 :]
    if regression:
        y = formats.numbers(path, [[label] for label in given])[:, 0]
        return _dataset(x, y, path.stem, (), features, str(path))
    for i, label in enumerate(given, 1):
        if label.lower() in ("", "nan"):
            raise ValueError(f"{path}: must hold a label for each example; got {label!r} at example {i}")
    classes = sorted(set(given), key=float if all(map(formats.is_number, given)) else None)
    code = {label: i for i, label in enumerate(classes)}
    y = np.array([code[label] for label in given])
    return _dataset(x, y, path.stem, classes, features, str(path))


class _UciFacts(NamedTuple):
    features: int
    classes: int
    files: tuple[str, ...]
    sizes: tuple[int, ...]


def _uci_facts(path: Path) -> _UciFacts:
    """What a description in the UCI layout says, by its Galician names."""
    lines = dict(line.split("=", 1) for line in formats.text(path, _UCI_SOURCE).splitlines() if "=" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}

    def fact(name: str) -> str:
        if name not in facts:
            raise ValueError(f"{path}: must say `{name}=`; got {', '.join(facts) or 'nothing'}")
        return facts[name]

    def count(name: str) -> int:
        if not fact(name).isdecimal() or int(fact(name)) < 1:
            raise ValueError(f"{path}: `{name}` must be a whole number >= 1; got {fact(name)!r}")
        return int(fact(name))

    numbers = range(1, count("n_arquivos") + 1)
    files, sizes = tuple(fact(f"fich{i}") for i in numbers), tuple(count(f"n_patrons{i}") for i in numbers)
    return _UciFacts(count("n_entradas"), count("n_clases"), files, sizes)


def _uci_folds(path: Path, size: int, count: int) -> tuple[Fold, ...]:
    """Pairs of lines, each the indices to train on and to test on, counted from 0."""
    lines = [line.split() for line in formats.text(path, _UCI_SOURCE).splitlines() if line.strip()]
    if len(lines) != 2 * count or not all(field.isdecimal() for line in lines for field in line):
        raise ValueError(f"{path}: must hold {2 * count} lines of whole numbers; got {len(lines)} lines")
    folds = tuple(Fold(*(np.array(line, np.int32) for line in lines[i : i + 2])) for i in range(0, 2 * count, 2))
    for fold in folds:
        if not np.array_equal(np.sort(np.concatenate(fold)), np.arange(size)):
            got = f"{len(fold.train)} and {len(fold.test)} indices up to {max(fold.train.max(), fold.test.max())}"
            raise ValueError(f"{path}: each pair of lines must hold 0 to {size - 1} once; got {got}")
    return folds


def _bundled(name: str) -> Dataset:
    try:
        from sklearn import datasets as sklearn
    except ImportError as error:
        message = f'the data set {name} comes with scikit-learn: pip install "jnorm[experiments]"'
        raise ImportError(message) from error
    source = "scikit-learn, sklearn.datasets"
    if name == "digits":
        bunch = sklearn.load_digits()
        return _images(bunch.images, 16, bunch.target.astype(np.int32), name, source)
    if name == "diabetes":
        bunch = sklearn.load_diabetes(scaled=False)
        return _dataset(bunch.data, bunch.target, name, (), bunch.feature_names, source)
    bunch = getattr(sklearn, f"load_{name}")()
    return _dataset(bunch.data, bunch.target, name, bunch.target_names, bunch.feature_names, source)


def _images(x: np.ndarray, white: int, y: np.ndarray, name: str, source: str) -> Dataset:
    """Grey images [examples, height, width] of ten digits, to [0, 1]."""
    flat = x.reshape(len(x), -1).astype(np.float32)
    flat /= white
    return _dataset(flat, y, name, map(str, range(10)), (), source, shape=(*x.shape[1:], 1))


def _dataset(
    x: np.ndarray,
    y: np.ndarray,
    name: str,
    classes: Any,
    features: Any,
    source: str,
    *,
    shape: tuple[int, ...] | None = None,
) -> Dataset:
    """Arrays and names as `Dataset` holds them."""
    classes, features = tuple(map(str, classes)), tuple(map(str, features))
    x, y = x.astype(np.float32, copy=False), y.astype(np.int32 if classes else np.float32)
    return Dataset(x, y, name, classes, features, shape or x.shape[1:], source)


def _holdout(train: int, test: int) -> Fold:
    return Fold(np.arange(train, dtype=np.int32), np.arange(train, train + test, dtype=np.int32))


def _folder(folder: Folder, name: str) -> Path:
    folder = os.environ.get("JNORM_DATA") if folder is None else folder
    if not folder:
        raise ValueError(f"`folder`, or else the variable JNORM_DATA, must name the folder of {name}; got none")
    return Path(folder)
