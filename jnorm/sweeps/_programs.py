"""The compiled form of a sweep: many runs of one program on every device, several side by side, the rest in turn.

A device holds ``width * groups`` runs. It does ``width`` of them at a time, by ``vmap``, and goes through as many
groups as it is told to, so that one compilation serves the short call that is timed and the long ones that do the work,
and the last call, which has fewer runs. A program in segments is compiled in pieces, each for the same runs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jnorm.sweeps import _memory as memory
from jnorm.sweeps import _pieces as pieces
from jnorm.sweeps import _processes as processes
from jnorm.sweeps._devices import AXIS
from jnorm.sweeps._pieces import Piece, Pieces
from jnorm.sweeps._randomness import must_be_alone

Train = Callable[..., Mapping[str, Any]]


class Lanes(NamedTuple):
    """What tells runs apart; the first axis of every array counts the runs.

    Attributes:
        key_data: the data of the random key.
        traced: hyperparameters that are arguments of the program, by name.
    """

    key_data: Any
    traced: dict[str, Any]


@dataclass(frozen=True)
class Program:
    """One run, traced.

    Attributes:
        run: outputs by name, from the run's own `Lanes` and the shared data.
        outputs: what it returns.
        jaxpr: what it does.
        alone: whether it draws what would depend on the runs beside it.
        pieces: the run in segments; None where it has none.
    """

    run: Piece
    outputs: dict[str, jax.ShapeDtypeStruct]
    jaxpr: Any
    alone: bool
    pieces: Pieces | None = None

    @property
    def size(self) -> int:
        """Bytes of the outputs of a run."""
        return _size(self.outputs)

    @property
    def held(self) -> int:
        """Bytes that a run takes between two calls."""
        return max(self.size, 0 if self.pieces is None else _size(self.pieces.carried))


def _size(arrays: Mapping[str, jax.ShapeDtypeStruct]) -> int:
    return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in arrays.values())


@dataclass(frozen=True)
class Compiled:
    """A program that is compiled for a mesh, to do ``groups`` times ``width`` runs on each device.

    Attributes:
        call: the program, from the number of groups on each device, lanes and shared data; of one in segments the
            first segment, which returns what is carried.
        mesh: the devices, along one axis.
        width: runs side by side.
        groups: how many times that, one after another.
        memory: bytes that it takes on a device, with the results of the call before, which are fetched meanwhile; None
            where the compiler does not tell.
        seconds: that compiling took.
        advance: a further segment, from lanes and what is carried in the place of lanes; None where there is but one.
        finish: the outputs, from the same.
    """

    call: Callable[..., dict[str, jax.Array]]
    mesh: Mesh
    width: int
    groups: int
    memory: int | None
    seconds: float
    advance: Callable[..., dict[str, jax.Array]] | None = None
    finish: Callable[..., dict[str, jax.Array]] | None = None

    @property
    def runs(self) -> int:
        """How many runs one call can do, over all devices."""
        return self.mesh.size * self.width * self.groups


def trace(train: Train, static: Mapping[str, Any], lanes: Lanes, shared: Any, impl: str) -> Program:
    """Trace one run of ``train`` and see what it returns. ``shared`` is ``None`` or a pytree of arrays.

    Key data are a key of the implementation ``impl``.

    Raises ``TypeError`` where that is no mapping of arrays by name.
    """

    def call(function: Callable[..., Any], lane: Lanes, shared: Any, **more: Any) -> Any:
        key = jax.random.wrap_key_data(lane.key_data, impl=impl)
        first = (key,) if shared is None else (key, shared)
        return function(*first, **more, **lane.traced, **static)

    lane = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), lanes)
    data = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), shared)
    functions = pieces.functions_of(train)
    parts = functions and pieces.traced(functions, call, _arrays, lane, data)

    def once(lane: Lanes, shared: Any) -> dict[str, jax.Array]:
        return parts.whole(lane, shared) if parts else _arrays(call(train, lane, shared))

    run = jax.jit(once, inline=True)  # traced once, however often it is built into a program below
    traced = run.trace(lane, data)
    return Program(run, dict(traced.out_info), traced.jaxpr, must_be_alone(traced.jaxpr), parts)


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


def lower(
    program: Program, mesh: Mesh, lanes: Lanes, shared: Any, *, width: int, groups: int
) -> list[jax.stages.Lowered]:
    """The program, or its pieces, for ``width * groups`` runs on every device of the mesh, ready to be compiled."""
    lane = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), lanes)
    parts, outputs = program.pieces, program.outputs
    if parts is None:
        made = [(program.run, lane, outputs)]
    else:
        pair = lane, parts.carried
        made = [(parts.begin, lane, parts.carried), (parts.advance, pair, parts.carried), (parts.finish, pair, outputs)]
    return [_lowered(*one, mesh, shared, width, groups, carries=one[2] is not outputs) for one in made]


def _lowered(
    run: Piece,
    lane: Any,
    outputs: Mapping[str, Any],
    mesh: Mesh,
    shared: Any,
    width: int,
    groups: int,
    *,
    carries: bool,
) -> jax.stages.Lowered:
    """A function of what is one run's, for as many runs; ``lane`` and ``outputs`` say what one has and returns.

    Where it ``carries``, another one takes what it returns.
    """

    def device(counts: jax.Array, lanes: Any, shared: Any) -> dict[str, jax.Array]:
        def group(i: jax.Array, done: dict[str, jax.Array]) -> dict[str, jax.Array]:
            several = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, i * width, width), lanes)
            if width == 1:  # a batch of one costs a fifth more than none
                out = run(jax.tree.map(lambda a: a[0], several), shared)
                out = {name: a[None] for name, a in out.items()}
            else:
                out = jax.vmap(run, (0, None))(several, shared)
            return {name: lax.dynamic_update_slice_in_dim(done[name], a, i * width, 0) for name, a in out.items()}

        blank = {name: jnp.zeros((width * groups, *a.shape), a.dtype) for name, a in outputs.items()}
        return lax.fori_loop(0, counts[0], group, blank)

    spread, whole = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P())
    mapped = jax.shard_map(device, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P()), out_specs=P(AXIS), check_vma=False)
    mapped.__name__ = "sweep"
    runs = mesh.size * width * groups
    counts = jax.ShapeDtypeStruct((mesh.size,), jnp.int32, sharding=spread)
    all_lanes = jax.tree.map(lambda a: jax.ShapeDtypeStruct((runs, *a.shape), a.dtype, sharding=spread), lane)
    data = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), shared)
    spreading = jax.jit(mapped, out_shardings=spread) if carries else jax.jit(mapped)  # arrays without elements are not
    return spreading.lower(counts, all_lanes, data)


def compiled(lowered: Sequence[jax.stages.Lowered], mesh: Mesh, *, width: int, groups: int) -> Compiled:
    """Compile what `lower` made; may run in a thread of its own."""
    start = time.perf_counter()
    calls: list[Any] = [one.compile() for one in lowered]
    seconds, memory = time.perf_counter() - start, _memory(calls, mesh)
    if len(calls) == 1:
        return Compiled(calls[0], mesh, width, groups, memory, seconds)
    begin, advance, finish = calls
    first = lambda counts, lanes, shared: advance(counts, (lanes, begin(counts, lanes, shared)), shared)
    return Compiled(first, mesh, width, groups, memory, seconds, advance, finish)


def _memory(calls: Sequence[Any], mesh: Mesh) -> int | None:
    """Bytes that the last of the calls takes on a device, with its results and those before; or another, if more."""
    used = [call.memory_analysis() for call in calls]
    if any(one is None for one in used):
        return None
    copies = mesh.size if processes.count() > 1 else 0  # of all results, on every device, for every process
    carried = [one.temp_size_in_bytes + 2 * one.output_size_in_bytes for one in used[:-1]]
    held = used[-2].output_size_in_bytes if carried else 0
    return max([*carried, used[-1].temp_size_in_bytes + held + (2 + copies) * used[-1].output_size_in_bytes])


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
    counts, chosen, rows = placed(program, lanes)
    return program.call(counts, chosen, shared), rows


def placed(program: Compiled, lanes: Any) -> tuple[jax.Array, Any, np.ndarray]:
    """Arrays of as many runs, spread evenly over the devices, with the number of groups that each device has to do.

    Returns the numbers, the arrays with ``program.runs`` rows, and for each row the run that it holds, -1 for none.
    """
    total, width, mesh = len(jax.tree.leaves(lanes)[0]), program.width, program.mesh
    each = -(-total // (mesh.size * width)) * width
    rows = np.full((mesh.size, width * program.groups), -1)
    rows[:, :each] = np.arange(mesh.size * each).reshape(mesh.size, each)
    rows[rows >= total] = -1
    counts = -(-(rows >= 0).sum(1, dtype=np.int32) // width)
    filled = np.where(rows < 0, total - 1, rows).ravel()
    chosen = jax.tree.map(lambda a: a[filled], lanes)
    spread = NamedSharding(mesh, P(AXIS))
    placed = jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, spread, lambda i: a[i]), (counts, chosen))
    return *placed, rows.ravel()


def local_rows(outputs: Mapping[str, jax.Array], rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The runs that this process's devices did, and their outputs."""
    shards = {name: array.addressable_shards for name, array in outputs.items()}
    runs = np.concatenate([rows[shard.index[0]] for shard in next(iter(shards.values()))])
    arrays = {name: np.concatenate([np.asarray(part.data) for part in parts]) for name, parts in shards.items()}
    return runs[runs >= 0], {name: array[runs >= 0] for name, array in arrays.items()}
