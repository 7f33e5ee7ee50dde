"""Several processes that run one sweep: what one of them decides all of them know, and results that all of them hold.

With a single process everything here is a plain call.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

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


def gather(arrays: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    """Arrays that are spread over all processes, whole, in each of them.

    Raises ``RuntimeError`` where a process has gone.
    """
    if count() == 1:
        return {name: np.asarray(array) for name, array in arrays.items()}
    from jax.experimental import multihost_utils

    try:
        whole = multihost_utils.process_allgather(dict(arrays), tiled=True)
        return {name: np.asarray(array) for name, array in whole.items()}
    except jax.errors.JaxRuntimeError as error:
        raise RuntimeError("a process of this sweep has gone; with a store, the same call resumes") from error
