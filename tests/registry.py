"""Every public name of jnorm: how to call it for the laws of test_laws.py, or why they do not apply to it.

A function needs one line, `add(name, call, *arguments)`. The first axis of every argument counts lanes (points, rows,
keys): `call` must treat them independently and put the same axis first in its results. Options are bound in `call`;
functions are handed over as they are. Floating arguments are cast to the dtype under test, others stay.

A law that does not hold by design is named with the reason: `add(..., gradient="piecewise constant")`. Types and
constants go to `DATA`, whole modules or single names that no array law fits to `EXEMPT`.
"""

import ast
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnorm import activations, fans, gaussian, initializers, losses
from jnorm.data import augment, batches, standardize
from jnorm.measure import components, effects, estimates, paired, statistics
from jnorm.measure import ranks as method_ranks
from jnorm.nn import (
    batch_norm,
    batch_renorm,
    convolution,
    dropout,
    feature_norm,
    layers,
    networks,
    weight_norm,
)
from jnorm.theory import closed_forms, constants, fixed_points, meanfield, mills, moments, portraits
from jnorm.theory.moments import Moments
from jnorm.train import evaluation, schedules

PACKAGE = Path(__file__).resolve().parents[1] / "jnorm"
LAWS = ("jit", "batch", "gradient", "dtype", "compile", "nan")
LAYER = ("bfloat16", "float16", "float32", "float64")
THEORY = ("float32", "float64")


class Entry(NamedTuple):
    call: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]
    dtypes: tuple[str, ...]
    exceptions: dict[
        str, str
    ]  # law: why it does not hold; of "compile" the eager call, of "nan" the NaN that comes out


FUNCTIONS: dict[str, Entry] = {}


def add(name: str, call: Callable[..., Any], *arguments: Any, dtypes: tuple[str, ...] = THEORY, **why: str) -> None:
    FUNCTIONS[name] = Entry(call, tuple(np.asarray(a) for a in arguments), dtypes, why)


def last_to_first(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), tree)


def each(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one lane, mapped; the first argument of a lane is a vector (a key, a row) or a matrix (a batch)."""
    return lambda first, *rest: (jax.vmap(f) if first.shape[0] == LANES else f)(first, *rest)


def drawn(init: Callable[..., jax.Array], *shape: int) -> Callable[..., jax.Array]:
    """An initializer as a function of keys; the second argument only carries the dtype."""
    return each(lambda key, like: init(key, shape, like.dtype))


LANES = 5
# Five lanes: off the kinks, on either side of them, near and far.
X = np.array([-7.3, -0.6, 0.2, 1.7, 5.1])
MEAN = np.array([-2.0, -0.3, 0.05, 0.6, 3.0])
VAR = np.array([0.3, 1.1, 0.02, 4.0, 2.0])
OMEGA = np.array([0.1, -0.3, 0.0, 0.2, 0.5])
TAU = np.array([1.0, 0.9, 1.2, 1.05, 1.1])
POSITIVE = np.array([0.5, 1.0, 1.3, 0.2, 2.0])
ROWS = np.random.default_rng(0).normal(size=(5, 4))
ROOT = np.random.default_rng(1).normal(size=(5, 2, 2))
COV = ROOT @ ROOT.transpose(0, 2, 1) + 0.1 * np.eye(2)
KEYS = np.random.default_rng(2).integers(0, 2**32, (5, 2), dtype=np.uint32)  # raw ones: an array like any other
BATCHES = np.random.default_rng(3).normal(size=(5, 6, 3))
CLASSES = np.array([0, 3, 1, 1, 2])
OFFSETS = np.array([[0, 1], [-2, 0], [1, 1], [0, 0], [9, -1]])
SIGNS = np.array([1, -1, 1, -1, 1])
SELU = partial(moments.layer_map, activations.selu)
SIN = partial(moments.layer_map, activations.sin)  # compiles sooner
SHIFTED = partial(moments.layer_map, lambda z: jnp.tanh(z) + 0.2)
LOOP = "JAX compiles a loop each time it runs outside jit"

for _name, _phi in activations.ELEMENTWISE.items():
    add(f"activations.{_name}", _phi, X, dtypes=LAYER)
for _name, _call in {
    "leaky_relu": lambda x, a: activations.leaky_relu(x, negative_slope=a),
    "elu": lambda x, a: activations.elu(x, alpha=a),
    "celu": lambda x, a: activations.celu(x, alpha=a),
}.items():
    add(f"activations.{_name}", _call, X, POSITIVE, dtypes=LAYER)
add("activations.scaled_elu", activations.scaled_elu, X, POSITIVE, TAU, dtypes=LAYER)
add("activations.softmax", activations.softmax, ROWS, dtypes=LAYER)
add("activations.log_softmax", activations.log_softmax, ROWS, dtypes=LAYER)
add("activations.hardmax", activations.hardmax, ROWS, dtypes=LAYER, gradient="piecewise constant")

add("gaussian.elementwise", partial(gaussian.elementwise, jnp.tanh), X)
add("gaussian.expectation", partial(gaussian.expectation, activations.selu), MEAN, VAR)
add("gaussian.moments", partial(gaussian.moments, activations.selu), MEAN, VAR)
add("gaussian.expectation2", partial(gaussian.expectation2, lambda u, v: jnp.tanh(u) * v), ROWS[:, :2], COV)

for _name in ("identity", "relu", "elu", "celu", "selu", "leaky_relu", "sin", "scaled_elu", "halves"):
    add(f"theory.closed_forms.{_name}", getattr(closed_forms, _name), MEAN, VAR)
add(
    "theory.closed_forms.scaled_elu",
    lambda mean, var, lam, alpha: closed_forms.scaled_elu(mean, var, lam=lam, alpha=alpha),
    *(MEAN, VAR, TAU, POSITIVE),
)
add(
    "theory.mills.mills",
    mills.mills,
    *(POSITIVE, POSITIVE + 0.3, POSITIVE + 0.7),
    nan="each value depends on some of the arguments",
)
add("theory.mills.erfcx", mills.erfcx, MEAN)
add(
    "theory.constants.selu_constants",
    lambda m, v, w, t: constants.selu_constants(m, v, omega=w, tau=t),
    0.1 * MEAN,
    VAR,
    OMEGA,
    TAU,
)

add("theory.moments.activation_moments", partial(moments.activation_moments, activations.gelu), MEAN, VAR)
add(
    "theory.moments.gradient_factor",
    lambda mean, var, tau: moments.gradient_factor(activations.selu, mean, var, tau=tau),
    *(MEAN, VAR, TAU),
)
add("theory.moments.layer_map", lambda m, v, w, t: SELU(omega=w, tau=t)(Moments(m, v)), MEAN, VAR, OMEGA, TAU)
add(
    "theory.meanfield.layer_map",
    lambda m, v, w, b: meanfield.layer_map(activations.gelu, sigma_w=w, sigma_b=b)(Moments(m, v)),
    *(MEAN, VAR, TAU, POSITIVE),
)

add(
    "theory.fixed_points.solve",  # without the residual, which is rounding
    lambda m, v, w, t: fixed_points.solve(SHIFTED(omega=w, tau=1.5 * t), Moments(m, v))[:2],
    *(0.1 * MEAN, VAR, OMEGA, TAU),
    compile=LOOP,
)
add(
    "theory.fixed_points.iterate",
    lambda m, v, t: last_to_first(fixed_points.iterate(SIN(omega=0.9, tau=t), Moments(m, v), 3)),
    *(MEAN, VAR, TAU),
    compile=LOOP,
)
add(
    "theory.fixed_points.stability",
    lambda m, v, w, t: fixed_points.stability(SIN(omega=w, tau=t), Moments(m, v)),
    *(MEAN, VAR, OMEGA, TAU),
)
add(
    "theory.portraits.vector_field",
    lambda tau: portraits.vector_field(
        SIN(omega=0.9, tau=tau[..., None, None]), MEAN.astype(tau.dtype), VAR.astype(tau.dtype)
    )[2:],
    TAU,
)
add(
    "theory.portraits.trajectories",
    lambda m, v, t: portraits.trajectories(SIN(omega=0.9, tau=t), Moments(m, v), 3),
    *(MEAN, VAR, TAU),
    compile=LOOP,
    nan="a path rests at its last finite point",
)
add(
    "theory.portraits.basin",
    lambda m, v: portraits.basin(SIN(tau=1.5), Moments(m, v), Moments(0.0, 1.0), depth=60),
    *(MEAN, VAR),
    compile=LOOP,
    gradient="counts",
    dtype="counts",
)

DRAWS = {"gradient": "draws from a key", "nan": "draws from a key"}
for _name, _init in {
    "zeros": initializers.zeros(),
    "ones": initializers.ones(),
    "constant": initializers.constant(0.3),
    "normal": initializers.normal(),
    "truncated_normal": initializers.truncated_normal(),
    "uniform": initializers.uniform(),
    "variance_scaling": initializers.variance_scaling(2.0, "fan_avg", "uniform", omega=0.1, tau=1.0),
    **{
        f"{who}_{law}": getattr(initializers, f"{who}_{law}")()
        for who in ("glorot", "he", "lecun")
        for law in ("normal", "uniform")
    },
    "for_activation": initializers.for_activation(activations.tanh, mode="both"),
}.items():
    add(f"initializers.{_name}", drawn(_init, 6, 4), KEYS, X, dtypes=LAYER, **DRAWS)
for _name, _init in {
    "identity": initializers.identity(),
    "orthogonal": initializers.orthogonal(),
    "sparse": initializers.sparse(0.5),
}.items():
    add(f"structured.{_name}", drawn(_init, 6, 4), KEYS, X, dtypes=LAYER, **DRAWS)
add("structured.delta_orthogonal", drawn(initializers.delta_orthogonal(), 3, 2, 4), KEYS, X, dtypes=LAYER, **DRAWS)
add("fans.with_row_sums", each(lambda w: fans.with_row_sums(w, (0,), omega=0.1, tau=1.0)), BATCHES, dtypes=LAYER)

add("losses.softmax_cross_entropy", losses.softmax_cross_entropy, ROWS, CLASSES, dtypes=LAYER)
add("losses.sigmoid_cross_entropy", losses.sigmoid_cross_entropy, ROWS, 1 / (1 + np.exp(ROWS)), dtypes=LAYER)
add("losses.squared_error", losses.squared_error, X, MEAN, dtypes=LAYER)
add("losses.hinge", losses.hinge, X, SIGNS, dtypes=LAYER)
add("losses.l1_penalty", each(losses.l1_penalty), ROWS)
add("losses.l2_penalty", each(losses.l2_penalty), ROWS)

SCALE, SHIFT = POSITIVE[:, None] * np.ones(3), ROWS[:, :3]


def running(x: jax.Array) -> batch_norm.State:
    dtype = x.dtype if jnp.finfo(x.dtype).bits >= 32 else jnp.float32
    return batch_norm.State(*(jnp.asarray(a, dtype) for a in ([0.3, -0.2, 0.1], [1.5, 0.7, 1.1], 3.0)))


def normalized(apply: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A normalizer with running statistics while training, as a function of x, scale and shift."""

    def call(x: jax.Array, scale: jax.Array, shift: jax.Array) -> Any:
        y, state = apply(batch_norm.Params(scale, shift), running(x), x, train=True, **options)
        return y, state.mean.astype(x.dtype), state.var.astype(x.dtype)

    return each(call)


def featurewise(apply: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return each(lambda x, scale, shift: apply(batch_norm.Params(scale, shift), x, **options))


def folded(x: jax.Array, scale: jax.Array, shift: jax.Array) -> Any:
    return batch_norm.fold(batch_norm.Params(scale, shift), running(x), x, norm="after")


APART = "kernel, bias and statistics depend on some of the arguments"
add("nn.batch_norm.apply", normalized(batch_norm.apply), BATCHES, SCALE, SHIFT, dtypes=LAYER, nan=APART)
add("nn.folding.fold", each(folded), BATCHES, SCALE, SHIFT, dtypes=LAYER, nan=APART)
add(
    "nn.batch_renorm.apply",
    normalized(batch_renorm.apply),
    *(BATCHES, SCALE, SHIFT),
    dtypes=LAYER,
    gradient="r and d carry no gradient, by definition",
    nan=APART,
)
add("nn.batch_renorm.schedule", batch_renorm.schedule, 6e3 * POSITIVE)
add("nn.feature_norm.layer_norm", featurewise(feature_norm.layer_norm), BATCHES, SCALE, SHIFT, dtypes=LAYER)
add("nn.feature_norm.rms_norm", featurewise(feature_norm.rms_norm), BATCHES, SCALE, SHIFT, dtypes=LAYER)
add(
    "nn.feature_norm.instance_norm",
    featurewise(feature_norm.instance_norm),
    BATCHES[:, None],
    SCALE,
    SHIFT,
    dtypes=LAYER,
)
add("nn.feature_norm.group_norm", featurewise(feature_norm.group_norm, groups=3), BATCHES, SCALE, SHIFT, dtypes=LAYER)
add("nn.weight_norm.init", each(weight_norm.init), BATCHES, dtypes=LAYER)
add(
    "nn.weight_norm.apply", each(lambda v, g: weight_norm.apply(weight_norm.Params(v, g))), BATCHES, SCALE, dtypes=LAYER
)
add("nn.weight_norm.standardize", each(weight_norm.standardize), BATCHES, dtypes=LAYER)
add(
    "nn.weight_norm.init_from_data",
    each(lambda w: weight_norm.init_from_data(weight_norm.init(w), lambda kernel: jnp.tanh(kernel.T) @ kernel)),
    BATCHES,
)
add("nn.weight_norm.exact_gain", lambda m, v: weight_norm.exact_gain(activations.gelu, mean=m, var=v), MEAN, VAR)
for _drop in (dropout.dropout, dropout.gaussian_dropout, dropout.alpha_dropout, dropout.feature_alpha_dropout):
    add(
        f"nn.dropout.{_drop.__name__}",
        each(lambda key, x, rate, f=_drop: f(key, x, rate, train=True)),
        *(KEYS, BATCHES, 0.15 * POSITIVE),  # at which no entry changes its mask within the steps of the gradient law
        dtypes=LAYER,
        nan="a dropped entry is as good as any",
    )
add("nn.dropout.affine", lambda rate, mean, var: dropout.affine(rate, mean=mean, var=var), 0.2 * POSITIVE, MEAN, VAR)
add(
    "nn.convolution.convolve",
    each(lambda x, k: convolution.convolve(x, k[None])),
    BATCHES,
    BATCHES[:, :3],
    dtypes=LAYER,
)

SELU_LAYER = layers.Layer(activations.selu, initializers.lecun_normal())
NETWORKS = {
    "mlp": networks.mlp((3, 4, 2), SELU_LAYER),
    "residual": networks.residual(3, 2, units=4, blocks=1, layer=SELU_LAYER),
    "highway": networks.highway(3, 2, units=4, depth=2, layer=SELU_LAYER),
    "cnn": networks.cnn((3, 2), 2, SELU_LAYER),
}


def weights(network: networks.Network, dtype: Any) -> Any:
    """Parameters and state of the right shapes, without the many small programs of an eager initialization."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=dtype) * 1.7).reshape(a.shape), shapes)


for _name, _network in NETWORKS.items():
    add(
        f"nn.networks.{_name}",
        each(lambda x, n=_network: n.apply(*weights(n, x.dtype), x, train=True)[0]),
        BATCHES[:, None] if _name == "cnn" else BATCHES,
        dtypes=LAYER,
    )
add("nn.networks.record", each(lambda x, n=NETWORKS["mlp"]: networks.record(n, *weights(n, x.dtype), x)), BATCHES)

MISSING = "NaN is a missing value"
add("data.standardize.fit", each(lambda x: standardize.fit(x)._replace(low=None)), BATCHES, nan=MISSING)
add("data.standardize.apply", each(lambda x: standardize.apply(standardize.fit(x), x)), BATCHES, nan=MISSING)
add(
    "data.standardize.invert",
    each(lambda x, y: standardize.invert(standardize.fit(x), y)),
    BATCHES,
    BATCHES,
    nan=MISSING,
)
add(
    "data.standardize.merge",
    each(lambda x, y: standardize.merge(standardize.fit(x), standardize.fit(y))._replace(low=None)),
    *(BATCHES, BATCHES[::-1] + 1),
    nan=MISSING,
)

INDICES = {"gradient": "whole numbers", "dtype": "whole numbers"}
MOVES = "moves pixels, some of them out of the image"
add("data.batches.permutation", each(lambda key: batches.permutation(key, 7)), KEYS, **INDICES)
add("data.batches.epoch", each(lambda key: batches.epoch(key, 7, 3).indices), KEYS, **INDICES)
add("data.batches.take", each(batches.take), BATCHES, CLASSES[:, None] * np.array([0, 1]), dtypes=LAYER)
add(
    "data.augment.shift", each(lambda key, x: augment.shift(key, x[None], 1)[0]), KEYS, BATCHES, dtypes=LAYER, nan=MOVES
)
add("data.augment.flip", each(lambda key, x: augment.flip(key, x[None])[0]), KEYS, BATCHES, dtypes=LAYER)
add(
    "data.augment.rotate",
    each(lambda key, x, limit: augment.rotate(key, x[None], 10 * limit)[0]),
    *(KEYS, BATCHES, POSITIVE),
    dtypes=LAYER,
    nan=MOVES,
)
add(
    "data.augment.noise",
    each(lambda key, x, var: augment.noise(key, x, var)),
    *(KEYS, BATCHES, POSITIVE),
    dtypes=LAYER,
)
add(
    "data.augment.shifted",
    each(lambda x, by: augment.shifted(x[None], by[None])[0]),
    BATCHES,
    OFFSETS,
    dtypes=LAYER,
    nan=MOVES,
)
add(
    "data.augment.rotated",
    each(lambda x, angle: augment.rotated(x[None], angle)[0]),
    BATCHES,
    20 * X,
    dtypes=LAYER,
    nan=MOVES,
)

PARTS = {"nan": "each value depends on some of the arguments"}
COUNTS = {"gradient": "piecewise constant"}
for _estimate in (estimates.mean, estimates.median, estimates.iqm):
    add(f"measure.estimates.{_estimate.__name__}", partial(_estimate, axis=-1), ROWS, dtypes=LAYER)
add(
    "measure.estimates.bootstrap",
    each(lambda key, x: estimates.bootstrap(key, x, axis=-1, samples=20)),
    *(KEYS, ROWS),
    gradient="draws from a key",
)
# Without what only tells the design.
add("measure.components.components", lambda x: components.components(x, axes=(-2, -1))[:3], BATCHES)
add(
    "measure.components.intervals",
    each(lambda key, x: components.intervals(key, components.components(x, axes=(0, 1)), samples=20)),
    *(KEYS, BATCHES),
    gradient="draws from a key",
)
add("measure.paired.sign_test", partial(paired.sign_test, axis=-1), ROWS, **COUNTS)
add("measure.paired.wilcoxon", partial(paired.wilcoxon, axis=-1), ROWS, compile=LOOP, **COUNTS)
add(
    "measure.paired.permutation",
    each(lambda key, x: paired.permutation(key, x, axis=-1, samples=15)),
    *(KEYS, ROWS),
    gradient="draws from a key",
)
add("measure.paired.holm", partial(paired.holm, axis=-1), 1 / (1 + np.exp(ROWS)) / 2)
for _effect in (effects.cohen_d, effects.cohen_d_paired, effects.hedges_g):
    add(f"measure.effects.{_effect.__name__}", partial(_effect, axis=-1), ROWS, np.roll(ROWS, 1, 0), dtypes=LAYER)
for _effect in (effects.probability_of_superiority, effects.cliffs_delta):
    add(f"measure.effects.{_effect.__name__}", partial(_effect, axis=-1), ROWS, np.roll(ROWS, 1, 0), **COUNTS)
add("measure.ranks.ranks", partial(method_ranks.ranks, axis=-1), ROWS, **COUNTS)
add("measure.ranks.average_ranks", partial(method_ranks.average_ranks, axis=-1, over=-2), BATCHES, **COUNTS)
add(
    "measure.ranks.friedman",
    partial(method_ranks.friedman, axis=-1, over=-2),
    # Rolled, so that not the lane BAD is the last to converge: JAX iterates the beta function until all lanes have.
    np.roll(BATCHES, 1, 0),
    **COUNTS,
)
add(
    "measure.statistics.summary",
    partial(statistics.summary, axis=-1, samples=20),
    ROWS,
    gradient="draws from a key",
    nan="a run that diverged is counted",
)

add("train.evaluation.accuracy", evaluation.accuracy, ROWS, CLASSES, **COUNTS)
for _schedule in (schedules.inverse_time, schedules.exponential):
    add(f"train.schedules.{_schedule.__name__}", lambda a, k, t, f=_schedule: f(a, k)(t), MEAN, TAU, POSITIVE)
add("train.schedules.inverse_sqrt", lambda a, t: schedules.inverse_sqrt(a)(t), MEAN, POSITIVE)
add("train.schedules.piecewise", each(lambda a, t: schedules.piecewise(a[:2], [1])(t)), ROWS, POSITIVE + 0.1, **PARTS)

# Types and constants, by module.
DATA = {
    "__init__": "",
    "activations": "P SELU_LAMBDA SELU_ALPHA ELEMENTWISE",
    "fans": "Axes Fans",
    "gaussian": "NODES REACH",
    "lsuv": "Lsuv",
    "data.batches": "Batches Data",
    "data.standardize": "Axes State",
    "measure.components": "Bounds Components",
    "measure.estimates": "POLICIES WORKSPACE Estimator Interval Bootstrap ESTIMATORS",
    "measure.paired": "ALTERNATIVES EXACT Test",
    "measure.ranks": "Friedman",
    "measure.statistics": "Summary",
    "train.evaluation": "Metric",
    "train.schedules": "Schedule",
    "nn.convolution": "METHODS",
    "nn.dropout": "Affine SATURATION",
    "nn.networks": "Network",
    "nn.weight_norm": "Params",
    "paths": "Where",
    "protocol": "Sharding Draw Initializer",
    "theory.closed_forms": "GaussianMoments Halves",
    "theory.constants": "SeluConstants",
    "theory.fixed_points": "FixedPoint Stability",
    "theory.mills": "Mills",
    "theory.moments": "Activation Moments LayerMap",
    "theory.portraits": "VectorField Trajectories Basin",
}

_INTERVALS = "interval arithmetic on Python numbers"
EXEMPT = {
    "activations.kinks": "maps a callable to Python numbers",
    "checks": "acts on what Python knows before any array law can apply",
    "data.batches.in_order": "maps sizes to indices",
    "data.batches.length": "maps shapes to a Python number",
    "data.batches.steps": "maps sizes to a Python number",
    "data.datasets": "reads files",
    "data.formats": "reads files",
    "data.splits": "maps sizes and labels, which shapes depend on, to indices",
    "fans.fans": "maps shapes to Python numbers",
    "fans.row_axes": "maps shapes to Python numbers",
    "interop": "modules of other libraries over `nn`, tested against theirs",
    "lsuv.lsuv": "scales the parameters of a caller's network",
    "measure.components.subsets": "maps a number to tuples",
    "measure.estimates.bca_interval": "a part of `bootstrap`, which passes",
    "measure.estimates.bca_p_value": "inverts `bca_interval`, and is tested to",
    "measure.estimates.resample": "a part of `bootstrap`, which passes",
    "measure.evidence": "NumPy on the host",
    "measure.power": "NumPy on the host",
    "measure.ranks.critical_difference": "maps Python numbers to a Python number",
    "measure.rules": "declarations",
    "measure.runs": "selects rows by Python values",
    "measure.samples": "parts of the statistics, which pass",
    "measure.verdicts": "NumPy on the host, to words",
    "train.configurations": "Python values on the host",
    "train.differences": "texts",
    "train.early_stopping": "loops over a carry that the caller brings; held against a plain loop",
    "train.evaluation.evaluate": "averages what the caller's functions return",
    "train.evaluation.per_example": "a check of shapes",
    "train.files": "files on the host",
    "train.gradients": "differentiates the caller's function",
    "train.hyperparameters": "signatures of the caller's functions",
    "train.loop": "builds a training from the caller's parts; held against plain loops",
    "train.plans": "numbers on the host",
    "train.processes": "communication between processes",
    "train.programs": "compiles the caller's function",
    "train.progress": "prints",
    "train.results": "arrays on the host",
    "train.search": "Python numbers from a key",
    "train.steps": "a step of the caller's parts",
    "train.store": "files on the host",
    "train.sweep": "runs the caller's function",
    "nn.batch_norm.init": "constants of a shape",
    "nn.batch_norm.normalize": "a part of `apply`",
    "nn.feature_norm.init": "constants of a shape",
    "nn.layers": "parts of `networks`, which pass",
    "nn.networks.conic": "maps sizes to Python numbers",
    "nn.networks.rectangular": "maps sizes to Python numbers",
    "nn.running": "parts of the normalizers, which pass, and a reduction of an iterable on the host",
    "nn.statistics": "parts of the normalizers, which pass",
    "atomic": "files on the host",
    "paths.mask": "maps a pytree to Python booleans",
    "plots": "draws on matplotlib axes",
    "protocol.cast": "one conversion, for the initializers",
    "protocol.initializer": "maps a callable to a callable",
    "theory.asymptotics": _INTERVALS,
    "theory.certificate": _INTERVALS,
    "theory.claims": _INTERVALS,
    "theory.closed_forms.lookup": "maps a callable to a callable",
    "theory.domains": _INTERVALS,
    "theory.enclosures": _INTERVALS,
    "theory.fixed_points.solve_all": "how many there are is its result: eager, over `solve`",
    "theory.moments.cast": "maps a dtype to a dtype",
    "theory.moments.lift": "maps a callable to a callable",
    "theory.newton": "parts of `fixed_points.solve`, which passes",
    "theory.records": _INTERVALS,
    "theory.regions": _INTERVALS,
    "theory.statements": _INTERVALS,
}


def defined() -> Iterator[str]:
    """Every public name that a module of jnorm defines, read from the source: no optional import is needed."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            for target in targets:
                for leaf in target.elts if isinstance(target, ast.Tuple) else [target]:
                    name = getattr(leaf, "id", getattr(leaf, "name", "_"))
                    if not name.startswith("_"):
                        yield f"{module}.{name}"


def listed() -> set[str]:
    return {*FUNCTIONS, *EXEMPT, *(f"{module}.{name}" for module, names in DATA.items() for name in names.split())}
