"""Seeds as many as a rule needs: looks fixed before the data, decisions that a resumed sweep repeats."""

import json
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jnorm.statistics import Rule, judge, sequential
from jnorm.sweeps import _store as store
from jnorm.sweeps import sweep
from tests.sweeps.test_distributed import finished, two
from tests.sweeps.test_store import chunks, same, script

pytestmark = pytest.mark.usefixtures("unoptimized")
GRID = {"arm": (0.0, 0.1, 30.0, 99.0)}
LOOKS = (4, 8, 12, 16)


def train(key, arm):
    """A metric whose mean is the arm; 99 diverges."""
    return {"metric": arm + jax.random.normal(key) + jax.numpy.where(arm > 90, np.nan, 0), "seen": jax.numpy.int32(1)}


def rule(a, b, **options):
    return Rule(metric="metric", a={"arm": a}, b={"arm": b}, claim="greater", effect=0.0, diverged="lowest", **options)


def run(until, folder=None, **options):
    return sweep(train, until=until, grid=GRID, store=folder, **{"chunk": 4} | options)


@pytest.fixture(scope="module")
def everything():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sweep(train, seeds=LOOKS[-1], grid=GRID, chunk=4)


@pytest.fixture
def large_and_none():
    """A difference that is seen at once, and one that is hardly there; 99 is in no rule."""
    return sequential([rule(30.0, 0.0, paired=False), rule(0.1, 0.0, paired=False)], looks=LOOKS)


pytestmark = [pytestmark, pytest.mark.filterwarnings("ignore:.* runs diverged")]


def test_seeds_are_added_where_a_rule_is_undecided(large_and_none, everything):
    result = run(large_and_none)
    assert result.seeds == tuple(range(16))
    assert result.done.sum(1).tolist() == [16, 16, 4, 4]  # 30 is decided at the first look, 99 needs no more
    assert all(np.array_equal(row, np.arange(16) < row.sum()) for row in result.done)
    for name, array in result.outputs.items():
        np.testing.assert_array_equal(array[result.done], everything[name][result.done])
    assert np.isnan(result["metric"][~result.done]).all()
    assert (result["seen"] == result.done).all()
    assert result.failed.tolist() == (result.done & [[False], [False], [False], [True]]).tolist()
    assert [seed for _, seed in result.failures] == [0, 1, 2, 3]


def test_the_verdicts_are_those_of_all_seeds_at_the_same_looks(large_and_none, everything):
    interim = large_and_none.judge(run(large_and_none))
    assert str(interim) == str(large_and_none.judge(everything))
    assert [len(one) for one in interim.seeds] == [1, 1]
    assert (interim.runs, interim.planned) == (36, 48)


def test_one_look_may_be_enough(everything):
    until = sequential(rule(30.0, 0.0, paired=False), looks=LOOKS)
    result = run(until)
    assert result.done.sum(1).tolist() == [4] * 4
    assert str(until.judge(result)) == str(until.judge(everything))


def test_a_fixed_rule_does_not_judge_what_another_has_stopped(large_and_none):
    result = run(large_and_none)
    with pytest.raises(ValueError, match=r"`result` must have all its runs: .* `until.judge\(result\)`"):
        judge(result, rule(30.0, 0.0))


def test_looks_and_rules_are_in_the_manifest_and_a_resume_decides_the_same(tmp_path, large_and_none):
    first = run(large_and_none, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["until"] == {"rule": str(large_and_none), "looks": list(LOOKS), "over": True}
    assert [(len(block["configurations"]), block["seeds"]) for block in manifest["blocks"]] == [
        (4, [0, 1, 2, 3]),
        (2, [4, 5, 6, 7]),
        (2, [8, 9, 10, 11]),
        (2, [12, 13, 14, 15]),
    ]
    whole = chunks(tmp_path)
    same(store.load(tmp_path), first)
    np.testing.assert_array_equal(store.load(tmp_path).done, first.done)
    for name in list(whole)[5:]:  # some of every block
        (tmp_path / "chunks" / name).unlink()
    with pytest.warns(UserWarning, match="count as not run"):
        again = run(large_and_none, tmp_path)
    same(again, first)
    assert chunks(tmp_path) == whole
    assert str(large_and_none.judge(again)) == str(large_and_none.judge(first))


def test_a_sweep_that_ends_between_two_looks_goes_on(tmp_path, large_and_none):
    expected, calls = run(large_and_none), []

    def stopping(result):
        calls.append(result.done.sum(1).tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return large_and_none(result)

    class Rule(SimpleNamespace):
        __call__ = staticmethod(stopping)
        __str__ = lambda self: "mine"

    mine = Rule(looks=LOOKS)
    with pytest.raises(KeyboardInterrupt):
        run(mine, tmp_path)
    with pytest.raises(ValueError, match="holds 24 of the runs that its stopping rule needs; the same sweep with it"):
        store.load(tmp_path)
    same(run(mine, tmp_path), expected)
    assert calls == [[4, 4, 4, 4], [8, 8, 4, 4], [4, 4, 4, 4], [8, 8, 4, 4], [12, 12, 4, 4]]


def test_a_look_sees_no_seed_of_the_next_ones(tmp_path):
    """Also where a store has them already."""
    shapes = []

    class Rule(SimpleNamespace):
        def __call__(self, result):
            shapes.append((result["metric"].shape, result.seeds, bool(result.done[0].all())))
            return np.array([True, False, False, False])

        __str__ = lambda self: "mine"

    for _ in range(2):
        run(Rule(looks=(2, 3, 5)), tmp_path, seeds=(7, 1, 5, 3, 0))
    assert shapes == 2 * [((4, 2), (7, 1), True), ((4, 3), (7, 1, 5), True)]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: None, "until: looks at 4, 8, 12 and 1 more seeds by .* in the store, none in this call"),
        (lambda: sequential(rule(30.0, 0.0), looks=LOOKS), "until: .* fixed before the data: give another folder"),
        (lambda: sequential(rule(0.1, 0.0), looks=(*LOOKS[:-1], 32)), "until: .* give another folder"),
    ],
)
def test_other_looks_or_rules_than_those_of_the_store_are_refused(tmp_path, other, text):
    run(sequential(rule(0.1, 0.0), looks=LOOKS), tmp_path)
    until = other()
    with pytest.raises(ValueError, match=f"belongs to another sweep:\n- {text}"):
        run(until, tmp_path, **({"seeds": 16} if until is None else {}))


def test_looks_do_not_begin_after_the_data(tmp_path):
    sweep(train, seeds=8, grid=GRID, store=tmp_path)
    with pytest.raises(ValueError, match=r"until: none in the store, looks at .* fixed before the data"):
        run(sequential(rule(0.1, 0.0), looks=LOOKS), tmp_path)


ASKING = SimpleNamespace(looks=(2, 4))


class Asked:
    """Any callable will do."""

    def __init__(self, looks=(2, 4), answer=(True, False, False, False)):
        self.looks, self.answer = looks, answer

    def __call__(self, result):
        return self.answer


def test_any_callable_with_looks_will_do():
    assert run(Asked()).done.sum(1).tolist() == [4, 2, 2, 2]
    assert run(Asked(np.array([2, 4]), np.array([False] * 4))).done.sum(1).tolist() == [2] * 4


@pytest.mark.parametrize(
    ("until", "options", "error", "text"),
    [
        (Asked((4, 2)), {}, ValueError, r"`until.looks` must be whole numbers of seeds that increase, .* got \(4, 2\)"),
        (Asked((2, 2)), {}, ValueError, "must be whole numbers of seeds that increase"),
        (Asked((0, 2)), {}, ValueError, "must be whole numbers of seeds that increase"),
        (Asked((2.0, 4.0)), {}, ValueError, "must be whole numbers of seeds that increase"),
        (Asked(()), {}, ValueError, "must be whole numbers of seeds that increase"),
        (Asked(4), {}, TypeError, "`until` must be a function of a result with `looks`"),
        (lambda result: [True] * 4, {}, TypeError, "`until` must be a function of a result with `looks`"),
        (ASKING, {}, TypeError, "`until` must be a function of a result with `looks`"),
        (Asked(), {"seeds": 8}, ValueError, "`seeds` must be as many as the last look of `until`, 4, .* got 8"),
        (
            Asked(answer=[True]),
            {},
            ValueError,
            r"`until` must return booleans, one for each .*look 1 got \[Tr",
        ),
        (Asked(answer=[1, 0, 0, 0]), {}, ValueError, "`until` must return booleans"),
        (Asked(answer=None), {}, ValueError, "`until` must return booleans"),
        (None, {}, TypeError, "`seeds` must be given"),
        (sequential(rule(5.0, 0.0), looks=LOOKS), {}, ValueError, "arm=5.0"),
    ],
)
def test_bad_input(until, options, error, text):
    with pytest.raises(error, match=text):
        run(until, **options)


def test_a_rule_whose_arms_the_grid_lacks_is_refused_before_anything_is_traced():
    def never(key, arm):
        raise AssertionError

    with pytest.raises(ValueError, match="arm"):
        sweep(never, until=sequential(rule(5.0, 0.0), looks=LOOKS), grid=GRID)


def test_later_looks_are_as_wide_as_they_need_to_be(tmp_path):
    run(Asked((16, 20, 40)), tmp_path, chunk=64)
    plans = [block["plans"][0][0] for block in json.loads((tmp_path / "manifest.json").read_text())["blocks"]]
    assert plans == [64, 4, 32]


def test_stages_of_one_width_are_compiled_once(monkeypatch):
    from jnorm.sweeps import _programs as programs

    widths, compiled = [], programs.compiled
    monkeypatch.setattr(
        programs, "compiled", lambda *text, **shape: widths.append(shape["width"]) or compiled(*text, **shape)
    )
    run(Asked((4, 8, 12), (True, True, True, True)))
    assert widths == [4]


@pytest.mark.thorough
def test_two_processes_take_the_seeds_that_one_takes(tmp_path):
    process = script(tmp_path / "one", "--until")
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert finished(two(tmp_path / "two", "--until")) == [printed, printed]
    seeds = [
        [block["seeds"] for block in json.loads((tmp_path / folder / "manifest.json").read_text())["blocks"]]
        for folder in ("one", "two")
    ]
    assert seeds[0] == seeds[1]
    assert len(seeds[0][0]) == 3
