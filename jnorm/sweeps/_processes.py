"""Several processes that run one sweep: what one of them decides all of them know, and results that all of them hold.

With a single process everything here is a plain call.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

BLOCK = 1 << 12  # messages are padded to blocks: a new length would be a new program


def count() -> int:
    """How many processes take part."""
    return jax.process_count()


def leading() -> bool:
    """Whether this is the process that decides, writes the manifest and reports."""
    return jax.process_index() == 0


def decide(action: Callable[[], Any]) -> Any:
    """``action()`` of the leading process, in every process; its result must be what JSON holds.

    An error there is raised everywhere, so that nobody waits for a process that has given up.
    """
    if count() == 1:
        return action()
    error: Exception | None = None
    message: dict[str, Any] = {}
    if leading():
        try:
            message = {"value": action()}
        except Exception as problem:
            error, message = problem, {"error": f"{type(problem).__name__}: {problem}"}
    message = _broadcast(message)
    if error is not None:
        raise error
    if "error" in message:
        raise RuntimeError(f"the leading process raised {message['error']}")
    return message["value"]


def _broadcast(message: Any) -> Any:
    from jax.experimental import multihost_utils

    text = json.dumps(message).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    buffer = np.zeros(-(-size // BLOCK) * BLOCK, np.uint8)
    if leading():
        buffer[: len(text)] = np.frombuffer(text, np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:size]))


def exchange(message: Any) -> list[Any]:
    """What every process has to say, in their order; all must call it, with what JSON holds in at most a block.

    Raises ``RuntimeError`` where a process has gone.
    """
    if count() == 1:
        return [message]
    from jax.experimental import multihost_utils

    text = json.dumps(message).encode().ljust(BLOCK)
    with _present():
        every = multihost_utils.process_allgather(np.frombuffer(text, np.uint8))
    return [json.loads(bytes(said)) for said in np.asarray(every)]


def everywhere(arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Arrays that are spread over the devices of all processes, whole on each: started, for `fetched` to wait for."""
    whole = NamedSharding(next(iter(arrays.values())).sharding.mesh, PartitionSpec())  # type: ignore[attr-defined]
    with _present():
        return jax.jit(_same, out_shardings=whole)(dict(arrays))


def fetched(arrays: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """What `everywhere` has started, on the host.

    Raises ``RuntimeError`` where a process has gone.
    """
    with _present():
        return {name: np.asarray(array.addressable_data(0)) for name, array in arrays.items()}


def _same(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """At the top of the module, so that it is compiled once."""
    return arrays


@contextmanager
def _present() -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise RuntimeError("a process of this sweep has gone; with a store, the same call resumes") from error
