import gzip
import hashlib
import struct
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jnorm.data import _formats, _mnist, batches, datasets

BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
MNIST = {
    "train-images-idx3-ubyte": (2051, 6, 4, 4),
    "train-labels-idx1-ubyte": (2049, 6),
    "t10k-images-idx3-ubyte": (2051, 2, 4, 4),
    "t10k-labels-idx1-ubyte": (2049, 2),
}
FACTS = """n_entradas= 2
n_clases= 2
n_arquivos= 2
fich1= toy_train_R.dat
n_patrons1= 4
fich2= toy_test_R.dat
n_patrons2= 2
n_patrons_entrena= 2
n_patrons_valida= 2
n_conxuntos= 1
"""
TRAIN = "\tf1\tf2\tclase\n1\t0.5\t-1\t0\n2\t0.25\t2e-3\t1\n3\t0\t1\t1\n4\t-3\t1\t0\n"
TEST = "\tf1\tf2\tclase\n1\t7\t8\t1\n2\t9\t10\t0\n"


@pytest.fixture
def uci(tmp_path):
    """A small set in the UCI layout; the folder, and a function that replaces a part of one of its files."""
    at = tmp_path / "uci" / "toy"
    at.mkdir(parents=True)
    files = {
        "toy.txt": FACTS,
        "toy_train_R.dat": TRAIN,
        "toy_test_R.dat": TEST,
        "conxuntos.dat": "0 3 \n2 1 \n",
        "conxuntos_kfold.dat": "0 1 2 \n3 \n" * 4,
    }
    for name, content in files.items():
        (at / name).write_text(content)

    def change(name, old, new):
        assert old in files[name]
        (at / name).write_text(files[name].replace(old, new, 1))

    return tmp_path, change


def idx(magic, *shape):
    content = np.arange(np.prod(shape)) % 10
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + content.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Small files in the layout of MNIST, whose checksums are the published ones for the time of a test."""
    (tmp_path / "mnist").mkdir()
    files = {name: idx(*content) for name, content in MNIST.items()}
    for name, content in files.items():
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))
    digests = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(_mnist, "MD5", digests)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), 10),
        ("breast_cancer", (569, 30), 2),
        ("wine", (178, 13), 3),
        ("iris", (150, 4), 3),
        ("diabetes", (442, 10), 0),
    ],
)
def test_bundled_sets(name, shape, classes):
    data = datasets.load(name)
    assert data.x.shape == shape
    assert data.x.dtype == np.float32
    assert data.y.dtype == (np.int32 if classes else np.float32)
    assert len(data.classes) == classes
    assert np.prod(data.shape) == shape[1]
    assert len(data.features) == (0 if name == "digits" else shape[1])
    if classes:
        assert set(data.y.tolist()) == set(range(classes))


def test_digits_are_the_default_and_lie_between_zero_and_one():
    data = datasets.load()
    assert data.name == "digits"
    assert (np.min(data.x), np.max(data.x)) == (0, 1)


def test_a_data_set_is_a_pytree():
    data = datasets.load("iris")
    two = jax.jit(batches.take)(data, np.array([0, 149]))
    np.testing.assert_array_equal(two.x, data.x[[0, 149]])
    assert two.classes == data.classes


def test_a_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'digits comes with scikit-learn: pip install "jnorm\[experiments\]"'):
        datasets.load("digits")


def test_unknown_names_list_the_known():
    with pytest.raises(
        ValueError, match=r"`name` must be one of digits, .*, mnist, uci/<set>, <file>.npz.*; got 'cifar'"
    ):
        datasets.load("cifar")
    with pytest.raises(
        ValueError, match="`name` must be mnist or uci/<set>, which have published splits; got 'digits'"
    ):
        datasets.published("digits")


@pytest.mark.parametrize("name", ["mnist", "uci/toy", "a.csv", "a.npz"])
def test_the_folder_is_an_argument_or_the_environment(name, tmp_path, monkeypatch):
    monkeypatch.delenv("JNORM_DATA", raising=False)
    with pytest.raises(ValueError, match=rf"`folder`, or else the variable JNORM_DATA, .* folder of {name}; got none"):
        datasets.load(name)
    monkeypatch.setenv("JNORM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        datasets.load(name)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        datasets.load(name, tmp_path / "elsewhere")


def test_names_lists_what_is_there(uci, mnist, monkeypatch):
    folder, _ = uci
    (folder / "mine.csv").write_text("")
    monkeypatch.delenv("JNORM_DATA", raising=False)
    assert datasets.names() == BUNDLED
    assert datasets.names(folder)[len(BUNDLED) :] == ("mnist", "uci/toy", "mine.csv")


def test_mnist_files(mnist):
    data = datasets.load("mnist", mnist)
    assert data.shape == (4, 4, 1)
    np.testing.assert_array_equal(data.x[0], (np.arange(16) % 10).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(data.y, [0, 1, 2, 3, 4, 5, 0, 1])
    path = mnist / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    np.testing.assert_array_equal(datasets.load("mnist", mnist).y, data.y)


def test_a_missing_mnist_file_says_which_and_whose(mnist):
    (mnist / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"train-labels-idx1-ubyte.gz: no such file; .* MNIST \(LeCun.*yann.lecun"
    ):
        datasets.load("mnist", mnist)


def test_other_content_than_mnist_is_refused(mnist):
    path = mnist / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(2049, 2)[:-1] + b"\x09"))
    with pytest.raises(ValueError, match=r"t10k-labels.*gz: must hold what was published, content of MD5 \w+; got \w+"):
        datasets.load("mnist", mnist)


def test_a_gzip_file_cut_short(mnist):
    path = mnist / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"train-images.*gz: must be a whole gzip file; got"):
        datasets.load("mnist", mnist)
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"train-images.*gz: must be a whole gzip file; got 16 bytes: Not a gzipped"):
        datasets.load("mnist", mnist)


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", ">i4", ">f4", ">f8"])
def test_idx_holds_any_type(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    magic = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}[dtype]
    content = bytes([0, 0, magic, 2]) + struct.pack(">2I", 2, 3) + array.tobytes()
    got = _formats.parse_idx(Path("array"), content)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "must start with an IDX magic number, 00 00 TYPE AXES; got ''"),
        (b"\x1f\x8b\x08\x00" + bytes(9), "must start with an IDX magic number, .* got '1f 8b 08 00'"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 0]), "must start with an IDX magic number, .* got '00 00 07 01'"),
        (idx(2051, 2, 3, 3)[:11], "must hold a header of 16 bytes; got 11"),
        (idx(2051, 2, 3, 3)[:-1], r"must hold 34 bytes, for axes \[2, 3, 3\]; got 33"),
        (idx(2051, 2, 3, 3) + b"\0", r"must hold 34 bytes, for axes \[2, 3, 3\]; got 35"),
    ],
)
def test_bad_idx_files(content, text):
    with pytest.raises(ValueError, match=f"images: {text}"):
        _formats.parse_idx(Path("images"), content)


def test_uci_layout(uci):
    folder, _ = uci
    data = datasets.load("uci/toy", folder)
    np.testing.assert_array_equal(data.x, np.float32([[0.5, -1], [0.25, 2e-3], [0, 1], [-3, 1], [7, 8], [9, 10]]))
    np.testing.assert_array_equal(data.y, [0, 1, 1, 0, 1, 0])
    assert (data.features, data.classes) == (("f1", "f2"), ("0", "1"))
    splits = datasets.published("uci/toy", folder)
    np.testing.assert_array_equal(splits.tuning.test, [2, 1])
    np.testing.assert_array_equal(splits.folds[3].train, [0, 1, 2])
    np.testing.assert_array_equal(splits.holdout.test, [4, 5])


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("toy.txt", "n_clases= 2\n", "", "toy.txt: must say `n_clases=`; got n_entradas, n_arquivos"),
        ("toy.txt", "n_clases= 2", "n_clases= two", "toy.txt: `n_clases` must be a whole number >= 1; got 'two'"),
        ("toy_train_R.dat", "4\t-3\t1\t0\n", "", "toy_train_R.dat: must hold 4 examples, by toy.txt; got 3"),
        ("toy_train_R.dat", "\t1\t0\n", "", "train_R.dat: must hold 4 fields for each example; got 2 at example 4"),
        ("toy_train_R.dat", "2e-3", "2e-3x", "toy_train_R.dat: must hold numbers; got '2e-3x' at example 2"),
        ("toy_train_R.dat", "2e-3", "NaN", "finite float32 numbers; got nan at example, feature 2, 3"),
        ("toy_train_R.dat", "2e-3", "1e39", r"finite float32 numbers; got 1e\+39 at example, feature 2, 3"),
        ("toy_test_R.dat", "8\t1", "8\t2", "toy_test_R.dat: labels must be whole, 0 to 1; got 2 at example 1"),
        ("toy_test_R.dat", "8\t1", "8\t-1", "toy_test_R.dat: labels must be whole, 0 to 1; got -1 at example 1"),
        ("toy_test_R.dat", "8\t1", "8\t.5", "toy_test_R.dat: labels must be whole, 0 to 1; got 0.5 at example 1"),
        (
            "conxuntos.dat",
            "2 1",
            "2",
            "conxuntos.dat: each pair of lines must hold 0 to 3 once; got 2 and 1 indices, 1 in neither",
        ),
        (
            "conxuntos.dat",
            "2 1",
            "2 4",
            "conxuntos.dat: each pair .* once; got 2 and 2 indices, 1 in neither; 4 beyond",
        ),
        ("conxuntos.dat", "2 1", "2 3", "once; got 2 and 2 indices, 3 twice or more; 1 in neither"),
        ("conxuntos.dat", "2 1", "2 x", "conxuntos.dat: must hold 2 lines of whole numbers; got 2 lines"),
        ("conxuntos_kfold.dat", "0 1 2 \n", "", "conxuntos_kfold.dat: must hold 8 lines of whole numbers; got 7"),
    ],
)
def test_bad_uci_files(uci, file, old, new, text):
    folder, change = uci
    change(file, old, new)
    with pytest.raises(ValueError, match=text):
        (datasets.published if "conxuntos" in file else datasets.load)("uci/toy", folder)


def test_missing_uci_files(uci):
    folder, _ = uci
    with pytest.raises(
        FileNotFoundError, match=r"uci/none/none.txt: no such file; .* Fernandez-Delgado.*persoal.citius"
    ):
        datasets.load("uci/none", folder)
    (folder / "uci" / "toy" / "toy_test_R.dat").unlink()
    with pytest.raises(FileNotFoundError, match=r"toy_test_R.dat: no such file; .*JMLR"):
        datasets.load("uci/toy", folder)


def test_npz(tmp_path):
    x, y = np.ones((3, 2, 2, 1), np.uint8), np.array([0, 2, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = datasets.load("a.npz", tmp_path)
    assert (data.x.shape, data.shape, data.classes, data.name) == ((3, 4), (2, 2, 1), ("0", "1", "2"), "a")
    np.savez(tmp_path / "b.npz", x=x, y=y, classes=["p", "q", "r"])
    assert datasets.load("b.npz", tmp_path).classes == ("p", "q", "r")
    np.savez(tmp_path / "c.npz", x=x, y=y / 2)
    data = datasets.load("c.npz", tmp_path)
    assert (data.classes, data.y.tolist(), data.y.dtype) == ((), [0.0, 1.0, 0.5], np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=y / 1)
    assert datasets.from_npz(tmp_path / "d.npz", regression=False).classes == ("0", "1", "2")
    assert datasets.from_npz(tmp_path / "d.npz", regression=True).y.dtype == np.float32
    np.savez(tmp_path / "e.npz", x=x, y=y + 1)
    assert datasets.from_npz(tmp_path / "e.npz", regression=True).y.tolist() == [1, 3, 2]
    np.savez(tmp_path / "f.npz", x=x, y=y + 1, classes=["none", "p", "q", "r"])
    assert datasets.load("f.npz", tmp_path).y.tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"x": np.ones((2, 2))}, "a.npz: must hold arrays x and y; got x"),
        ({"x": np.ones((2, 2)), "y": np.ones(3)}, r"got shapes \(2, 2\) and \(3,\)"),
        ({"x": np.ones((0, 2)), "y": np.ones(0)}, r"got shapes \(0, 2\) and \(0,\)"),
        ({"x": np.array([["a"]]), "y": np.ones(1)}, "a.npz: must hold real numbers; got x of <U1 and y of float64"),
        ({"x": np.array([[1, np.inf]]), "y": np.ones(1)}, "got inf at example, feature 1, 2"),
        ({"x": np.ones((1, 2)), "y": np.array([np.nan])}, "got nan at example, feature 1"),
        ({"x": np.ones((2, 2)), "y": np.array([0, -1])}, r"whole, 0 to 0; got -1 at example 2: number .*np.unique\(y"),
        ({"x": np.ones((26, 2)), "y": np.arange(1, 27)}, "got labels 1 to 26, none of them 0: save `classes` .*np.uni"),
        (
            {"x": np.ones((3, 2)), "y": np.array([1, 2, 3])},
            "of classes 0, 1, ..., each .* got labels 1 to 3, none of th",
        ),
        ({"x": np.ones((3, 2)), "y": np.array([0, 2, 2])}, "got labels 0 to 2, none of them 1: .*say regression=True"),
        (
            {"x": np.ones((3, 2)), "y": np.array([1, 2, 3]), "classes": list("abc")},
            "0 to 2; got 3 at example 3: number",
        ),
        (
            {"x": np.ones((2, 2)), "y": np.array([0.0, 1.0])},
            "must be integers for classes, or any numbers to predict; ",
        ),
        ({"x": np.ones((2, 2)), "y": np.array(["a", "b"])}, "got x of float64 and y of <U1: number them before"),
        ({"x": np.ones((2, 2)), "y": np.eye(2)}, r"y \[examples\]; got shapes \(2, 2\) and \(2, 2\)"),
        ({"x": 1_700_000_000 + np.arange(4).reshape(2, 2), "y": np.arange(2)}, r"got 1700000001, .* at x\[0, 1\]: sub"),
        (
            {"x": 1.7e9 + np.array([[0.25], [0.5], [0.75], [1]]), "y": np.arange(4)},
            r"which float32 would make 1700000000, at x\[0, 0\]",
        ),
        ({"x": np.ones((2, 2)), "y": np.array([1.7e9 + 0.3, 1.7e9 + 0.6])}, r"float32 would make .* at y\[0\]"),
        ({"x": np.ones((1, 2)), "y": np.array([2]), "classes": ["a", "b"]}, "0 to 1; got 2 at example 1"),
        ({"x": np.array([[None]]), "y": np.ones(1)}, "a.npz: must be a whole npz file of plain arrays; got: Object"),
    ],
)
def test_bad_npz_files(arrays, text, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=text):
        datasets.load("a.npz", tmp_path)


def test_an_npz_file_cut_short(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((9, 9)), y=np.ones(9))
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a.npz: must be a whole npz file"):
            datasets.load("a.npz", tmp_path)


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffwidth, "a, b",kind\r\n1,2.5,cat\r\n\r\n-3,4e2, ant\r\n')
    data = datasets.load("a.csv", tmp_path)
    np.testing.assert_array_equal(data.x, np.float32([[1, 2.5], [-3, 400]]))
    assert (data.features, data.classes, data.y.tolist()) == (("width", "a, b"), ("ant", "cat"), [1, 0])
    path.write_text("y,x\n10,1\n9,2\n")
    data = datasets.from_csv(path, target="y")
    assert (data.classes, data.y.tolist(), data.x.tolist()) == (("9", "10"), [1, 0], [[1.0], [2.0]])
    data = datasets.from_csv(path, target="y", regression=True)
    assert (data.classes, data.y.tolist(), data.y.dtype) == ((), [10.0, 9.0], np.float32)


def test_the_published_mnist(data_dir):
    data = datasets.load("mnist", data_dir)  # which checks the checksums
    assert data.x.shape == (70000, 784)
    assert (np.min(data.x), np.max(data.x)) == (0, 1)
    train, test = datasets.published("mnist").holdout
    # Figures printed with the data set in many places: mean and standard deviation of the training pixels.
    assert abs(np.mean(data.x[train], dtype=np.float64) - 0.1307) < 5e-5
    assert abs(np.std(data.x[train], dtype=np.float64) - 0.3081) < 5e-5
    np.testing.assert_array_equal(np.bincount(data.y[test]), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])


def test_the_published_uci_sets(data_dir):
    names = [name for name in datasets.names(data_dir) if name.startswith("uci/")]
    if not names:
        pytest.skip("the data folder holds no uci/")
    for name in names:
        data, splits = datasets.load(name, data_dir), datasets.published(name, data_dir)
        last = np.max(np.concatenate(splits.holdout or splits.tuning))
        assert last + 1 == len(data.x) == len(data.y), name
        assert set(data.y.tolist()) == set(range(len(data.classes))), name
        assert len(data.features) == data.x.shape[1], name
        # What `Published` says of the folds: 3 : 1, to an example a class, and a quarter to two fifths in no test.
        tests, size = [fold.test for fold in splits.folds], len(splits.folds[0].train) + len(splits.folds[0].test)
        assert all(abs(len(test) - size / 4) <= len(data.classes) for test in tests), name
        assert 0.25 <= 1 - len(set(np.concatenate(tests).tolist())) / size <= (0.6 if size < 20 else 0.4), name


def test_which_uci_sets_are_on_two_scales(data_dir):
    if not (data_dir / "uci").is_dir():
        pytest.skip("the data folder holds no uci/")
    odd = set()
    for name in datasets.names(data_dir):
        if name.startswith("uci/") and (holdout := datasets.published(name, data_dir).holdout):
            x = datasets.load(name, data_dir).x.astype(np.float64)
            if any(np.max(np.abs(np.mean(x[part], 0))) > 0.01 for part in holdout):
                odd.add(name.removeprefix("uci/"))
    assert odd == {"horse-colic", "image-segmentation", "soybean", "spect", "monks-1", "monks-3"}
