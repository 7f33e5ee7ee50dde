"""Data sets by name, checked as they are read.

>>> data = load("digits")
>>> data.x.shape, data.shape, data.y[:3].tolist(), len(data.classes)
((1797, 64), (8, 8, 1), [0, 1, 2], 10)

- **Bundled** with scikit-learn (extra ``experiments``): digits, breast_cancer, wine, iris, diabetes (a regression).
- **From a folder** of files that you have, named by ``folder`` or else by the environment variable JNORM_DATA:
  ``mnist``, ``uci/<set>``, ``<file>.npz``, ``<file>.csv`` and ``<file>.tsv`` (also with .gz), text tables being read by
  pandas (extra ``experiments``). Nothing is downloaded; the error for a missing file says
  whose it is and where it is published.
- **Checks.** A missing or infinite value, a label out of range, a file cut short or of another kind raises
  ``ValueError`` with the file, the rule and the value. So does what could be read in two ways, with the option that
  decides.
- **Types.** Features are float32. An integer that float32 does not hold is refused: beyond 2^24 time stamps become
  equal. So is a wider float whose rounding exceeds a hundredth of its feature's standard deviation.
- **Values** are as published, but for pixels, which are scaled to [0, 1]. Standardize them after the split. The UCI
  sets were standardized before publication, in most sets with a test file each file by itself: in horse-colic,
  image-segmentation, soybean, spect, monks-1 and monks-3 one of the two is on another scale.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jnorm._ground import checks
from jnorm.data import _csv, _dataset, _mnist, _npz, _tables, _uci
from jnorm.data._dataset import Dataset, Published

__all__ = [
    "Dataset",
    "Published",
    "from_csv",
    "from_frame",
    "from_npz",
    "load",
    "names",
    "published",
]

_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def load(name: str = "digits", folder: str | Path | None = None) -> Dataset:
    """A data set by name.

    Pixels, of digits and mnist, are scaled to [0, 1]; other values are as published.

    Args:
        name: digits, breast_cancer, wine, iris or diabetes; from the folder mnist (60 000 training examples, then
            10 000 to test on), uci/<set> (training file, then test file if there is one), <file>.npz, <file>.csv,
            <file>.tsv or a gzip file of one of the last two: `from_csv` has options for tables that need some.
        folder: Where mnist/, uci/ and files are; by default the environment variable JNORM_DATA.

    Returns:
        The data set, in NumPy arrays.

    Raises:
        ValueError: An unknown name, no folder where one is needed, a bad file.
        FileNotFoundError: A missing file.
        ImportError: scikit-learn or pandas is needed and missing.

    >>> data = load("iris")
    >>> data.classes, data.features[0]
    (('setosa', 'versicolor', 'virginica'), 'sepal length (cm)')
    """
    if name.startswith("uci/"):
        return _uci.load(_root(folder, name), name.removeprefix("uci/"))
    if name.endswith(".npz"):
        return from_npz(_root(folder, name) / name)
    if name.endswith(_TABLES):
        return from_csv(_root(folder, name) / name)
    checks.choice("name", name, (*_BUNDLED, "mnist", "uci/<set>", "<file>.npz", "<file>.csv", "<file>.tsv"))
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
    files = sorted(path.name for path in root.glob("*") if path.name.endswith((".npz", *_TABLES)))
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


def from_npz(path: str | Path, *, regression: bool | None = None) -> Dataset:
    """A set from an npz file.

    It holds arrays ``x`` [examples, ...] and ``y`` [examples], and possibly ``classes``. Whole labels are those of
    classes 0, 1, ..., which ``classes`` names; without it, each must have an example. Floating labels are a regression.

    Args:
        path: The file.
        regression: Whether labels are numbers to be predicted; by default floating ones are. To be said of floating
            labels that are whole and few, or of integers that do not count classes.

    Raises:
        ValueError: A bad file, or labels that could be read in two ways.
        FileNotFoundError: A missing file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", x=np.ones((3, 8, 8, 1)), y=[0, 1, 1], classes=["dog", "cat"])
    ...     data = from_npz(f"{folder}/mine.npz")
    >>> data.x.shape, data.shape, data.classes
    ((3, 64), (8, 8, 1), ('dog', 'cat'))
    """
    path = Path(path)
    x, y, classes = _npz.read(path, regression)
    return _dataset.build(x.reshape(len(x), -1), y, path.stem, classes, (), str(path), shape=x.shape[1:])


def from_csv(
    path: str | Path,
    *,
    target: str | int | None = None,
    regression: bool | None = None,
    ignore: str | int | Sequence[str | int] | None = None,
    missing: str | Sequence[str] = _tables.MISSING,
    drop_missing: bool = False,
    header: bool | None = None,
    separator: str | None = None,
    decimal: Literal[".", ","] | None = None,
    encoding: str | None = None,
) -> Dataset:
    r"""A set from a text table, such as a CSV file: a line of column names, then numbers, and one column of labels.

    Separators, headers, decimal commas and the names of rows that pandas, R and Excel write are recognized; a file may
    be compressed by gzip. Labels are the names of classes: numbers in the order of their values (``1`` and ``1.0`` are
    one class), then words in that of the alphabet. A column of true and false holds 1 and 0. Names of rows are no
    feature: a first column without a name is left out, one with a name such as ``id`` is refused.

    Args:
        path: The file.
        target: The column of labels; by default the last.
        regression: Whether labels are numbers to be predicted; by default they are names of classes. To be said of
            labels that are not whole, or of more than 20 different ones among less than three times as many examples.
        ignore: A column to leave out, or several. Where given, all others are features, whatever their names.
        missing: Texts that mean a missing value, beside the empty one, in capital or small letters; by default those of
            pandas (NA, N/A, NaN, null, None, ...), ``?`` and the errors of Excel (#N/A, #DIV/0!, ...).
        drop_missing: Leave out examples with missing values, which are refused otherwise.
        header: Whether the first line holds the names of columns; by default it does unless it may be an example.
            Without it, columns are named 0, 1, ...
        separator: What divides fields; by default the one of comma, semicolon, tab, bar and blanks that fits.
        decimal: ``"."`` or ``","``; by default a comma where a number can only be read so.
        encoding: By default UTF-8, or UTF-16 or 32 where the first bytes say so; ``"cp1252"`` is that of many programs
            on Windows.

    Raises:
        ValueError: A bad file, an unknown column, or what could be read in two ways, with the column, the line and the
            option that decides.
        FileNotFoundError: A missing file.
        TypeError: ``header``, ``regression`` or ``drop_missing`` is no truth, such as the header=0 of pandas.
        ImportError: pandas is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "pets.csv").write_text("kind;weight\ndog;12,5\ncat;4\n")
    ...     data = from_csv(f"{folder}/pets.csv", target="kind")
    >>> data.x.tolist(), data.y.tolist(), data.classes
    ([[12.5], [4.0]], [1, 0], ('cat', 'dog'))
    """
    _tables.pandas_of("from_csv")
    _tables.require_truths(header=header, regression=regression, drop_missing=drop_missing)
    if decimal is not None:
        checks.choice("decimal", decimal, (".", ","))
    path, missing = Path(path), _tables.listed(missing)
    table = _csv.read(path, separator, encoding, header, missing)
    name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    named = _tables.Named(name, str(path), table.place, decimal)
    return _tables.data_set(table.frame, named, _tables.Reading(target, regression, ignore, missing, drop_missing))


def from_frame(
    frame: Any,
    *,
    target: str | int | None = None,
    regression: bool | None = None,
    ignore: str | int | Sequence[str | int] | None = None,
    missing: str | Sequence[str] = _tables.MISSING,
    drop_missing: bool = False,
    name: str = "frame",
) -> Dataset:
    """A set from a table of pandas: columns of numbers, or of texts that spell them, and one column of labels.

    As `from_csv`, for whatever pandas reads: Excel's workbooks, Parquet, SQL. Labels of type ``category`` keep the
    order of their categories, those without an example included. The index is not read.

    Args:
        frame: A ``pandas.DataFrame``.
        target: The column of labels; by default the last.
        regression: Whether labels are numbers to be predicted; as in `from_csv`.
        ignore: A column to leave out, or several. Where given, all others are features, whatever their names.
        missing: Texts that mean a missing value, beside None, NaN, NaT, ``pandas.NA`` and the empty one.
        drop_missing: Leave out examples with missing values, which are refused otherwise.
        name: The name of the set.

    Raises:
        ValueError: A column that holds no numbers, an unknown column, or what could be read in two ways, with the row
            and the option that decides.
        TypeError: ``frame`` is no table of pandas, or ``regression`` or ``drop_missing`` no truth.
        ImportError: pandas is missing.

    >>> import pandas
    >>> data = from_frame(pandas.DataFrame({"kind": ["dog", "cat"], "weight": [12.5, 4]}), target="kind")
    >>> data.x.tolist(), data.y.tolist(), data.classes
    ([[12.5], [4.0]], [1, 0], ('cat', 'dog'))
    """
    _tables.require_truths(regression=regression, drop_missing=drop_missing)
    if not isinstance(frame, _tables.pandas_of("from_frame").DataFrame):
        say = "write frame.to_pandas()" if hasattr(frame, "to_pandas") else "write pandas.DataFrame(...)"
        raise TypeError(f"`frame` must be a table of pandas; got {type(frame).__name__}: {say}")

    def place(i: int) -> str:
        return f"example {i + 1}, row {_tables.shown(frame.index[i])}"

    named, missing = _tables.Named(name, "`frame`", place, "."), _tables.listed(missing)
    return _tables.data_set(frame, named, _tables.Reading(target, regression, ignore, missing, drop_missing))


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
