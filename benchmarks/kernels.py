"""Which kernels of a program take the time: a trace of JAX's profiler, read without TensorBoard."""

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.harness import Row

MOST = 10


def events(profile: Any) -> Iterator[tuple[str, float]]:
    """Name and nanoseconds of what devices ran: kernels on the streams of a GPU, operations on a TPU and a CPU.

    A CPU tells of the parts of a program that it runs one after another, a fusion or a product each, among much of its
    host's; they are known by the program that they name. Loops, branches and calls do not count beside what they run.
    """
    for plane in profile.planes:
        device = plane.name.startswith("/device:")
        for line in plane.lines:
            if device and line.name != "XLA Ops" and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                outer = re.fullmatch(r"%?(while|conditional|call)[.\d]*", event.name)
                if not outer and (device or any(key == "hlo_op" for key, _ in event.stats)):
                    yield event.name, event.duration_ns


def top(what: str, call: Callable[[], Any]) -> list[Row]:
    """A row for each of the kernels that take most of a call, or one that says why there is none."""
    jax.block_until_ready(call())  # what is compiled is not of interest
    try:
        with tempfile.TemporaryDirectory() as folder:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            with jax.profiler.trace(folder, profiler_options=options):
                jax.block_until_ready(call())
            files = list(Path(folder).rglob("*.xplane.pb"))
            taken: dict[str, list[float]] = defaultdict(list)
            for file in files:
                for name, time in events(jax.profiler.ProfileData.from_file(str(file))):
                    taken[name].append(time)
    except Exception as error:  # a profiler that this machine does not let in is no reason to stop
        return [Row(f"{what}: kernels", 0, "kernels", detail=f"no profile: {type(error).__name__}: {error}")]
    total = sum(map(sum, taken.values()))
    if not total:
        return [Row(f"{what}: kernels", 0, "kernels", detail="the profile names none")]
    runs = sum(map(len, taken.values()))
    rows = [Row(f"{what}: kernels", runs, "launches", detail=f"{len(taken)} names, {total / 1e6:.3g} ms together")]
    for name, times in sorted(taken.items(), key=lambda pair: -sum(pair[1]))[:MOST]:
        detail = f"{len(times)} times, {sum(times) / 1e6:.3g} ms"
        rows.append(Row(f"{what}: {name}", 100 * sum(times) / total, "% of the time", detail=detail))
    return rows
