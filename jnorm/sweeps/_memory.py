"""Memory of devices that may not suffice: how much is free, and calls that may find too little of it.

XLA raises ``JaxRuntimeError`` with RESOURCE_EXHAUSTED in its text: for a TPU when a program is compiled ("Ran out of
memory in memory space hbm"), for a GPU of NVIDIA or AMD when it runs ("Out of memory while trying to allocate",
"Failed to allocate request"), for a CPU where the system gives none ("Out of memory allocating"). Drivers below it say
CUDA_ERROR_OUT_OF_MEMORY or hipErrorOutOfMemory.
"""

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh

from jnorm.sweeps import _processes as processes

_LACK = re.compile("resource.exhausted|out.?of.?memory", re.IGNORECASE)
_WORDS = 300  # characters of an error's first line
Result = TypeVar("Result")


def lacking(error: Exception) -> bool:
    """Whether the error says that a device has too little memory.

    >>> lacking(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes."))
    True
    """
    return isinstance(error, jax.errors.JaxRuntimeError) and _LACK.search(str(error)) is not None


def attempt(action: Callable[[], Result]) -> tuple[Result | None, str]:
    """What ``action()`` returns and no words, or None and in words how memory did not suffice, here or elsewhere.

    All processes must call it, with an action that waits for none of the others; all get to know how it went in each.
    Any other error is raised where it is, and as a ``RuntimeError`` in the other processes. An error for lack of memory
    is not kept, as it would keep the arrays of all calls that it came through.
    """
    result, lack, failure = None, "", None
    try:
        result = action()
    except Exception as error:
        if lacking(error):
            lack = str(error).partition("\n")[0][:_WORDS]
        else:
            failure = error
    said = processes.exchange([lack, f"{type(failure).__name__}: {failure}"[:_WORDS] if failure else ""])
    if failure:
        raise failure
    for process, (_, other) in enumerate(said):
        if other:
            raise RuntimeError(f"process {process} raised {other}")
    lacks = [
        f"process {process}: {words}" if len(said) > 1 else words for process, (words, _) in enumerate(said) if words
    ]
    return (None, lacks[0]) if lacks else (result, "")


def free(mesh: Mesh) -> float | None:
    """Free bytes of the device of this process that has fewest, None where one does not tell.

    The devices of a CPU share what the system has.
    """
    devices = mesh.local_devices
    if devices[0].platform == "cpu":
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / len(devices)
        except (AttributeError, ValueError, OSError):  # not on every system
            return None
    rooms = [_free(device) for device in devices]
    known = [room for room in rooms if room is not None]
    return min(known) if len(known) == len(rooms) else None


def _free(device: Any) -> float | None:
    try:
        memory = device.memory_stats() or {}  # None with allocators that do not count
    except (jax.errors.JaxRuntimeError, NotImplementedError):
        return None
    limit = memory.get("bytes_limit", 0)
    return limit - memory.get("bytes_in_use", 0) if limit > 0 else None


def beyond(what: str, mesh: Mesh, lack: str) -> MemoryError:
    """The error for what does not fit, ``what`` with its sizes, where nothing smaller is left to try."""
    room, device = free(mesh), mesh.local_devices[0].device_kind
    left = "which does not tell how much is free" if room is None else f"of which {room:,.0f} bytes are free"
    return MemoryError(f"{what} must fit into the memory of a device ({device}), {left}: {lack}")
