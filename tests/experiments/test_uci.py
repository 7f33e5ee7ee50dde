"""The UCI table: padding changes nothing, what is chosen by what, ranks and tests, bad folders, going on."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments import uci
from experiments.checks import Refused
from experiments.uci import choosing, course, data, ranks, training
from experiments.uci.networks import KINDS, Size, network
from jnorm import activations, initializers, losses
from jnorm.nn import batch_norm, feature_norm, networks, weight_norm
from jnorm.nn.layers import Layer, stateless
from tests.thorough import beside

# Small programs, each run once.
pytestmark = [
    pytest.mark.usefixtures("unoptimized"),
    pytest.mark.filterwarnings("ignore:.*runs diverged"),
]

UNITS = 8


def write(folder, name, rows, features, classes, test=0):
    """A set in the layout of the UCI sets, whose class is where its first feature lies."""
    rng = np.random.default_rng(len(name) + rows)
    at = folder / "uci" / name
    at.mkdir(parents=True)
    sizes = {f"{name}_train_R.dat": rows, f"{name}_test_R.dat": test} if test else {f"{name}_R.dat": rows}
    lines = [f"n_entradas= {features}", f"n_clases= {classes}", f"n_arquivos= {len(sizes)}"]
    for i, (file, size) in enumerate(sizes.items(), 1):
        lines += [f"fich{i}= {file}", f"n_patrons{i}= {size}"]
        x = rng.normal(size=(size, features))
        y = np.argsort(np.argsort(x[:, 0])) * classes // size
        table = [
            f"{j + 1}\t" + "\t".join(f"{v:.6f}" for v in row) + f"\t{c}"
            for j, (row, c) in enumerate(zip(x, y, strict=True))
        ]
        header = "\t".join(["", *(f"f{k}" for k in range(features)), "clase"])
        (at / file).write_text("\n".join([header, *table]) + "\n")
    (at / f"{name}.txt").write_text("\n".join(lines) + "\n")
    folds = []
    for part in (2, 4, 4, 4, 4):
        order = rng.permutation(rows)
        folds.append("\n".join(" ".join(map(str, half)) for half in (order[rows // part :], order[: rows // part])))
    (at / "conxuntos.dat").write_text(folds[0] + "\n")
    (at / "conxuntos_kfold.dat").write_text("\n".join(folds[1:]) + "\n")
    return at


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "alpha", 40, 3, 2)
    write(tmp_path, "beta", 60, 5, 3)
    write(tmp_path, "gamma", 30, 2, 2, test=50)
    return tmp_path


def reference(kind, features, classes, widths):
    """The network without padding, of the library's parts alone, and which rows and columns of the padded are its."""
    phi, init = (
        (activations.selu, initializers.lecun_normal()) if kind == "snn" else (jax.nn.relu, initializers.he_normal())
    )
    layer = Layer(phi, init)
    if kind == "highway":
        return networks.highway(features, classes, units=widths[0], depth=len(widths), layer=layer)
    if kind == "resnet":
        blocks = len(widths) // 2
        return networks.residual(
            features, classes, units=widths[0], blocks=blocks, layer=layer, branch_scale=blocks**-0.5
        )
    parts = {
        "batchnorm": {"normalizer": batch_norm},
        "layernorm": {"normalizer": stateless(feature_norm.init, feature_norm.layer_norm)},
        "weightnorm": {"weights": weight_norm},
    }
    return networks.mlp((features, *widths, classes), layer._replace(**parts.get(kind, {})))


def trained(model, params, state, x, y, steps=6):
    """Losses and outputs on the way of gradient descent on all examples."""

    def loss(params, state):
        logits, state = model.apply(params, state, x, train=True)
        return jnp.mean(losses.softmax_cross_entropy(logits, y)), (logits, state)

    @jax.jit
    def step(carry, _):
        params, state = carry
        (value, (logits, state)), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), state), (value, logits)

    (params, state), seen = jax.lax.scan(step, (params, state), None, steps)
    return *seen, model.apply(params, state, x, train=False)[0]


CONIC = {kind: kind in ("snn", "batchnorm", "weightnorm", "layernorm") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_network_trains_as_the_one_without_padding(kind):
    features, classes, conic = 3, 2, CONIC[kind]
    depth, most = (4, 6) if kind == "resnet" else (2, 4)
    size = Size(features, classes, jnp.asarray(depth), jnp.asarray(int(conic)))
    padded = network(kind, size, inputs=5, outputs=4, units=UNITS, depth=most)
    widths = list(networks.conic(features, classes, units=UNITS, depth=depth)[1:-1]) if conic else [UNITS] * depth
    plain = reference(kind, features, classes, widths)
    x = jax.random.normal(jax.random.key(1), (20, features))
    y = jnp.arange(20) % classes
    params, state = padded.init(jax.random.key(0))
    small, small_state = plain.init(jax.random.key(0))
    there = [*params[: len(small) - 1], params[-1]]
    states = [*state[: len(small) - 1], state[-1]]
    cut = lambda a, like: a[tuple(slice(n) for n in like.shape)]
    small, small_state = (jax.tree.map(cut, a, like) for a, like in ((there, small), (states, small_state)))
    wide = jnp.pad(x, ((0, 0), (0, 5 - features)))
    got, want = trained(padded, params, state, wide, y), trained(plain, small, small_state, x, y)
    assert want[0][-1] < want[0][0]
    # float32: sums of 8 terms in another order, through 6 steps and the division by a deviation.
    np.testing.assert_allclose(got[0], want[0], rtol=2e-5)
    for ours, theirs in zip(got[1:], want[1:], strict=True):
        assert np.isneginf(ours[..., classes:]).all()
        np.testing.assert_allclose(ours[..., :classes], theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", beside(["msrainit"], KINDS))
def test_weights_are_drawn_by_the_true_fan_in(kind):
    params, _ = network(kind, Size(50, 3, 2), inputs=400, outputs=5, units=300, depth=2).init(jax.random.key(0))
    made = weight_norm.apply if kind == "weightnorm" else lambda kernel: kernel
    kernel = np.asarray(made(params[0]["kernel"]))
    assert not kernel[50:].any()
    # 15000 draws: a relative standard error of .6 %.
    np.testing.assert_allclose(kernel[:50].std(), 50**-0.5, rtol=0.03)
    np.testing.assert_allclose(np.asarray(made(params[-1]["kernel"]))[..., :3].std(), 300**-0.5, rtol=0.15)


@pytest.mark.parametrize("kind", beside(["batchnorm"], KINDS))
def test_a_run_does_not_depend_on_what_fills_its_bucket(kind, folder):
    problems, _ = data.read(["alpha", "gamma"], folder)
    known = {"0": training.Fixed(2, 2)}
    train = training.train_of(6, known)
    results = []
    for members in (problems, problems[:1]):
        shared = {"0": jax.tree.map(jnp.asarray, data.stacked(members))}
        run = jax.jit(partial(train, bucket="0", kind=kind, units=UNITS, cap=2))
        results.append(run(jax.random.key(0), shared, number=0, split=1, rate=0.1))
    for name, value in results[0].items():
        # Accuracies of tens of rows: one row that float32 rounds to the other side would be a difference of .1.
        np.testing.assert_allclose(value, results[1][name], rtol=1e-6, err_msg=name)


def test_minibatches_hold_true_rows_each_before_any_again():
    rows = jax.vmap(lambda i: training.order(jax.random.key(3), i, size=5, rows=9, count=12))(jnp.arange(1))[0]
    assert sorted(rows[:5].tolist()) == sorted(rows[5:10].tolist()) == [0, 1, 2, 3, 4]
    other = training.order(jax.random.key(4), 0, size=5, rows=9, count=12)
    assert rows.tolist() != other.tolist()


def test_metrics_are_means_over_true_rows(folder):
    problems, _ = data.read(["alpha", "beta"], folder)
    bucket = data.stacked(problems)
    x, (y, weights) = training.part_of(jax.tree.map(jnp.asarray, bucket), "test", 0, 1)
    rows = problems[0].splits[1]["test"]
    assert len(y) > len(rows)
    logits = jax.random.normal(jax.random.key(0), (len(y), 2))
    right = np.argmax(logits[: len(rows)], 1) == problems[0].y[rows]
    np.testing.assert_allclose(jnp.mean(training.accuracy(logits, (y, weights))), right.mean(), rtol=1e-6)
    np.testing.assert_array_equal(x[: len(rows), :3], problems[0].x[rows])


def test_programs_are_at_most_a_hundred():
    for size, grid in uci.GRIDS.items():
        shared = choosing.programs(grid, 58)
        caps = set(shared.caps.values())
        assert all(cap >= depth for depth, cap in shared.caps.items())
        assert shared.buckets * len(grid.kinds) * len(grid.units) * len(caps) <= 100, size
        problem = data.Problem("a", np.zeros((1, 1)), np.zeros(1), 2, [])
        buckets = {"0": [problem] * 29, "1": [problem] * 29}
        count = len(choosing.to_choose(grid, shared, buckets))
        assert count == {"quick": 2436, "default": 4872, "all": 4872, "full": 62640}[size]


def test_ranks_and_tests_are_scipys():
    table = ranks.published()
    accuracy = np.array([row for row in table.accuracy.values() if np.isfinite(row).all()])
    found = ranks.judged(accuracy, KINDS)
    want = stats.friedmanchisquare(*accuracy.T)
    # float32 accuracies, equal but for their rounding, keep their ranks; sums of 57 ranks are exact.
    np.testing.assert_allclose([found["chi2"], found["p"]], want, rtol=1e-4)
    np.testing.assert_allclose(list(found["ranks"].values()), stats.rankdata(-accuracy, axis=1).mean(0), rtol=1e-6)
    assert set(found["against_snn"]) == set(KINDS) - {"snn"}
    theirs = ranks.spearman(accuracy, accuracy[::-1])
    np.testing.assert_allclose(theirs, stats.spearmanr(accuracy.ravel(), accuracy[::-1].ravel()).statistic, rtol=1e-12)


def test_ranks_by_hand():
    accuracy = np.array([[0.9, 0.8, np.nan], [0.7, 0.7, 0.6]])
    found = ranks.judged(accuracy, ("snn", "resnet", "highway"))
    assert found["ranks"] == {"snn": 1.25, "resnet": 1.75, "highway": 3.0}
    # Of two pairs without a tie the smallest two-sided p is 2/4, of one 1; two comparisons double the smaller.
    assert found["against_snn"]["highway"] == {"p": 0.5, "holm": 1.0, "better": False}
    agreed = ranks.agreement(np.array([[0.1, 0.3], [0.6, 0.9]]), np.array([[0.2, 0.1], [0.7, 0.9]]))
    assert agreed["overall"] == pytest.approx(0.8)
    assert agreed["within"] == pytest.approx(
        stats.spearmanr([-0.1, 0.1, -0.15, 0.15], [0.05, -0.05, -0.1, 0.1]).statistic
    )


@pytest.mark.parametrize(
    ("change", "better", "word"),
    [
        (lambda r: r, (), "reproduced"),
        (lambda r: r, ("resnet",), "contradicted"),
        (lambda r: 8 - r, (), "contradicted"),
        (lambda r: np.where(np.arange(7) == 0, 3.77, r), (), "undecided"),
    ],
)
def test_the_rule(change, better, word):
    table = ranks.published()
    found = {
        "ranks": dict(zip(KINDS, change(table.ranks), strict=True)),
        "against_snn": {kind: {"better": kind in better, "holm": 0.01} for kind in KINDS[1:]},
    }
    assert ranks.verdict(found, KINDS, table)["verdict"] == word
    assert ranks.verdict(found, KINDS[:6], table)["verdict"] is None


def test_chance_reaches_the_rules_correlation_in_a_twentieth_of_all_orders():
    rng = np.random.default_rng(0)
    drawn = np.array([np.corrcoef(np.arange(7), rng.permutation(7))[0, 1] for _ in range(20_000)])
    assert 0.04 < np.mean(drawn >= ranks.LEAST - 1e-9) < 0.06  # a standard error of .0015


def test_the_published_accuracies_give_the_published_order():
    table = ranks.published()
    accuracy = np.array(list(table.accuracy.values()))
    assert ranks.verdict(ranks.judged(accuracy, KINDS), KINDS, table)["first"] == "snn"


def test_broken_sets_are_named_and_the_others_go_on(folder):
    half = write(folder, "half", 20, 2, 2) / "half_R.dat"
    half.write_text(half.read_text()[: len(half.read_text()) // 2])
    (write(folder, "torn", 20, 2, 2) / "conxuntos_kfold.dat").unlink()
    problems, broken = data.read(data.names(folder), folder)
    assert [p.name for p in problems] == ["alpha", "beta", "gamma"]
    assert set(broken) == {"half", "torn"}
    assert "half_R.dat: must hold 20 examples" in broken["half"]
    assert "conxuntos_kfold.dat: no such file" in broken["torn"]


def test_a_test_file_on_another_scale_is_standardized_by_itself(folder):
    before = data.read(["gamma"], folder)[0][0].x
    file = folder / "uci" / "gamma" / "gamma_test_R.dat"
    header, *lines = file.read_text().splitlines()
    moved = [
        "\t".join([row, *(f"{3 + 40 * float(v):.6f}" for v in x), y])
        for row, *x, y in (line.split("\t") for line in lines)
    ]
    file.write_text("\n".join([header, *moved]) + "\n")
    np.testing.assert_allclose(data.read(["gamma"], folder)[0][0].x, before, atol=1e-5)  # six decimals are written


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda rows: [rows[0], *rows[:-1]], "twice or more"),
        (lambda rows: rows[1:], "in neither"),
    ],
)
def test_folds_that_overlap_or_leave_rows_out_are_refused_with_the_rows(folder, edit, text):
    path = folder / "uci" / "alpha" / "conxuntos_kfold.dat"
    first, second, *rest = path.read_text().splitlines()
    missing = first.split()[0] if text == "in neither" else second.split()[-1]
    fields = edit(first.split())
    if text == "twice or more":
        second = " ".join(second.split()[:-1])
        fields = [*first.split(), first.split()[0]]
    path.write_text("\n".join([" ".join(fields), second, *rest]) + "\n")
    with pytest.raises(Refused, match=rf"alpha/conxuntos_kfold.dat: .*{text}") as caught:
        data.read(["alpha"], folder)
    assert f"{missing} in neither" in str(caught.value)


def test_a_folder_without_sets_and_unknown_sets_are_refused(tmp_path, folder):
    with pytest.raises(Refused, match="must name a folder with uci/<set>/"):
        data.names(tmp_path / "none")
    with pytest.raises(Refused, match="`sets` must be among those in the folder, alpha, beta, gamma; got 'delta'"):
        course.chosen(uci.Config(data_dir=folder, sets=("delta",)), None)
    with pytest.raises(Refused, match="at least two sets must be readable; got alpha"):
        course.chosen(uci.Config(data_dir=folder, sets=("alpha",)), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "big"}, "`size` must be one of quick, default, all, full; got 'big'"),
        ({"kinds": ("snn",)}, "`kinds` must hold at least two networks"),
        ({"kinds": ("snn", "mlp")}, "`kinds` must be one of snn"),
        ({"depths": (1,)}, "`depths` must be a whole number >= 2; got 1"),
        ({"rates": (0.1, 0.1)}, "`rates` must hold no value twice"),
        ({"rates": (-1.0,)}, r"`rates` must satisfy rates > 0; got -1\.0"),
        ({"steps": 0}, "`steps` must be a whole number >= 1; got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        uci.Config(**options)


SMALL = {"kinds": ("snn", "layernorm"), "units": (8,), "depths": (2,), "rates": (0.1, 1.0), "steps": 40, "batch": 8}


@pytest.mark.thorough
def test_a_small_table_is_written_and_a_stopped_one_goes_on(folder, tmp_path, capsys, caplog, monkeypatch):
    config = uci.Config(out=tmp_path / "out", data_dir=folder, **SMALL)
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        numbers = uci.run(config)
    said = [record.getMessage() for record in caplog.records]
    made = [text for text in said if text.startswith(("Compiling jit(sweep)", "Compiling sweep"))]
    assert len(made) == numbers["programs"], made  # those that choose also judge
    assert numbers["sets"] == ["alpha", "beta", "gamma"]
    assert numbers["programs"] == 2
    # Two networks, two rates and three sets to choose; then four, four and one split to judge by.
    assert numbers["runs"] == 2 * 2 * 3 + 2 * (4 + 4 + 1)
    assert (numbers["accuracy"] > 0.6).all()  # the class is where one feature lies
    files = {path.name for path in config.out.iterdir()}
    assert files == {"ranks.png", "ranks.svg", "ranks.npz", "report.md", "report.json", "store"}
    report = json.loads((config.out / "report.json").read_text())
    assert report["accuracy"] == numbers["accuracy"].tolist()
    assert set(report["chosen"]["alpha"]["snn"]) == {"units", "cap", "rate"}
    assert "| alpha | 40 |" in capsys.readouterr().out
    with pytest.raises(Refused, match="holds a sweep: --resume continues it"):
        uci.run(config)
    whole = uci.run(uci.Config(out=config.out, data_dir=folder, resume=True, **SMALL))
    np.testing.assert_array_equal(whole["accuracy"], numbers["accuracy"])
    stopped = uci.Config(out=tmp_path / "stopped", data_dir=folder, **SMALL)
    monkeypatch.setattr(course, "to_judge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        uci.run(stopped)
    monkeypatch.undo()
    again = uci.run(uci.Config(out=tmp_path / "stopped", data_dir=folder, resume=True, **SMALL))
    np.testing.assert_array_equal(again["accuracy"], numbers["accuracy"])
    with pytest.raises(Refused, match="belongs to another sweep"):
        uci.run(uci.Config(out=config.out, data_dir=folder, resume=True, **SMALL | {"batch": 4}))
