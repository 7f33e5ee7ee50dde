"""What programs cost on any machine, counted and not timed: the table ``tests/golden/costs.md``.

``python -m tests.costs`` writes it anew. A count that changes is a change worth a line in the commit.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import jaxprs_in_params

from jnorm import activations, initializers, losses
from jnorm.nn import batch_norm, batch_renorm, dropout, feature_norm
from jnorm.nn.layers import Layer
from jnorm.nn.networks import mlp
from jnorm.train.loop import trainer
from tests.passes import kept_bytes, passes, passes_with_gradient

TABLE = Path(__file__).with_name("golden") / "costs.md"
ROWS, IMAGES = (64, 16), (8, 4, 4, 16)
KEY = jax.random.key(0)

UNFUSED = {
    "products": r"dot_general|conv_general_dilated",
    "reductions": r"reduce_(?!precision)\w+|arg(min|max)|cum\w+",
    "sorts": r"sort|top_k",
    "scatters": r"scatter[\w-]*|dynamic_update_slice",
    "loops and branches": r"scan|while|cond",
    "draws": r"random_(bits|fold_in|split|seed)|threefry2x32",
}
"""Kinds of operations that a compiler runs as a kernel of their own, or worse, by the names of JAX's primitives."""


def trained(module: Any, **options: Any) -> Callable[[Any, jax.Array], Any]:
    """A normalizer with running statistics, of parameters and input."""
    return lambda params, x: module.apply(params, module.init(16)[1], x, **{"train": True, **options})


NORMALIZERS = {
    "batch norm": (trained(batch_norm), ROWS),
    "batch norm, channels first": (trained(batch_norm, axis=1), (8, 16, 4, 4)),
    "batch norm, ghost batches": (trained(batch_norm, ghost=8), ROWS),
    "batch norm, evaluation": (trained(batch_norm, train=False), ROWS),
    "batch renorm": (trained(batch_renorm), ROWS),
    "layer norm": (feature_norm.layer_norm, ROWS),
    "rms norm": (feature_norm.rms_norm, ROWS),
    "group norm": (partial(feature_norm.group_norm, groups=4), IMAGES),
    "instance norm": (feature_norm.instance_norm, IMAGES),
}
ACTIVATIONS = activations.ELEMENTWISE | {
    name: getattr(activations, name) for name in ("softmax", "log_softmax", "hardmax")
}
DROPOUTS = {
    drop.__name__: lambda x, drop=drop: drop(KEY, x, 0.1, train=True)
    for drop in (dropout.dropout, dropout.gaussian_dropout, dropout.alpha_dropout, dropout.feature_alpha_dropout)
}


def programs(dtype: str) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """What the table has a line for, each with the shapes of its arguments."""
    shaped = lambda shape: jax.ShapeDtypeStruct(shape, dtype)
    learned = jax.eval_shape(lambda: feature_norm.init(16))
    for name, (call, shape) in NORMALIZERS.items():
        yield name, call, (learned, shaped(shape))
    for name, call in (ACTIVATIONS | DROPOUTS).items():
        yield name, call, (shaped(ROWS),)


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of inner functions too; the body of a loop counts once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def unfused(jaxpr: Any) -> Counter[str]:
    """How many operations of each kind a program has."""
    names = [equation.primitive.name for equation in equations(jaxpr)]
    return Counter({kind: sum(bool(re.fullmatch(known, name)) for name in names) for kind, known in UNFUSED.items()})


def step(jaxpr: Any) -> Any:
    """The body of the loop over the steps of a training: the innermost one with most of its products."""
    bodies = [e.params["jaxpr"].jaxpr for e in equations(jaxpr) if e.primitive.name == "scan"]
    most = max(unfused(body)["products"] for body in bodies)
    return [body for body in bodies if unfused(body)["products"] == most][-1]


RELU = Layer(activations.relu, initializers.he_normal())
TRAININGS = {
    "plain": RELU,
    "batch norm": RELU._replace(normalizer=batch_norm),
    "dropout": RELU._replace(dropout=partial(dropout.dropout, rate=0.1)),
}


@cache
def steps() -> dict[str, Counter[str]]:
    """What one step of each training takes, for all seeds of a sweep together."""
    data = {"train": (jnp.zeros((64, 8)), jnp.zeros(64, int))}
    keys, found = jax.random.split(KEY, 4), {}
    for name, layer in TRAININGS.items():
        network = mlp((8, 16, 16, 16, 16, 3), layer)
        train = trainer(network, losses.softmax_cross_entropy, optax.adam(1e-3), epochs=2, batch_size=16)
        program = jax.make_jaxpr(jax.vmap(lambda key, train=train: train(key, data)))(keys)
        found[name] = unfused(step(program.jaxpr))
    return found


def table() -> str:
    """Both tables in Markdown."""
    lines = [
        "# Counted costs",
        "",
        "Full-size arrays that a program reads and writes where the compiler fuses all that works entry by entry, as",
        "`tests/passes.py` counts them, and bytes an entry that are kept for the gradient. `python -m tests.costs`",
        "writes this file anew.",
        "",
        "| program | reads, writes | with gradient | kept, float32 | kept, bfloat16 |",
        "|---|---|---|---|---|",
    ]
    halves = {name: (call, args) for name, call, args in programs("bfloat16")}
    kept = lambda call, args: ", ".join(f"{n:g} {dtype}" for dtype, n in kept_bytes(call, *args).items()) or "-"
    for name, call, args in programs("float32"):
        cells = [", ".join(map(str, count(call, *args))) for count in (passes, passes_with_gradient)]
        lines.append(f"| {' | '.join([name, *cells, kept(call, args), kept(*halves[name])])} |")
    lines += [
        "",
        "Operations of one step of Adam on a perceptron of four hidden layers that no compiler fuses, for all seeds",
        "of a sweep together.",
        "",
        f"| training | {' | '.join(UNFUSED)} |",
        "|---|" + "---|" * len(UNFUSED),
    ]
    for name, counts in steps().items():
        lines.append(f"| {name} | {' | '.join(str(counts[kind]) for kind in UNFUSED)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    TABLE.write_text(table())
