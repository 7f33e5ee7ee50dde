"""Models as they are predicted: seconds over depth, and transformers against real initializations."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import harness, models
from benchmarks.harness import Row, fresh
from jnorm import jaxprs
from jnorm.predict import _backward, _choice, laws, predict
from jnorm.predict._predictor import Predictor

WIDTH, HEADS, BLOCKS, WORDS, DRAWS = 256, 4, 4, 256, 128
LAWS = 16  # draws by which laws are told
HUGE = 1e20  # squares of masked logits


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x: Any, mask: Any) -> Any:
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=HEADS)(h, h, mask=mask)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))


class Linen(nn.Module):
    """A GPT in Flax linen."""

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        """Logits of each position."""
        table = nn.initializers.normal(0.5)
        x = nn.Embed(WORDS, WIDTH, embedding_init=table)(tokens)
        x = x + self.param("positions", table, (1, tokens.shape[1], WIDTH))
        mask = nn.make_causal_mask(tokens)
        for _ in range(BLOCKS):
            x = _Block()(x, mask)
        return nn.Dense(WORDS)(nn.LayerNorm()(x))


class _Part(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.then = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: Any, mask: Any) -> Any:
        x = x + self.attend(self.first(x), mask=mask)
        return x + self.down(nnx.gelu(self.up(self.then(x))))


class Nnx(nnx.Module):
    """A GPT in Flax nnx."""

    def __init__(self, length: int, rngs: nnx.Rngs) -> None:
        table = nnx.initializers.normal(0.5)
        self.words = nnx.Embed(WORDS, WIDTH, embedding_init=table, rngs=rngs)
        self.positions = nnx.Param(table(rngs.params(), (1, length, WIDTH)))
        self.parts = nnx.List([_Part(rngs) for _ in range(BLOCKS)])
        self.norm, self.head = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, WORDS, rngs=rngs)

    def __call__(self, tokens: Any) -> Any:
        """Logits of each position."""
        x = self.words(tokens) + self.positions[...]
        mask = nnx.make_causal_mask(tokens)
        for part in self.parts:
            x = part(x, mask)
        return self.head(self.norm(x))


def linen(length: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Its ``apply(params, tokens)`` and ``draw(key)``."""
    return Linen().apply, lambda key: Linen().init(key, jnp.zeros((1, length), int))


def of_nnx(length: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same of nnx."""
    parts: Any = nnx.split(Nnx(length, nnx.Rngs(0)), nnx.Param, ...)
    graph, _, rest = parts
    draw = lambda key: nnx.split(Nnx(length, nnx.Rngs(key)), nnx.Param, ...)[1]
    return lambda params, tokens: nnx.merge(graph, params, rest)(tokens), draw


def words(length: int) -> Any:
    """Two examples."""
    return jnp.asarray(np.random.default_rng(0).integers(0, WORDS, (2, length)))


class Gap(NamedTuple):
    """How far predictions are from means over real initializations, the standard errors of these means, and of what.

    Both are relative, but of correlations absolute.
    """

    off: np.ndarray
    error: np.ndarray
    names: np.ndarray


class Gaps(NamedTuple):
    """The gaps of all values, and of all parameters."""

    second: Gap
    correlation: Gap
    gradient: Gap
    parameter: Gap


def gaps(apply: Callable[..., Any], draw: Callable[..., Any], x: Any, draws: int) -> Gaps:
    """Rows that are zero by prediction, and masked logits, are left out."""
    drawn = jax.jit(draw)
    first = drawn(jax.random.key(0))
    told = laws(*map(drawn, jax.random.split(jax.random.key(0), LAWS)))  # of one draw 512 biases leave 6 % open
    prediction = predict(apply, first, x, laws=told, gradients=True)
    program = jax.make_jaxpr(apply)(first, x)
    matters, rest = _choice.chosen(program), jax.tree.leaves(x)
    places: dict[Any, tuple[Any, ...]] = {}

    def record(site: Any, out: Any) -> None:
        if id(site.equation) in matters:
            places.update({(site.index, i): v.axes for i, v in enumerate(out) if getattr(v, "terms", None)})

    jaxprs.evaluate(program, *_inputs(first), *rest, hook=Predictor(record), opens=())
    reverse, probes = _backward.program(program, jax.tree.leaves(first), rest, matters)

    @jax.jit
    def one(key: Any) -> Any:
        (of_params, of_cotangents), seen = jax.random.split(key), {}

        def hook(site: Any, *inputs: Any) -> Any:
            opened = site.primitive in jaxprs.CALLS
            out = site.open(site.bodies[0], *inputs) if opened else site.run(*inputs)
            here = [(i, places[site.index, i]) for i in range(len(out)) if (site.index, i) in places]
            if id(site.equation) in matters:
                seen.update({(site.index, i): _moments(out[i], axes) for i, axes in here})
            return out

        flat = jax.tree.leaves(draw(of_params))
        jaxprs.evaluate(program, *flat, *rest, hook=hook, opens=())
        out = [jax.random.normal(of_cotangents, v.aval.shape, v.aval.dtype) for v in program.jaxpr.outvars]
        back = jaxprs.evaluate(reverse, *flat, *rest, *probes.values(), *out)
        return [seen[place] for place in places], [jnp.mean(jnp.square(v)) for v in back]

    runs = [one(jax.random.key(seed)) for seed in range(1, draws + 1)]
    values, back = jax.tree.map(lambda *v: np.stack(v).astype(np.float64), *runs)
    squares, grams = np.stack([square for square, _ in values], 1), [gram for _, gram in values]
    back = np.stack(back, 1)
    count = len(prediction.parameters)
    at = {place: back[:, count + i] for i, place in enumerate(probes)}
    slopes = np.stack([at.get(place, np.full(draws, np.nan)) for place in places], 1)
    real = squares.mean(0)
    kept = (real < HUGE) & (real > 0)
    cosines = np.array([_cosine(gram) for gram in grams])
    leaves = back[:, :count]
    some = leaves.mean(0) > 1e-9 * leaves.mean(0).max()
    names, apart = np.array([row.name for row in prediction]), np.isfinite(cosines[:, 0]) & kept
    correlation = np.array([row.correlation for row in prediction]) - cosines[:, 0]
    return Gaps(
        _gap(names, [row.second for row in prediction], squares, kept),
        Gap(correlation[apart], cosines[apart, 1], names[apart]),
        _gap(names, [row.gradient for row in prediction], slopes, np.all(np.isfinite(slopes), 0)),
        _gap(np.array(list(prediction.parameters)), list(prediction.parameters.values()), leaves, some),
    )


def _gap(names: np.ndarray, predicted: list[float], runs: np.ndarray, kept: np.ndarray) -> Gap:
    """Of predictions and ``[draws, rows]``, at the rows that are ``kept`` and differ from zero."""
    kept = kept & (runs.mean(0) > 0)
    runs, mean = runs[:, kept], runs.mean(0)[kept]
    return Gap(np.array(predicted)[kept] / mean - 1, runs.std(0, ddof=1) / len(runs) ** 0.5 / mean, names[kept])


def _inputs(params: Any) -> list[Any]:
    from jnorm.predict._model import model

    return model(lambda params, x: x, params, 0.0, None).inputs


def _moments(v: Any, axes: Any) -> Any:
    """The mean square, and second moments of all examples at each position, averaged over units."""
    lead = next((i for i, size in enumerate(v.shape) if size > 1), 0)  # axes of length one come before, as of vmap
    v = v.astype(jnp.float32).reshape(v.shape[lead:])
    units = tuple(i for i, atoms in enumerate(axes[lead:]) if any(unit for _, unit in atoms))
    pairs = v[:, None] * v[None]
    return jnp.mean(jnp.square(v)), jnp.mean(pairs, tuple(i + 1 for i in units if i)) if 0 not in units else jnp.ones(0)


def _cosine(grams: np.ndarray) -> tuple[float, float]:
    """Of different examples, averaged over them and over positions, of the mean over draws; and its standard error."""
    if not grams[0].size:
        return np.nan, np.nan
    grams = grams.reshape(*grams.shape[:3], -1)
    mean, apart = grams.mean(0), ~np.eye(grams.shape[1], dtype=bool)
    squares = np.einsum("iip->ip", mean)
    fine = (squares[:, None] > 0) & (squares[None] > 0)
    size = np.sqrt(np.where(fine, squares[:, None] * squares[None], 1.0))
    cosines = np.where(fine, mean / size, 0.0)
    own = np.einsum("diip->dip", grams) / np.where(squares > 0, squares, 1.0)
    each = np.where(fine, grams / size, 0.0) - cosines * (own[:, :, None] + own[:, None]) / 2  # to first order
    error = each[:, apart].mean((1, 2)).std(ddof=1) / len(grams) ** 0.5
    return float(cosines[apart].mean()), float(error)


COLD = """
import time
from benchmarks import prediction
import jax
apply, draw = prediction.{name}({length})
params, x = jax.jit(draw)(jax.random.key(0)), prediction.words({length})
start = time.perf_counter()
prediction.predict(apply, params, x, gradients=True)
print(time.perf_counter() - start)
"""


def mlp(depth: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A network of tanh with 512 units: its ``apply(params, x)`` and ``draw(key)``."""

    def apply(params: Any, x: Any) -> Any:
        for weight in params:
            x = jnp.tanh(x @ weight)
        return x

    def draw(key: Any) -> list[Any]:
        sizes = [64, *[512] * depth]
        keys = jax.random.split(key, depth)
        return [jax.random.normal(k, pair) / pair[0] ** 0.5 for k, pair in zip(keys, pairwise(sizes), strict=True)]

    return apply, draw


DEEP = """
import time
from benchmarks import prediction
import jax
apply, draw = prediction.mlp({depth})
params, x = jax.block_until_ready((jax.jit(draw)(jax.random.key(0)), jax.random.normal(jax.random.key(1), (4, 64))))
start = time.perf_counter()
prediction.predict(apply, params, x, gradients=True)
print(time.perf_counter() - start)
"""


def depths() -> Iterator[Row]:
    """How long the prediction of a plain network takes, with gradients: cold, over depth, and beside real networks."""
    cold = fresh(DEEP.format(depth=50), rounds=5)
    yield Row("50 layers of 512: the whole prediction in a new process", cold, "s", most=2)
    x = jax.random.normal(jax.random.key(1), (4, 64))
    models = {depth: mlp(depth) for depth in (25, 50, 100)}
    drawn = {depth: jax.jit(draw)(jax.random.key(0)) for depth, (_, draw) in models.items()}
    seconds = harness.interleave(
        {
            str(depth): lambda depth=depth: predict(models[depth][0], drawn[depth], x, gradients=True).rows[-1].second
            for depth in models
        },
        rounds=5,
    )
    for few, many in ((25, 50), (50, 100)):
        ratio = harness.ratio(seconds[str(many)], seconds[str(few)])
        yield Row(f"{many} layers of 512 over {few}: a prediction", ratio, "times", most=2.5)
    apply, draw = models[50]

    @jax.jit
    def real(keys: Any) -> Any:
        return jax.lax.map(
            lambda key: jnp.mean(jnp.square(jax.vjp(apply, draw(key), x)[1](jnp.ones((4, 512)))[1])), keys
        )

    keys = jax.random.split(jax.random.key(2), DRAWS)
    beside = harness.interleave(
        {"real": lambda: real(keys), "predicted": lambda: predict(apply, drawn[50], x, gradients=True).rows[-1].second},
        rounds=3,
    )
    yield Row(
        f"50 layers of 512: {DRAWS} real initializations with a reverse pass over the prediction",
        harness.ratio(beside["real"], beside["predicted"]),
        "times",
    )


def run() -> Iterator[Row]:
    """Plain networks, models of many kinds, and transformers of both libraries and two lengths, over 128 draws each."""
    yield from depths()
    asked = {"second": (2, 6), "correlation": (1, 5), "gradient": (5, 10), "parameter": (5, 10)}
    gpts = {
        f"GPT in {name.removeprefix('of_')}, {length} positions": (name, model, length)
        for name, model in (("linen", linen), ("of_nnx", of_nnx))
        for length in (16, 64)
    }
    made = models.MODELS | {
        what: lambda model=model, length=length: (*model(length), words(length))
        for what, (_, model, length) in gpts.items()
    }
    for what, make in made.items():
        found = gaps(*make(), 4 if harness.quick else DRAWS)
        for field, (middle, most) in asked.items():
            gap: Gap = getattr(found, field)
            off, error = 100 * np.abs(gap.off), 100 * gap.error
            worst = int(np.argmax(off))
            for kind, limit, a, b, at in (
                ("median", middle, np.median(off), np.median(error), ""),
                ("largest", most, off[worst], error[worst], f" at {gap.names[worst]}"),
            ):
                yield Row(f"{what}: {field}, {kind}", float(a), "%", most=limit, detail=f"standard error {b:.2g} %{at}")
        if what in gpts:
            name, _, length = gpts[what]
            cold = fresh(COLD.format(name=name, length=length), rounds=1 if harness.quick else 3)
            yield Row(f"{what}: the whole prediction in a new process", cold, "s", most=20 if length == 64 else None)
