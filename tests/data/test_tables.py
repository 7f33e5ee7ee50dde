"""Tables as people's programs write them; the right values are those that were written."""

import gzip
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from jnorm.data import datasets
from jnorm.data._numbers import as_float32

X = [[1.5, -2.0], [3.25, 4.0], [0.5, 1000.0], [7.0, 8.0]]
KINDS = ["b", "a", "b", "c"]
FRAME = pd.DataFrame(X, columns=["width", "height"]).assign(kind=KINDS)
ONE = FRAME.to_csv(index=False)
CALIFORNIA = 'longitude,rooms,"value, median",near\n-122.23,880.0,452600.0,NEAR BAY\n-122.22,,358500.0,INLAND\n'
ADULT = "39, State-gov, 77516, <=50K\n50, Self-emp, 83311, >50K\n"
WINE = '"fixed acidity";"pH";"quality"\n7.4;3.51;5\n7.8;3.2;6\n11.2;3.16;5\n'
R_TABLE = '"width" "height" "kind"\n' + "".join(
    f'"{i}" {w:g} {h:g} "{kind}"\n' for i, ((w, h), kind) in enumerate(zip(X, KINDS, strict=True), 1)
)
# Each is `FRAME`, as a program writes it, and the options that it needs.
SHAPES = {
    "commas": (ONE, {}),
    "pandas with its index": (FRAME.to_csv(), {}),
    "pandas with a named index": (FRAME.rename_axis("row").to_csv(), {"ignore": "row"}),
    "saved with an index twice": (pd.read_csv(io.StringIO(FRAME.to_csv())).to_csv(), {}),
    "pandas, an index of texts": (FRAME.set_axis(["p", "q", "r", "s"]).to_csv(), {}),
    "integer headers": (FRAME.set_axis(range(3), axis=1).to_csv(index=False), {"names": ("0", "1")}),
    "integer headers and an index": (FRAME.set_axis(range(3), axis=1).to_csv(), {"names": ("0", "1")}),
    "no header": (FRAME.to_csv(index=False, header=False), {"header": False, "names": ("0", "1")}),
    "semicolons": (FRAME.to_csv(index=False, sep=";"), {}),
    "Excel in Germany": (FRAME.to_csv(index=False, sep=";", decimal=","), {}),
    "Excel in Germany, cp1252": (
        FRAME.assign(kind=["bä", "a", "bä", "c"]).to_csv(index=False, sep=";", decimal=",").encode("cp1252"),
        {"encoding": "cp1252", "classes": ("a", "bä", "c")},
    ),
    "Excel's line": ("sep=;\r\n" + FRAME.to_csv(index=False, sep=";", lineterminator="\r\n"), {}),
    "Excel's Unicode text": (FRAME.to_csv(index=False, sep="\t").encode("utf-16"), {}),
    "Excel's byte order mark": (ONE.encode("utf-8-sig"), {}),
    "commas in quotes for fractions": (FRAME.to_csv(index=False, decimal=","), {}),
    "tabs": (FRAME.to_csv(index=False, sep="\t"), {}),
    "bars": (FRAME.to_csv(index=False, sep="|"), {}),
    "blanks": ("width  height kind\n  1.5 -2  b\n 3.25  4  a \n  .5 1e3 b\n    7   8 c\n", {}),
    "R's write.table": (R_TABLE, {}),
    "R's write.csv": ('"",' + ONE.replace("\n", "\n1,", 1).replace("3.25", "2,3.25").replace("0.5,", "3,0.5,")
                      .replace("7.0", "4,7.0"), {}),
    "everything in quotes": (FRAME.to_csv(index=False, quoting=1), {}),
    "blanks after commas": (ONE.replace(",", ",  "), {}),
    "ends of lines of Windows": (FRAME.to_csv(index=False, lineterminator="\r\n"), {}),
    "ends of lines of old Macs": (FRAME.to_csv(index=False, lineterminator="\r"), {}),
    "blank lines": ("\n" + ONE.replace("\n", "\n\n") + "\n  \n", {}),
    "rows of nothing at the end": (ONE + ",,\n,,\n", {}),
    "labels first, integer headers": (
        "kind,0,1\nb,1.5,-2\na,3.25,4\nb,.5,1000\nc,7,8\n", {"target": "kind", "names": ("0", "1")}
    ),
    "labels of numbers first": (
        "label,1,2\n7,0,3\n9,4,5\n", {"x": [[0, 3], [4, 5]], "y": [0, 1], "classes": ("7", "9"), "target": "label",
                                      "names": ("1", "2")},
    ),
    "separators at all ends": (ONE.replace("\n", ",\n"), {}),
    "separators at the ends of rows": (ONE.replace("\n", ",\n").replace(",\n", "\n", 1), {}),
    "gzip": (gzip.compress(ONE.encode()), {}),
    "true and false": (
        "width,height,kind\nTrue,FALSE,b\nfalse,true,a\n", {"x": [[1, 0], [0, 1]], "y": [1, 0], "classes": ("a", "b")}
    ),
    "wine quality": (
        WINE, {"x": [[7.4, 3.51], [7.8, 3.2], [11.2, 3.16]], "y": [0, 1, 0], "classes": ("5", "6"),
               "names": ("fixed acidity", "pH")},
    ),
    "housing, with a gap": (
        CALIFORNIA, {"x": [[-122.23, 880, 452600]], "y": [0], "classes": ("NEAR BAY",), "drop_missing": True,
                     "names": ("longitude", "rooms", "value, median")},
    ),
    "census, words left out": (
        ADULT, {"x": [[39, 77516], [50, 83311]], "y": [0, 1], "classes": ("<=50K", ">50K"), "header": False,
                "ignore": 1, "names": ("0", "2")},
    ),
    "fields of several lines": (
        'kind,width,height\n"b\nc",1,2\n"a",3,4\n', {"x": [[1, 2], [3, 4]], "y": [1, 0], "classes": ("a", "b\nc"),
                                                     "target": "kind"},
    ),
}  # fmt: skip


def write(tmp_path, content, name="a.csv"):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path / name


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_real_files(shape, tmp_path):
    content, options = SHAPES[shape]
    options = dict(options)
    x, y = options.pop("x", X), options.pop("y", [1, 0, 1, 2])
    classes, names = options.pop("classes", ("a", "b", "c")), options.pop("names", ("width", "height"))
    data = datasets.from_csv(write(tmp_path, content), **options)
    np.testing.assert_array_equal(data.x, np.float32(x))
    assert (data.y.tolist(), data.classes, data.features) == (y, classes, names)
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int32)


REFUSED = {
    "missing": ("a,y\n1,x\n?,x\n", {}, r"must hold numbers; got '\?' at example 2, line 3, column 'a': fill .* "
                                       r"\(1 of 2\) by drop_missing=True; `missing` lists the texts"),
    "no field": ("a,y\n1,x\n\n,x\n", {}, r"must hold numbers; got '' at example 2, line 4, column 'a'"),
    "no label": ("a,y\n1,NA\n", {}, "must hold a label for each example; got 'NA' at example 1, line 2, column 'y'"),
    "None": ("a,y\n1,None\n", {}, "must hold a label for each example; got 'None'"),
    "only gaps": ("a,y\n1,?\n?,x\n", {"drop_missing": True}, "must hold an example without missing values; .* in 2"),
    "words": ("a,y\n1,x\nred,x\n", {}, r"must hold numbers; got 'red' at example 2, line 3, column 'a': leave the .* "
                                       r"`ignore`.*get_dummies"),
    "a date": ("a,y\n1,x\n2024-01-02,x\n", {}, "must hold numbers; got '2024-01-02' at example 2, line 3"),
    "an infinity": ("a,y\n1,x\ninf,x\n", {}, "must hold finite float32 numbers; got inf at example 2, line 3"),
    "too large": ("a,y\n1,x\n1e39,x\n", {}, r"must hold finite float32 numbers; got 1e\+39 at example 2, line 3"),
    "underscores": ("a,y\n1,x\n1_000,x\n", {}, "must hold numbers; got '1_000' at example 2, line 3, column 'a'"),
    "Arabic digits": ("a,y\n1,x\n٣,x\n", {}, "must hold numbers; got '٣' at example 2, line 3, column 'a'"),
    "time stamps": ("a,y\n1700000000,x\n1700000060,x\n", {}, "must hold numbers of float32; got 1700000060, which "
                    "float32 would make 1700000000, at example 2, line 3, column 'a': .* subtract a start"),
    "time stamps with a gap": ("a,y\n1700000000,x\n?,y\n1700000060,x\n", {"drop_missing": True},
                               "got 1700000060, which float32 would make .*, at example 3, line 4, column 'a'"),
    "fractions of seconds": ("a,y\n1700000000.25,x\n1700000060.5,x\n", {}, r"got 1700000000.25, which float32"),
    "huge integers": ("a,y\n123456789012345678901234,x\n1,x\n", {}, "got 123456789012345678901234, which float32"),
    "a large target": ("a,y\n1,16777217\n", {"regression": True}, "got 16777217, which .*example 1, line 2, column 'y"),
    "thousand or fraction": ('a,y\n"1,234",x\n', {}, r"hold numbers; got '1,234' at example 1, line 2, column 'a': "
                             r"say decimal=',' where .*thousands=','\) and take from_frame"),
    "thousands": ('a,y\n"1,234.5",x\n', {}, r"got '1,234.5' at example 1, line 2.*pandas.read_csv\(..., thousands="),
    "German thousands": ("a;b;y\n1.234,5;1;x\n", {}, r"got '1.234,5' at example 1, line 2.*thousands="),
    "two marks": ("a;b;y\n1,5;2;x\n1,25;2.5;x\n", {}, "got '2.5' at example 2, line 3, column 'b': .*decimal commas"),
    "decimal point said": ("a;b;y\n1,5;2;x\n", {"decimal": "."}, "got '1,5' at example 1, line 2, .*decimal=','"),
    "an example first": ("5.1,3.5,setosa\n4.9,3,setosa\n", {}, r"got first line \['5.1', '3.5', 'setosa'\]: say "
                         "header=False if that is an example, header=True if it holds names"),
    "an example with a gap first": ("?,setosa\n4.9,virginica\n", {}, r"got first line \['\?', 'setosa'\]: say header="),
    "an example of truths first": ("True,yes\nFalse,no\n", {}, r"got first line \['True', 'yes'\]: say header="),
    "labels first, counted": ("cat,0,1\ndog,1,0\n", {}, r"got first line \['cat', '0', '1'\]: say header=False"),
    "labels last, counted": ("0,1,cat\n1,0,dog\n", {}, r"got first line \['0', '1', 'cat'\]: say header=False"),
    "a German example first": ("1,5;x\n2,5;y\n", {"separator": ";"}, r"got first line \['1,5', 'x'\]: say header=Fal"),
    "an infinity first": ("inf,x\n2,y\n", {}, r"got first line \['inf', 'x'\]: say header=False"),
    "German labels": ("a;y\n1;2,5\n2;3\n", {}, "labels that are numbers must be whole; got 2.5 at example 1, line 2"),
    "nothing in a column": ("a,b,y\n1,,x\n2,,x\n", {}, "'b': the column holds nothing: leave it out by ignore='b'"),
    "nothing in a column, dropped": ("a,b,y\n1,,x\n2,,x\n", {"drop_missing": True}, r"ignore=\['b'\]"),
    "numbers without a name": (",a,y\n.5,1,x\n1.5,2,x\n", {}, "column 1 has no name: name it"),
    "an index twice": (",a,y\n0,1,x\n0,2,x\n", {}, "column 1 has no name: name it, or leave it out by ignore=''"),
    "many columns": (",".join(str(i + 5) for i in range(99)) + "\n" + ",".join("1" * 99), {}, r"\(99 in all\): say he"),
    "a column of many": (",".join("abcdefghijklmnopqrstuvwxyz") + "\n" + ",".join("1" * 26), {"target": "?"},
                         r"`target` must be one of a, b, .* t, ... \(26 in all\); got '\?'"),
    "a quote for a separator": (ONE, {"separator": '"'}, "`separator` must be one character"),
    "years": ("2001,2002,y\n1,2,x\n", {}, r"got first line \['2001', '2002', 'y'\]: say header=False"),
    "two numbers": ("0,1\n1,0\n0,1\n", {}, r"got first line \['0', '1'\]: say header=False"),
    "one column": ("y\n1\n2\n", {}, "must hold fields divided by , ; | or tabs; got line 1 'y': say `separator`"),
    "two separators": ("a,b;c,y\n1,2;3,x\n", {}, "`separator` must be said, since several fit; got ',' with 3 fields a "
                                                 "line and ';' with 2 fields a line, line 1 'a,b;c,y'"),
    "a short line": ("a,b,y\n1,2,x\n1,x\n", {}, r"must hold 3 fields for each example; got 2 in line 3, \['1', 'x'\], "
                                                "by the separator ','"),
    "a long line": ("a,b,y\n1,2,x\n1,2,3,x\n", {}, "must hold 3 fields for each example; got 4 in line 3"),
    "a short line far down": ("a,b,y\n" + "1,2,x\n" * 500 + "1,2\n", {}, "must hold 3 .* example; got 2 in line 502"),
    "remarks": ("# widths of 2024\na,b,y\n1,2,x\n1,2,x\n", {}, r"must hold fields divided "
                "by , ; .* got line 1 '# widths of 2024': say .*skiprows"),
    "a quote left open": ('a,b,y\n1,2,x\n1,2,"x\n', {}, "must hold fields divided by ','; got: EOF inside string.*: "
                                                        "quotes must be closed"),
    "one name twice": ("a,y,y\n1,0,0\n2,1,1\n", {}, "must have a name of its own for each column; got 'y' over columns "
                                                    "2 and 3: rename"),
    "one name twice, but for blanks": ("a,y, y\n1,0,0\n2,1,1\n", {"target": "y"}, "'y' over columns 2 and 3"),
    "the labels again": ("a,y.1,y\n1,0,0\n2,1,1\n", {}, "must not take the labels for a feature; got column 'y.1', "
                                                        "which repeats 'y': leave it out by ignore='y.1'"),
    "names of rows": ("a,Id,y\n1,7,x\n1,9,x\n", {}, "must not take names of rows for a feature; got column 'Id' with "
                      ".* the first '7': leave it out by ignore='Id', or take all columns by ignore="),
    "counted rows": ("0,5.5,x\n1,4.5,x\n2,4,y\n", {"header": False}, "must not take names of rows .* got column '0'"),
    "a column without a name": ("a,,y\n1,2,x\n", {}, "column 2 has no name: name it, or leave it out by ignore=''"),
    "labels without a name": ("a,b,\n1,2,x\n", {}, "`target` must be said, since the last column has no name"),
    "labels alone": (",y\n1,x\n2,x\n", {}, "must hold a column of numbers beside the labels; got , y"),
    "unknown target": ("a,y\n1,2\n", {"target": "z"}, "`target` must be one of a, y; got 'z'"),
    "unknown column": ("a,y\n1,2\n", {"ignore": "z"}, "`ignore` must be one of a; got 'z'"),
    "labels left out": ("a,y\n1,2\n", {"ignore": ["y"]}, "`ignore` must be one of a; got 'y'"),
    "fractions for classes": ("a,y\n1,2\n1,2.5\n", {}, "labels that are numbers must be whole; got 2.5 at example 2, "
                              "line 3, column 'y': say regression=True where"),
    "a label an example": ("a,y\n" + "".join(f"1,{i}\n" for i in range(30)), {}, "labels must be names of classes; got "
                           "30 different ones in 30 examples, the first '0' at example 1, line 2, column 'y': say "),
    "two names of a class": ("a,y\n1,01\n1,1\n", {}, "a class must have one name; got 01 at example 1, line 2, column "
                                                     "'y' and 1 at example 2"),
    "words to predict": ("a,y\n1,x\n", {"regression": True}, "must hold numbers; got 'x' at example 1, line 2, column"),
    "no text": (b"a,y\n1,\xff\n", {}, r"must be UTF-8 text; got byte 0xff in line 2, near .*encoding='cp1252'"),
    "UTF-16 without a mark": (ONE.encode("utf-16-le"), {}, "got a zero byte in line 1: say encoding='utf-16-le'"),
    "no encoding": (ONE, {"encoding": "klingon"}, "`encoding` must be one that Python knows, .* got 'klingon'"),
    "no separator": (ONE, {"separator": ", "}, "`separator` must be one character, such as ';' .* got ', '"),
    "no decimal mark": (ONE, {"decimal": ";"}, "`decimal` must be one of ., ,; got ';'"),
    "a workbook": (b"PK\x03\x04" + bytes(9), {}, "must be text; got a zip archive or an Excel workbook: .*read_excel"),
    "an old workbook": (b"\xd0\xcf\x11\xe0" + bytes(9), {}, "must be text; got an old Excel workbook: .*read_excel"),
    "a web page": ("<!DOCTYPE html><html>404</html>", {}, "must be text; got a web page: download the file"),
    "gzip cut short": (gzip.compress(ONE.encode())[:-9], {}, "must be a whole gzip file"),
    "nothing": ("", {}, "must hold a line of column names, then examples; got 0 lines, first nothing"),
    "a header alone": ("a,y\n", {}, r"must hold a line of column names, then examples; got 1 lines, first \['a', 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_or_bad_is_refused(case, tmp_path):
    content, options, text = REFUSED[case]
    with pytest.raises(ValueError, match=text):
        datasets.from_csv(write(tmp_path, content), **options)


# What was refused above, with the option that the error names: features, labels and classes.
DECIDED = {
    "header=False": ("5.1,3.5,setosa\n4.9,3,setosa\n", {"header": False}, [[5.1, 3.5], [4.9, 3]], [0, 0], ("setosa",)),
    "header=True": ("2001,2002,y\n1,2,x\n", {"header": True}, [[1, 2]], [0], ("x",)),
    "separator": ("a,b;c,y\n1,2;x,x\n", {"separator": ",", "ignore": "b;c"}, [[1]], [0], ("x",)),
    "decimal": ('a,y\n"1,234",x\n', {"decimal": ","}, [[1.234]], [0], ("x",)),
    "regression=False": ("a,y\n1,2\n1,2.5\n", {"regression": False}, [[1], [1]], [0, 1], ("2", "2.5")),
    "regression=True": ("a,y\n1,2\n3,2.5\n", {"regression": True}, [[1], [3]], [2, 2.5], ()),
    "missing": ("a,y\n1,None\n2,NA\n", {"missing": ()}, [[1], [2]], [1, 0], ("NA", "None")),
    "one missing": ("a,y\n1,x\n-,NA\n", {"missing": "-", "drop_missing": True}, [[1]], [0], ("x",)),
    "ignore": ("a,Id,y\n1,7,x\n1,9,x\n", {"ignore": ("Id",)}, [[1], [1]], [0, 0], ("x",)),
    "ignore=()": ("a,Id,y\n1,7,x\n1,9,x\n", {"ignore": ()}, [[1, 7], [1, 9]], [0, 0], ("x",)),
    "a comma in classes": ("a;y\n1;2,50\n2;2,5\n", {"regression": False, "decimal": ","}, [[1], [2]], [0, 0], ("2.5",)),
    "commas in labels": ("a;y\n1;2,5\n2;3\n", {"regression": True}, [[1], [2]], [2.5, 3], ()),
    "lists for labels": ('a,y\n1,"2,5"\n2,x\n', {}, [[1], [2]], [0, 1], ("2,5", "x")),
    "blanks in options": ("a, y ,b\n1,x,2\n", {"target": " y ", "ignore": [" b"]}, [[1]], [0], ("x",)),
    "drop_missing": ("a,y\n1,x\n?,x\n3,\n4,y\n", {"drop_missing": True}, [[1], [4]], [0, 1], ("x", "y")),
}


@pytest.mark.parametrize("case", DECIDED)
def test_options_decide(case, tmp_path):
    content, options, x, y, classes = DECIDED[case]
    data = datasets.from_csv(write(tmp_path, content), **options)
    np.testing.assert_array_equal(data.x, np.float32(x))
    assert (data.y.tolist(), data.classes) == (y, classes)


def test_examples_left_out_are_counted_in_the_source(tmp_path):
    data = datasets.from_csv(write(tmp_path, "a,y\n1,x\n?,x\n3,\n"), drop_missing=True)
    assert data.source.endswith("a.csv, without 2 examples that lack values")


@pytest.mark.parametrize(
    ("labels", "codes", "classes"),
    [
        (["10", "9", "1e1"], [1, 0, 1], ("9", "10")),
        (["1", "1.0", "2.50", "2.5"], [0, 0, 1, 1], ("1", "2.5")),
        (["x", "10", "9", "X y"], [3, 1, 0, 2], ("9", "10", "X y", "x")),
        (["-1", "+1", "1"], [0, 1, 1], ("-1", "1")),
        (["01", "02", "01"], [0, 1, 0], ("01", "02")),
        (["é", "e\u0301"], [0, 0], ("é",)),
        (["True", "False"], [1, 0], ("False", "True")),
    ],
)
def test_labels(labels, codes, classes, tmp_path):
    content = "y,a\n" + "".join(f"{label},1\n" for label in labels)
    data = datasets.from_csv(write(tmp_path, content), target="y", regression=False)
    assert (data.y.tolist(), data.classes) == (codes, classes)


def test_texts_that_mean_a_missing_value(tmp_path):
    # Those that pandas.read_csv documents, then what UCI's files and Excel write.
    of_pandas = "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null"
    for text in ["", *of_pandas.split(","), "?", "na", "none", "#DIV/0!", "#VALUE!", "#REF!", "NaT"]:
        path = write(tmp_path, f"a,y\n1,x\n{text},x\n2,{text}\n")
        assert datasets.from_csv(path, drop_missing=True).x.tolist() == [[1]], text


def test_labels_that_look_alike_are_told(tmp_path):
    with pytest.warns(UserWarning, match="'Yes' and 'yes' look alike and are two classes") as told:
        datasets.from_csv(write(tmp_path, "a,y\n1,yes\n2,Yes\n"))
    assert told[0].filename == __file__


def test_classes_do_not_depend_on_the_hash_seed():
    code = "from jnorm.data._labels import coded; print(coded(list('3 1 x 1.0 b a'.split()), False, str))"
    results = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(results) == 1


def test_names_of_files(tmp_path, monkeypatch):
    write(tmp_path, gzip.compress(ONE.encode()), "one.csv.gz")
    write(tmp_path, ONE.replace(",", "\t"), "two.v2.tsv")
    monkeypatch.delenv("JNORM_DATA", raising=False)
    assert datasets.names(tmp_path)[-2:] == ("one.csv.gz", "two.v2.tsv")
    for file, name in (("one.csv.gz", "one"), ("two.v2.tsv", "two.v2")):
        data = datasets.load(file, tmp_path)
        assert (data.name, data.x.tolist()) == (name, X)


@pytest.mark.parametrize("call", [lambda: datasets.from_csv("a.csv"), lambda: datasets.from_frame(FRAME)])
def test_a_missing_pandas_names_the_extra(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'from_\w+ needs pandas: pip install "jnorm\[experiments\]"'):
        call()


FRAMES = {
    "plain": FRAME,
    "an index": FRAME.set_axis(["p", "q", "r", "s"]),
    "texts": FRAME.astype(str),
    "nullable": FRAME.convert_dtypes(),
    "Float64": FRAME.astype({"width": "Float64", "height": "Int64"}),
    "float32": FRAME.astype({"width": np.float32, "height": np.int16}),
    "float16": FRAME.astype({"width": np.float16}),
    "big-endian": FRAME.astype({"width": ">f8", "height": ">i4"}),
    "sparse": FRAME.astype({"height": pd.SparseDtype(float, 8.0)}),
    "objects": FRAME.astype(object),
    "categories": FRAME.astype({"kind": "category"}),
    "a chosen order": FRAME.astype({"kind": pd.CategoricalDtype(["a", "b", "c"])}),
    "categories of numbers": FRAME.astype({"width": "category"}),
    "an index saved": pd.read_csv(io.StringIO(FRAME.to_csv())),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(kind):
    data = datasets.from_frame(FRAMES[kind], target="kind")
    assert (data.x.tolist(), data.y.tolist(), data.classes) == (X, [1, 0, 1, 2], ("a", "b", "c"))
    assert (data.x.dtype, data.features, data.name) == (np.float32, ("width", "height"), "frame")


def test_frames_of_other_names_and_types():
    integers = pd.DataFrame({0: [0.5, 1], 1: [True, False], 4: [2, 1]})
    data = datasets.from_frame(integers, target=4, name="mine")
    assert (data.x.tolist(), data.y.tolist(), data.classes) == ([[0.5, 1], [1, 0]], [1, 0], ("1", "2"))
    assert (data.features, data.name) == (("0", "1"), "mine")
    chosen = pd.DataFrame({"a": [1, 2], "y": pd.Categorical(["high", "low"], ["low", "high", "none"])})
    data = datasets.from_frame(chosen)
    assert (data.y.tolist(), data.classes) == ([1, 0], ("low", "high", "none"))
    nullable = pd.DataFrame({"a": pd.array([1, None, 2**24 - 1], "Int64"), "y": pd.array([3, 4, 5], "Int64")})
    data = datasets.from_frame(nullable, drop_missing=True)
    assert (data.x.tolist(), data.classes) == ([[1], [2**24 - 1]], ("3", "5"))
    letters = pd.DataFrame({"a": range(52), "y": [*range(1, 27)] * 2})
    data = datasets.from_frame(letters, regression=False)
    assert (len(data.classes), data.y.max()) == (26, 25)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ({"a": [1, np.nan], "y": [0, 1]}, r"`frame`: must hold numbers; got nan at example 2, row 1, column 'a'"),
        ({"a": [1, None], "y": [0, 1]}, r"`frame`: must hold numbers; got nan at example 2, row 1, column 'a'"),
        ({"a": [1, 2], "y": ["x", None]}, "must hold a label for each example; got (None|nan) at example 2"),
        ({"a": [1, 2], "y": ["x", ""]}, "must hold a label for each example; got '' at example 2"),
        ({"a": [1, 2], "y": pd.array([1, None], "Int64")}, "must hold a label for each example; got <NA> at example 2"),
        ({"a": [1, 2], "y": pd.to_datetime(["2024", None])}, "must hold a label .*; got NaT at example 2"),
        ({"a": [1, 2], "y": [1, "1"]}, "labels must be of one kind; got 1 at example 1, row 0, column 'y' and '1'"),
        ({"a": [1, 2], "y": [True, 1]}, "labels must be of one kind; got True at example 1"),
        ({"a": [1, 2], "y": [1.0, np.inf]}, "labels must be finite; got inf at example 2"),
        ({"a": pd.to_datetime(["2024", "2025"]), "y": [0, 1]}, r"must hold numbers; .*'a'\S* take seconds .*total_sec"),
        ({"a": pd.to_timedelta([1, 2]), "y": [0, 1]}, r"must hold numbers; got Timedelta.*dt.total_seconds\(\)"),
        ({"a": [1j, 2], "y": [0, 1]}, r"must hold numbers; got 1j at example 1, row 0, column 'a'"),
        (
            {"a": pd.period_range("2024", periods=2, freq="D"), "y": [0, 1]},
            r"must hold numbers; got Period\('2024-01-01'",
        ),
        ({"a": [pd.Timestamp("2024")] * 2, "y": [0, 1]}, "must hold numbers; got Timestamp.* take seconds"),
        ({"a": [b"1", b"2"], "y": [0, 1]}, "must hold numbers; got b'1' at example 1"),
        ({"a": [10**30, 1], "y": [0, 1]}, "must hold numbers of float32; got 1000000000000000000000000000000, which"),
        ({"a": [[1], [2]], "y": [0, 1]}, r"must hold numbers; got \[1\] at example 1, row 0, column 'a'"),
        ({"a": [1.5, "red"], "y": [0, 1]}, "must hold numbers; got 'red' at example 2, row 1, column 'a'.*get_dummies"),
        ({"a": ["1,5", "2"], "y": [0, 1]}, "must hold numbers; got '1,5' at example 1.*decimal=','"),
        ({"a": [2**24 + 1, 2], "y": [0, 1]}, "got 16777217, which float32 would make 16777216, at example 1, row 0"),
        ({"a": [1.7e9, 1.7e9 + 60], "y": [0, 1]}, "got 1700000060.0, which float32 would make 1700000000"),
        ({"a": [-(2**63), 2**62 + 1], "y": [0, 1]}, "got 4611686018427387905, which float32"),
        ({"a": [1, 1e39], "y": [0, 1]}, r"must hold finite float32 numbers; got 1e\+39 at example 2"),
        ({"a": [1, -np.inf], "y": [0, 1]}, "must hold finite float32 numbers; got -inf at example 2"),
        ({"y": [0, 1]}, "must hold examples, with a column of labels and others of numbers; got 2 examples of 1 colu"),
        ({"a": [], "y": []}, "must hold examples, .*; got 0 examples of 2 columns"),
        ({"index": [3, 1], "a": [1, 2], "y": [0, 1]}, "must not take names of rows for a feature; got column 'index'"),
        ({1: [5, 6], "1": [1, 2], "y": [0, 1]}, "must have a name of its own for each column; got '1' over columns 1"),
        ({("a", "b"): [1, 2], ("y", ""): [0, 1]}, "must have one name for each column; got 2 levels: join them"),
    ],
)
def test_bad_frames(frame, text):
    with pytest.raises(ValueError, match=text):
        datasets.from_frame(pd.DataFrame(frame))


@pytest.mark.parametrize("option", ["header", "regression", "drop_missing"])
def test_options_are_truths(option, tmp_path):
    with pytest.raises(TypeError, match=f"`{option}` must be True, False or None, .*; got 0"):
        datasets.from_csv(write(tmp_path, ONE), **{option: 0})
    if option != "header":
        with pytest.raises(TypeError, match=f"`{option}` must be True, False or None, .*; got 'yes'"):
            datasets.from_frame(FRAME, **{option: "yes"})


def test_what_is_no_frame_says_what_to_write():
    with pytest.raises(TypeError, match=r"`frame` must be a table of pandas; got dict: write pandas.DataFrame"):
        datasets.from_frame({"a": [1]})

    class Other:
        def to_pandas(self):
            return FRAME

    with pytest.raises(TypeError, match=r"got Other: write frame.to_pandas\(\)"):
        datasets.from_frame(Other())


def test_which_integers_float32_holds():
    # Against the definition: a whole number is held if its float32 is the same number.
    rng = np.random.default_rng(1)
    for bits in (8, 24, 25, 31, 40, 63):
        x = rng.integers(-(2**bits), 2**bits - 1, 500)
        x = np.concatenate([x, (x >> 20) << 20])
        for given in (x, x.astype(object), np.abs(x).astype(np.uint64)):
            held = [int(np.float32(float(v))) == int(v) and float(v) == int(v) for v in given]
            for value, holds in zip(given, held, strict=True):
                assert (as_float32(np.array([value]))[1] is None) == holds
            assert as_float32(given)[1] == (None if all(held) else (held.index(False),))


def test_which_floats_float32_rounds_too_far():
    draws = np.random.default_rng(2).normal(size=1000)
    for fine in (draws, 1e4 + draws, np.full(1000, 0.1), draws * 1e-30, np.arange(1000) * 1e7, draws[:1] + 1e9):
        assert as_float32(fine)[1] is None
    for bad in (1e9 + draws, 1.7e9 + np.arange(1000.0), np.stack([draws, 1e9 + draws], 1)):
        assert as_float32(bad)[1] is not None
