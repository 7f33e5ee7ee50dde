"""The compiled form of a sweep: many runs of one program on every device, several side by side, the rest in turn.

A device holds ``width * groups`` runs. It does ``width`` of them at a time, by ``vmap``, and goes through as many
groups as it is told to, so that one compilation serves the short call that is timed and the long ones that do the work,
and the last call, which has fewer runs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._devices import AXIS
from jnorm.sweeps._randomness import must_be_alone

Train = Callable[..., Mapping[str, Any]]


class Lanes(NamedTuple):
    """What tells runs apart; the first axis of every array counts the runs.

    Attributes:
        key_data: the data of the random key.
        traced: hyperparameters that are arguments of the program, by name.
    """

    key_data: np.ndarray
    traced: dict[str, np.ndarray]


@dataclass(frozen=True)
class Program:
    """One run, traced.

    Attributes:
        run: outputs by name, from key data, traced hyperparameters and the shared data.
        outputs: what it returns.
        jaxpr: what it does.
        alone: whether it draws what would depend on the runs beside it.
    """

    run: Callable[[jax.Array, dict[str, jax.Array], Any], dict[str, jax.Array]]
    outputs: dict[str, jax.ShapeDtypeStruct]
    jaxpr: Any
    alone: bool

    @property
    def size(self) -> int:
        """Bytes of the outputs of a run."""
        return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in self.outputs.values())


@dataclass(frozen=True)
class Compiled:
    """A program that is compiled for a mesh, to do ``groups`` times ``width`` runs on each device.

    Attributes:
        call: the program, from the number of groups on each device, lanes and shared data.
        mesh: the devices, along one axis.
        width: runs side by side.
        groups: how many times that, one after another.
        memory: bytes that it takes on a device, with the results of the call before, which are fetched meanwhile; None
            where the compiler does not tell.
        seconds: that compiling took.
    """

    call: Callable[..., dict[str, jax.Array]]
    mesh: Mesh
    width: int
    groups: int
    memory: int | None
    seconds: float

    @property
    def runs(self) -> int:
        """How many runs one call can do, over all devices."""
        return self.mesh.size * self.width * self.groups


def trace(train: Train, static: Mapping[str, Any], lanes: Lanes, shared: Any, impl: str) -> Program:
    """Trace one run of ``train`` and see what it returns. ``shared`` is ``None`` or a pytree of arrays.

    Key data are a key of the implementation ``impl``.

    Raises ``TypeError`` where that is no mapping of arrays by name.
    """

    def once(key_data: jax.Array, traced: dict[str, jax.Array], shared: Any) -> dict[str, jax.Array]:
        key = jax.random.wrap_key_data(key_data, impl=impl)
        first = (key,) if shared is None else (key, shared)
        return _arrays(train(*first, **traced, **static))

    run = jax.jit(once, inline=True)  # traced once, however often it is built into a program below
    lane = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), lanes)
    data = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), shared)
    traced = run.trace(lane.key_data, lane.traced, data)
    return Program(run, dict(traced.out_info), traced.jaxpr, must_be_alone(traced.jaxpr))


def _arrays(returned: Any) -> dict[str, jax.Array]:
    if not isinstance(returned, Mapping) or not returned or not all(isinstance(name, str) for name in returned):
        raise TypeError(f"`train` must return a dict of arrays by name; got {_shown(returned)}")
    arrays = {}
    for name, value in returned.items():
        if not isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            raise TypeError(f"`train` must return arrays; its output `{name}` is {_shown(value)}")
        arrays[name] = jnp.asarray(value)
        if jnp.issubdtype(arrays[name].dtype, jax.dtypes.extended):
            raise TypeError(f"`train` must return arrays; for the key `{name}` return jax.random.key_data({name})")
    if "run" in arrays:
        raise ValueError("`train` must not call an output `run`, the name under which a store counts the runs")
    return dict(sorted(arrays.items()))


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
    all_lanes = jax.tree.map(lambda a: jax.ShapeDtypeStruct((runs, *a.shape[1:]), a.dtype, sharding=spread), lanes)
    data = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), shared)
    return jax.jit(mapped).lower(counts, all_lanes, data)


def compiled(lowered: jax.stages.Lowered, mesh: Mesh, *, width: int, groups: int) -> Compiled:
    """Compile what `lower` made; may run in a thread of its own."""
    start = time.perf_counter()
    call = lowered.compile()
    seconds = time.perf_counter() - start
    used = call.memory_analysis()
    memory = None
    if used is not None:
        copies = mesh.size if processes.count() > 1 else 0  # of all results, on every device, for every process
        memory = used.temp_size_in_bytes + (2 + copies) * used.output_size_in_bytes
    return Compiled(call, mesh, width, groups, memory, seconds)


def replicated(mesh: Mesh, shared: Any) -> Any:
    """The data on every device of the mesh. Raises ``MemoryError`` where they do not fit."""
    data, lack = memory.attempt(lambda: jax.device_put(shared, NamedSharding(mesh, P())))
    if lack:
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(shared))
        raise memory.beyond(f"`shared`, of {size:,} bytes,", mesh, lack)
    return data


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
    placed = jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, spread, lambda i: a[i]), (counts, chosen))
    return program.call(*placed, shared), rows.ravel()


def local_rows(outputs: Mapping[str, jax.Array], rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The runs that this process's devices did, and their outputs."""
    shards = {name: array.addressable_shards for name, array in outputs.items()}
    runs = np.concatenate([rows[shard.index[0]] for shard in next(iter(shards.values()))])
    arrays = {name: np.concatenate([np.asarray(part.data) for part in parts]) for name, parts in shards.items()}
    return runs[runs >= 0], {name: array[runs >= 0] for name, array in arrays.items()}
