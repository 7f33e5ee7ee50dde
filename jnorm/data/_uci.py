"""The layout of the 121 UCI sets: ``uci/<set>/<set>.txt`` describes the files beside it, data and published splits.

Source: Fernandez-Delgado et al., *Do we need hundreds of classifiers?*, JMLR 15 (2014).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jnorm.data import _dataset, _formats
from jnorm.data.splits import Fold

SOURCE = (
    "the 121 UCI sets of Fernandez-Delgado, Cernadas, Barro, Amorim (JMLR 15, 2014), published as data.tar.gz at "
    "persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr"
)


class Description(NamedTuple):
    """What ``<set>.txt`` says: numbers of features and classes, the data files and their numbers of examples."""

    features: int
    classes: int
    files: tuple[str, ...]
    sizes: tuple[int, ...]


def names(folder: Path) -> list[str]:
    """The sets that are in the folder."""
    return [path.parent.name for path in sorted(folder.glob("uci/*/*.txt")) if path.stem == path.parent.name]


def load(folder: Path, name: str) -> _dataset.Dataset:
    """The examples of the training file, then those of the test file if there is one.

    A file has a line of names, then lines of number, features and class.
    """
    at = folder / "uci" / name
    description = _describe(at / f"{name}.txt")
    parts = []
    for file, size in zip(description.files, description.sizes, strict=True):
        path = at / file
        header, *rows = _lines(path) or [[]]
        if len(rows) != size:
            raise ValueError(f"{path}: must hold {size} examples, by {name}.txt; got {len(rows)}")
        table = _formats.numbers(path, _formats.rectangular(path, rows, description.features + 2))
        parts.append((table[:, 1:-1], _formats.labels(path, table[:, -1], description.classes), header[:-1]))
    x, y = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:2])
    return _dataset.build(x, y, f"uci/{name}", range(description.classes), parts[0][2], SOURCE)


def published(folder: Path, name: str) -> _dataset.Published:
    """The splits in ``conxuntos.dat`` and ``conxuntos_kfold.dat``, and the division into files."""
    at = folder / "uci" / name
    sizes = _describe(at / f"{name}.txt").sizes
    (tuning,) = _folds(at / "conxuntos.dat", sizes[0], 1)
    folds = _folds(at / "conxuntos_kfold.dat", sizes[0], 4)
    return _dataset.Published(tuning, folds, _dataset.holdout(*sizes) if len(sizes) > 1 else None)


def _describe(path: Path) -> Description:
    """What a description says, by its Galician names."""
    lines = dict(line.split("=", 1) for line in _formats.text(path, SOURCE).splitlines() if "=" in line)
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
    return Description(count("n_entradas"), count("n_clases"), files, sizes)


def _folds(path: Path, size: int, count: int) -> tuple[Fold, ...]:
    """Pairs of lines, each the indices to train on and to test on, counted from 0."""
    lines = _lines(path)
    if len(lines) != 2 * count or not all(field.isdecimal() for line in lines for field in line):
        raise ValueError(f"{path}: must hold {2 * count} lines of whole numbers; got {len(lines)} lines")
    folds = tuple(Fold(*(np.array(line, np.int32) for line in lines[i : i + 2])) for i in range(0, 2 * count, 2))
    for fold in folds:
        if not np.array_equal(np.sort(np.concatenate(fold)), np.arange(size)):
            got = f"{len(fold.train)} and {len(fold.test)} indices, {_faults(np.concatenate(fold), size)}"
            raise ValueError(f"{path}: each pair of lines must hold 0 to {size - 1} once; got {got}")
    return folds


def _faults(rows: np.ndarray, size: int) -> str:
    """What keeps indices from being 0 to size - 1 once each."""
    found, counts = np.unique(rows, return_counts=True)
    faults = {
        "twice or more": found[counts > 1],
        "in neither": np.setdiff1d(np.arange(size), rows),
        "beyond": found[found >= size],
    }
    return "; ".join(f"{_few(at.tolist())} {what}" for what, at in faults.items() if len(at))


def _few(rows: list[int]) -> str:
    """The rows, ten of them at most."""
    more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
    return ", ".join(map(str, rows[:10])) + more


def _lines(path: Path) -> list[list[str]]:
    """The fields of the lines that are not empty."""
    return [line.split() for line in _formats.text(path, SOURCE).splitlines() if line.strip()]
