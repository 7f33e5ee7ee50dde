"""The devices of a sweep: along one axis, of one kind, and the cores of a CPU as devices."""

import os
import warnings
from collections import Counter
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jnorm import jaxprs
from jnorm.sweeps import _processes as processes

AXIS = "runs"
PATIENCE = 10.0  # seconds that a sweep must have to go before cores that are idle are worth a word
THREADS = 32  # of XLA for each core, where programs factorize matrices
FACTORIZATIONS = frozenset({"eig", "eigh", "schur", "svd"})
_told = False


def one_axis(mesh: Mesh | None) -> Mesh:
    """All devices of a mesh, by default all there are, along one axis.

    The axis is Auto: ``lax.map`` raises over an Explicit one. Raises ``ValueError`` for devices of two kinds, as XLA
    compiles a program for one.
    """
    devices = jax.devices() if mesh is None else list(mesh.devices.flat)
    kinds = Counter(device.device_kind for device in devices)
    if len(kinds) > 1:
        found = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        same = "jax.sharding.Mesh([d for d in jax.devices() if d.device_kind == KIND], 'runs')"
        raise ValueError(f"`mesh` must hold devices of one kind; got {found}: give {same}")
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def platform_of(mesh: Mesh) -> str:
    """``"cpu"``, ``"gpu"`` or ``"tpu"``, of the devices that compute, whatever JAX's default is."""
    return str(mesh.devices.flat[0].platform)


def warn_of_float64(mesh: Mesh, arrays: Any) -> None:
    """Say that a TPU emulates float64, where any of ``arrays`` has it."""
    if platform_of(mesh) == "tpu" and any(a.dtype in (np.float64, np.complex128) for a in jax.tree.leaves(arrays)):
        text = "is emulated on a TPU, from pairs of float32: slower, with their range (to 3e38) and fewer digits"
        warnings.warn(f"float64 {text}; a mesh of jax.devices('cpu') has all of them", stacklevel=3)


def require_threads(mesh: Mesh, program: Any) -> None:
    """Refuse a program, a closed jaxpr, that factorizes matrices where XLA's threads would wait for each other forever.

    XLA's CPU (jaxlib 0.10.2) has a batch of matrices decomposed by parts, in the threads that also wait for the parts.
    """
    threads = int(os.environ.get("NPROC", "0")) or cores()
    if platform_of(mesh) != "cpu" or len(mesh.local_devices) == 1 or threads >= THREADS * cores():
        return
    for site in jaxprs.walk(program):
        if site.primitive in FACTORIZATIONS:
            where = f" at {site.line}" if site.line else ""
            text = f"`train` holds {site.primitive}{where}, for which XLA has too few threads on several CPU devices"
            more = f"where you choose devices yourself, set NPROC={THREADS * cores()} in the environment"
            raise ValueError(f"{text}: call use_cores(factorizations=True) before JAX computes anything; {more}")


def use_cores(*, factorizations: bool = False) -> None:
    """Make a JAX device of every core of the CPU, for sweeps to spread their runs over.

    XLA does small matrix products on one core of a CPU device, so that with one device a sweep leaves all other cores
    idle. To be called before JAX computes anything, in a script below its imports, in a notebook in the first cell.
    Nothing changes where the number of devices is chosen already (``JAX_NUM_CPU_DEVICES``, ``jax_num_cpu_devices``, or
    ``--xla_force_host_platform_device_count`` in ``XLA_FLAGS``), and nothing for GPUs and TPUs.

    Args:
        factorizations: Whether runs hold eigenvalues or singular values, for which `jnorm.sweeps.sweep` asks then: XLA
            gets many more threads than cores, if the variable ``NPROC`` does not say how many. With few they would wait
            for each other forever; with many a training step takes up to twice as long.

    Raises:
        RuntimeError: JAX has made its devices already.

    >>> import jnorm
    >>> jnorm.sweeps.use_cores()  # doctest: +SKIP
    """
    if _chosen():
        return
    if factorizations:
        os.environ.setdefault("NPROC", str(THREADS * cores()))
    try:
        jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError:
        text = "`use_cores` must be called before JAX computes anything, as it has made its devices then"
        raise RuntimeError(f"{text}: call it right below the imports, in a notebook after a restart") from None


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tell_of_idle_cores(mesh: Mesh, seconds: float) -> None:
    """Say, once in a process, that all but one core are idle, where a sweep has ``seconds`` to go on one CPU device."""
    global _told
    alone = mesh.size == jax.device_count() == processes.count() == 1 and platform_of(mesh) == "cpu"
    if alone and not _told and seconds > PATIENCE and not _chosen() and cores() > 1:
        _told = True
        text = f"this sweep runs on one of {cores()} cores, for about {seconds:.0f} s more"
        warnings.warn(f"{text}: with `jnorm.sweeps.use_cores()` before JAX computes anything it has all", stacklevel=2)


def _chosen() -> bool:
    """Whether somebody has said how many devices a CPU is."""
    flags = os.environ.get("XLA_FLAGS", "")
    said = os.environ.get("JAX_NUM_CPU_DEVICES") or "host_platform_device_count" in flags
    return bool(said) or getattr(jax.config, "jax_num_cpu_devices", -1) >= 0
