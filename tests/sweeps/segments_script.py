"""A sweep of long runs in a process of its own, to be killed.

``python segments_script.py FOLDER [--segments N] [--work N] [--network 1] [--always 1] [--process I --processes N
--port P]``

By default of whole numbers alone, the same on every machine.
"""

import argparse
import hashlib
import sys
from functools import partial

import jax
import jax.numpy as jnp

GRID = {"multiplier": (5, 13, 29)}


def training(segments, work):
    """A function in segments, of 3 ``work`` rounds of a generator of whole numbers each."""

    def begin(key, shared, multiplier):
        bits = jax.random.key_data(key).astype(jnp.uint32)
        return {
            "x": jnp.arange(64, dtype=jnp.uint32) + bits[-1],
            "low": jnp.ones(3, "bfloat16"),
            "none": jnp.zeros((0,)),
        }

    def advance(key, shared, carried, multiplier):
        mix = lambda _, x: (x ^ (x >> 15)) * (shared + jnp.uint32(8) * multiplier.astype(jnp.uint32)) + jnp.uint32(1)
        return carried | {"x": jax.lax.fori_loop(0, work, mix, carried["x"]), "low": -carried["low"]}

    def finish(key, shared, carried, multiplier):
        return {"x": carried["x"], "low": carried["low"]}

    def train(key, shared, multiplier):
        carried = begin(key, shared, multiplier)
        return finish(
            key,
            shared,
            jax.lax.fori_loop(0, segments, lambda _, c: advance(key, shared, c, multiplier), carried),
            multiplier,
        )

    train.segments, train.begin, train.advance, train.finish = segments, begin, advance, finish
    return train


def network(segments, epochs):
    """A network with dropout and running statistics that Adam trains, in segments of so many epochs."""
    import optax

    from jnorm import initializers, losses
    from jnorm.nn import batch_norm, networks
    from jnorm.nn.dropout import dropout
    from jnorm.nn.layers import Layer
    from jnorm.train import loop

    layer = Layer(jnp.tanh, initializers.lecun_normal(), normalizer=batch_norm, dropout=partial(dropout, rate=0.1))
    report = loop.Report(["train"], ["train"], ["loss"], keep_params=True)
    options = {"epochs": segments * epochs, "segment": epochs, "batch_size": 64, "report": report}
    return loop.trainer(
        networks.mlp((64, 64, 10), layer), losses.softmax_cross_entropy, lambda rate: optax.adam(rate), **options
    )


def run_network(folder=None, *, segments, work, seeds, **options):
    """A sweep over it, whose outputs are arrays."""
    from jnorm.sweeps import sweep

    train = network(segments, work)

    def flat(key, data, carried, **values):
        found = train.finish(key, data, carried, **values)
        leaves = jax.tree.leaves((found.pop("params"), found.pop("state")))
        return found | {f"leaf_{i}": leaf for i, leaf in enumerate(leaves)}

    def whole(key, data, rate):
        return flat(key, data, train.begin(key, data, rate=rate), rate=rate)

    whole.segments, whole.begin, whole.advance, whole.finish = segments, train.begin, train.advance, flat
    x = jax.random.normal(jax.random.key(9), (1024, 64))
    data = {"train": (x, jnp.argmax(x[:, :10], 1))}
    return sweep(whole, seeds=seeds, grid={"rate": (1e-3, 1e-2)}, shared=data, chunk=1, store=folder, **options)


def run(folder=None, *, segments=6, work=3, seeds=3, chunk=2, **options):
    """The sweep."""
    from jnorm.sweeps import sweep

    train, data = training(segments, work), jnp.uint32(1013)
    options = {"grid": GRID, "integers": ["multiplier"], "shared": data, "chunk": chunk, "store": folder} | options
    return sweep(train, seeds=seeds, **options)


def told(result):
    """All bits of a result in a few words."""
    return hashlib.sha256(b"".join(result[name].tobytes() for name in result)).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    for name, default in {
        "segments": 6,
        "work": 3,
        "seeds": 3,
        "network": 0,
        "always": 0,
        "process": 0,
        "processes": 1,
        "port": 0,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 1)
    if options.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"127.0.0.1:{options.port}", options.processes, options.process, heartbeat_timeout_seconds=5
        )
    from jnorm.sweeps import _segments as segments
    from tests.sweeps import segments_script as importable  # by the name that tests give to what it trains

    if options.always:  # not only where saving is short beside a segment
        segments.Saving.is_due = lambda saving: True
    say = lambda progress: print(progress.done, progress.begun, file=sys.stderr, flush=True)
    size = {name: getattr(options, name) for name in ("segments", "work", "seeds")}
    sweep = importable.run_network if options.network else importable.run
    print(told(sweep(options.folder, progress=say, **size)))
