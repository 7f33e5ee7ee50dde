"""The command line: what it lists, what it refuses before any work, what it says when something is missing."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import __main__ as cli
from experiments import checks, common, selu_fixed_point
from experiments.common import Output, Refused
from jnorm import sweeps

ROOT = Path(cli.__file__).parents[1]


def experiments():
    """Every experiment, found without the command line: what its modules define, once they are imported."""
    names = [path.stem for path in (ROOT / "experiments").glob("*.py") if not path.stem.startswith("__")]
    names += [path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")]
    modules = {name: importlib.import_module(f"experiments.{name}") for name in sorted(names)}
    return {name: module for name, module in modules.items() if hasattr(module, "Config") and hasattr(module, "run")}


def test_listing_names_every_experiment_with_its_line(capsys):
    pytest.importorskip("flint")
    lines = {name: module.__doc__.partition("\n")[0] for name, module in experiments().items()}
    assert {"certificate", "mnist", "seed_sweep", "selu_fixed_point", "streams"} <= lines.keys()
    assert cli.main(["--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert {name: entry["line"] for name, entry in read.items()} == lines
    assert {name for name, entry in read.items() if entry["extra"] == "verify"} == {"certificate"}
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for name, line in lines.items():
        assert f"{name} {line}" in words
    for said in ("python -m experiments NAME --help", "out/NAME", "--json", "--debug", "Ctrl-C", "130 interrupted"):
        assert said in text
    assert max(map(len, text.splitlines())) <= 100
    assert "missing" not in text.replace("a missing package", "")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda path: path.stem)
def test_experiments_use_public_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = getattr(node, "module", None) or ""
        for name in names:
            parts = f"{module}.{name}".strip(".").split(".")
            assert parts[0] != "jnorm" or not any(part.startswith("_") for part in parts), (
                f"{path.stem}: {module} {name}"
            )


def test_listing_needs_no_extra():
    code = "import sys; sys.modules.update(dict.fromkeys(('tyro', 'rich', 'sklearn', 'matplotlib', 'flint')));"
    code += "from experiments.__main__ import main; sys.exit(main(['--help']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "selu_fixed_point" in done.stdout
    assert 'tyro, rich, sklearn, matplotlib: pip install "jnorm[experiments]"' in done.stdout
    assert 'flint, for certificate: pip install "jnorm[verify]"' in done.stdout


def test_modules_are_experiments_by_what_they_define(tmp_path):
    (tmp_path / "one.py").write_text(
        '"""First line.\n\nMore."""\nimport missing\nclass Config: pass\ndef run(config): pass\n'
    )
    (tmp_path / "helper.py").write_text("def run(config): pass\n")
    assert cli.catalogue(tmp_path) == {"one": ("First line.", "experiments")}


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["selu_fixed_point", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in selu_fixed_point.Config.__dataclass_fields__:
        assert f"--{name}" in text
    assert text.count("(default:") == len(selu_fixed_point.Config.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("selu", "no experiment 'selu': did you mean selu_fixed_point? There are audit, "),
        ("sead_sweep", "no experiment 'sead_sweep': did you mean seed_sweep? There are "),
        ("xyz", "no experiment 'xyz': There are audit, "),
    ],
)
def test_an_unknown_experiment_gets_the_nearest_names(name, text, capsys):
    assert cli.main([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {text}")
    assert err.count("\n") == 1
    assert cli.main([name, "--json"]) == 2
    read = json.loads(capsys.readouterr().out)
    assert (read["experiment"], read["status"]) == (name, "refused")
    assert f"error: {read['error']}\n" == err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--seeds", "x"], "error: Error parsing --seeds: invalid literal for int() with base 10: 'x'; "),
        (["--sedes", "3"], "error: Unrecognized options: --sedes"),
        (["--activation", "sellu"], "error: `activation` must be one of identity, relu, "),
    ],
)
def test_errors_of_options_are_one_line(options, text, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # where the frame around it, which older releases wrap, is wide enough
    assert cli.main(["selu_fixed_point", *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith(text)
    assert err.count("\n") == 1
    assert "--help explains the options" in err or options[0] == "--activation"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 1}, "`seeds` must satisfy seeds >= 2; got 1"),
        ({"depth": 0}, "`depth` must satisfy depth >= 1; got 0"),
        ({"width": 63}, "`width` must satisfy width >= 64; got 63"),
        ({"examples": 0}, "`examples` must satisfy examples >= 1; got 0"),
        ({"examples": 1798}, "`examples` must satisfy examples <= 1797, the number of images; got 1798"),
        ({"resolution": 1}, "`resolution` must satisfy resolution >= 2; got 1"),
        ({"activation": "seluu"}, "`activation` must be one of identity, relu, "),
    ],
)
def test_bad_options_are_refused_before_any_compile(options, message, capsys, monkeypatch):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is compared below, brackets and all)
        selu_fixed_point.Config(**options)
    assert message in str(error.value)
    monkeypatch.setattr(selu_fixed_point, "run", lambda config: pytest.fail("ran"))
    ((name, value),) = options.items()
    assert cli.main(["selu_fixed_point", f"--{name}", str(value)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["out", "cache"])
def test_a_folder_that_cannot_be_written_is_said_before_the_work(option, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sweeps, "use_cores", lambda **options: None)  # the devices of the test run are made already
    monkeypatch.setattr(selu_fixed_point.portrait, "draw", lambda *_, **__: pytest.fail("worked"))
    if option == "out":
        monkeypatch.setattr(common, "use_cache", lambda folder: None)
    folder = tmp_path / "file" / "folder"
    assert cli.main(["selu_fixed_point", f"--{option}", str(folder)]) == 2
    assert (
        f"`{option}` must be a folder that can be written; got '{folder}': Not a directory" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("module", "extra"), [("sklearn", "experiments"), ("flint", "verify")])
def test_a_missing_extra_is_named(module, extra, capsys, monkeypatch):
    monkeypatch.setattr(sweeps, "use_cores", lambda **options: None)
    monkeypatch.setattr(common, "use_cache", lambda folder: None)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(selu_fixed_point, "run", lambda config: __import__(f"{module}.datasets"))
    assert cli.main(["selu_fixed_point"]) == 2
    message = f'selu_fixed_point needs {module}, which is not installed: pip install "jnorm[{extra}]"'
    assert message in capsys.readouterr().err


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Replaces what an experiment does; its output folder is in the options that this returns."""

    def replace(run):
        monkeypatch.setattr(sweeps, "use_cores", lambda **options: None)  # the devices of the test run are made already
        monkeypatch.setattr(common, "use_cache", lambda folder: None)
        monkeypatch.setattr(selu_fixed_point, "run", run)
        return ["selu_fixed_point", "--out", str(tmp_path)]

    return replace


def test_a_room_that_names_its_extra_is_believed(quick, capsys):
    def run(config):
        raise ImportError('tables need pandas: pip install "jnorm[experiments]"')

    assert cli.main(quick(run)) == 2
    assert capsys.readouterr().err == 'error: tables need pandas: pip install "jnorm[experiments]"\n'


def test_a_failure_is_one_line_unless_it_is_debugged(quick, capsys):
    arguments = quick(lambda config: __import__("jnorm.theory.no_such_module"))
    assert cli.main(arguments) == 1
    text = "error: ModuleNotFoundError: No module named 'jnorm.theory.no_such_module' (--debug shows where)\n"
    assert capsys.readouterr().err == text
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        cli.main([*arguments, "--debug"])

    def broken(config):
        raise RuntimeError("two\nlines")

    assert cli.main([*quick(broken), "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == "error: RuntimeError: two lines (--debug shows where)\n"
    assert json.loads(out)["status"] == "failed"


def test_machines_get_one_document(quick, capsys):
    def run(config):
        print("for people")
        (config.out / "figure.png").write_text("")
        return {"mean": np.float32(0.5), "failed": np.array([1.0, np.nan])}

    assert cli.main(["--json", *quick(run)]) == 0
    out, err = capsys.readouterr()
    read = json.loads(out)
    assert read["numbers"] == {"mean": 0.5, "failed": [1.0, None]}
    assert (read["status"], read["files"]) == ("done", ["figure.png"])
    assert Path(read["out"], "figure.png").exists()
    assert err == "for people\n"


def test_interruption_says_what_there_is_and_how_to_go_on(quick, capsys, tmp_path):
    (tmp_path / "old.png").write_text("")

    def run(config):
        (config.out / "new.png").write_text("")
        raise KeyboardInterrupt

    arguments = quick(run)
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == (
        f"interrupted: new.png is whole in {tmp_path}\n"
        f"go on with: python -m experiments selu_fixed_point --out {tmp_path}\n"
    )
    assert cli.main([*arguments, "--json"]) == 130
    read = json.loads(capsys.readouterr().out)
    assert (read["status"], read["files"]) == ("interrupted", ["new.png"])


INTERRUPTED = """
import os, signal, sys
import jax
import numpy as np
from experiments import __main__ as cli, seed_sweep, showing

def quick(config, inputs, outputs):
    def train(key, data, *, kind, depth, rate):
        return {part + "_accuracy": depth * rate * jax.random.uniform(key) for part in ("dev", "test")}
    return train

def interrupted(task, done, text=""):
    reach(task, done, text)
    if 0 < done < task.total:
        os.kill(os.getpid(), signal.SIGINT)

reach, seed_sweep.train_of = showing.Task.reach, quick
sets = np.zeros((40, 2), np.float32), np.arange(40) % 2
seed_sweep.classification.load = lambda *_: seed_sweep.classification.Sets(dict.fromkeys(("train", "test"), sets), 2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # of a suite in the background it is ignored
if "--resume" not in sys.argv:
    showing.Task.reach = interrupted
sys.exit(cli.main(["seed_sweep", "--kinds", "relu", "--depths", "1", "2", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("goes_on", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_sweep_that_is_interrupted_keeps_its_runs(goes_on, tmp_path):
    """A signal after the first of several chunks, in a process of its own."""
    out = tmp_path / "with space"
    options = ["--seeds", "2", "--out", str(out), "--cache", str(tmp_path / "cache")]
    command = [sys.executable, "-c", INTERRUPTED, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    *_, saved, again = done.stderr.splitlines()
    assert (kept := re.fullmatch(r"interrupted: (\d+) of 12 runs are saved in (.*)", saved))
    assert 0 < int(kept[1]) < 12
    assert kept[2] == str(out / "store")
    shown = shlex.split(again.removeprefix("go on with: "))
    assert shown == ["python", "-m", "experiments", "seed_sweep", *shown[4:-1], "--resume"]
    assert shown[-5:-1] == options[-4:]
    if not goes_on:
        return
    done = subprocess.run([*command, "--resume", "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["numbers"]["runs"] == 12


@pytest.fixture
def settings(monkeypatch):
    """What the code under test sets in JAX's configuration, kept from taking effect."""
    made = {}
    config = SimpleNamespace(jax_compilation_cache_dir=None, update=made.__setitem__)
    monkeypatch.setattr(common, "jax", SimpleNamespace(config=config))
    return made


def test_the_cache_goes_to_the_users_cache_folder(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    common.use_cache(None)
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / "jnorm" / "xla")
    common.use_cache(tmp_path / "other")
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / "other")


def test_jaxs_own_cache_setting_holds_unless_another_is_asked_for(settings, tmp_path):
    common.jax.config.jax_compilation_cache_dir = "elsewhere"
    common.use_cache(None)
    assert settings == {}
    common.use_cache(tmp_path)
    assert settings["jax_compilation_cache_dir"] == str(tmp_path)


def test_without_a_default_cache_the_work_goes_on(settings, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    common.use_cache(None)
    assert settings == {}
    assert "no compilation cache: " in capsys.readouterr().err
    with pytest.raises(Refused, match="`cache` must be a folder that can be written"):
        common.use_cache(tmp_path / "file")


def test_reports_hold_plain_numbers_and_null_for_what_is_not_finite(tmp_path):
    output = Output.open(tmp_path / "deep" / "folder")
    output.report(
        "text", {"a": np.array([1.0, np.nan]), "b": np.float32(0.5), "c": {"d": (True, np.inf)}, "e": Path("x")}
    )
    read = json.loads((output.folder / "report.json").read_text())
    assert read == {"a": [1.0, None], "b": 0.5, "c": {"d": [True, None]}, "e": "x"}
    assert (output.folder / "report.md").read_text() == "text"
    assert output.files == ["report.md", "report.json"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    output = Output.open(tmp_path)
    output.bytes("numbers.npz", b"old")

    def full(handle):
        raise OSError("disk full")

    monkeypatch.setattr(common.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        output.bytes("numbers.npz", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.npz"]
    assert (tmp_path / "numbers.npz").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda: checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rates=(0.1, 0.0)), "rates > 0; got 0.0"),
        (lambda: checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rate=float("nan")), "rate > 0; got nan"),
        (lambda: checks.whole(1, depth=1.5), "`depth` must be a whole number >= 1; got 1.5"),
        (lambda: checks.whole(1, depth=float("inf")), "`depth` must be a whole number >= 1; got inf"),
        (lambda: checks.choice("kind", "c", ("a", "b")), "`kind` must be one of a, b; got 'c'"),
    ],
)
def test_checks_name_option_rule_and_value(check, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        check()
    checks.require(lambda r: r > 0, "`{}` must satisfy {} > 0", rates=(0.1, 1), rate=2)
    checks.whole(1, depth=3)
    checks.choice("kind", "a", ("a", "b"))
