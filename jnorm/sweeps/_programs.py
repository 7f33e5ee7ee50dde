"""The compiled form of a sweep: many runs of one program on every device, several side by side, the rest in turn.

A device holds ``width * groups`` runs. It does ``width`` of them at a time, by ``vmap``, and goes through as many
groups as it is told to, so that one compilation serves the short call that is timed and the long ones that do the work,
and the last call, which has fewer runs.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "runs"
Train = Callable[..., Mapping[str, Any]]


class Lanes(NamedTuple):
    """What tells runs apart, the runs first: key data, and the traced hyperparameters by name."""

    key_data: np.ndarray
    traced: dict[str, np.ndarray]


@dataclass(frozen=True)
class Program:
    """One run, traced. ``fingerprint`` says what it computes: equal for equal programs, also in another process."""

    run: Callable[[jax.Array, dict[str, jax.Array], Any], dict[str, jax.Array]]
    outputs: dict[str, jax.ShapeDtypeStruct]
    fingerprint: str

    @property
    def size(self) -> int:
        """Bytes of the outputs of a run."""
        return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in self.outputs.values())


@dataclass(frozen=True)
class Compiled:
    """A program that is compiled for a mesh, with its memory in bytes on one device and the seconds that this took."""

    call: Callable[..., dict[str, jax.Array]]
    mesh: Mesh
    width: int
    groups: int
    memory: int
    seconds: float

    @property
    def runs(self) -> int:
        """How many runs one call can do, over all devices."""
        return self.mesh.size * self.width * self.groups


def line(mesh: Mesh | None) -> Mesh:
    """All devices of a mesh, by default all there are, along one axis.

    The axis is Auto: ``lax.map`` raises over an Explicit one.
    """
    devices = jax.devices() if mesh is None else list(mesh.devices.flat)
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def trace(train: Train, static: Mapping[str, Any], lanes: Lanes, shared: Any) -> Program:
    """Trace one run of ``train`` and see what it returns. ``shared`` is ``None`` or a pytree of arrays.

    Raises ``TypeError`` where that is no mapping of arrays by name.
    """

    def one(key_data: jax.Array, traced: dict[str, jax.Array], shared: Any) -> dict[str, jax.Array]:
        key = jax.random.wrap_key_data(key_data)
        data = () if shared is None else (shared,)
        return _arrays(train(key, *data, **traced, **static))

    run = jax.jit(one, inline=True)  # traced once, however often it is built into a program below
    some = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), lanes)
    given = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), shared)
    traced = run.trace(some.key_data, some.traced, given)
    words = hashlib.sha256()
    for word in _words(traced.jaxpr.jaxpr, traced.jaxpr.consts):
        words.update(word)
        words.update(b"\0")
    return Program(run, dict(traced.out_info), words.hexdigest())


def _arrays(returned: Any) -> dict[str, jax.Array]:
    if not isinstance(returned, Mapping) or not returned or not all(isinstance(name, str) for name in returned):
        raise TypeError(f"`train` must return a dict of arrays by name; got {_shown(returned)}")
    found = {}
    for name, value in returned.items():
        if not isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            raise TypeError(f"`train` must return arrays; its output `{name}` is {_shown(value)}")
        found[name] = jnp.asarray(value)
        if jnp.issubdtype(found[name].dtype, jax.dtypes.extended):
            raise TypeError(f"`train` must return arrays; for the key `{name}` return jax.random.key_data({name})")
    if "run" in found:
        raise ValueError("`train` must not call an output `run`, the name under which a store counts the runs")
    return dict(sorted(found.items()))


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 80 else text[:77] + '...'}"


def lower(program: Program, mesh: Mesh, lanes: Lanes, shared: Any, *, width: int, groups: int) -> jax.stages.Lowered:
    """The program for ``width * groups`` runs on every device of the mesh, ready to be compiled."""

    def device(counts: jax.Array, lanes: Lanes, shared: Any) -> dict[str, jax.Array]:
        def group(i: jax.Array, done: dict[str, jax.Array]) -> dict[str, jax.Array]:
            take = lambda a: lax.dynamic_slice_in_dim(a, i * width, width)
            key_data, traced = take(lanes.key_data), {name: take(a) for name, a in lanes.traced.items()}
            if width == 1:  # a batch of one costs a fifth more than none
                out = program.run(key_data[0], {name: a[0] for name, a in traced.items()}, shared)
                out = {name: a[None] for name, a in out.items()}
            else:
                out = jax.vmap(program.run, (0, 0, None))(key_data, traced, shared)
            return {name: lax.dynamic_update_slice_in_dim(done[name], a, i * width, 0) for name, a in out.items()}

        blank = {name: jnp.zeros((width * groups, *a.shape), a.dtype) for name, a in program.outputs.items()}
        return lax.fori_loop(0, counts[0], group, blank)

    spread, whole = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P())
    mapped = jax.shard_map(device, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P()), out_specs=P(AXIS), check_vma=False)
    mapped.__name__ = "sweep"
    runs = mesh.size * width * groups
    counts = jax.ShapeDtypeStruct((mesh.size,), jnp.int32, sharding=spread)
    some = jax.tree.map(lambda a: jax.ShapeDtypeStruct((runs, *a.shape[1:]), a.dtype, sharding=spread), lanes)
    given = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), shared)
    return jax.jit(mapped).lower(counts, some, given)


def compiled(lowered: jax.stages.Lowered, mesh: Mesh, *, width: int, groups: int) -> Compiled:
    """Compile what `lower` made; may run in a thread of its own."""
    start = time.perf_counter()
    call = lowered.compile()
    seconds = time.perf_counter() - start
    used = call.memory_analysis()
    memory = 0 if used is None else used.temp_size_in_bytes + used.output_size_in_bytes
    return Compiled(call, mesh, width, groups, memory, seconds)


def placed(mesh: Mesh, shared: Any) -> Any:
    """The data on every device of the mesh."""
    return jax.device_put(shared, NamedSharding(mesh, P()))


def execute(program: Compiled, lanes: Lanes, shared: Any) -> tuple[dict[str, jax.Array], np.ndarray]:
    """Start the runs of ``lanes``, at most ``program.runs``, spread evenly over the devices.

    Returns outputs with ``program.runs`` rows, and for each row the run that it holds, -1 for none.
    """
    total, width, mesh = len(lanes.key_data), program.width, program.mesh
    each = -(-total // (mesh.size * width)) * width
    rows = np.full((mesh.size, width * program.groups), -1)
    rows[:, :each] = np.arange(mesh.size * each).reshape(mesh.size, each)
    rows[rows >= total] = -1
    counts = -(-(rows >= 0).sum(1, dtype=np.int32) // width)
    filled = np.where(rows < 0, total - 1, rows).ravel()
    chosen = jax.tree.map(lambda a: a[filled], lanes)
    spread = NamedSharding(mesh, P(AXIS))
    given = jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, spread, lambda i: a[i]), (counts, chosen))
    return program.call(*given, shared), rows.ravel()


def local_rows(outputs: Mapping[str, jax.Array], rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The runs that this process's devices did, and their outputs."""
    shards = {name: array.addressable_shards for name, array in outputs.items()}
    runs = np.concatenate([rows[shard.index[0]] for shard in next(iter(shards.values()))])
    arrays = {name: np.concatenate([np.asarray(shard.data) for shard in some]) for name, some in shards.items()}
    return runs[runs >= 0], {name: array[runs >= 0] for name, array in arrays.items()}


def _words(jaxpr: Any, consts: Any = ()) -> Iterator[bytes]:
    """A program as a sequence of words: operations, types, wiring, numbers. No names, places or addresses."""
    numbers = {var: str(k) for k, var in enumerate([*jaxpr.constvars, *jaxpr.invars])}

    def atom(var: Any) -> str:
        if hasattr(var, "val"):
            return f"{var.aval.str_short()}={np.asarray(var.val).tolist()!r}"
        return numbers.setdefault(var, str(len(numbers)))

    for value in consts:
        array = np.asarray(value)
        yield f"{array.dtype}{array.shape}".encode() + array.tobytes()
    for equation in jaxpr.eqns:
        ins = " ".join(map(atom, equation.invars))
        outs = " ".join(f"{atom(var)}:{var.aval.str_short()}" for var in equation.outvars)
        yield f"{equation.primitive.name} {ins} > {outs}".encode()
        for name, value in sorted(equation.params.items()):
            yield from _parameter(name, value)
    yield " ".join(map(atom, jaxpr.outvars)).encode()


def _parameter(name: str, value: Any) -> Iterator[bytes]:
    if hasattr(value, "eqns"):
        yield from _words(value)
    elif hasattr(value, "jaxpr") and hasattr(value, "consts"):
        yield from _words(value.jaxpr, value.consts)
    elif isinstance(value, tuple | list) and any(hasattr(v, "jaxpr") or hasattr(v, "eqns") for v in value):
        for inner in value:
            yield from _parameter(name, inner)
    elif not callable(value) and "<function" not in str(value):
        yield f"{name}={re.sub(r'0x[0-9a-f]+', '', str(value))}".encode()
