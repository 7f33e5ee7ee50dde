"""A small sweep in a process of its own: killed, resumed and spread over processes by the tests.

``python sweep_script.py FOLDER [--chunk N] [--process I --processes N --port P] [--lack compile|call|error]``
"""

import argparse

import jax

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--chunk", default="2")
parser.add_argument("--seeds", type=int, default=13)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--devices", type=int, default=1)
parser.add_argument("--process", type=int, default=0)
parser.add_argument("--processes", type=int, default=1)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--lack", default="")
parser.add_argument("--until", action="store_true")


def train(key, shared, learning_rate):
    """A linear map that learns a random one by stochastic gradients; with a large rate it diverges."""
    x, steps = shared["x"], shared["steps"]
    first, target, order = jax.random.split(key, 3)
    w, goal = jax.random.normal(first, (16, 16)), jax.random.normal(target, (16, 16))

    def step(t, w):
        batch = x[jax.random.randint(jax.random.fold_in(order, t), (8,), 0, len(x))]
        return w - learning_rate * batch.T @ (batch @ (w - goal)) / 8

    w = jax.lax.fori_loop(0, steps, step, w)
    return {"loss": ((x @ (w - goal)) ** 2).mean(), "weights": w, "steps": steps}


def lack(when):
    """Let this process have memory for one run at a time, from its third call on, or fail there with another error."""
    from jnorm.sweeps import _programs as programs

    name, calls = {"compile": "compiled"}.get(when, "execute"), []
    function = getattr(programs, name)

    def limited(*arguments, **options):
        width = options.get("width") or arguments[0].width
        calls.append(width)
        if when == "error" and len(calls) == 3:
            raise ValueError("of the third chunk")
        if when != "error" and width > 1 and (when == "compile" or len(calls) > 2):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes.")
        return function(*arguments, **options)

    setattr(programs, name, limited)


if __name__ == "__main__":
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    if options.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"127.0.0.1:{options.port}", options.processes, options.process, heartbeat_timeout_seconds=5
        )
    from jnorm.sweeps import sweep

    if options.lack:
        lack(options.lack)
    x = jax.random.normal(jax.random.key(9), (64, 16))
    until = None
    if options.until:
        from jnorm.statistics import Rule, sequential

        arms = {"a": {"learning_rate": 0.01}, "b": {"learning_rate": 0.05}}
        rule = Rule(metric="loss", **arms, claim="greater", effect=0.0, diverged="exclude")
        until = sequential(rule, looks=(3, 7, options.seeds))
    result = sweep(
        train,
        seeds=options.seeds,
        grid={"learning_rate": (0.01, 0.05, 10.0)},
        shared={"x": x, "steps": options.steps},
        chunk=options.chunk if options.chunk == "auto" else int(options.chunk),
        store=options.folder,
        until=until,
    )
    print(result["loss"].tobytes().hex(), len(result.failures))
